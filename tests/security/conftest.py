"""Print the counts of all attacks of a session at its end, as a table."""

import pytest

from tests.security.tally import TOTALS, table


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table where there were attacks, and what failed first."""
    if not TOTALS:
        return
    terminalreporter.section("attacks")
    terminalreporter.write_line(table(TOTALS))
    for name, tally in TOTALS.items():
        for bad in tally.bad[:3]:
            terminalreporter.write_line(f"{name}: {bad}")
