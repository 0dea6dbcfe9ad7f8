"""Continue where a run into the same folder ended, and never mix results of different settings."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from metadip import config
from metadip.prior_files import resolve
from metadip.report import (
    finished_images,
    forget_results,
    missing_entries,
    prepare_folder,
    remove_leftovers,
    save_provenance,
)
from metadip.types import UserError

# Settings that change neither an image's problem nor its result: display and execution.
DISPLAY = (
    *("choices", "debug", "gif", "out", "overwrite", "progress", "threads", "trainer", "trust"),
    *("fit.batch_size", "fit.memory_gb", "fit.stacked", "fit.tile_px"),
)
PATHS = ("input", "measurement", "truth")


def left_to_do(cfg: config.Config, names: Sequence[str]) -> list[int]:
    """Return the indices of the images that are not finished; a single one is always redone."""
    if cfg.overwrite or len(names) == 1:
        return list(range(len(names)))
    missing = set(missing_entries(Path(cfg.out), names))
    return [index for index, name in enumerate(names) if name in missing]


def open_folder(cfg: config.Config, names: Sequence[str]) -> None:
    """Prepare the run folder for the images: keep or forget what is finished there.

    Finished images are forgotten before the new settings are written, so that a run killed in
    between cannot mistake them for its own.

    Raises:
        UserError: If the folder holds images made with other settings, or cannot be written.
    """
    out, ckpt_sha256 = Path(cfg.out), fingerprint(cfg)
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
    if anew:
        forget_results(out)
    (out / "metrics.json").unlink(missing_ok=True)
    save_provenance(out, config_yaml=config.to_yaml(cfg), ckpt_sha256=ckpt_sha256)


def _check_same(cfg: config.Config, ckpt_sha256: str | None) -> None:
    """Reject settings other than those that the finished images were made with."""
    out = Path(cfg.out)
    saved = config.read_yaml(out / "config.yaml")
    before, now = _that_matter(saved), _that_matter(config.plain(cfg))
    for key in [*now, *before]:
        old, new = before.get(key), now.get(key)
        if old != new:
            raise _mixing(out, f"{key}={_told(old)}, now {_told(new)}")
    try:
        known = json.loads((out / "environment.json").read_text("utf-8")).get("ckpt_sha256")
    except (OSError, ValueError):
        known = None
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
    """Return the hash of the prior's file, None for a method without one."""
    if "ckpt" not in cfg.method:
        return None
    with resolve(cfg.method.ckpt).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
