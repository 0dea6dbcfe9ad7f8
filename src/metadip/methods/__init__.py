"""Methods: what a user picks to solve a task, all of them deepinv Reconstructors."""

from metadip.methods.dip import DIP
from metadip.methods.fit import FitReconstructor
from metadip.methods.fit_module import FitModule
from metadip.methods.measurement import image_shape_of

__all__ = ["DIP", "FitModule", "FitReconstructor", "image_shape_of"]
