"""Threads follow the size of the work, and bf16 is turned off where the CPU only emulates it."""

from pathlib import Path

import pytest
import torch

from metadip.runs import process
from metadip.runs.process import threads_of_size, usable_precision
from tests.runs.test_continuing import fill
from tests.tiny import INFER, infer, save_tiny_prior

SET = torch.set_num_threads


@pytest.mark.parametrize(("px", "threads"), [(1, 1), (64, 1), (96, 1), (97, 6), (512, 6)])
def test_small_images_take_one_thread(px: int, threads: int):
    assert threads_of_size(px, available=6) == threads


@pytest.mark.parametrize(("given", "expected"), [("null", [2, 1, 2]), (1, [1]), (3, [3])])
def test_a_run_follows_the_size_unless_told(
    given: object, expected: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Images of some 10 px; the threads that the process had are given back."""
    prior, calls = save_tiny_prior(tmp_path / "prior.safetensors"), list[int]()
    SET(2)

    def noted(number: int) -> None:
        calls.append(number)
        SET(number)

    monkeypatch.setattr(torch, "set_num_threads", noted)
    assert any(word.startswith("threads=") for word in INFER)
    try:
        photos, out = fill(tmp_path / "photos", 1), tmp_path / "out"
        infer(f"ckpt={prior}", f"input={photos}", f"out={out}", f"threads={given}")
    finally:
        SET(1)
    changes = [n for n, before in zip(calls, [0, *calls], strict=False) if n != before]
    assert changes == (expected[1:] if given == "null" else expected)


@pytest.mark.parametrize(
    ("precision", "accelerator", "ratio", "expected"),
    [
        ("bf16", "cpu", 10.0, "32"),
        ("bf16", "cpu", 0.7, "bf16"),
        ("bf16-mixed", "cpu", 10.0, "32"),
        ("bf16", "gpu", 10.0, "bf16"),
        ("32", "cpu", 10.0, "32"),
    ],
)
def test_bf16_that_is_only_emulated_is_turned_off(
    precision: str,
    accelerator: str,
    ratio: float,
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.setattr(process, "bf16_ratio", lambda: ratio)
    used = usable_precision("fit.precision", precision, accelerator=accelerator, plain="32")
    assert used == expected
    printed = capsys.readouterr().out
    told = f"fit.precision={precision}: this CPU has no bf16 in hardware and would take 10 times"
    assert printed.startswith(told) if used != precision else not printed


def test_the_ratio_is_measured():
    assert 0 < process.bf16_ratio() < 1000
