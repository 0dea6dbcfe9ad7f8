"""Reconstruct images or a measurement; ``python infer.py --help`` lists the settings."""

import sys
from typing import Any

from metadip.command_line import main


def run(cfg: Any) -> None:
    """Reconstruct as configured."""
    from metadip.runs import infer

    infer(cfg)


if __name__ == "__main__":
    sys.exit(main("infer", run))
