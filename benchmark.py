"""Run methods on tasks and images, and make tables; ``benchmark.py --help`` lists the settings."""

import sys
from typing import Any

from metadip.command_line import main


def run(cfg: Any) -> None:
    """Fill the table as configured."""
    from metadip.runs import benchmark

    benchmark(cfg)


if __name__ == "__main__":
    sys.exit(main("benchmark", run))
