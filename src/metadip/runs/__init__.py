"""Composition root: build the chain from data to report out of a configuration, and run it."""

from __future__ import annotations

from metadip.methods.loading import DIP, load
from metadip.methods.warm_starts import from_single_image, from_weights
from metadip.runs.benchmark import benchmark
from metadip.runs.inference import build_fit, build_method, infer
from metadip.runs.training import train

__all__ = [
    "DIP",
    "benchmark",
    "build_fit",
    "build_method",
    "from_single_image",
    "from_weights",
    "infer",
    "load",
    "train",
]
