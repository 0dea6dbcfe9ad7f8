"""What came of attacks, counted: refused in one line, accepted, or what must never be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from metadip.report import markdown_table
from metadip.types import UserError

FILES = ("priors", "checkpoints", "measurements", "images")
COUNTS = ("tried", "refused", "accepted", "tracebacks", "code_run", "lost")
TOTALS: dict[str, Tally] = {}  # of the session, by name


@dataclass
class Tally:
    """Counts of one kind of attack; ``bad`` describes the first failures."""

    tried: int = 0
    refused: int = 0
    accepted: int = 0
    tracebacks: int = 0
    code_run: int = 0
    lost: int = 0
    bad: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, name: str) -> Tally:
        """Return the tally of a kind of attack in this session."""
        return TOTALS.setdefault(name, cls())

    def __str__(self) -> str:
        """Return the counts in a line."""
        return ", ".join(f"{count} {getattr(self, count)}" for count in COUNTS)

    def attack(self, what: str, call: Callable[[], Any], *, executed: Path) -> Any:
        """Try a call, which may return or raise ``UserError`` in one line, and nothing else."""
        self.tried += 1
        result = None
        try:
            result = call()
            self.accepted += 1
        except UserError as error:
            if "\n" in str(error) or not str(error):
                self._fail(what, f"not one line: {error!r}", "tracebacks")
            else:
                self.refused += 1
        except Exception as error:
            self._fail(what, f"{type(error).__name__}: {error}"[:300], "tracebacks")
        if executed.exists():
            executed.unlink()
            self._fail(what, "ran code", "code_run")
        return result

    def line(self, words: list[str], code: int, error: str) -> None:
        """Count a command line by its exit code and what it wrote to stderr."""
        self.tried += 1
        if code == 0:
            self.accepted += 1
        elif code == 2 and error.startswith("error: ") and error.count("\n") == 1:
            self.refused += 1
        else:
            self._fail(" ".join(words), f"exit {code}: {error[-300:]}", "tracebacks")

    def lose(self, what: str) -> None:
        """Count what an attack lost."""
        self._fail(what, "lost", "lost")

    def _fail(self, what: str, reason: str, count: str) -> None:
        setattr(self, count, getattr(self, count) + 1)
        self.bad.append(f"{what}: {reason}")

    def check(self) -> None:
        """Fail the test if there is anything that must never be."""
        print(self)
        assert not self.bad, "\n".join([str(self), *self.bad[:20]])
        assert self.tried == self.refused + self.accepted


def table(tallies: Mapping[str, Tally]) -> str:
    """Return the counts as a table: a line for each kind, the sum of all files, and of all."""
    rows: list[dict[str, Any]] = [
        {"attack": name, **{count: getattr(tally, count) for count in COUNTS}}
        for name, tally in tallies.items()
    ]
    files = [row for row in rows if row["attack"] in FILES]
    sums = [
        {"attack": name, **{count: sum(row[count] for row in some) for count in COUNTS}}
        for name, some in (("all files", files), ("all", rows))
    ]
    columns = {"attack": "attack", **{count: count.replace("_", " ") for count in COUNTS}}
    return markdown_table([*rows, *sums], columns, {})
