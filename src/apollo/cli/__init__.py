"""The command line: `apollo COMMAND`.

Owns the list of commands and how a fault ends one: a sentence on stderr and exit code 1 (2 for
wrong usage). What a command does stands in the module of its concern, which is loaded when the
command runs: a person who asks for help, or why a phone is not ringing, waits for nothing else.
"""

import sys
from importlib import import_module
from typing import Any, Final

import typer
from typer.core import TyperGroup

from apollo.cli.terminal import print_fault, print_in_any_locale
from apollo.errors import ApolloError

# Each command with its module and its help, which is the first line of the module's own.
COMMANDS: Final = {
    "up": ("up", "Start everything on this machine and follow it; Ctrl-C stops it cleanly."),
    "serve": ("processes", "Run one API process until Ctrl-C or SIGTERM."),
    "worker": (
        "processes",
        "Run one worker, which places the calls, until Ctrl-C or SIGTERM.",
    ),
    "rotary": (
        "processes",
        "Run RotaryRouter, a provider whose people are simulated, until Ctrl-C or SIGTERM.",
    ),
    "migrate": (
        "processes",
        "Bring the database's schema to the version of this program; `up` does it by itself.",
    ),
    "campaign": ("campaigns", "Make, show and change campaigns."),
    "batch": ("batches", "Upload a batch of contacts, watch it, hold it, run it again."),
    "contact": ("contacts", "Show a contact, or take it out of its batch."),
    "call": ("contacts", "Place one call to try things out."),
    "debug": (
        "batches",
        "Say why a batch does or does not move: verdict, arithmetic, reasons and what to do.",
    ),
    "why": (
        "stories",
        "Say why a contact was not called, or not yet, and what was decided at each attempt.",
    ),
    "history": (
        "stories",
        "Say when a batch moved and when not, and what was done to it before each change.",
    ),
    "calls": ("calls", "See and release contacts whose call has an unknown outcome."),
    "token": ("access", "Make, list and revoke the tokens of the API."),
    "agent": ("access", "Say how agents are reached at the provider."),
    "caller-ids": ("access", "Say which organisation may call from which numbers."),
    "stop-all": (
        "stopping",
        "Stop all dialling within a second; calls already placed go on, unless they are hung up.",
    ),
    "resume-all": (
        "stopping",
        "Lift a stop-all, exactly where it stood; what was paused besides stays paused.",
    ),
    "recover": (
        "recovering",
        "Read in the calls that a restored database lacks; with --confirm, dial on afterwards.",
    ),
    "doctor": (
        "doctor",
        "Check the configuration and all that Apollo depends on; exit 1 and a fix for each fault.",
    ),
    "audit": (
        "audit",
        "Compare the provider's record of calls with the database; exit 1 on a violation.",
    ),
    "dlq": ("dlq", "See to messages that nobody could read."),
}


class _Commands(TyperGroup):
    """Knows every command's name and help, and loads the one that is run."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command that the arguments name, as typer does, and load it."""
        name, known, rest = super().resolve_command(ctx, args)
        return name, known and load_command(str(name)), rest


def load_command(name: str) -> Any:
    """Import the module of a command, and give the command as typer runs it."""
    module = import_module(f"apollo.cli.{COMMANDS[name][0]}")
    part = typer.Typer(rich_markup_mode="rich")
    module.add_to(part)
    return typer.main.get_group(part).commands[name]


app: Final = typer.Typer(
    name="apollo",
    cls=_Commands,
    help="Run outbound calling campaigns, and find out why a phone is not ringing.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
for _name, (_, _help) in COMMANDS.items():
    app.command(_name, help=_help)(lambda: None)


def main() -> None:
    """Run the command that the arguments name, and exit; typer sees to Ctrl-C and wrong usage."""
    print_in_any_locale()
    try:
        app()
    except ApolloError as fault:
        print_fault(fault)
        sys.exit(1)
