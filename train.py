"""Meta-train an initialisation; ``python train.py --help`` lists the settings."""

import sys

from metadip.__main__ import main
from metadip.__main__ import train as run

__all__ = ["main", "run"]

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
