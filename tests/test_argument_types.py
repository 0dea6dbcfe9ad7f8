"""What is refused before a constructor sees it, and what is left to the constructor."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pytest

from metadip.argument_types import Between, check_types
from metadip.types import UserError

if TYPE_CHECKING:
    from nowhere import Unknown  # type: ignore[import-not-found]

TEXT = "text (in quotes if it looks like a number)"
SIDES = "a list [...] of: a whole number"


@dataclass
class Picture:
    width: int
    scale: float = 1.0
    sharp: bool = False
    name: str = ""
    limit: int | None = None
    mode: Literal["a", "b"] = "a"
    sides: Sequence[int] = ()
    anything: Any = None
    ends: tuple[float, float] | None = None
    rates: Mapping[str, float] | None = None
    share: Annotated[float, Between(0, 1)] = 0.5
    inner: Picture | None = None
    frame: Unknown | None = None


def build(width: int, frame: Unknown) -> Unknown: ...


GOOD: list[dict[str, Any]] = [
    {"width": 3, "scale": 2, "sharp": True, "name": "x", "limit": None},
    {"limit": 3, "mode": "left to the constructor", "sides": [1, 2], "frame": 4},
    {"anything": None, "unknown": 1.5},
    {"name": "5", "frame": None, "ends": [1, 2.5], "rates": {"a": 1}, "share": 1},
    {"ends": None, "inner": {"_target_": "x"}, "sides": {"_target_": "x"}},
]


@pytest.mark.parametrize("arguments", GOOD)
def test_fitting_values_pass(arguments: dict[str, Any]):
    check_types(Picture, arguments)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"width": 1.5}, "p.width=1.5 must be a whole number"),
        ({"width": True}, "p.width=true must be a whole number"),
        ({"width": None}, "p.width=null must be a whole number"),
        ({"scale": "fast"}, "p.scale=fast must be a number"),
        ({"scale": False}, "p.scale=false must be a number"),
        ({"sharp": 1}, "p.sharp=1 must be true or false"),
        ({"limit": 0.5}, "p.limit=0.5 must be a whole number or null"),
        ({"width": 2**20000}, "p.width=2**20000 or more must be a whole number"),
        ({"scale": math.nan}, "p.scale=nan must be a number"),
        ({"scale": math.inf}, "p.scale=inf must be a number"),
        ({"share": 1.5}, "p.share=1.5 must be a number of at least 0 and at most 1"),
        ({"name": None}, f"p.name=null must be {TEXT}"),
        ({"name": 5}, f"p.name=5 must be {TEXT}"),
        ({"mode": 5}, "p.mode=5 must be a or b"),
        ({"sides": 5}, f"p.sides=5 must be {SIDES}"),
        ({"sides": "ab"}, f"p.sides=ab must be {SIDES}"),
        ({"sides": [1, "b"]}, f"p.sides=[1, 'b'] must be {SIDES}"),
        ({"ends": [1, 2, 3]}, "p.ends=[1, 2, 3] must be a list [...] of: a number or null"),
        ({"rates": {"a": "b"}}, "p.rates={'a': 'b'} must be settings by name or null"),
        ({"rates": [1]}, "p.rates=[1] must be settings by name or null"),
        ({"inner": 5}, "p.inner=5 must be settings of a Picture or null"),
        ({"mode": None}, "p.mode=null must be a or b"),
        ({"sides": None}, f"p.sides=null must be {SIDES}"),
        ({"width": [1]}, "p.width=[1] must be a whole number"),
    ],
)
def test_others_are_refused_in_one_line(arguments: dict[str, Any], text: str):
    with pytest.raises(UserError) as caught:
        check_types(Picture, arguments, "p")
    assert str(caught.value).startswith(text)
    assert len(str(caught.value)) < 200


def test_functions_whose_annotations_only_type_checkers_know():
    check_types(build, {"width": 1, "frame": "what it may be, is not known"})
    with pytest.raises(UserError, match="width=x must be a whole number"):
        check_types(build, {"width": "x"})
