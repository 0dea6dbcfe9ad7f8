"""Meta-learned deep image priors: reconstruct one image from its measurement in 20 to 50 steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from metadip.runs import load

__version__ = "0.1.0"
__all__ = ["__version__", "load"]


def __getattr__(name: str) -> Any:
    """Import ``load`` where it is used, so that ``import metadip`` stays quick."""
    if name == "load":
        from metadip.runs import load

        return load
    raise AttributeError(f"module 'metadip' has no attribute {name!r}")
