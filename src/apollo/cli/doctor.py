"""`apollo doctor`: looks at everything Apollo depends on, and says what to do about each fault.

Owns the order of the checks and how they are shown. It reads only, starts nothing, and never dials.
"""

import asyncio
import os
import sys
from typing import Final

import typer
from rich.padding import Padding
from rich.text import Text

from apollo.cli import checks
from apollo.cli.findings import Finding, State
from apollo.cli.kafka_check import kafka
from apollo.cli.provider_checks import provider
from apollo.cli.rehearsal import settings_in_force
from apollo.cli.terminal import AsJson, out, print_json
from apollo.errors import Misconfigured

_MARKS: Final = {
    State.OK: ("ok   ", "green"),
    State.NOTE: ("note ", "yellow"),
    State.FAULT: ("FAULT", "bold red"),
}


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(doctor)


def doctor(as_json: AsJson = False) -> None:
    """Check the configuration and all that Apollo depends on; exit 1 and a fix for each fault."""
    findings = asyncio.run(_look())
    if as_json:
        print_json([one.as_json() for one in findings])
    else:
        for one in findings:
            _show(one)
    if any(one.state is State.FAULT for one in findings):
        sys.exit(1)


def _show(one: Finding) -> None:
    mark, style = _MARKS[one.state]
    out.print(
        Text.assemble((mark, style), "  ", (one.name, "bold"), f": {one.what}"), soft_wrap=True
    )
    if one.fix:
        out.print(Padding(Text.assemble(("→ ", "bold"), one.fix), (0, 0, 0, 7), expand=False))


async def _look() -> list[Finding]:
    try:
        settings = settings_in_force(os.environ)
    except Misconfigured as wrong:
        return [
            Finding("configuration", State.FAULT, fault, "correct the setting")
            for fault in wrong.faults
        ]
    findings = [Finding("configuration", State.OK, "every setting is understood")]
    findings += checks.data_directory(settings)
    database, routes = await checks.database(settings)
    findings += database
    answers = await checks.api(settings)
    findings += answers
    findings += await provider(settings, routes)
    if settings.public_url != settings.url or answers[0].state is State.OK:
        findings += await checks.webhooks(settings)  # else it would only say the same again
    findings += await kafka(settings)
    findings += checks.packages()
    return findings
