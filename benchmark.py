"""Run methods on tasks and images, and make tables; ``benchmark.py --help`` lists the settings."""

import sys

from metadip.__main__ import benchmark as run
from metadip.__main__ import main

__all__ = ["main", "run"]

if __name__ == "__main__":
    sys.exit(main(["benchmark", *sys.argv[1:]]))
