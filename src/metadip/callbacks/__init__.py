"""Hooks of a fit: averaging, noise, early stopping, best iterate, oracle PSNR, progress."""

from metadip.callbacks.base import FitCallback
from metadip.callbacks.below_zero import BelowZero
from metadip.callbacks.converged import Converged
from metadip.callbacks.discrepancy import DiscrepancyPrinciple
from metadip.callbacks.dropout import Dropout
from metadip.callbacks.early_stopping import ESEMV, ESWMV
from metadip.callbacks.fading_jitter import FadingJitter
from metadip.callbacks.frozen_noise import PassingNoise
from metadip.callbacks.jitter import LatentJitter
from metadip.callbacks.langevin import LangevinNoise, PosteriorMean
from metadip.callbacks.noise_jitter import NoiseJitter
from metadip.callbacks.oracle import OraclePSNR, peak_of_curve
from metadip.callbacks.output_average import OutputEMA
from metadip.callbacks.pass_noise import PassNoise
from metadip.callbacks.progress import FitProgress
from metadip.callbacks.selection import BestIterate
from metadip.callbacks.self_validation import SelfValidation
from metadip.callbacks.spectral import BlurToSharpness, FrequencyBands

__all__ = [
    "ESEMV",
    "ESWMV",
    "BelowZero",
    "BestIterate",
    "BlurToSharpness",
    "Converged",
    "DiscrepancyPrinciple",
    "Dropout",
    "FadingJitter",
    "FitCallback",
    "FitProgress",
    "FrequencyBands",
    "LangevinNoise",
    "LatentJitter",
    "NoiseJitter",
    "OraclePSNR",
    "OutputEMA",
    "PassNoise",
    "PassingNoise",
    "PosteriorMean",
    "SelfValidation",
    "peak_of_curve",
]
