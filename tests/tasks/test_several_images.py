"""Several images measured by one operator: in tasks, and in the batches of a data module."""

import pytest
import torch
from torch import Tensor

from metadip.data import ImageDataModule, LoaderSettings, SampleKey
from metadip.tasks import InpaintingTask
from tests.data.test_datamodule import SETTINGS, Images
from tests.fitting.tiny import tiny_fit
from tests.tasks.test_every_task import ct, demosaick, every_task, spc


@pytest.fixture
def x() -> Tensor:
    return torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@every_task
def test_several_images_share_an_operator_or_are_refused(make, x: Tensor) -> None:
    pair = torch.cat([x, x.flip(-1)])
    if make in (ct, demosaick, spc):
        with pytest.raises(ValueError, match=r"expected one float image"):
            make().measure(pair, seed=0)
        return
    both = make(noise_std=0.0).measure(pair, seed=0).apart()
    for problem, image in zip(both, pair.split(1), strict=True):
        alone = make(noise_std=0.0).measure(image, seed=0)
        torch.testing.assert_close(problem.y, alone.y)
        torch.testing.assert_close(problem.physics.A(image), alone.y)
        assert problem.x is not None
        assert torch.equal(problem.x, image)
        assert problem.scale == alone.scale
    assert both[0].physics is both[1].physics
    noisy = make(noise_std=0.1).measure(torch.cat([x, x]), seed=0).apart()
    assert not torch.equal(noisy[0].y, noisy[1].y)


def test_images_in_a_row_share_a_task() -> None:
    tasks = InpaintingTask([0.2, 0.9], noise_std=[0.0, 0.5], per_channel=False)
    data = ImageDataModule(
        Images(6), val=None, test=None, task=tasks, loader=LoaderSettings(**SETTINGS, together=2),
        seed=0,
    )  # fmt: skip
    source = data.dataset("train")
    assert source is not None
    images = [source[SampleKey(0, index)] for index in range(5)]
    problems = data.measure(images, "train")
    assert [problem.name for problem in problems] == list("01234")
    operators = [problem.physics for problem in problems]
    assert [operators.index(operator) for operator in operators] == [0, 0, 2, 2, 4]
    noise = [problem.y - problem.physics.A(problem.x) for problem in problems]
    assert not torch.equal(noise[0], noise[1])
    alone = [data.measure([image], "train")[0] for image in images]
    assert [problem.seed for problem in problems] == [problem.seed for problem in alone]
    torch.testing.assert_close(problems[4].y, alone[4].y)
    others = data.measure(images, "val")
    assert len({id(problem.physics) for problem in others}) == 5


def test_a_fit_takes_problems_of_one_image(x: Tensor) -> None:
    both = InpaintingTask(0.5, noise_std=0.0, per_channel=False).measure(torch.cat([x, x]), seed=0)
    with pytest.raises(ValueError, match=r"of several images: see InverseProblem\.apart"):
        tiny_fit([both], steps=1)


def test_images_in_a_row_are_at_least_one() -> None:
    with pytest.raises(ValueError, match="together is 0, must be at least 1"):
        LoaderSettings(**SETTINGS, together=0)
