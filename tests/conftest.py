"""What all tests share: a thread, a seed, where the data lie, and no GPU test without a GPU."""

import gc
import logging
from pathlib import Path

import pytest
import torch

REPO = Path(__file__).resolve().parents[1]

torch.set_num_threads(1)  # small tensors: more threads only cost


@pytest.fixture(scope="session")
def repo() -> Path:
    """Return the root of the checkout."""
    return REPO


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of real images beside the checkout, or skip the test."""
    folder = REPO.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("needs the image sets in ../shared/data")
    return folder


def pytest_collection_finish() -> None:
    """Leave what was imported out of garbage collection, which would look at it again and again."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Seed what tests draw without a generator of their own: the same in any order and choice."""
    torch.manual_seed(0)


def pytest_runtest_teardown() -> None:
    """Remove the log handler that a script leaves: it writes to the stderr of its own test."""
    logging.getLogger("metadip").handlers.clear()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what is marked ``gpu`` where there is none."""
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))
