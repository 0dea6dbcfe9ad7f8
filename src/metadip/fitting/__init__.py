"""Fitting: objectives, update rules, the one step, and the loop over many steps and images."""

from metadip.fitting.backtracking import Backtracking
from metadip.fitting.execution import PRECISIONS, Execution
from metadip.fitting.loop import fit
from metadip.fitting.objectives import DataObjective, total_variation
from metadip.fitting.optimizers import Adam, MomentumSGD
from metadip.fitting.step import StepOutput, data_loss, fit_step

__all__ = [
    "PRECISIONS",
    "Adam",
    "Backtracking",
    "DataObjective",
    "Execution",
    "MomentumSGD",
    "StepOutput",
    "data_loss",
    "fit",
    "fit_step",
    "total_variation",
]
