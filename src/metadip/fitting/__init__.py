"""Fitting: objectives, update rules, the one step, and the loop over many steps and images."""

from metadip.fitting.adam import Adam, MultiStep
from metadip.fitting.autoencoding import Autoencoding
from metadip.fitting.backtracking import Backtracking
from metadip.fitting.execution import PRECISIONS, Execution
from metadip.fitting.loop import fit
from metadip.fitting.momentum_sgd import MomentumSGD
from metadip.fitting.objectives import TV, Huber, Sum, l1, mse, total_variation
from metadip.fitting.rules import ByGroup
from metadip.fitting.step import StepOutput, fit_step, measured
from metadip.fitting.sure import SureDivergence

__all__ = [
    "PRECISIONS",
    "TV",
    "Adam",
    "Autoencoding",
    "Backtracking",
    "ByGroup",
    "Execution",
    "Huber",
    "MomentumSGD",
    "MultiStep",
    "StepOutput",
    "Sum",
    "SureDivergence",
    "fit",
    "fit_step",
    "l1",
    "measured",
    "mse",
    "total_variation",
]
