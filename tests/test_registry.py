"""Descriptions of what a file may name, and what is built from them."""

import functools
from dataclasses import dataclass
from typing import Any

import pytest
from torch import nn

from metadip import registry
from metadip.registry import registered


@registered("test_box", apart=("seed",))
class Box:
    description: dict[str, Any]

    def __init__(self, inner: Any, sizes: tuple[int, ...] = (1, 2), *, seed: int = 0) -> None:
        self.inner, self.sizes, self.seed = inner, sizes, seed


@registered("test_frozen")
@dataclass(frozen=True)
class Frozen:
    value: float


@registered("test_add")
def add(x: float, *, more: float = 0.0) -> float:
    return x + more


def test_what_was_described_is_built_again_with_what_is_inside():
    box = Box(Frozen(2.5), seed=7)
    assert box.description == {
        "type": "test_box",
        "inner": {"type": "test_frozen", "value": 2.5},
        "sizes": [1, 2],
    }
    twin = registry.build("box", box.description, seed=9)
    assert isinstance(twin.inner, Frozen)
    assert (twin.inner.value, twin.sizes, twin.seed) == (2.5, [1, 2], 9)


def test_functions_are_described_with_the_arguments_that_were_bound():
    partial = functools.partial(add, more=2.0)
    assert registry.describe(partial) == {"type": "test_add", "more": 2.0}
    assert registry.describe(add) == {"type": "test_add"}
    assert registry.build("function", registry.describe(partial))(1.0) == 3.0
    assert Box({"f": add}).description["inner"] == {"f": {"type": "test_add"}}
    assert registry.build("box", Box({"f": add}).description).inner["f"](1.0) == 1.0


def test_what_is_not_registered_is_refused_when_it_is_described():
    box = Box(nn.Linear(1, 1))
    with pytest.raises(ValueError, match="cannot be described: it is neither plain nor registered"):
        _ = box.description


@pytest.mark.parametrize(
    ("description", "text"),
    [
        ({"type": "os.system"}, "unknown box 'os.system'"),
        ({"type": ["test_box"]}, r"unknown box \['test_box'\]"),
        ({}, "unknown box None"),
        ({"type": "test_box", "depth": 3}, "box 'test_box' does not take these arguments: "),
        ({"type": "test_add", "less": 3}, "box 'test_add' does not take these arguments: "),
        ({"type": "test_box", "inner": {"type": "no"}}, "unknown box 'no'"),
    ],
)
def test_unknown_names_and_arguments_are_refused(description: dict[str, Any], text: str):
    with pytest.raises(ValueError, match=text):
        registry.build("box", description)


def test_a_name_is_taken_once():
    with pytest.raises(ValueError, match="'test_box' is registered already"):
        registered("test_box")(dict)
