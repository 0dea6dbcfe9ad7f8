"""Fitting: objectives, update rules, the one step, and the loop over many steps and images."""

from metadip.fitting.adam import Adam, MultiStep
from metadip.fitting.autoencoding import Autoencoding
from metadip.fitting.backtracking import Backtracking
from metadip.fitting.execution import PRECISIONS, Execution
from metadip.fitting.gradients import GradientSparsity, gradient_sparsity
from metadip.fitting.loop import fit
from metadip.fitting.mean_mse import mean_mse
from metadip.fitting.momentum_sgd import MomentumSGD
from metadip.fitting.objectives import TV, Huber, Sum, l1, mse, total_variation
from metadip.fitting.radam import RAdam
from metadip.fitting.rmse import rmse
from metadip.fitting.rules import ByGroup, Group
from metadip.fitting.sgd import SGD
from metadip.fitting.step import StepOutput, fit_step, measured
from metadip.fitting.structure import MSEThenSSIM
from metadip.fitting.sure import SureDivergence
from metadip.fitting.weight_decay import WeightDecay
from metadip.fitting.weight_sum import WeightSum

__all__ = [
    "PRECISIONS",
    "SGD",
    "TV",
    "Adam",
    "Autoencoding",
    "Backtracking",
    "ByGroup",
    "Execution",
    "GradientSparsity",
    "Group",
    "Huber",
    "MSEThenSSIM",
    "MomentumSGD",
    "MultiStep",
    "RAdam",
    "StepOutput",
    "Sum",
    "SureDivergence",
    "WeightDecay",
    "WeightSum",
    "fit",
    "fit_step",
    "gradient_sparsity",
    "l1",
    "mean_mse",
    "measured",
    "mse",
    "rmse",
    "total_variation",
]
