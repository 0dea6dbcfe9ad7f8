"""Batches of tasks: the same ones for any number of workers, processes and batch size."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from metadip.data import (
    ImageDataModule,
    LoaderSettings,
    SampleKey,
    celeba_data,
    folder_data,
    natural_data,
    sample_data,
    seed_of,
    seed_of_name,
)
from metadip.types import CleanImage, InverseProblem, UserError

SETTINGS: dict[str, Any] = {
    "batch_size": 2,
    "val_batch_size": 3,
    "epoch_size": 6,
    "val_size": 4,
    "test_size": None,
    "num_workers": 0,
}


class Images:
    """Constant images whose value is their index; a bad one where asked."""

    def __init__(self, count: int, bad: int = -1) -> None:
        self.count, self.bad = count, bad

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, key: SampleKey, /) -> CleanImage:
        if key.index == self.bad:
            from metadip.data import read_image

            read_image("bad.png")
        return CleanImage(
            torch.full((3, 4, 4), key.index / 100), key.index, str(key.index), key.epoch
        )


class Noise:
    """Add noise; the operator plays no part here."""

    def measure(self, x: Tensor, *, seed: int, name: str = "") -> InverseProblem:
        y = x + torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))
        physics: Any = None
        c, h, w = x.shape[1:]
        return InverseProblem(
            y=y, physics=physics, image_shape=(c, h, w), x=x, name=name, seed=seed
        )


def module(task: Noise | None, *, train: Any = None, **settings: Any) -> ImageDataModule:
    return ImageDataModule(
        Images(11) if train is None else train,
        val=Images(7),
        test=lambda: Images(5),
        task=task,
        loader=LoaderSettings(**{**SETTINGS, **settings}),
        seed=3,
    )


class Recorder(LightningModule):
    """Note the tasks that Lightning hands over."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: dict[str, list[tuple[str, int, float]]] = {"train": [], "val": [], "test": []}
        self.inference: list[bool] = []

    def note(self, split: str, batch: list[InverseProblem]) -> None:
        self.seen[split] += [(p.name, p.seed, float(p.y.sum())) for p in batch]
        self.inference += [
            p.y.is_inference() or (p.x is not None and p.x.is_inference()) for p in batch
        ]

    def training_step(self, batch: list[InverseProblem], batch_idx: int) -> Tensor:
        self.note("train", batch)
        return self.weight * 1.0

    def validation_step(self, batch: list[InverseProblem], batch_idx: int) -> None:
        self.note("val", batch)

    def predict_step(self, batch: list[InverseProblem], batch_idx: int) -> None:
        self.note("test", batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.0)


def run(data: ImageDataModule, tmp_path: Path, epochs: int = 2) -> Recorder:
    recorder = Recorder()
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        num_sanity_val_steps=1,
        default_root_dir=tmp_path,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Lightning's advice on workers
        trainer.fit(recorder, data)
        trainer.predict(recorder, data, return_predictions=False)
    return recorder


def test_tasks_do_not_depend_on_workers_or_batch_size(tmp_path: Path) -> None:
    one = run(module(Noise()), tmp_path).seen
    two = run(module(Noise(), num_workers=2, batch_size=3, val_batch_size=1), tmp_path).seen
    assert one["train"] == two["train"]
    assert one["test"] == two["test"]
    assert len(one["train"]) == 12
    assert [name for name, _, _ in one["test"]] == ["0", "1", "2", "3", "4"]


def test_epochs_differ_and_validation_repeats(tmp_path: Path) -> None:
    recorder = run(module(Noise()), tmp_path)
    train, val = recorder.seen["train"], recorder.seen["val"]
    assert len({seed for _, seed, _ in train}) == 12
    assert val[3:7] == val[7:11]  # after the three of the sanity check
    assert val[:3] == val[3:6]
    assert [name for name, _, _ in val[3:7]] == ["0", "1", "2", "3"]
    assert val[3][1] == seed_of(3, 1, 0, 0)
    assert recorder.seen["test"][0][1] == seed_of(3, 2, 0, 0)
    assert train == run(module(Noise()), tmp_path).seen["train"]
    assert not any(recorder.inference)


def _trainer(rank: int, world_size: int) -> Any:
    """A trainer that has made no step of an epoch of two batches."""
    return SimpleNamespace(
        global_rank=rank, world_size=world_size, training=True, global_step=0,
        accumulate_grad_batches=1, train_dataloader=range(2),
    )  # fmt: skip


def _steps(rank: int, world_size: int, batch_size: int) -> list[set[tuple[str, int]]]:
    data = module(Noise(), batch_size=batch_size)
    data.trainer = _trainer(rank, world_size)
    batches = (data.on_after_batch_transfer(batch, 0) for batch in data.train_dataloader())
    return [{(p.name, p.seed) for p in batch} for batch in batches]


