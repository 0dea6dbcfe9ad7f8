"""Composition root: build the chain from data to report out of a configuration, and run it."""

from __future__ import annotations

from metadip.runs.benchmark import benchmark
from metadip.runs.inference import build_fit, build_method, infer
from metadip.runs.training import train

__all__ = [
    "benchmark",
    "build_fit",
    "build_method",
    "infer",
    "train",
]
