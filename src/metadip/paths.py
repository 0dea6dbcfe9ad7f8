"""Check the files and folders that a user names, before torch is imported.

Their content is checked where they are read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from metadip.config import Config, leaves, plain, read_yaml
from metadip.prior_files import resolve
from metadip.types import UserError

TRAINED = ("last.ckpt", "best.ckpt", "prior.safetensors")  # what a training leaves
# Settings of train.py that do not make it another run.
NOT_OF_THE_RUN = (
    "choices",
    "debug",
    "out",
    "overwrite",
    "ckpt",
    "threads",
    "checkpoint_minutes",
    "max_gb",
)
OUR_DATA = "metadip.data."  # whose ``root`` or ``roots`` are folders


def check_paths(name: str, cfg: Config) -> None:
    """Check the paths among the settings of a script.

    Raises:
        UserError: If a file or folder does not exist, is missing from the settings, or contradicts
            another one.
    """
    checks: dict[str, Callable[[Config], None]] = {
        "infer": _check_infer, "train": _check_train, "benchmark": _check_benchmark,
    }  # fmt: skip
    checks[name](cfg)


def check_apart(out: Path, key: str, folder: str) -> None:
    """Check that a run does not write into its input folder, where the next run would read it.

    Raises:
        UserError: If ``out`` is inside the folder of images.
    """
    inputs = Path(folder).resolve()
    if inputs.is_dir() and out.resolve().is_relative_to(inputs):
        raise UserError(f"out={out} lies inside {key}={folder}: choose another out")


def _check_infer(cfg: Config) -> None:
    if (cfg.input is None) == (cfg.measurement is None):
        raise UserError(
            "give either input=IMAGE_OR_FOLDER to simulate measurements of, or "
            "measurement=FILE_OR_FOLDER"
        )
    for key in ("input", "measurement", "truth"):
        if cfg[key] is not None and not Path(str(cfg[key])).exists():
            raise UserError(f"{key}={cfg[key]} is neither a file nor a folder: check the path")
    key = "input" if cfg.measurement is None else "measurement"
    check_apart(Path(str(cfg.out)), key, str(cfg[key]))
    if "ckpt" in cfg.method:
        resolve(str(cfg.method.ckpt))
    if (image := cfg.method.get("image")) is not None and not Path(str(image)).is_file():
        raise UserError(f"method.image={image} is not a file: check the path")
    weights = cfg.method.get("denoiser", {}).get("weights")
    if weights not in (None, "download") and not Path(str(weights)).is_file():
        raise UserError(
            f"denoiser.weights={weights} is not a file: check the path, or give download"
        )


def _check_train(cfg: Config) -> None:
    if cfg.ckpt not in (None, "auto"):
        if cfg.start is not None:
            raise UserError(
                "give ckpt= to resume a run, or start= to begin a new one at a prior (ckpt=auto "
                "may stand beside start=)"
            )
        if not Path(str(cfg.ckpt)).is_file():
            raise UserError(
                f"ckpt={cfg.ckpt} is not a file: give the last.ckpt of the run to resume, or auto"
            )
    if cfg.start is not None:
        resolve(str(cfg.start), key="start")
    _check_run_folder(cfg)
    sources = {"data": cfg.data}
    if "sources" in cfg.data:
        weights = cfg.data.get("weights") or {}
        sources = {
            f"data.sources.{name}": source
            for name, source in cfg.data.sources.items()
            if weights.get(name) != 0
        }
    for place, node in sources.items():
        for key, root in _missing_roots(node):
            fetch = ", fetch CelebA by data.download=true" if "download" in node else ""
            raise UserError(
                f"{place}.{key}={root} is not a folder: check the path{fetch}, or take data=sample"
            )


def _check_run_folder(cfg: Config) -> None:
    """Reject a folder that holds another training, which this one would replace."""
    out = Path(str(cfg.out))
    found = [name for name in TRAINED if (out / name).exists()]
    own = cfg.ckpt == "auto" and (found[:1] == ["last.ckpt"] or _same_run(cfg, out))
    own = own or (cfg.ckpt is not None and Path(str(cfg.ckpt)).resolve().parent == out.resolve())
    if found and not own and not cfg.overwrite:
        raise UserError(
            f"out={out} holds another training ({', '.join(found)}): give ckpt=auto to go on with "
            "it, another out, or overwrite=true to begin anew and number the old files"
        )


def _same_run(cfg: Config, out: Path) -> bool:
    """Return whether a run that left no last.ckpt had the settings of this one."""
    if not (out / "config.yaml").is_file():
        return False
    before, now = (
        {k: v for k, v in leaves(tree).items() if k.partition(".")[0] not in NOT_OF_THE_RUN}
        for tree in (read_yaml(out / "config.yaml"), plain(cfg))
    )
    return before == now


def _check_benchmark(cfg: Config) -> None:
    if cfg.images is not None:
        if not Path(str(cfg.images)).exists():
            raise UserError(f"images={cfg.images} is neither a file nor a folder: check the path")
        check_apart(Path(str(cfg.out)), "images", str(cfg.images))
        return
    for name, group in {} if cfg.quick else cfg.table.sets.items():
        if cfg.sets is not None and name not in cfg.sets:
            continue
        for _, root in _missing_roots(group.images):
            raise UserError(
                f"no folder '{root}' for the image set {name}: give faces=FOLDER, "
                "natural=FOLDER or standard=FOLDER, or images=FOLDER in place of the sets"
            )


def _missing_roots(node: Any) -> Iterator[tuple[str, str]]:
    """Yield the missing folders of a data set, with their keys."""
    if not str(node.get("_target_")).startswith(OUR_DATA) or node.get("download"):
        return
    for key in ("root", "roots"):
        named = node.get(key)
        roots = named if isinstance(named, Sequence) and not isinstance(named, str) else [named]
        for root in roots:  # their types are checked later, against the constructor
            if root is not None and not Path(str(root)).is_dir():
                yield key, str(root)
