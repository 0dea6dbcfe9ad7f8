"""Continue where a run into the same folder ended, and never mix results of different settings."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metadip import config
from metadip.prior_files import resolve
from metadip.report import (
    finished_images,
    forget_results,
    missing_entries,
    prepare_folder,
    remove_leftovers,
    save_provenance,
    write_json,
)
from metadip.types import UserError

if TYPE_CHECKING:
    from metadip.runs.problems import ProblemSource

# Settings that change neither an image's problem nor its result: display and execution.
DISPLAY = (
    *(
        "allow",
        "choices",
        "debug",
        "gif",
        "max_gb",
        "out",
        "overwrite",
        "progress",
        "report",
        "threads",
        "wandb",
    ),
    *("trainer", "trust", "fit.batch_size", "fit.memory_gb", "fit.stacked", "fit.tile_px"),
)
INPUTS = "inputs.json"  # hashes of the files that the images were made from
PATHS = ("input", "measurement", "truth")


def left_to_do(cfg: config.Config, names: Sequence[str]) -> list[int]:
    """Return the indices of the images that are not finished; a single one is always redone."""
    if cfg.overwrite or len(names) == 1:
        return list(range(len(names)))
    missing = set(missing_entries(Path(cfg.out), names))
    return [index for index, name in enumerate(names) if name in missing]


def open_folder(cfg: config.Config, source: ProblemSource) -> None:
    """Prepare the run folder for the images: keep or forget what is finished there.

    Images whose files have changed since are forgotten; older run folders do not tell. Finished
    images are forgotten before the new settings are written, so that a run killed in between cannot
    mistake them for its own.

    Raises:
        UserError: If the folder holds images made with other settings, or cannot be written.
    """
    out, names, ckpt_sha256 = Path(cfg.out), source.names, fingerprint(cfg)
    inputs = {name: _content(source.files(index)) for index, name in enumerate(names)}
    finished = finished_images(out)
    of_a_run = (out / "config.yaml").is_file()  # written before any image is finished
    of_a_folder = [name for name in finished if (out / name).is_dir()]  # else pictures are in out
    alone = len(names) == 1 and set(of_a_folder) <= set(names)
    anew = cfg.overwrite or not of_a_run or alone
    if finished and not anew:
        _check_same(cfg, ckpt_sha256)
    prepare_folder(out)
    for folder in (out, out / "entries", *(out / name for name in names)):
        remove_leftovers(folder)
    changed = [name for name in finished if not anew and _changed(out, name, inputs)]
    if changed:
        told = ", ".join(changed[:3]) + (" ..." if len(changed) > 3 else "")
        print(f"{len(changed)} of the finished images changed since and are done anew: {told}")
    forget_results(out, None if anew else changed)
    write_json(out / INPUTS, inputs)
    save_provenance(out, config_yaml=config.to_yaml(cfg), ckpt_sha256=ckpt_sha256)


def _content(files: Sequence[Path]) -> str:
    """Return a hash of files: their names, which seeds come from, and what is in them."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(os.fsencode(file.name) + b"\0")
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def _changed(out: Path, name: str, inputs: Mapping[str, str]) -> bool:
    """Return whether a finished image was made from other files than those of now."""
    return name in inputs and _known(out / INPUTS).get(name, inputs[name]) != inputs[name]


def _known(file: Path) -> dict[str, Any]:
    """Return what an earlier run wrote as JSON; nothing if it is missing or damaged."""
    try:
        content = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _check_same(cfg: config.Config, ckpt_sha256: str | None) -> None:
    """Reject settings other than those that the finished images were made with."""
    out = Path(cfg.out)
    saved = config.read_yaml(out / "config.yaml")
    before, now = _that_matter(saved), _that_matter(config.plain(cfg))
    for key in [*now, *before]:
        old, new = before.get(key), now.get(key)
        if old != new:
            raise _mixing(out, f"{key}={_told(old)}, now {_told(new)}")
    known = _known(out / "environment.json").get("ckpt_sha256")
    if known not in (None, ckpt_sha256):
        raise _mixing(out, f"another content of ckpt={cfg.method.ckpt}")


def _mixing(out: Path, difference: str) -> UserError:
    return UserError(
        f"out={out} holds images made with {difference}: "
        "give overwrite=true to do them anew, or another out"
    )


def _that_matter(tree: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that decide the results, by dotted path, with file paths normalised."""
    matter = {
        key: value
        for key, value in config.leaves(tree).items()
        if key not in DISPLAY and key.partition(".")[0] not in DISPLAY
    }
    return matter | {key: str(Path(str(matter[key]))) for key in PATHS if matter.get(key)}


def _told(value: object) -> str:
    return "null" if value is None else str(value)


def fingerprint(cfg: config.Config) -> str | None:
    """Return a hash of the files of all priors that the method names, None if it names none."""
    named = config.leaves({"method": config.plain(cfg.method)}).items()
    priors = {str(value) for key, value in named if key.endswith(".ckpt") and value is not None}
    digests = sorted(_digest(resolve(prior)) for prior in priors)
    if len(digests) < 2:
        return digests[0] if digests else None
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def _digest(path: Path) -> str:
    """Return the hash of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
