"""Prints, at the end of a run, what the readers of foreign data did with what they were given."""

import pytest
from tests.properties.foreign import counted


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show the counts where the tests ran in this very process, as `make foreign` has it."""
    lines = counted()
    if lines:
        terminalreporter.section("values of others, by reader")
        terminalreporter.write_line("\n".join(lines))
