"""A thousand fits and hundreds of loads in one process take no more memory than the first ones."""

import gc
from pathlib import Path

import pytest
from deepinv.physics import Denoising

import metadip
from tests.security.tally import Tally
from tests.tiny import save_tiny_prior

FITS, LOADS, WARM_UP = 1000, 200, 200  # memory settles within the first 200 fits
MAY_GROW_MIB = 30
STATUS = Path("/proc/self/status")


def resident_mib() -> float:
    """Return the memory of this process."""
    gc.collect()
    lines = STATUS.read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024


@pytest.mark.slow
@pytest.mark.skipif(not STATUS.is_file(), reason="reads the memory of a process as Linux tells it")
def test_memory_stays_flat(tmp_path: Path):
    import torch

    ckpt, tally = save_tiny_prior(tmp_path / "prior.safetensors"), Tally.of("soak")
    y = torch.rand((1, 3, 16, 16), generator=torch.Generator().manual_seed(0))
    method, first = metadip.load(str(ckpt), steps=2), None
    for number in range(FITS):
        x_hat = method(y, Denoising())
        first = x_hat if first is None else first
        if not torch.equal(x_hat, first):
            tally.lose(f"fit {number} differs from the first")
        if number == WARM_UP:
            before = resident_mib()
        tally.tried, tally.accepted = tally.tried + 1, tally.accepted + 1
    for _ in range(LOADS):
        metadip.load(str(ckpt))
        tally.tried, tally.accepted = tally.tried + 1, tally.accepted + 1
    assert resident_mib() - before < MAY_GROW_MIB
    tally.check()
