"""Hooks of a fit: averaging, jitter, early stopping, best iterate, oracle PSNR, progress."""

from metadip.callbacks.averaging import OutputEMA
from metadip.callbacks.base import FitCallback
from metadip.callbacks.early_stopping import ESEMV, ESWMV
from metadip.callbacks.jitter import LatentJitter
from metadip.callbacks.oracle import OraclePSNR, peak_of_curve
from metadip.callbacks.progress import FitProgress
from metadip.callbacks.selection import BestIterate

__all__ = [
    "ESEMV",
    "ESWMV",
    "BestIterate",
    "FitCallback",
    "FitProgress",
    "LatentJitter",
    "OraclePSNR",
    "OutputEMA",
    "peak_of_curve",
]
