"""Commands about batches: upload one, watch it, and ask why it is not moving.

They speak to the HTTP API only. Must not judge anything: the API does.
"""

import asyncio
import os
import time
import uuid
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Group
from rich.live import Live
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.text import Text

from apollo.cli.api_client import ApiClient, BrokenUpload, Query, connect
from apollo.cli.batch_acts import BatchId, add_acts
from apollo.cli.render import (
    FINISHED,
    batch_view,
    diagnosis,
    finished_contacts,
    first_reason,
    progress_line,
    rejected_table,
    trial_report,
    verdict_line,
)
from apollo.cli.terminal import AsJson, err, out, print_json, print_table, say
from apollo.cli.upload_options import (
    AcrossBatches,
    CallContext,
    CampaignId,
    Concurrency,
    CsvFile,
    DryRun,
    End,
    IdempotencyKey,
    Mapped,
    MaxRetries,
    Metadata,
    OnBarred,
    OnDuplicate,
    OnInvalid,
    OnMostlyInvalid,
    PhoneColumn,
    Region,
    SaveRejected,
    Sheet,
    Start,
    Within,
)
from apollo.config import load
from apollo.core.words import count
from apollo.errors import Unavailable

# Large enough that reading is not what an upload waits for, small enough for a smooth bar.
_PIECE_BYTES: Final = 256 * 1024
_WATCH_EVERY_S: Final = 1.0
# In a log a line every second would bury the rest.
_LINE_EVERY_S: Final = 5.0
# Long enough to be steady, short enough to see a change.
_RATE_OVER_S: Final = 10.0
# A screenful; all of them are in --json.
_REJECTED_SHOWN: Final = 20

Verify = Annotated[
    bool, typer.Option("--verify", help="Count every contact again and compare the counters.")
]
WhySetBack = Annotated[
    str,
    typer.Option("--reason", help="Why the numbers are not bad, such as 'the trunk was unpaid'."),
]
Watch = Annotated[bool, typer.Option("--watch", help="Ask again every second until it is over.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    batch = typer.Typer(
        help="Upload a batch of contacts, watch it, hold it, run it again.", no_args_is_help=True
    )
    batch.command("create")(create)
    batch.command("watch")(watch)
    batch.command("set-back")(set_back)
    add_acts(batch)
    app.add_typer(batch, name="batch")
    app.command("debug")(debug)


def create(
    file: CsvFile,
    campaign: CampaignId,
    on_invalid: OnInvalid = "skip",
    on_duplicate: OnDuplicate = "skip",
    across: AcrossBatches = None,
    within: Within = None,
    on_barred: OnBarred = None,
    on_mostly_invalid: OnMostlyInvalid = "reject",
    phone_column: PhoneColumn = None,
    mapped: Mapped = None,
    sheet: Sheet = None,
    dry_run: DryRun = False,
    save_rejected: SaveRejected = None,
    start: Start = None,
    end: End = None,
    concurrency: Concurrency = None,
    max_retries: MaxRetries = None,
    default_region: Region = None,
    call_context: CallContext = None,
    metadata: Metadata = None,
    idempotency_key: IdempotencyKey = None,
    as_json: AsJson = False,
) -> None:
    """Upload contacts as a new batch of a campaign; it starts at once unless --start is given."""
    query: Query = {
        "campaign_id": campaign,
        "on_invalid": on_invalid,
        "on_duplicate": on_duplicate,
        "across": across,
        "within": within,
        "on_barred": on_barred,
        "scheduled_start": start,
        "ends_at": end,
        "concurrency_limit": concurrency,
        "max_retries_override": max_retries,
        "default_region": default_region,
        "call_context": call_context,
        "metadata": metadata,
        "phone_column": phone_column,
        "map": mapped or [],
        "sheet": sheet,
        "dry_run": "true" if dry_run else None,
        "on_mostly_invalid": None if on_mostly_invalid == "reject" else on_mostly_invalid,
    }
    made = _made(file, query, idempotency_key, None if dry_run else save_rejected)
    if as_json:
        print_json(made)
    else:
        _print_made(made, dry_run=dry_run, saved_to=save_rejected)


def _print_made(made: Mapping[str, Any], *, dry_run: bool, saved_to: Path | None) -> None:
    if dry_run:
        out.print(trial_report(made))
        print_left_out(made)
    else:
        print_created(made, saved_to=saved_to)
        out.print(f"Watch it with: apollo batch watch {made['batch_id']}", markup=False)


def _made(file: Path, query: Query, given_key: str | None, save_rejected: Path | None) -> Any:
    """Return what became of an upload. Raises Unavailable if that is not known."""
    key = given_key or str(uuid.uuid4())
    try:
        return asyncio.run(_upload(file, query, key, save_rejected))
    except BrokenUpload as fault:
        again = f"repeat the command with --idempotency-key {key}, which makes it at most once"
        raise Unavailable(f"{fault}; whether the batch exists is not known: {again}") from fault


async def _upload(file: Path, query: Query, key: str, save_rejected: Path | None) -> Any:
    async with connect(load(os.environ)) as api:
        made = await upload(api, file, query, key)
        if save_rejected is not None and made["rejected_count"]:
            path = f"/api/v1/batches/{made['batch_id']}/rejected.csv"
            await api.download_to(save_rejected, path, {})
        return made


def watch(batch_id: BatchId, as_json: AsJson = False) -> None:
    """Show a batch live until it is over; with --json, a line for each look."""

    async def run() -> None:
        async with connect(load(os.environ)) as api:
            await follow(api, batch_id, as_json=as_json)

    asyncio.run(run())


def set_back(batch_id: BatchId, reason: WhySetBack, as_json: AsJson = False) -> None:
    """Call everybody of a batch again whose number was judged bad; who and why is recorded."""

    async def run() -> Any:
        async with connect(load(os.environ)) as api:
            return await api.send(f"/api/v1/batches/{batch_id}/set-back", {"reason": reason})

    done = asyncio.run(run())
    if as_json:
        print_json(done)
    else:
        say(f"{done['message']}; the batch is {done['status']}.")


def debug(
    batch_id: BatchId, verify: Verify = False, watch: Watch = False, as_json: AsJson = False
) -> None:
    """Say why a batch does or does not move: verdict, arithmetic, reasons and what to do."""
    path = f"/api/v1/batches/{batch_id}/debug"
    query: Query = {"verify": "true"} if verify else {}

    async def run() -> None:
        async with connect(load(os.environ)) as api:
            with Live(console=out, auto_refresh=False) as live:
                while True:
                    found = await api.read(path, query)
                    if as_json:
                        print_json(found)
                    elif out.is_terminal:
                        live.update(diagnosis(found), refresh=True)
                    else:
                        out.print(diagnosis(found))
                    if not watch or found["status"] in FINISHED:
                        return
                    await asyncio.sleep(_WATCH_EVERY_S if out.is_terminal else _LINE_EVERY_S)

    asyncio.run(run())


async def upload(api: ApiClient, file: Path, query: Query, idempotency_key: str) -> Any:
    """Stream a CSV file to the API with a progress bar; gives the batch it became."""
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=err,
        # Pipes and logs get the result only.
        disable=not err.is_terminal,
        transient=True,
    )
    with progress:
        size = (await asyncio.to_thread(file.stat)).st_size
        task = progress.add_task(f"Uploading {file.name}", total=size)
        pieces = _pieces(file, lambda read: progress.advance(task, read))
        return await api.upload_csv("/api/v1/batches/csv", pieces, query, idempotency_key)


