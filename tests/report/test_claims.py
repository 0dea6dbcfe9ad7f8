"""Claims of a paper beside made-up cells whose answers are known."""

from typing import Any

import pytest

from metadip.report.benchmark.claims import judged_claims
from metadip.report.benchmark.score_cells import Cell, Table
from metadip.types import UserError

TABLE = Table(
    name="made_up",
    title="made up",
    methods={"new": "New", "old": "Old"},
    tasks={"a": "A", "b": "B"},
    sets={"easy": "easy", "hard": "hard"},
    reference="new",
    published={
        "new": {"a": {"easy": 31.0, "hard": 30.0}, "b": {"easy": 28.0}},
        "old": {"a": {"easy": 30.0, "hard": 29.5}},
    },
)


def cell(method: str, task: str, images: str, psnr_db: float | None, **more: Any) -> Cell:
    base = {"method": method, "task": task, "set": images, "image": "x", "seed": 0, "seconds": 1.0}
    return {**base, "psnr_db": psnr_db, **more}


CELLS = [
    cell("new", "a", "easy", 32.0), cell("old", "a", "easy", 30.5, seconds=20.0),
    cell("new", "a", "easy", 20.0, image="alone"),
    cell("new", "a", "hard", 31.0), cell("old", "a", "hard", 31.0, seconds=5.0),
    cell("new", "b", "easy", 30.0), cell("old", "b", "easy", None),
]  # fmt: skip


def judged(**claim: Any) -> dict[str, Any]:
    (found,) = judged_claims([{"text": "so it is", **claim}], TABLE, CELLS)
    assert found["text"] == "so it is"
    return found


def test_a_gain_is_paired_and_met_where_it_is_as_high():
    found = judged(kind="gain", of="new", over="old")
    assert found["met"] is False
    assert found["places"] == [
        {"where": "A, easy", "published": "+1.00 dB", "ours": "+1.50 dB", "met": True},
        {"where": "A, hard", "published": "+0.50 dB", "ours": "+0.00 dB", "met": False},
        {"where": "B, easy", "published": None, "ours": None, "met": None},
        {"where": "B, hard", "published": None, "ours": None, "met": None},
    ]


def test_an_order_is_met_where_the_sign_is_the_papers():
    assert [p["met"] for p in judged(kind="order", of="new", over="old")["places"]] == [
        *(True, False),  # no difference is no order
        *(None, None),
    ]
    assert judged(kind="order", of="old", over="new")["met"] is False


def test_a_speedup_is_the_ratio_of_times():
    found = judged(kind="speedup", of="new", over="old", published={"a": 4.0})
    assert [place["ours"] for place in found["places"]] == ["20.0 x", "5.0 x", None, None]
    assert found["places"][0]["published"] == "4.0 x"
    assert found["met"] is True


def test_a_transfer_loses_no_more_than_in_the_paper():
    found = judged(kind="transfer", of="new")
    assert [place["where"] for place in found["places"]] == ["A", "B"]
    assert found["places"][0]["published"] == "+1.00 dB"
    assert found["places"][0]["ours"] == "-5.00 dB"  # (32 + 20) / 2 - 31
    assert found["met"] is True


def test_what_nobody_says_is_not_judged():
    assert judged(kind="gain", of="old", over="nobody")["met"] is None


def test_an_unknown_kind_is_refused():
    with pytest.raises(UserError, match="kind=better of a claim must be one of gain, order, sp"):
        judged(kind="better", of="new")
