"""What is refused before a constructor sees it, and what is left to the constructor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import pytest

from metadip.argument_types import check_types
from metadip.types import UserError

if TYPE_CHECKING:
    from nowhere import Unknown  # type: ignore[import-not-found]


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
    frame: Unknown | None = None


def build(width: int, frame: Unknown) -> Unknown: ...


GOOD: list[dict[str, Any]] = [
    {"width": 3, "scale": 2, "sharp": True, "name": "x", "limit": None},
    {"limit": 3, "mode": "c", "sides": "left to the constructor", "frame": 4},
    {"anything": None, "unknown": 1.5},
    {"name": 5, "frame": None},
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
        ({"name": None}, "p.name=null must be given"),
        ({"mode": None}, "p.mode=null must be a or b"),
        ({"sides": None}, "p.sides=null must be of type Sequence"),
        ({"width": [1]}, "p.width=[1] must be a whole number"),
    ],
)
def test_others_are_refused_in_one_line(arguments: dict[str, Any], text: str):
    with pytest.raises(UserError) as caught:
        check_types(Picture, arguments, "p")
    assert str(caught.value) == text


def test_functions_whose_annotations_only_type_checkers_know():
    check_types(build, {"width": 1, "frame": "what it may be, is not known"})
    with pytest.raises(UserError, match="width=x must be a whole number"):
        check_types(build, {"width": "x"})
