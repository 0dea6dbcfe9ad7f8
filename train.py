"""Meta-train an initialisation; ``python train.py --help`` lists the settings."""

import sys
from typing import Any

from metadip.command_line import main


def run(cfg: Any) -> None:
    """Train as configured."""
    from metadip.runs import train

    train(cfg)


if __name__ == "__main__":
    sys.exit(main("train", run))
