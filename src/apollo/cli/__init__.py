"""The command line: `apollo COMMAND`.

Owns the list of commands and how a fault ends one: a sentence on stderr and exit code 1 (2 for
wrong usage). What a command does stands in the file of its concern.
"""

import sys
from typing import Final

import typer

from apollo.cli import access, audit, batches, calls, dlq, doctor, processes, recovering, stopping
from apollo.cli.terminal import print_fault
from apollo.errors import ApolloError

app: Final = typer.Typer(
    name="apollo",
    help="Run outbound calling campaigns, and find out why a phone is not ringing.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
processes.add_to(app)
batches.add_to(app)
calls.add_to(app)
access.add_to(app)
stopping.add_to(app)
recovering.add_to(app)
doctor.add_to(app)
audit.add_to(app)
dlq.add_to(app)


def main() -> None:
    """Run the command that the arguments name, and exit; typer sees to Ctrl-C and wrong usage."""
    try:
        app()
    except ApolloError as fault:
        print_fault(fault)
        sys.exit(1)
