"""Measured numbers of the documents come from committed results, and the count can see others."""

import importlib
from pathlib import Path
from types import ModuleType

import pytest

REPO = Path(__file__).resolve().parents[1]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, repo: Path) -> ModuleType:
    monkeypatch.syspath_prepend(repo / "benchmarks")
    return importlib.import_module("unbacked_numbers")


def test_no_document_has_numbers_that_nothing_backs(script: ModuleType):
    found = {p.relative_to(REPO).as_posix(): script.numbers_of(p) for p in script.documents()}
    assert {name: numbers for name, numbers in found.items() if numbers} == {}


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("It has 30.51 ± 0.87 dB after 50 steps.", ["30.51 ± 0.87 dB"]),
        ("It takes 4.6 s, 0.27 ms and 105 min with 1,282 MiB.",
         ["4.6 s", "0.27 ms", "105 min", "1,282 MiB"]),
        ("PSNR after 20 and 50 steps: 29.46 and 30.32 at first.", ["29.46", "30.32"]),
        ("Noise of 25 of 255, ratio 0.25, 64 px, step 360, 20 x 90 sizes.", []),
        ("`wait 30 s`, and\n```\nsleep 5 s\n```\nno more", []),
        ("| task | PSNR in dB |\n|---|---|\n| cs 0.1 | **33.1** |", ["0.1", "33.1"]),
        ("| prior | faces |\n|---|---|\n| a | 33.11, 27.5 |", ["33.11", "27.5"]),
        ("| key | meaning |\n|---|---|\n| lr | 0.01 |", []),
        ("<!-- rows a: -->\n| dB |\n| 30.1 |\n<!-- end of rows -->", []),
        ("<!-- value a: column=b -->30.1<!-- end --> dB beside 12 dB", ["12 dB"]),
        ("the authors' 31.2 dB and our 33.1 dB", ["33.1 dB"]),
    ],
)  # fmt: skip
def test_the_count_sees_what_was_measured(script: ModuleType, text: str, numbers: list[str]):
    found = script.unbacked(text, given=["the authors' 31.2 dB"])
    assert [number.text for number in found] == numbers


def test_lines_keep_their_numbers(script: ModuleType):
    text = "a\n<!-- rows a: -->\n\n<!-- end of rows -->\n\nb 3 dB"
    assert script.unbacked(text) == [(6, "3 dB")]


def test_the_head_of_a_configuration_is_looked_at_alone(script: ModuleType):
    assert script.unbacked(script.head_of("# Score: 31 dB\nlr: 0.1\n# 32 dB\n")) == [(1, "31 dB")]


def test_pieces_that_are_given_exist(script: ModuleType):
    for name, pieces in script.GIVEN.items():
        assert [piece for piece in pieces if piece not in (REPO / name).read_text("utf-8")] == []
