"""Where the command line writes: results on stdout, everything about them on stderr.

Owns the two consoles, the JSON of `--json` and the one sentence of a fault. Must not know commands.
"""

import json
import sys
from collections.abc import Iterable
from datetime import datetime
from io import TextIOWrapper
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from apollo.core.words import stamp
from apollo.errors import ApolloError, Misconfigured

out: Final = Console(highlight=False)
err: Final = Console(stderr=True, highlight=False)
# Into a pipe a row is one line: wider than any.
_PIPE_COLUMNS: Final = 100_000

AsJson = Annotated[
    bool, typer.Option("--json", help="Print JSON for programs instead of text for people.")
]


def print_in_any_locale() -> None:
    """Print `?` for a character that the terminal's encoding lacks, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")


def print_json(answer: Any) -> None:
    """Write one JSON value and a line's end to stdout, at once."""
    sys.stdout.write(json.dumps(answer, ensure_ascii=False, default=_plain) + "\n")
    sys.stdout.flush()


def print_table(table: Table) -> None:
    """Write a table as wide as the terminal, and into a pipe with each row on one line."""
    (out if out.is_terminal else Console(width=_PIPE_COLUMNS, highlight=False)).print(table)


def say(line: str, style: str = "") -> None:
    """Tell the person something that is not the result."""
    err.print(Text(line, style=style), soft_wrap=True)


def print_fault(fault: ApolloError) -> None:
    """Name a fault on stderr; a wrong configuration has a line for each wrong setting."""
    lines: Iterable[str] = fault.faults if isinstance(fault, Misconfigured) else [str(fault)]
    for line in lines:
        err.print(Text.assemble(("apollo: ", "bold red"), line), soft_wrap=True)


def _plain(value: object) -> str:
    return stamp(value) if isinstance(value, datetime) else str(value)
