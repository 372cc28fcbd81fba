"""The big red button: `stop-all` and `resume-all`.

They ask the database, so that they work when the API does not.
"""

import getpass
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from apollo.cli.access import in_office
from apollo.cli.operating import Desk, at_desk
from apollo.cli.terminal import AsJson, err, out, print_json
from apollo.usecases.hang_up_calls import HungUp
from apollo.usecases.stop_dialling import DiallingStopped
from apollo.wiring.office import Office

OnlyOrg = Annotated[
    str | None,
    typer.Option("--org", metavar="ORG", help="Only this organisation; without it, everybody."),
]

HangUp = Annotated[
    bool,
    typer.Option("--hang-up", help="Also end every open call, ringing or answered, at once."),
]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("stop-all")(stop_all)
    app.command("resume-all")(resume_all)


def stop_all(org: OnlyOrg = None, hang_up: HangUp = False, as_json: AsJson = False) -> None:
    """Stop all dialling within a second; calls already placed go on, unless they are hung up."""
    # First and by itself: it must not fail because the provider cannot be asked.
    stopped, where = in_office(lambda office: _stop(office, org))
    if not as_json:
        whom = stopped.organization_id or "anybody"
        text = f"No call starts any more for {whom}. This is the Apollo of {where}."
        out.print(text, markup=False, soft_wrap=True)
    ended = at_desk(lambda desk: _hang_up(desk, stopped, org)) if hang_up else None
    if as_json:
        print_json(_as_json(stopped, ended))
    else:
        if ended is not None:
            _print_ended(ended)
        elif stopped.calls_in_progress:
            out.print(f"{stopped.calls_in_progress} calls are in progress and go on to their end.")
        again = f"apollo resume-all{f' --org {org}' if org else ''}"
        out.print(f"Lift it with `{again}`.", markup=False)
    if ended is not None and ended.failed:
        raise typer.Exit(1)


async def _stop(office: Office, org: str | None) -> tuple[DiallingStopped, str]:
    return await office.stop_dialling.stop(org, actor=me()), office.where


async def _hang_up(desk: Desk, stopped: DiallingStopped, org: str | None) -> HungUp:
    progress = Progress(
        TextColumn("Hanging up"),
        BarColumn(),
        MofNCompleteColumn(),
        console=err,
        # Pipes and logs get the result only.
        disable=not err.is_terminal,
        transient=True,
    )
    with progress:
        task = progress.add_task("", total=stopped.calls_in_progress)
        return await desk.hang_up_calls.run(
            org,
            actor=me(),
            on_progress=lambda done, known: progress.update(task, completed=done, total=known),
        )


def _as_json(stopped: DiallingStopped, ended: HungUp | None) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "organization_id": stopped.organization_id,
        "calls_in_progress": stopped.calls_in_progress,
    }
    if ended is not None:
        answer["hung_up"] = ended.hung_up
        answer["gone"] = ended.gone
        answer["not_found"] = ended.not_found
        answer["failed"] = dict(ended.failed)
    return answer


def _print_ended(ended: HungUp) -> None:
    out.print(f"{ended.hung_up} calls were hung up, {ended.gone} were over already.")
    if ended.not_found:
        out.print(
            f"{ended.not_found} calls are not in the provider's list; the worker looks for them."
        )
    for cause, calls in sorted(ended.failed.items()):
        out.print(f"{calls} calls could not be hung up: {cause or 'refused'}.", markup=False)
    if ended.failed:
        out.print("Run the command again to try those once more.")


def resume_all(org: OnlyOrg = None, as_json: AsJson = False) -> None:
    """Lift a stop-all, exactly where it stood; what was paused besides stays paused."""
    resumed = in_office(lambda office: office.stop_dialling.resume(org, actor=me()))
    if as_json:
        print_json(
            {"organization_id": resumed.organization_id, "campaign_ids": resumed.campaign_ids}
        )
        return
    whose = resumed.organization_id or "everybody not stopped by name"
    out.print(f"Dialling goes on for {whose}.", markup=False)


def me() -> str:
    """Who pressed it, for the record."""
    try:
        return f"command line: {getpass.getuser()}"
    except (KeyError, OSError):  # a container whose user has no name
        return "command line"
