"""Methods: what a user picks to solve a task, all of them deepinv Reconstructors."""

from metadip.methods.fit import FitReconstructor
from metadip.methods.fit_module import FitModule
from metadip.methods.measurement import image_shape_of

__all__ = ["FitModule", "FitReconstructor", "image_shape_of"]
