"""Commands about batches that exist: list, show, hold, end, run again, and fetch the results.

They speak to the HTTP API only. Must not judge anything: the API does.
"""

import sys
import uuid
from pathlib import Path
from typing import Annotated, Final

import typer

from apollo.cli.asking import (
    Settings,
    ask,
    batch_ids,
    campaign_ids,
    read,
    send,
    settings_given,
)
from apollo.cli.render import batch_view, finished_contacts, listing
from apollo.cli.terminal import AsJson, out, print_json, print_table, say
from apollo.core.words import count

_PATH: Final = "/api/v1/batches"
_ROWS: Final = 50

BatchId = Annotated[
    str,
    typer.Argument(
        metavar="BATCH", help="The batch's id, such as btc_….", autocompletion=batch_ids
    ),
]
OfCampaign = Annotated[
    str | None,
    typer.Option("--campaign", help="Only of this campaign.", autocompletion=campaign_ids),
]
Status = Annotated[str | None, typer.Option("--status", help="Only batches in this status.")]
Limit = Annotated[int, typer.Option("--limit", min=1, max=500, help="The most to show.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


def add_acts(batch: typer.Typer) -> None:
    """Add the commands to `apollo batch`."""
    for name, command in (
        ("list", list_),
        ("show", show),
        ("pause", pause),
        ("resume", resume),
        ("cancel", cancel),
        ("dispatch", dispatch),
        ("results", results),
        ("rerun", rerun),
    ):
        batch.command(name)(command)


def list_(
    campaign: OfCampaign = None,
    status: Status = None,
    limit: Limit = _ROWS,
    as_json: AsJson = False,
) -> None:
    """List batches, newest first."""
    found = read(f"{_PATH}/", {"campaign_id": campaign, "status": status, "limit": limit})
    if as_json:
        print_json(found)
        return
    rows = [
        (
            one["batch_id"],
            one["campaign_id"],
            one["status"],
            f"{finished_contacts(one):,} of {one['total_contacts']:,}",
            one["created_at"],
        )
        for one in found
    ]
    print_table(listing(("batch", "campaign", "status", "finished", "created"), rows))


def show(batch: BatchId, as_json: AsJson = False) -> None:
    """Show a batch with its counters."""
    found = read(f"{_PATH}/{batch}")
    if as_json:
        print_json(found)
    else:
        out.print(batch_view(found, None))


def pause(batch: BatchId, as_json: AsJson = False) -> None:
    """Start no call of a batch until it is resumed; calls in progress go on."""
    _act(batch, "pause", as_json=as_json)


def resume(batch: BatchId, as_json: AsJson = False) -> None:
    """Go on with a batch; not while its campaign is paused."""
    _act(batch, "resume", as_json=as_json)


def cancel(batch: BatchId, yes: Yes = False, as_json: AsJson = False) -> None:
    """End a batch for good: contacts that still wait are skipped, calls in progress go on."""
    if not yes:
        found = read(f"{_PATH}/{batch}")
        waiting = found["total_contacts"] - finished_contacts(found)
        typer.confirm(f"End {batch} for good? {waiting:,} contacts are not finished", abort=True)
    _act(batch, "cancel", as_json=as_json)


def dispatch(batch: BatchId, as_json: AsJson = False) -> None:
    """Dispatch every pending contact again; it never causes a second call."""
    done = send(f"{_PATH}/{batch}/dispatch")
    if as_json:
        print_json(done)
        return
    out.print(f"{done['message']} ({done['dispatched_count']:,} contacts).", markup=False)
    if done["waiting_for"]:
        out.print(f"They wait for {done['waiting_for']}: apollo debug {batch}", markup=False)


def results(
    batch: BatchId,
    file: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file to write; else stdout.")
    ] = None,
    status: Annotated[
        str | None, typer.Option("--status", help="Only contacts in these statuses: a,b.")
    ] = None,
    columns: Annotated[
        str | None, typer.Option("--columns", help="Only these columns, with commas between.")
    ] = None,
) -> None:
    """Fetch one line per contact with its last call, as CSV."""
    path, query = f"{_PATH}/{batch}/results.csv", {"status": status, "columns": columns}
    if file is None:
        ask(lambda api: api.download(path, query, sys.stdout.buffer.write))
        return
    ask(lambda api: api.download_to(file, path, query))
    say(f"Written to {file}")


def rerun(
    batch: BatchId,
    status: Annotated[
        str, typer.Option("--status", help="Contacts that ended so, with commas between.")
    ] = "no_answer,busy",
    start: Annotated[
        str | None, typer.Option("--start", metavar="TIME", help="Begin then; else at once.")
    ] = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Make a new batch of the contacts that ended in these statuses."""
    body = ({"scheduled_start": start} if start else {}) | settings_given(settings)
    made = ask(
        lambda api: api.send(
            f"{_PATH}/{batch}/rerun", body, {"status": status}, idempotency_key=str(uuid.uuid4())
        )
    )
    if as_json:
        print_json(made)
        return
    out.print(
        f"Batch {made['batch_id']} has {count(made['total_contacts'], 'contact')} and is"
        f" {made['status']}. Watch it with: apollo batch watch {made['batch_id']}",
        markup=False,
        soft_wrap=True,
    )


def _act(batch: str, verb: str, *, as_json: bool) -> None:
    done = send(f"{_PATH}/{batch}/{verb}")
    if as_json:
        print_json(done)
        return
    going = done["calls_in_progress"]
    more = f" {going} calls in progress go on." if going else ""
    out.print(f"{done['message']}.{more}", markup=False)
