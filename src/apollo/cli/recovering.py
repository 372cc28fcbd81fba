"""`apollo recover`: after a restore, reads in the calls the database lost and lets dialling go on.

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


def recover(confirm: Confirm = False, numbers: Numbers = None, as_json: AsJson = False) -> None:
    """Read in the calls that a restored database lacks; with --confirm, dial on afterwards."""
    done = at_desk(lambda desk: desk.recover_calls.run(confirm=confirm, actor=me()))
    if numbers is not None:
        _write_numbers(numbers, done)
    if as_json:
        print_json(_as_json(done))
    elif done.since is None:
        out.print("Nothing to recover: the database lacks no call since its last heartbeat.")
    else:
        _show(done)


def _show(done: Recovered) -> None:
    lost = len(done.nobodys)
    earlier = f" ({done.given_before} of them by an earlier run)" if done.given_before else ""
    out.print(f"Dialling is held since {done.since:%Y-%m-%d %H:%M:%S} UTC.")
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
    if done.is_lifted:
        out.print("Dialling goes on.")
    else:
        out.print("Nobody is called yet. To go on: apollo recover --confirm")


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
        "compared_from": done.compared_from,
        "has_records": done.has_records,
        "given_before": done.given_before,
        "brought_up_to_date": done.brought_up_to_date,
        "is_lifted": done.is_lifted,
        "calls": [
            {
                "provider_call_id": one.call.provider_call_id,
                "to": masked(one.call.to),
                "from": masked(one.call.from_number),
                "attempted_at": one.call.attempted_at,
                "call_status": one.call.call_status,
                "contact_id": None if one.contact is None else ids.contact_id(one.contact),
            }
            for one in done.found
        ],
    }
