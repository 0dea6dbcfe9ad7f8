"""Files of a prior: what goes in comes out, and nothing foreign or broken gets through."""

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from metadip.checkpoint import LearnedPrior, load_prior, save_prior
from metadip.fitting import fit
from metadip.meta import MetaModule
from metadip.prior_files import released, resolve
from metadip.types import FitResult, UserError
from tests.fitting.tiny import noisy
from tests.meta.tiny_training import tiny_data, tiny_module, tiny_trainer


@pytest.fixture
def module() -> MetaModule:
    """Return a module in float32, as it is released, with step sizes that all differ."""
    module = tiny_module()
    with torch.no_grad():
        module.inner_optimizer.log_lr.add_(
            0.1
            * torch.randn(
                module.inner_optimizer.log_lr.shape, generator=torch.Generator().manual_seed(0)
            )
        )
        module.inner_optimizer.momentum_logit.add_(1)
    return module.float()


@pytest.fixture
def saved(module: MetaModule, tmp_path: Path) -> Path:
    """Return the module's prior in its released form."""
    path = tmp_path / "tiny.safetensors"
    save_prior(path, module.state_dict(), {**module.description, "note": "a test"})
    return path


def reconstruct(learned: LearnedPrior | MetaModule) -> FitResult:
    rule = learned.inner_optimizer if isinstance(learned, MetaModule) else learned.optimizer
    return fit([noisy(0, (3, 9, 12))], learned.prior, learned.objective, rule, steps=4)[0]


def refused(path: Path, text: str) -> None:
    with pytest.raises(UserError, match=text) as error:
        load_prior(path)
    assert "\n" not in str(error.value)
    assert path.name in str(error.value)


def test_released_form_reconstructs_the_same(module: MetaModule, saved: Path):
    learned = load_prior(saved)
    assert torch.equal(reconstruct(learned).x_hat, reconstruct(module).x_hat)
    assert learned.prior.learned
    assert learned.description["note"] == "a test"
    assert not any(p.requires_grad for p in learned.prior.parameters())
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def test_checkpoint_of_training_reconstructs_the_same(module: MetaModule, tmp_path: Path):
    trainer = tiny_trainer(tmp_path, max_steps=1)
    trainer.fit(module.double(), tiny_data())
    module.float()
    path = tmp_path / "meta.ckpt"
    trainer.save_checkpoint(path)
    assert torch.equal(reconstruct(load_prior(path)).x_hat, reconstruct(module).x_hat)


def test_only_what_a_fit_needs_is_stored(module: MetaModule, tmp_path: Path):
    path = tmp_path / "tiny.safetensors"
    save_prior(path, {**module.state_dict(), "val.junk": torch.zeros(1)}, module.description)
    assert b"junk" not in path.read_bytes()
    assert b"skipped_batches" not in path.read_bytes()


def test_a_name_or_a_path_is_resolved(saved: Path):
    assert resolve(saved) == saved
    for name in released():
        assert resolve(name).name == f"{name}.safetensors"
    with pytest.raises(UserError, match="ckpt=nowhere is neither a file nor a released prior"):
        resolve("nowhere")


@pytest.mark.parametrize("keep", [0.0, 0.01, 0.5, 0.99])
def test_a_truncated_file_is_refused(saved: Path, keep: float):
    content = saved.read_bytes()
    saved.write_bytes(content[: int(keep * len(content))])
    refused(saved, "cannot be read as safetensors, it may be truncated")


@pytest.mark.parametrize("keep", [0.0, 0.1, 0.9])
def test_a_truncated_checkpoint_is_refused(module: MetaModule, tmp_path: Path, keep: float):
    path = tmp_path / "meta.ckpt"
    torch.save({"state_dict": module.state_dict(), "metadip": module.description}, path)
    assert torch.equal(reconstruct(load_prior(path)).x_hat, reconstruct(module).x_hat)
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])
    refused(path, "cannot be read as a checkpoint, it may be truncated or hold code")


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.safetensors", "cannot be read as safetensors"), ("a.ckpt", "cannot be read as a check")],
)
def test_a_renamed_text_file_is_refused(tmp_path: Path, name: str, text: str):
    path = tmp_path / name
    path.write_text("These are not the weights\nthat you are looking for.\n" * 20)
    refused(path, text)


def test_a_folder_is_refused(tmp_path: Path):
    with pytest.raises(UserError, match="is neither a file"):
        load_prior(tmp_path)


def test_foreign_files_are_refused(tmp_path: Path):
    path = tmp_path / "foreign.safetensors"
    save_file({"weight": torch.zeros(2)}, path)
    refused(path, "is not a metadip prior: its format is None")
    save_file({"weight": torch.zeros(2)}, path, metadata={"format": "pt"})
    refused(path, "its format is 'pt', not 'metadip-prior-2'")
    for metadata in ({}, {"description": "{"}):
        save_file({"w": torch.zeros(2)}, path, metadata={"format": "metadip-prior-1", **metadata})
        refused(path, "carries no readable description")
    contents: tuple[Any, ...] = ({"state_dict": {}}, [1, 2], {"metadip": {}})
    for content in contents:
        torch.save(content, tmp_path / "other.ckpt")
        refused(tmp_path / "other.ckpt", "is not a checkpoint of metadip's meta-training")


