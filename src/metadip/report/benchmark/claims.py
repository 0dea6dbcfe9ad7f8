"""What a paper claims for its method, compared with what the cells show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from metadip.report.benchmark.score_cells import Cell, Table, at_place, problem_of
from metadip.types import UserError

Place = tuple[str, str]
KINDS = ("gain", "order", "speedup", "transfer")


def judged_claims(
    claims: Sequence[Mapping[str, Any]], table: Table, cells: Sequence[Cell]
) -> list[dict[str, Any]]:
    """Return each claim with the paper's numbers, ours, and whether ours are at least as good.

    A claim has ``text``, ``met`` and ``places``, each with ``where``, ``published``, ``ours``,
    ``met``; None where unknown.

    Model:
        gain: mean PSNR of ``of`` minus that of ``over``, dB, on each task and set; higher is
        better. order: the same difference; met if it has the sign that the paper's has. speedup:
        mean seconds of ``over`` divided by those of ``of``; higher is better. transfer: mean PSNR
        of ``of`` on the first set minus that on the second; lower is better. Ours are over the
        problems that both methods have. A claim is met if ours is at least as good wherever both
        numbers are known, and not judged if that is nowhere.
    Args:
        claims: each with ``text``, ``kind``, ``of``, and ``over`` except for a transfer;
            ``published`` (task -> number) where ``table.published`` does not give it.
        table: the published PSNRs, and what is compared.
        cells: the results.
    Raises:
        UserError: If a claim has an unknown kind.
    """
    known = [cell for cell in cells if cell.get("psnr_db") is not None]
    return [_judged(claim, table, known) for claim in claims]


def _judged(claim: Mapping[str, Any], table: Table, cells: Sequence[Cell]) -> dict[str, Any]:
    kind = claim["kind"]
    if kind not in KINDS:
        raise UserError(f"kind={kind} of a claim must be one of {', '.join(KINDS)}")
    places = []
    for name, theirs, own in _compared(claim, table, cells):
        met: bool | None = None
        if theirs is not None and own is not None:
            met = _met(kind, theirs, own)
        told = {"published": _told(theirs, kind), "ours": _told(own, kind)}
        places.append({"where": name, **told, "met": met})
    verdicts = [place["met"] for place in places if place["met"] is not None]
    return {
        "text": claim["text"],
        "met": all(verdicts) if verdicts else None,
        "places": places,
    }


def _met(kind: str, theirs: float, own: float) -> bool:
    if kind == "order":
        return own * theirs > 0
    return own <= theirs if kind == "transfer" else own >= theirs


def _compared(
    claim: Mapping[str, Any], table: Table, cells: Sequence[Cell]
) -> list[tuple[str, float | None, float | None]]:
    """Return the paper's number and ours wherever the claim is made, with the place's label."""
    of, over, kind = claim["of"], claim.get("over", ""), claim["kind"]
    if kind == "transfer":
        return [
            (label, _loss(_published(table, of, task)), _loss(_means(table, cells, of, task)))
            for task, label in table.tasks.items()
        ]
    compared = []
    for task, images in table.places():
        name = f"{table.tasks[task]}, {table.sets[images]}"
        pairs = _pairs(at_place(cells, task, images), of, over)
        if kind == "speedup":
            theirs = claim.get("published", {}).get(task)
            seconds = [[cell["seconds"] for cell in side] for side in zip(*pairs, strict=True)]
            own = fmean(seconds[1]) / fmean(seconds[0]) if pairs else None
        else:
            theirs = _difference(
                table.published_db(of, task, images), table.published_db(over, task, images)
            )
            own = fmean(a["psnr_db"] - b["psnr_db"] for a, b in pairs) if pairs else None
        compared.append((name, theirs, own))
    return compared


def _pairs(cells: Sequence[Cell], of: str, over: str) -> list[tuple[Cell, Cell]]:
    """Return the results of both methods on the same problem."""
    others = {problem_of(cell): cell for cell in cells if cell["method"] == over}
    return [
        (cell, others[problem_of(cell)])
        for cell in cells
        if cell["method"] == of and problem_of(cell) in others
    ]


def _published(table: Table, method: str, task: str) -> list[float | None]:
    return [table.published_db(method, task, images) for images in table.sets]


def _means(table: Table, cells: Sequence[Cell], method: str, task: str) -> list[float | None]:
    """Return the mean PSNR of a method on each set."""
    found = []
    for images in table.sets:
        own = [c["psnr_db"] for c in at_place(cells, task, images) if c["method"] == method]
        found.append(fmean(own) if own else None)
    return found


def _loss(means: Sequence[float | None]) -> float | None:
    """Return what is lost from the first set to the second."""
    return _difference(*means[:2]) if len(means) > 1 else None


def _difference(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a - b


def _told(value: float | None, kind: str) -> str | None:
    """Format a number with its unit."""
    if value is None:
        return None
    return f"{value:.1f} x" if kind == "speedup" else f"{value:+.2f} dB"
