"""Print the counts of all attacks of a session at its end."""

import pytest

from tests.security.tally import TOTALS


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print a line for each kind of attack."""
    for name, tally in TOTALS.items():
        terminalreporter.write_line(f"attack, {name}: {tally}")
