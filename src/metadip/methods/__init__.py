"""Methods: what a user picks to solve a task, all of them deepinv Reconstructors."""

from metadip.methods.fit import FitReconstructor, image_shape_of
from metadip.methods.fit_module import FitModule

__all__ = ["FitModule", "FitReconstructor", "image_shape_of"]
