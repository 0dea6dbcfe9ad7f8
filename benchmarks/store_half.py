"""Store the large weights of a prior as float16, which halves its file.

    python benchmarks/store_half.py --prior LAST.ckpt --out natural64.safetensors

Weights of fewer than 1024 numbers, and the learned step sizes of the update rule, stay as they are.
Weights are used as float32 again when the prior is loaded.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from metadip.checkpoint import load_prior, save_prior
from metadip.types import UserError

LEAST = 1024  # numbers of a tensor that is stored as float16


def store(prior: str, out: Path) -> None:
    """Write a prior with its large tensors as float16.

    Raises:
        UserError: If it cannot be loaded, or a weight is too large for float16.
    """
    whole, tensors = load_prior(prior), dict[str, Tensor]()
    for name, tensor in whole.prior.state_dict().items():
        smaller = tensor.is_floating_point() and tensor.numel() >= LEAST
        kept = tensor.to(torch.float16) if smaller else tensor
        if not bool(kept.isfinite().all()):
            raise UserError(f"--prior={prior}: {name} is too large for float16")
        tensors[f"prior.{name}"] = kept
    for name, tensor in whole.optimizer.state_dict().items():
        tensors[f"inner_optimizer.{name}"] = tensor
    save_prior(out, tensors, dict(whole.description))
    load_prior(out)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--prior", required=True, help="a released name, a file or a checkpoint")
    parser.add_argument("--out", type=Path, required=True, help="a .safetensors file")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Write the smaller prior; return the exit code."""
    options = parse(argv)
    try:
        store(options.prior, options.out)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
