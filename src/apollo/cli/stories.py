"""`apollo why` and `apollo history`: one contact's story, and one batch's.

They speak to the HTTP API only, and show all that it says. Must not judge anything: the API does.
"""

import asyncio
import os
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from apollo.cli.api_client import Query, connect
from apollo.cli.batch_acts import BatchId
from apollo.cli.render import VERDICT_STYLE, reason_view
from apollo.cli.terminal import AsJson, out, print_json
from apollo.config import load

ContactId = Annotated[
    str, typer.Argument(metavar="CONTACT", help="The contact's id, such as con_….")
]
Start = Annotated[
    str | None, typer.Option("--start", metavar="TIME", help="From when; 24 hours before the end.")
]
End = Annotated[str | None, typer.Option("--end", metavar="TIME", help="Until when; now.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("why")(why)
    app.command("history")(history)


def why(batch_id: BatchId, contact_id: ContactId, as_json: AsJson = False) -> None:
    """Say why a contact was not called, or not yet, and what was decided at each attempt."""
    found = _read(f"/api/v1/batches/{batch_id}/contacts/{contact_id}/why")
    if as_json:
        print_json(found)
    else:
        out.print(contact_story(found))


def history(
    batch_id: BatchId, start: Start = None, end: End = None, as_json: AsJson = False
) -> None:
    """Say when a batch moved and when not, and what was done to it before each change."""
    found = _read(f"/api/v1/batches/{batch_id}/debug/history", {"start": start, "end": end})
    if as_json:
        print_json(found)
    else:
        out.print(batch_story(found))


def contact_story(found: Mapping[str, Any]) -> RenderableType:
    """What `/why` says: the summary, the reason that holds it, and each attempt."""
    head = Text.assemble(
        (str(found["contact_id"]), "bold"), f"  {found['phone_number']}  {found['status']}"
    )
    parts: list[RenderableType] = [head, Text(str(found["summary"]))]
    if found.get("reason"):
        parts.append(reason_view(found["reason"]))
    for attempt in found["attempts"]:
        parts += [Text(), *_attempt(attempt)]
    return Group(*parts)


def batch_story(found: Mapping[str, Any]) -> RenderableType:
    """What `/debug/history` says: a line for each interval, with what was done before it."""
    parts: list[RenderableType] = [
        Text.assemble((str(found["batch_id"]), "bold"), f"  {found['start']} to {found['end']}")
    ]
    told: set[str] = set()
    for one in found["intervals"]:
        verdict = str(one["verdict"])
        line = Text.assemble(
            f"{one['since']}  ",
            (f"{verdict:<9}", VERDICT_STYLE.get(verdict, "bold")),
            f"  {one['reason'] or ''}",
        )
        parts.append(line)
        # What was done long before comes before later changes too, and is told once.
        parts += [
            _done(change, "after ") for change in one["preceded_by"] if str(change) not in told
        ]
        told |= {str(change) for change in one["preceded_by"]}
    rest = [change for change in found["changes"] if str(change) not in told]
    if rest:
        parts += [Text(), Text("Also done, with no change after it:"), *map(_done, rest)]
    if not found["intervals"]:
        parts.append(Text("Nothing was written down in this time: did a worker run?"))
    if not found["is_complete"]:
        parts.append(Text("There is more: ask for less with --start and --end.", "yellow"))
    return Group(*parts)


def _done(change: Mapping[str, Any], when: str = "") -> RenderableType:
    detail = ", ".join(f"{name} {_plain(one)}" for name, one in (change["detail"] or {}).items())
    said = f"{change['at']}  {change['action']} ({change['scope']}) by {change['actor']}"
    return Padding(Text(f"{when}{said}" + (f": {detail}" if detail else ""), "dim"), (0, 0, 0, 4))


def _plain(value: object) -> str:
    return " and ".join(map(str, value)) if isinstance(value, list) else str(value)


def _attempt(attempt: Mapping[str, Any]) -> list[RenderableType]:
    number = attempt["attempt"]
    title = "not an attempt" if number is None else f"attempt {number}"
    head = Text.assemble((title, "bold"), f"  {attempt['kind']}  {attempt['execution_id']}")
    window = attempt["window"]
    hours = "always open" if window is None else f"{window['opens_at']} to {window['closes_at']}"
    lines = [
        f"decided {attempt['decided_at']}, from {attempt['from_number']}; calling hours {hours}",
        *_limits(attempt["limits"]),
        f"request to {attempt['provider']}: {attempt['request']}",
    ]
    if attempt["was_due_at"]:
        lines.insert(0, f"was due {attempt['was_due_at']}")
    happened = [
        f"{words} {attempt[key]}"
        for key, words in (
            ("heard_at", "first heard of"),
            ("ringing_at", "rang"),
            ("answered_at", "answered"),
            ("ended_at", "ended"),
            ("looked_at_again_at", "looked at again"),
        )
        if attempt[key]
    ]
    if happened:
        lines.append(", ".join(happened))
    if attempt["outcome"]:
        lines.append(_ending(attempt))
    return [head, *(Padding(Text(line), (0, 0, 0, 4)) for line in lines)]


def _limits(limits: Sequence[Mapping[str, Any]]) -> list[str]:
    shown = [f"{one['in_use']} of {one['limit']} in the {one['name']}" for one in limits]
    return [f"calls open before it: {', '.join(shown)}"] if shown else []


def _ending(attempt: Mapping[str, Any]) -> str:
    parts = [f"outcome {attempt['outcome']}"]
    if attempt["hangup_reason"] not in {None, "", attempt["outcome"]}:
        parts.append(str(attempt["hangup_reason"]))
    if attempt["sip_status"]:
        parts.append(f"SIP {attempt['sip_status']} {attempt['sip_reason'] or ''}".strip())
    if attempt["duration_seconds"] is not None:
        parts.append(f"{attempt['duration_seconds']} s")
    if attempt["hangup_by"]:
        parts.append(f"hung up by {attempt['hangup_by']}")
    if attempt["evidence"] == "assumed":
        parts.append("assumed: neither the live list nor a record knew better")
    elif attempt["evidence"]:
        parts.append(f"known from {attempt['evidence']}")
    return ", ".join(parts)


def _read(path: str, query: Query | None = None) -> Any:
    async def run() -> Any:
        async with connect(load(os.environ)) as api:
            return await api.read(path, query)

    return asyncio.run(run())
