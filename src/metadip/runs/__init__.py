"""Composition root: build the chain from data to report out of a configuration, and run it."""

from __future__ import annotations

from metadip.runs.benchmark import benchmark
from metadip.runs.inference import build_fit, build_method, infer
from metadip.runs.loading import DIP, load
from metadip.runs.training import train
from metadip.runs.warm_starts import from_single_image, from_weights

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
