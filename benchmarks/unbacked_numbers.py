"""Count the measured numbers of the documents that no committed CSV backs.

    python benchmarks/unbacked_numbers.py            # the count of each document, and the total
    python benchmarks/unbacked_numbers.py --list     # with the lines

Documents are README, CONTRIBUTING, all of docs/, the model cards, and the heads of conf/experiment.
What ``document_tables.py`` generates from benchmarks/results is backed; code is not looked at. Of
the rest, these count:

- a number before a unit of measurement: dB, ms, s, min, minutes, hours, h, MB, GB, MiB, GiB;
- a number of two digits and decimals in a paragraph that speaks of dB or PSNR;
- every decimal number of a table whose head names a measured quantity, and in other tables those
  of two digits and decimals.

Not counted are counts, ratios and percentages in sentences, numbers drawn in pictures, and what
``GIVEN`` lists: figures that are chosen or published, not measured here.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

REPO = Path(__file__).resolve().parents[1]
DOCUMENTS = (
    "README.md", "CONTRIBUTING.md", "docs/**/*.md", "src/metadip/released/*.md",
    "conf/experiment/*.yaml",
)  # fmt: skip
# Pieces of documents whose numbers were not measured here, and where they come from.
GIVEN: dict[str, dict[str, str]] = {
    "docs/clusters.md": {"wait 30 s before they kill": "documented by torchrun and SLURM"},
    "docs/records/stopping.md": {
        "The talk's claim of about 1 dB": "the claim, not the result",
    },
    "docs/records/task_tables.md": {
        "The paper has 29.8 for the cameraman, 39.16 for the house, 34.54 for the montage and 33.05"
        " for the peppers": "published with DIP",
        "dB, where the paper has 0.92, 0.92 and 0.95": "published with ES-WMV",
    },
    "docs/records/two_unknowns.md": {
        "(32.64 against 31.12 dB in the paper)": "published with double DIP",
    },
    "docs/records/untrained.md": {"within about 1 dB of the best, as the talk claims": "the claim"},
}
GENERATED = re.compile(
    r"<!-- (table|rows) .*?<!-- end of \1 -->|<!-- value [^>]*-->[^<]*<!-- end -->", re.DOTALL
)
CODE = re.compile(r"^(```|~~~).*?^\1[^\n]*$|`[^`\n]+`|<!--.*?-->", re.DOTALL | re.MULTILINE)
UNIT = re.compile(
    r"(?<![\w.])[-+±\u2212]?\d[\d,]*(?:\.\d+)?(?:\s*±\s*[\d.]+)?[ \u00a0]?"
    r"(?:dB|ms|s|min|minutes?|hours?|h|[MG]i?B)(?![\w/])"
)
QUALITY = re.compile(r"\bdB\b|PSNR")
DECIBELS = re.compile(r"(?<![\w.])[1-9]\d\.\d{1,3}(?![\w.])")
DECIMAL = re.compile(r"(?<![\w.])[-+]?\d+\.\d+(?:e-?\d+)?(?![\w.])")
MEASURED = re.compile(
    r"dB\b|PSNR|SSIM|NMSE|second|\bms\b|MiB|memory|time\b|\d steps|DIP\b|idle|gap|best|cost|255",
    re.IGNORECASE,
)


class Number(NamedTuple):
    """A number that nothing backs."""

    line: int
    text: str


def unbacked(text: str, *, given: Sequence[str] = ()) -> list[Number]:
    """Return the measured numbers of a document outside of what is generated."""
    for pattern in (GENERATED, CODE, *(re.compile(re.escape(piece)) for piece in given)):
        text = pattern.sub(lambda m: re.sub(r"[^\n]", " ", m[0]), text)  # lines keep their numbers
    found = []
    for first, lines in _paragraphs(text):
        table = lines[0].lstrip().startswith("|") and MEASURED.search(lines[0])
        quality = lines[0].lstrip().startswith("|") or QUALITY.search("\n".join(lines))
        patterns = [UNIT, *([DECIMAL] if table else [DECIBELS] if quality else [])]
        for number, line in enumerate(lines, first):
            found += [Number(number, part) for part in _matches(line, patterns)]
    return found


def _paragraphs(text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the number of the first line and the lines of each paragraph or table."""
    lines: list[str] = []
    for number, line in enumerate([*text.split("\n"), ""], 1):
        if line.strip():
            lines.append(line)
        elif lines:
            yield number - len(lines), lines
            lines = []


def _matches(line: str, patterns: Sequence[re.Pattern[str]]) -> list[str]:
    """Return what the patterns find, in order, each place once."""
    found: dict[int, str] = {}
    for pattern in patterns:
        for match in pattern.finditer(line):
            if all(match.end() <= at or at + len(t) <= match.start() for at, t in found.items()):
                found[match.start()] = match[0]
    return [found[at] for at in sorted(found)]


def head_of(text: str) -> str:
    """Return the comments at the beginning of a configuration file."""
    lines = text.split("\n")
    end = next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))
    return "\n".join(line.removeprefix("#") for line in lines[:end])


def numbers_of(path: Path) -> list[Number]:
    """Return the numbers of one document that nothing backs."""
    text = path.read_text("utf-8")
    given = GIVEN.get(path.relative_to(REPO).as_posix(), {})
    return unbacked(head_of(text) if path.suffix == ".yaml" else text, given=[*given])


def documents() -> list[Path]:
    """Return the documents that are looked at."""
    return sorted(path for pattern in DOCUMENTS for path in REPO.glob(pattern))


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the counts; return 1 if there is any."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--list", action="store_true", help="show each number with its line")
    given = parser.parse_args(arguments)
    total = 0
    for path in documents():
        found = numbers_of(path)
        total += len(found)
        name = path.relative_to(REPO).as_posix()
        if given.list:
            print(*(f"{name}:{number.line}: {number.text}" for number in found), sep="\n", end="")
        if found:
            print(f"{len(found):5d} {name}")
    print(f"{total:5d} in all")
    return 1 if total else 0


if __name__ == "__main__":
    sys.exit(main())
