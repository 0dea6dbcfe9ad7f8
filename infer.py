"""Reconstruct images or a measurement; ``python infer.py --help`` lists the settings."""

import sys

from metadip.__main__ import infer as run
from metadip.__main__ import main

__all__ = ["main", "run"]

if __name__ == "__main__":
    sys.exit(main(["infer", *sys.argv[1:]]))
