"""Give an informed prior the denoiser that another training made; it then solves denoising.

    python benchmarks/join_denoiser.py --prior photo --denoiser LAST.ckpt --out photo.safetensors

The denoiser is a prior that sees the noisy image alone, as ``experiment=photo_denoise`` trains it.
It is stored as float16, the prior as it was.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from metadip.checkpoint import load_prior, save_prior
from metadip.priors import InformedNetwork
from metadip.types import UserError


def join(prior: str, denoiser: str, out: Path) -> None:
    """Write the prior with the network of ``denoiser`` as its own.

    Raises:
        UserError: If one cannot be loaded, or is not of its kind.
    """
    whole, part = load_prior(prior), load_prior(denoiser)
    if not isinstance(whole.prior, InformedNetwork):
        raise UserError(f"--prior={prior} is no informed prior")
    told = part.description.get("representation", {}).get("network", {})
    if not (part.prior.any_size and told) or told["in_channels"] != told["out_channels"]:
        raise UserError(f"--denoiser={denoiser} does not see the noisy image, or not it alone")
    tensors: dict[str, Tensor] = {
        f"prior.{name}": tensor
        for name, tensor in whole.prior.state_dict().items()
        if not name.startswith("denoiser.")
    }
    for name, tensor in part.prior.state_dict().items():
        if name.startswith("network."):
            tensors[f"prior.{name.replace('network', 'denoiser', 1)}"] = tensor.to(torch.float16)
    for name, tensor in whole.optimizer.state_dict().items():
        tensors[f"inner_optimizer.{name}"] = tensor
    description = dict(whole.description)
    description["representation"] = {**description["representation"], "denoiser": told}
    save_prior(out, tensors, description)
    load_prior(out)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--prior", default="photo", help="a released name, a file or a checkpoint")
    parser.add_argument("--denoiser", required=True, help="the same, of the denoiser")
    parser.add_argument("--out", type=Path, required=True, help="a .safetensors file")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Write the joined prior; return the exit code."""
    options = parse(argv)
    try:
        join(options.prior, options.denoiser, options.out)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
