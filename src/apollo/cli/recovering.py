"""`apollo recover`: after a restore, reads in the calls the database lost and resumes dialling.

It asks database and provider themselves. Numbers are shown masked.
"""

import os
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from apollo.cli.operating import at_desk
from apollo.cli.render import listing
from apollo.cli.stopping import me
from apollo.cli.terminal import AsJson, out, print_json, print_table
from apollo.config.log import masked
from apollo.core import ids
from apollo.core.words import stamp
from apollo.usecases.recover_calls import FoundCall, Recovered

# A screen of them is enough to see what they are; --json has them all.
_SHOWN: Final = 20

Confirm = Annotated[
    bool, typer.Option("--confirm", help="Let dialling go on when everything is read in.")
]


Numbers = Annotated[
    Path | None,
    typer.Option(
        "--numbers",
        metavar="FILE",
        help="Write the numbers of the calls that belong to nobody who waits, in full, one a line.",
    ),
]


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(recover)


Unsure = Annotated[
    bool,
    typer.Option(
        "--even-if-unsure",
        help="With --confirm: also while the provider does not know the calls that we do.",
    ),
]


def recover(
    confirm: Confirm = False,
    even_if_unsure: Unsure = False,
    numbers: Numbers = None,
    as_json: AsJson = False,
) -> None:
    """Read in the calls that a restored database lacks; with --confirm, dial on afterwards."""
    done = at_desk(
        lambda desk: desk.recover_calls.run(
            confirm=confirm, even_if_unsure=even_if_unsure, actor=me()
        )
    )
    if numbers is not None:
        _write_numbers(numbers, done)
    if as_json:
        print_json(_as_json(done))
    elif done.since is None and done.waits_until is not None:
        out.print(
            f"Workers call nobody until {stamp(done.waits_until)} at the latest: the database was"
            f" restored, and {done.waits_for}. If you are certain that no call is up from before"
            " the restore, resume now: apollo recover --confirm --even-if-unsure",
            soft_wrap=True,
        )
    elif done.since is None and done.is_lifted:
        out.print("Dialling resumes within 15 seconds.")
    elif done.since is None:
        out.print("Nothing to recover: the database lacks no call since its last heartbeat.")
    else:
        _show(done)
    if done.is_unsure:
        raise typer.Exit(1)


def _show(done: Recovered) -> None:
    lost = len(done.nobodys)
    earlier = f" ({done.given_before} of them by an earlier run)" if done.given_before else ""
    out.print(f"Dialling has been on hold since {done.since:%Y-%m-%d %H:%M:%S} UTC.")
    out.print(
        f"{done.given + lost} calls since {done.compared_from:%Y-%m-%d %H:%M:%S} UTC were not in"
        f" the database: {done.given} were given to their contacts{earlier}, {lost} belong to"
        f" nobody who waits. {done.brought_up_to_date} known calls were brought up to date."
    )
    if done.found:
        titles = ("to", "from", "attempted", "ended as", "contact")
        print_table(listing(titles, [_row(one) for one in done.found[:_SHOWN]]))
        if len(done.found) > _SHOWN:
            out.print(f"… and {len(done.found) - _SHOWN} more: --json has all of them.")
    if lost:
        out.print("Who they were made to: apollo recover --numbers FILE")
    if not done.has_records:
        out.print(
            "The provider answered no call-detail records: only calls of the last hour, which its"
            " live list remembers, could be read in."
        )
    for line in _how_sure(done):
        out.print(line, soft_wrap=True)
    if done.is_lifted:
        out.print("Dialling resumes.")
    elif done.is_unsure:
        out.print(
            "Not confirmed: a person whose call the provider forgot would be called again."
            f" {_when_sure(done)}, or add --even-if-unsure to resume dialling anyway.",
            soft_wrap=True,
        )
    else:
        if done.waits_until is not None:
            out.print(
                "A call that is up may be in no list: wait until"
                f" {stamp(done.waits_until)} to be certain that every such call is over.",
                soft_wrap=True,
            )
        out.print("Nobody is called yet. To go on: apollo recover --confirm")


def _when_sure(done: Recovered) -> str:
    if done.waits_until is None:
        return "Run this again once its look-ups are complete"
    return (
        "Its list does not show the last calls that the database has, so a call may be up unseen."
        f" Run this again at {stamp(done.waits_until)}, when every such call is over"
    )


def _how_sure(done: Recovered) -> list[str]:
    """Say what the look-ups are worth, and which calls rest on their silence."""
    lines = []
    if open_before := done.open_seen + done.open_absent:
        lines.append(
            f"{open_before} calls were open before: the provider shows {done.open_seen} of them."
            f" {done.open_absent} rest on its silence: they stay open, are looked for, and are held"
            " for an operator unless it is proven that they are over."
        )
    sure = done.certainty
    if sure is None or not sure.is_measured:
        lines.append(
            "How complete that is cannot be said: the database has no call of the hour before that"
            " the provider would have to know."
        )
        return lines
    named = (("live list", sure.live_list), ("call-detail records", sure.records))
    shown = [f"the {name} {place.known} of {place.of}" for name, place in named if place.of]
    lines.append(f"Of earlier calls that the database has, the provider shows {', '.join(shown)}.")
    if missing := sure.likely_missing(done.given + len(done.nobodys)):
        lines.append(
            f"So about {missing} more calls may have been made and lost from its records; people"
            " who had one look as if nobody had called them."
        )
    return lines


def _write_numbers(file: Path, done: Recovered) -> None:
    lost = dict.fromkeys(one.call.to for one in done.nobodys)
    try:
        # Phone numbers are nobody else's business.
        with open(file, "w", encoding="utf-8", opener=partial(os.open, mode=0o600)) as opened:
            opened.writelines(f"{number}\n" for number in lost)
    except OSError as fault:
        text = f"{file}: {fault.strerror}; name a file that can be written"
        raise typer.BadParameter(text, param_hint="--numbers") from None


def _row(one: FoundCall) -> list[Any]:
    call = one.call
    return [
        masked(call.to),
        masked(call.from_number),
        call.attempted_at,
        call.call_status,
        None if one.contact is None else ids.contact_id(one.contact),
    ]


def _as_json(done: Recovered) -> dict[str, Any]:
    return {
        "held_since": done.since,
        "waits_until": done.waits_until,
        "compared_from": done.compared_from,
        "has_records": done.has_records,
        "given_before": done.given_before,
        "brought_up_to_date": done.brought_up_to_date,
        "is_lifted": done.is_lifted,
        "is_unsure": done.is_unsure,
        "open_before": {"seen": done.open_seen, "absent": done.open_absent},
        "certainty": None
        if done.certainty is None
        else {
            name: {"of": place.of, "known": place.known}
            for name, place in (
                ("live_list", done.certainty.live_list),
                ("records", done.certainty.records),
            )
        },
        "calls": [
            {
                "provider_call_id": one.call.provider_call_id,
                "to": masked(one.call.to),
                "from": masked(one.call.from_number),
                "attempted_at": one.call.attempted_at,
                "call_status": one.call.call_status,
                "seen_in": [place.value for place in one.seen_in],
                "contact_id": None if one.contact is None else ids.contact_id(one.contact),
            }
            for one in done.found
        ],
    }
