"""Meta-learned deep image priors: reconstruct one image from its measurement in 20 to 50 steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from metadip.runs import DIP, load

__version__ = "0.1.0"
__all__ = ["DIP", "__version__", "load"]


def __getattr__(name: str) -> Any:
    """Import what is public where it is used, so that ``import metadip`` stays quick."""
    if name in ("DIP", "load"):
        from metadip import runs

        return getattr(runs, name)
    raise AttributeError(f"module 'metadip' has no attribute {name!r}")
