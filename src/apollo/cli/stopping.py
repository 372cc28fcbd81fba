"""The big red button: `stop-all` and `resume-all`.

They ask the database, so that they work when the API does not.
"""

import getpass
from typing import Annotated

import typer

from apollo.cli.access import in_office
from apollo.cli.terminal import AsJson, out, print_json

OnlyOrg = Annotated[
    str | None,
    typer.Option("--org", metavar="ORG", help="Only this organisation; without it, everybody."),
]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("stop-all")(stop_all)
    app.command("resume-all")(resume_all)


def stop_all(org: OnlyOrg = None, as_json: AsJson = False) -> None:
    """Stop all dialling within a second; calls already placed go on to their end."""
    stopped = in_office(lambda office: office.stop_dialling.stop(org, actor=_me()))
    if as_json:
        print_json(
            {
                "organization_id": stopped.organization_id,
                "calls_in_progress": stopped.calls_in_progress,
            }
        )
        return
    out.print(f"No call starts any more for {stopped.organization_id or 'anybody'}.", markup=False)
    if stopped.calls_in_progress:
        out.print(f"{stopped.calls_in_progress} calls are in progress and go on to their end.")
    out.print(f"Lift it with `apollo resume-all{f' --org {org}' if org else ''}`.", markup=False)


def resume_all(org: OnlyOrg = None, as_json: AsJson = False) -> None:
    """Lift a stop-all, exactly where it stood; what was paused besides stays paused."""
    resumed = in_office(lambda office: office.stop_dialling.resume(org, actor=_me()))
    if as_json:
        print_json(
            {"organization_id": resumed.organization_id, "campaign_ids": resumed.campaign_ids}
        )
        return
    whose = resumed.organization_id or "everybody not stopped by name"
    out.print(f"Dialling goes on for {whose}.", markup=False)


def _me() -> str:
    """Who pressed it, for the record."""
    try:
        return f"command line: {getpass.getuser()}"
    except (KeyError, OSError):  # a container whose user has no name
        return "command line"