def test_a_file_of_the_first_format_is_read(module: MetaModule, saved: Path, tmp_path: Path):
    description = module.description
    told = description.pop("representation")
    latent = {key: value for key, value in told["latent"].items() if key != "type"}
    objective = {"data_term": "mse", "tv_weight": 0.05, "huber_delta": 1.0}
    old = {**description, "network": told["network"], "latent": latent, "objective": objective}
    path = tmp_path / "old.safetensors"
    with safe_open(saved, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, not a dict
    metadata = {"format": "metadip-prior-1", "description": json.dumps(old)}
    save_file(tensors, path, metadata=metadata)
    assert torch.equal(reconstruct(load_prior(path)).x_hat, reconstruct(module).x_hat)
    assert load_prior(path).objective.description == module.objective.description


@pytest.mark.parametrize("description", ["[]", '"text"', "null", "{}", '{"network": 3}'])
def test_a_description_of_another_form_is_refused(tmp_path: Path, description: str):
    path = tmp_path / "odd.safetensors"
    metadata = {"format": "metadip-prior-1", "description": description}
    save_file({"w": torch.zeros(2)}, path, metadata=metadata)
    refused(path, "does not hold a prior that this version knows|no readable description")


@pytest.mark.parametrize(
    ("part", "change", "text"),
    [
        ("network", {"type": "os.system"}, "unknown architecture 'os.system'"),
        ("network", {"depth": 3}, "does not take these arguments"),
        ("network", {"channels": [5]}, "size mismatch for prior.network"),
        ("network", {"channels": [4, 4], "skip_channels": [2, 2]}, "Missing key"),
        ("network", {"in_channels": 8}, "the network takes 8 channels, the latent gives 4"),
        ("latent", {"size_px": 8}, "size mismatch for prior.latent.noise"),
        ("optimizer", {"n_steps": 9}, "size mismatch for inner_optimizer.log_lr"),
        ("optimizer", {"lr_bounds": None}, "does not hold a prior"),
        ("objective", {"data": {"type": "l3"}}, "unknown objective 'l3'"),
        ("network", {"type": "mse"}, "does not hold a prior"),
        ("steps", {"steps": "many"}, "steps must be a whole number, got 'many'"),
        ("steps", {"steps": -1}, "steps must be a whole number, got -1"),
    ],
)
@pytest.mark.parametrize("suffix", [".safetensors", ".ckpt"])
def test_what_does_not_fit_the_description_is_refused(
    module: MetaModule, tmp_path: Path, suffix: str, part: str, change: dict[str, Any], text: str
):
    description = json.loads(json.dumps(module.description))
    described = description if part in description else description["representation"]
    (description if part == "steps" else described[part]).update(change)
    path = tmp_path / f"wrong{suffix}"
    if suffix == ".ckpt":
        torch.save({"state_dict": module.state_dict(), "metadip": description}, path)
    else:
        save_prior(path, module.state_dict(), description)
    refused(path, f"does not hold a prior that this version knows: .*{text}|{text}")


class Evil:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("name", ["evil.ckpt", "evil.pt", "evil"])
def test_code_in_a_checkpoint_is_not_run(module: MetaModule, tmp_path: Path, name: str):
    path, mark = tmp_path / name, tmp_path / "executed"
    content = {"state_dict": module.state_dict(), "metadip": module.description, "x": Evil(mark)}
    torch.save(content, path)
    refused(path, "may be truncated or hold code")
    path.write_bytes(pickle.dumps(Evil(mark)))
    refused(path, "may be truncated or hold code")
    assert not mark.exists()
    pickle.loads(path.read_bytes())
    assert mark.exists()  # so the trap works


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1e30])
def test_weights_that_no_training_gives(value: float, saved: Path, tmp_path: Path):
    with safe_open(saved, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        metadata = file.metadata()
    name = next(name for name in tensors if name.startswith("prior.network"))
    tensors[name].view(-1)[0] = value
    save_file(tensors, tmp_path / "bad.safetensors", metadata=metadata)
    with pytest.raises(UserError, match=f"holds NaN, infinite or huge values in {name}"):
        load_prior(tmp_path / "bad.safetensors")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"image_px": "big"}, "image_px=big must be a whole number of at least 1"),
        ({"optimizer": {"lr_bounds": []}}, "does not hold a prior that this version knows"),
        ({"optimizer": None}, "does not hold a prior that this version knows"),
        ({"objective": {"type": "os.system"}}, "unknown objective 'os.system'"),
    ],
)
def test_descriptions_of_other_types(
    change: dict[str, Any], text: str, saved: Path, tmp_path: Path
):
    with safe_open(saved, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        metadata = dict(file.metadata())
    description = json.loads(metadata["description"]) | change
    metadata["description"] = json.dumps(description)
    save_file(tensors, tmp_path / "bad.safetensors", metadata=metadata)
    with pytest.raises(UserError, match=text):
        load_prior(tmp_path / "bad.safetensors")


@pytest.mark.parametrize("text", ["[" * 100_000, f'{{"a": {"9" * 5000}}}', "[1]", "5"])
def test_descriptions_that_are_none(text: str, saved: Path, tmp_path: Path):
    with safe_open(saved, framework="pt") as file:
        metadata = {**file.metadata(), "description": text}
    save_file({"w": torch.zeros(1)}, tmp_path / "bad.safetensors", metadata=metadata)
    with pytest.raises(UserError, match="carries no readable description of its network"):
        load_prior(tmp_path / "bad.safetensors")
