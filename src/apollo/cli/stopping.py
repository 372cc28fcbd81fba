"""The big red button: `stop-all` and `resume-all`.

They ask the database, so that they work when the API does not.
"""

import getpass
from collections.abc import Callable
from time import monotonic
from typing import Annotated, Any, Final

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from apollo.cli.access import in_office
from apollo.cli.operating import Desk, at_desk
from apollo.cli.terminal import AsJson, err, out, print_json
from apollo.core import ids
from apollo.core.ids import ContactKey
from apollo.core.words import stamp
from apollo.usecases.hang_up_calls import HungUp, NotEnded
from apollo.usecases.hang_up_calls import Progress as HowFar
from apollo.usecases.stop_dialling import DiallingStopped
from apollo.wiring.office import Office

OnlyOrg = Annotated[
    str | None,
    typer.Option("--org", metavar="ORG", help="Only this organisation; without it, everybody."),
]

HangUp = Annotated[
    bool,
    typer.Option(
        "--hang-up",
        help="Also end every open call, ringing or answered, and go on until all are over. Exits"
        " with 1 and a list when some could not be ended. Ctrl-C is safe; run it again to go on.",
    ),
]

# Where no terminal shows a bar, a line this often says how far it is.
_LINE_EVERY_S: Final = 2.0
# A screenful; `--json` has all of them.
_LISTED_MAX: Final = 40
# Exit codes: some calls may still be up; interrupted (the shell's own for Ctrl-C).
_SOME_LEFT, _INTERRUPTED = 1, 130


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("stop-all")(stop_all)
    app.command("resume-all")(resume_all)


def stop_all(org: OnlyOrg = None, hang_up: HangUp = False, as_json: AsJson = False) -> None:
    """Stop all dialling within a second; calls already placed go on, unless they are hung up."""
    # First and by itself: it must not fail because the provider cannot be asked.
    stopped, where = in_office(lambda office: _stop(office, org))
    again = f"apollo resume-all{f' --org {org}' if org else ''}"
    if not as_json:
        whom = stopped.organization_id or "anybody"
        text = f"No call starts any more for {whom}. This is the Apollo of {where}."
        out.print(text, markup=False, soft_wrap=True)
    ended = _hang_up_all(stopped, org) if hang_up else None
    if as_json:
        print_json(_as_json(stopped, ended))
    else:
        if ended is not None:
            _print_ended(ended)
        elif stopped.calls_in_progress:
            out.print(f"{stopped.calls_in_progress} calls are in progress and go on to their end.")
        out.print(f"Lift it with `{again}`.", markup=False)
    if ended is not None and ended.not_ended:
        raise typer.Exit(_SOME_LEFT)


async def _stop(office: Office, org: str | None) -> tuple[DiallingStopped, str]:
    return await office.stop_dialling.stop(org, actor=me()), office.where


def _hang_up_all(stopped: DiallingStopped, org: str | None) -> HungUp:
    """Hang up, and say how far it came when somebody interrupts it."""
    seen = HowFar(0, stopped.calls_in_progress)

    def note(progress: HowFar) -> None:
        nonlocal seen
        seen = progress

    try:
        return at_desk(lambda desk: _hang_up(desk, stopped, org, note))
    except KeyboardInterrupt:
        err.print(
            f"Interrupted: {seen.over} of {seen.known} calls are over. Dialling stays stopped; run"
            " the same command again to hang up the others.",
            soft_wrap=True,
        )
        raise typer.Exit(_INTERRUPTED) from None


async def _hang_up(
    desk: Desk, stopped: DiallingStopped, org: str | None, note: Callable[[HowFar], None]
) -> HungUp:
    progress = Progress(
        TextColumn("Hanging up"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.description}"),
        console=err,
        disable=not err.is_terminal,
        transient=True,
    )
    said_at = monotonic()
    with progress:
        task = progress.add_task("", total=stopped.calls_in_progress)

        def show(seen: HowFar) -> None:
            nonlocal said_at
            note(seen)
            why = _waiting(seen)
            progress.update(task, completed=seen.over, total=seen.known, description=why)
            if not err.is_terminal and monotonic() - said_at >= _LINE_EVERY_S:
                said_at = monotonic()
                line = f"{seen.over} of {seen.known} calls are over"
                err.print(f"{line}; {why}" if why else line, markup=False, soft_wrap=True)

        return await desk.hang_up_calls.run(org, actor=me(), on_progress=show)


def _waiting(seen: HowFar) -> str:
    if not seen.waits_for:
        return ""
    until = "" if seen.until is None else f"; going on at {stamp(seen.until)}"
    return f"{seen.waits_for}{until}"


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
        answer["not_ended"] = [_one_as_json(one) for one in ended.not_ended]
    return answer


def _one_as_json(one: NotEnded) -> dict[str, Any]:
    call = one.call
    return {
        "execution_id": ids.execution_id(call.id),
        "contact_id": ids.contact_id(ContactKey(call.batch_id, call.position)),
        "batch_id": ids.batch_id(call.batch_id),
        "organization_id": call.organization_id,
        "provider_call_id": call.provider_call_id,
        "cause": one.cause,
        "why": one.why,
    }


def _print_ended(ended: HungUp) -> None:
    out.print(f"{ended.hung_up} calls were hung up, {ended.gone} were over already.")
    if not ended.not_ended:
        return
    out.print(f"{len(ended.not_ended)} calls could not be ended and may still be up:")
    for one in ended.not_ended[:_LISTED_MAX]:
        call = ids.execution_id(one.call.id)
        where = f" ({one.call.provider_call_id})" if one.call.provider_call_id else ""
        out.print(f"  {call}{where}: {one.why}", markup=False, soft_wrap=True)
    if len(ended.not_ended) > _LISTED_MAX:
        out.print(f"  … and {len(ended.not_ended) - _LISTED_MAX} more: `--json` lists all of them.")
    out.print(
        "Run the command again to try once more; what the provider does not show, the worker goes"
        " on looking for.",
        soft_wrap=True,
    )


def resume_all(org: OnlyOrg = None, as_json: AsJson = False) -> None:
    """Lift a stop-all, exactly where it stood; what was paused besides stays paused."""
    resumed = in_office(lambda office: office.stop_dialling.resume(org, actor=me()))
    if as_json:
        print_json(
            {"organization_id": resumed.organization_id, "campaign_ids": resumed.campaign_ids}
        )
        return
    whose = resumed.organization_id or "everybody not stopped by name"
    out.print(f"Dialling resumes for {whose}.", markup=False)


def me() -> str:
    """Who pressed it, for the record."""
    try:
        return f"command line: {getpass.getuser()}"
    except (KeyError, OSError):  # a container whose user has no name
        return "command line"
