"""Composition root: build the chain from data to report out of a configuration, and run it."""

from __future__ import annotations

from metadip.runs.inference import build_method, infer
from metadip.runs.loading import DIP, load
from metadip.runs.training import train

__all__ = ["DIP", "build_method", "infer", "load", "train"]
