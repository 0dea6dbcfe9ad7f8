"""``metadip train``, ``metadip infer`` and ``metadip benchmark``: the scripts as one command."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from metadip import command_line
from metadip.config import Config, nearest


def train(cfg: Config) -> None:
    """Train as configured."""
    from metadip.runs import train as run

    run(cfg)


def infer(cfg: Config) -> None:
    """Reconstruct as configured."""
    from metadip.runs import infer as run

    run(cfg)


def benchmark(cfg: Config) -> None:
    """Run the benchmark as configured."""
    from metadip.runs import benchmark as run

    run(cfg)


COMMANDS: dict[str, Callable[[Config], None]] = {
    "train": train, "infer": infer, "benchmark": benchmark,
}  # fmt: skip
USAGE = """usage: metadip COMMAND [SETTING=VALUE ...]
       metadip COMMAND [GROUP=CHOICE ...] --help

commands:
  train      meta-train an initialisation
  infer      reconstruct images or measurements
  benchmark  run methods on tasks and images, and make tables"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return the exit code, 2 after a user error."""
    words = list(sys.argv[1:] if argv is None else argv)
    name = words[0] if words else ""
    if name in ("--help", "-h"):
        print(USAGE)
        return 0
    if name not in COMMANDS:
        what = f"unknown command {name!r}{nearest(name, list(COMMANDS))}" if name else "no command"
        print(f"error: {what} (commands: {', '.join(COMMANDS)})", file=sys.stderr)
        return 2
    return command_line.main(name, COMMANDS[name], words[1:])


if __name__ == "__main__":
    sys.exit(main())