def print_created(made: Mapping[str, Any], *, saved_to: Path | None = None) -> None:
    """Tell a person what became of an upload, and where the rows are that were left out."""
    out.print(
        f"Batch {made['batch_id']} has {count(made['total_contacts'], 'contact')} and is"
        f" {made['status']}.",
        markup=False,
    )
    print_left_out(made)
    if made.get("rejected_count"):
        where = (
            f"in {saved_to}" if saved_to else f"GET /api/v1/batches/{made['batch_id']}/rejected.csv"
        )
        out.print(f"All of them, to be corrected and uploaded again: {where}", markup=False)


def print_left_out(made: Mapping[str, Any]) -> None:
    """List rows that were left out, a screenful of them, and what may not be as it was meant."""
    left_out = rejected_table(made, rows_max=_REJECTED_SHOWN)
    if left_out is not None:
        print_table(left_out)
    for one in made.get("warnings", ()):
        out.print(f"Warning: {one['text']}", markup=False, soft_wrap=True)


async def follow(api: ApiClient, batch_id: str, *, as_json: bool = False) -> dict[str, Any]:
    """Show a batch until it is over, and give it as it was then.

    An API that goes away in between is waited for: a watch outlives a restart.
    """
    pace = _Pace()
    path = f"/api/v1/batches/{batch_id}"
    batch: dict[str, Any] = await api.read(path)
    found: dict[str, Any] = await api.read(f"{path}/debug")
    with Live(console=out, auto_refresh=False, transient=False) as live:
        said_at, told = -_LINE_EVERY_S, None
        while True:
            rate = pace.of(finished_contacts(batch), time.monotonic())
            is_over = batch["status"] in FINISHED
            if as_json:
                print_json({"batch": batch, "debug": found})
            elif out.is_terminal:
                view = batch_view(batch, rate)
                live.update(view if is_over else Group(view, verdict_line(found)), refresh=True)
            elif is_over or time.monotonic() - said_at >= _LINE_EVERY_S:
                said_at = time.monotonic()
                _print_line(batch, found, rate, told)
                told = first_reason(found)
            if is_over:
                return batch
            await asyncio.sleep(_WATCH_EVERY_S)
            try:
                batch = await api.read(path)
                found = await api.read(f"{path}/debug")
            except Unavailable as fault:
                say(f"{fault}; still trying", "yellow")


def _print_line(
    batch: Mapping[str, Any], found: Mapping[str, Any], rate: float | None, told: str | None
) -> None:
    how_far = f"{found['diagnostics']['as_of']} {progress_line(batch, rate)}; "
    out.print(Text.assemble(how_far, verdict_line(found, told=told)), soft_wrap=True)


class _Pace:
    """How fast a number grows, over the last seconds."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def of(self, number: int, now: float) -> float | None:
        """Growth per second; None until there is something to compare with."""
        self._seen.append((now, number))
        while now - self._seen[0][0] > _RATE_OVER_S:
            self._seen.popleft()
        then, before = self._seen[0]
        return (number - before) / (now - then) if now > then else None


async def _pieces(file: Path, on_read: Callable[[int], None]) -> AsyncIterator[bytes]:
    with file.open("rb") as opened:
        while piece := await asyncio.to_thread(opened.read, _PIECE_BYTES):
            yield piece
            on_read(len(piece))
