"""Where priors are found: a folder of one's own, and a repository of a hub."""

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch

import metadip
from metadip import config, prior_files
from metadip.paths import check_paths
from metadip.prior_files import resolve
from metadip.types import UserError
from tests.tiny import save_tiny_prior


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder of priors that the environment names."""
    folder = tmp_path / "priors"
    folder.mkdir()
    monkeypatch.setenv("METADIP_PRIORS", str(folder))
    return folder


def test_a_prior_is_found_by_name_in_a_folder(own: Path, monkeypatch: pytest.MonkeyPatch):
    path = save_tiny_prior(own / "mine.safetensors")
    assert resolve("mine") == path
    assert metadip.load("mine").image_channels == 3
    with pytest.raises(UserError, match=r"ckpt=yours is neither .* photo, mine\)"):
        resolve("yours")
    monkeypatch.delenv("METADIP_PRIORS")
    with pytest.raises(UserError, match="ckpt=mine is neither a file nor a released prior"):
        resolve("mine")


def test_a_released_prior_goes_first_and_other_files_are_not_seen(own: Path):
    (own / "photo.safetensors").touch()
    (own / "pickled.ckpt").touch()
    assert resolve("photo").parent.name == "released"
    for name in ("pickled", "../priors/photo"):
        with pytest.raises(UserError, match="neither a file nor a released prior"):
            resolve(name)


def test_a_folder_that_does_not_exist_is_told(own: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("METADIP_PRIORS", str(own / "nowhere"))
    with pytest.raises(UserError, match=r"METADIP_PRIORS=.*nowhere is not a folder, and ckpt is"):
        resolve("mine")
    assert resolve("photo").is_file()


class NotHereError(OSError):
    """Stands for LocalEntryNotFoundError: the hub cannot be reached."""


class NoRepositoryError(OSError):
    """Stands for RepositoryNotFoundError."""


class NoFileError(OSError):
    """Stands for EntryNotFoundError."""


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Stand in for huggingface_hub; ``asked`` lists what it was asked for."""
    made = save_tiny_prior(tmp_path / "prior.safetensors")
    state = SimpleNamespace(asked=[], error=None)

    def download(repository: str, file: str) -> str:
        state.asked.append((repository, file))
        if state.error is not None:
            raise state.error
        return str(made)

    library, errors = ModuleType("huggingface_hub"), ModuleType("huggingface_hub.errors")
    vars(library).update(hf_hub_download=download, errors=errors)
    vars(errors).update(
        LocalEntryNotFoundError=NotHereError,
        RepositoryNotFoundError=NoRepositoryError,
        EntryNotFoundError=NoFileError,
    )
    monkeypatch.setitem(sys.modules, "huggingface_hub", library)
    monkeypatch.setitem(sys.modules, "huggingface_hub.errors", errors)
    prior_files._download.cache_clear()
    return state


def test_a_prior_comes_from_a_hub_and_is_asked_for_once(hub: SimpleNamespace):
    cfg = config.compose("infer", ["ckpt=hf://lab/mri-prior", "input=tests"])
    check_paths("infer", cfg)
    method = metadip.load("hf://lab/mri-prior")
    assert method.image_channels == 3
    assert all(weight.isfinite().all() for weight in method.prior.parameters())
    assert hub.asked == [("lab/mri-prior", "prior.safetensors")]
    resolve("hf://lab/mri-prior/knees/64.safetensors", key="start")
    assert hub.asked[1:] == [("lab/mri-prior", "knees/64.safetensors")]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("hf://lab", r"ckpt=hf://lab must be hf://owner/name or hf://owner/name/FILE.safetensors"),
        ("hf://lab/p/last.ckpt", r"only .safetensors files are read from a hub, not last.ckpt"),
        ("hf://lab/p/weights.bin", r"only .safetensors files are read from a hub"),
    ],
)
def test_what_could_hold_code_is_not_fetched(hub: SimpleNamespace, name: str, text: str):
    with pytest.raises(UserError, match=text):
        resolve(name)
    assert hub.asked == []


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (
            NotHereError("long\ntext"),
            "hf://a/b is not on this machine, and the hub cannot be",
        ),
        (NoRepositoryError("long\ntext"), "ckpt=hf://a/b: there is no repository a/b for you"),
        (
            NoFileError("long\ntext"),
            "hf://a/b: the repository a/b has no file prior.safetens",
        ),
        (OSError("403 Forbidden\nmore"), "ckpt=hf://a/b cannot be fetched: 403 Forbidden$"),
    ],
)
def test_a_hub_that_gives_nothing_is_told_in_one_line(
    hub: SimpleNamespace, error: Exception, text: str
):
    hub.error = error
    with pytest.raises(UserError, match=text) as told:
        resolve("hf://a/b")
    assert "\n" not in str(told.value)


def test_a_fetched_file_that_is_no_prior_is_refused(hub: SimpleNamespace, tmp_path: Path):
    torch.save({"code": print}, tmp_path / "prior.safetensors")  # a pickle under a false name
    with pytest.raises(UserError, match="cannot be read as safetensors"):
        metadip.load("hf://a/b")


def test_a_missing_library_is_told_with_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    prior_files._download.cache_clear()
    with pytest.raises(UserError, match=r"ckpt=hf://a/b needs .*: pip install 'metadip\[hub\]'"):
        resolve("hf://a/b")


def test_the_real_library_says_that_it_is_offline(monkeypatch: pytest.MonkeyPatch):
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    prior_files._download.cache_clear()
    with pytest.raises(UserError, match="is not on this machine, and the hub cannot be reached"):
        resolve("hf://metadip-tests/not-there")