def test_two_processes_take_the_steps_of_one() -> None:
    one = _steps(0, 1, 2)
    ranks = [_steps(rank, 2, 1) for rank in (0, 1)]
    assert one == [a | b for a, b in zip(*ranks, strict=True)]


def test_without_a_trainer_and_without_a_task() -> None:
    data = module(None)
    batches = list(data.test_dataloader())
    assert [len(batch) for batch in batches] == [3, 2]
    assert isinstance(data.on_after_batch_transfer(batches[0], 0)[0], CleanImage)
    moved = data.transfer_batch_to_device(batches[0], torch.device("meta"), 0)
    assert moved[0].x.device.type == "meta"
    with pytest.raises(ValueError, match=r"this data module has no task to measure with"):
        data.measure(batches[0], "test")
    with pytest.raises(ValueError, match=r"split is 'all'"):
        module(Noise()).measure(batches[0], "all")


def test_missing_splits() -> None:
    data = ImageDataModule(
        None, val=None, test=None, task=None, loader=LoaderSettings(**SETTINGS), seed=0
    )
    assert data.val_dataloader() == []
    with pytest.raises(ValueError, match=r"this data module has no train images"):
        data.train_dataloader()
    with pytest.raises(ValueError, match=r"this data module has no test images"):
        data.predict_dataloader()


def test_data_sets_are_made_once_when_needed() -> None:
    made: list[str] = []

    def make(split: str) -> Callable[[], Images]:
        def source() -> Images:
            made.append(split)
            return Images(3)

        return source

    data = ImageDataModule(
        make("train"),
        val=make("val"),
        test=make("test"),
        task=None,
        loader=LoaderSettings(**SETTINGS),
        seed=0,
        prepare=lambda: made.append("prepare"),
    )
    data.prepare_data()
    data.setup("fit")
    data.train_dataloader()
    assert made == ["prepare", "train", "val"]
    data.setup("predict")
    assert made[3:] == ["test"]


def test_loading_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    for _ in range(2):
        list(module(None).train_dataloader())
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_bad_image_is_told_in_one_line(num_workers: int) -> None:
    data = module(None, train=Images(11, bad=4), num_workers=num_workers, epoch_size=11)
    loader = data.train_dataloader()
    with pytest.raises(UserError) as caught:
        list(loader)
    assert str(caught.value) == "no image file 'bad.png': check the path"
    workers: Any = loader._iterator
    if workers is not None:
        workers._shutdown_workers()  # as Lightning does; garbage collection takes 10 s


@pytest.mark.parametrize("name", list(SETTINGS))
def test_settings_are_checked(name: str) -> None:
    lowest = 0 if name == "num_workers" else 1
    with pytest.raises(ValueError, match=f"{name} is {lowest - 1}, must be at least {lowest}"):
        LoaderSettings(**{**SETTINGS, name: lowest - 1})


def test_builders(tmp_path: Path) -> None:
    shared: dict[str, Any] = {"loader": LoaderSettings(**SETTINGS), "task": Noise(), "seed": 0}
    sample = sample_data(16, flip=True, **shared)
    problems = sample.measure(next(iter(sample.test_dataloader())), "test")
    assert problems[0].image_shape == (3, 16, 16)
    crop: dict[str, Any] = {"crop_px": None, "size_px": 16, "flip": True}
    faces = celeba_data(str(tmp_path), download=False, **crop, **shared)
    faces.prepare_data()
    with pytest.raises(UserError, match=r"no CelebA images"):
        faces.setup("fit")
    with pytest.raises(UserError, match=r"holds no images"):
        folder_data(str(tmp_path), channels=3, **crop, **shared).setup("fit")
    with pytest.raises(UserError, match=r"no photographs"):
        natural_data(str(tmp_path), size_px=16, flip=True, patches_per_image=1, **shared).setup(
            "fit"
        )


def test_download_happens_before_setup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr("torchvision.datasets.CelebA", fail)
    data = celeba_data(
        str(tmp_path),
        download=True,
        crop_px=None,
        size_px=16,
        flip=True,
        loader=LoaderSettings(**SETTINGS),
        task=None,
        seed=0,
    )
    with pytest.raises(UserError, match=r"could not be downloaded"):
        data.prepare_data()


def test_names_give_seeds_of_their_own():
    seeds = {seed_of_name(seed, name) for seed in (0, 1) for name in ("a.png", "b.png", "ab", "")}
    assert len(seeds) == 8
    assert seed_of_name(0, "é.png") == seed_of(0, *"é.png".encode())
