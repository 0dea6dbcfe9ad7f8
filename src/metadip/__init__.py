"""Meta-learned deep image priors: reconstruct one image from its measurement in 20 to 50 steps."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from metadip.fitting import fit
    from metadip.methods import DIP, FitReconstructor, denoiser, load
    from metadip.prior_files import released
    from metadip.report import show
    from metadip.types import InverseProblem, UserError

__version__ = "0.1.0"
PUBLIC = {  # public name -> the module that it comes from
    "DIP": "methods",
    "FitReconstructor": "methods",
    "InverseProblem": "types",
    "UserError": "types",
    "denoiser": "methods",
    "fit": "fitting",
    "load": "methods",
    "released": "prior_files",
    "show": "report",
}
__all__ = [
    "DIP",
    "FitReconstructor",
    "InverseProblem",
    "UserError",
    "__version__",
    "denoiser",
    "fit",
    "load",
    "released",
    "show",
]


def __getattr__(name: str) -> Any:
    """Import public names on first use, so that ``import metadip`` stays fast."""
    if name in PUBLIC:
        return getattr(import_module(f"metadip.{PUBLIC[name]}"), name)
    raise AttributeError(f"module 'metadip' has no attribute {name!r}")
