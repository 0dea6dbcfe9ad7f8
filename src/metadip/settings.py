"""The types of the scripts' own settings; those of groups are annotated in their constructors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, get_type_hints

from metadip.argument_types import Above, Between, check_values
from metadip.types import UserError

Count = Annotated[int, Between(1)]
Whole = Annotated[int, Between(0)]
Seed = Annotated[int, Between(0, 2**63 - 1)]


class Fit:
    """Settings of ``fit``."""

    steps: Whole | None
    batch_size: Count
    stacked: bool | None
    precision: str | int
    memory_gb: Annotated[float, Above(0)] | None
    tile_px: Whole
    backtracking: bool


class Script:
    """Settings of train.py, infer.py and benchmark.py."""

    seed: Seed
    out: str
    overwrite: bool
    threads: Annotated[int, Between(1, 1024)] | None
    progress: bool
    max_gb: Annotated[float, Above(0)]
    debug: bool
    allow: Sequence[str]
    image_size: Annotated[int, Between(1, 2**14)] | None
    # infer.py
    ckpt: str | None
    input: str | None
    measurement: str | None
    truth: str | None
    physics: str | None
    rescale: bool
    exact: bool | None
    trust: bool | None
    report: bool | None
    gif: bool
    wandb: bool  # of benchmark.py too
    # train.py
    start: str | None
    checkpoint_minutes: Whole
    val_steps: Sequence[Whole]
    # benchmark.py
    faces: str
    natural: str
    standard: str
    priors: str
    images: str | None
    split: str
    count: Count
    drunet_weights: str
    quick: bool
    methods: Sequence[str] | None
    tasks: Sequence[str] | None
    sets: Sequence[str] | None
    part: str | None
    device: str


class Table:
    """Settings of ``table``, of benchmark.py."""

    title: str
    reference: str
    methods: Mapping[str, Mapping[str, Any]]
    tasks: Mapping[str, Mapping[str, Any]]
    sets: Mapping[str, Mapping[str, Any]]
    published: Mapping[str, Any]
    claims: Sequence[Mapping[str, Any]]
    # Of some tables, what several of their methods refer to.
    steps: Count
    channels: Sequence[Count]
    skips: Sequence[Whole]
    rates: Mapping[str, Annotated[float, Above(0)]]
    precision: str | int


class Row:
    """Settings of a method, a task or an image set of a table."""

    label: str
    settings: Sequence[str]
    for_task: Mapping[str, Sequence[str]]
    images: Mapping[str, Any]
    count: Count | None
    only_sets: Sequence[str]
    only_tasks: Sequence[str]


NEEDED = {  # keys of the rows of a table
    "methods": ("label", "settings"), "tasks": ("label", "settings"), "sets": ("label", "images"),
}  # fmt: skip


def check_script_settings(settings: Mapping[str, Any]) -> None:
    """Reject values of another type, or out of range.

    Raises:
        UserError: If there is one; the message names it.
    """
    check_values(get_type_hints(Script, include_extras=True), settings)
    if isinstance(settings.get("fit"), Mapping):
        check_values(get_type_hints(Fit, include_extras=True), settings["fit"], "fit")
    if "table" in settings:
        _check_table(settings["table"])


def _check_table(table: Mapping[str, Any]) -> None:
    check_values(get_type_hints(Table, include_extras=True), table, "table")
    hints = get_type_hints(Row, include_extras=True)
    for what, needed in NEEDED.items():
        for name, row in table[what].items():
            check_values(hints, row, f"table.{what}.{name}")
            if missing := [key for key in needed if key not in row]:
                raise UserError(f"table.{what}.{name} has no {missing[0]}: give it one")
            if unknown := sorted(set(row.get("for_task", ())) - set(table["tasks"])):
                raise UserError(f"table.{what}.{name}.for_task.{unknown[0]} is not a task of it")
            for kind in ("sets", "tasks"):
                if lost := sorted(set(row.get(f"only_{kind}", ())) - set(table[kind])):
                    raise UserError(
                        f"table.{what}.{name}.only_{kind}: {lost[0]} is not among its {kind}"
                    )
    if table["reference"] not in table["methods"]:
        known = ", ".join(table["methods"])
        raise UserError(f"table.reference={table['reference']} is not one of its methods ({known})")
