"""Commands about campaigns: make one, look at it, change it, hold it, and preview a batch.

They speak to the HTTP API only. Must not judge anything: the API does.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from apollo.cli.asking import Settings, campaign_ids, change, read, send, settings_given
from apollo.cli.render import facts, listing, rejected_table
from apollo.cli.terminal import AsJson, err, out, print_json, print_table
from apollo.core.windows import WEEKDAYS
from apollo.errors import Misconfigured

_PATH: Final = "/api/v1/campaigns"
_HOURS: Final = re.compile(r"(?P<days>[a-z,-]+) (?P<start>\d\d:\d\d)-(?P<end>\d\d:\d\d)")
_HOURS_HINT: Final = "write days and hours, such as 'mon-fri 09:00-18:00' or 'sat,sun 10:00-14:00'"
_ROWS: Final = 50

CampaignId = Annotated[
    str,
    typer.Argument(
        metavar="CAMPAIGN", help="The campaign's id, such as cmp_….", autocompletion=campaign_ids
    ),
]
Name = Annotated[str | None, typer.Option("--name", help="What people call it.")]
Agent = Annotated[str | None, typer.Option("--agent", help="The agent that speaks.")]
Numbers = Annotated[
    list[str] | None,
    typer.Option("--number", help="A caller id, E.164, such as +12025550100; repeat it for more."),
]
Zone = Annotated[str | None, typer.Option("--timezone", help="Its zone, such as America/New_York.")]
Hours = Annotated[
    list[str] | None,
    typer.Option("--hours", help="When to call, such as 'mon-fri 09:00-18:00'; repeat it."),
]
Concurrency = Annotated[
    int | None, typer.Option("--concurrency", min=1, help="The most calls at a time.")
]
MaxRetries = Annotated[
    int | None, typer.Option("--max-retries", min=0, help="Calls after the first.")
]
Cooldown = Annotated[
    float | None, typer.Option("--cooldown", min=0, help="Minutes before a retry.")
]
Status = Annotated[str | None, typer.Option("--status", help="Only campaigns in this status.")]
Limit = Annotated[int, typer.Option("--limit", min=1, max=500, help="The most to show.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    campaign = typer.Typer(help="Make, show and change campaigns.", no_args_is_help=True)
    for name, command in (
        ("create", create),
        ("list", list_),
        ("show", show),
        ("set", set_),
        ("pause", pause),
        ("resume", resume),
        ("cancel", cancel),
        ("preview", preview),
        ("stats", stats),
    ):
        campaign.command(name)(command)
    app.add_typer(campaign, name="campaign")


def create(
    name: Name = None,
    agent: Agent = None,
    number: Numbers = None,
    timezone: Zone = None,
    hours: Hours = None,
    concurrency: Concurrency = None,
    max_retries: MaxRetries = None,
    cooldown: Cooldown = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Make a campaign; in a terminal it asks for what is not given."""
    if out.is_terminal and err.is_terminal and not as_json:
        name = name or typer.prompt("Name", default="Renewals", err=True)
        agent = agent or typer.prompt("Agent", default="agent_renewals", err=True)
        number = number or [typer.prompt("Caller id, such as +12025550100", err=True)]
        timezone = timezone or typer.prompt("Timezone", default="UTC", err=True)
        hours = hours or _asked_hours()
    missing = [
        option
        for option, given in (("--name", name), ("--agent", agent), ("--number", number))
        if not given
    ]
    if missing:
        raise Misconfigured([f"{option}: needed for a new campaign" for option in missing])
    body = {"name": name, "agent_id": agent, "phone_numbers": number}
    made = send(
        f"{_PATH}/",
        _filled(
            body | _given(timezone, hours, concurrency, max_retries, cooldown, settings, before={})
        ),
    )
    if as_json:
        print_json(made)
        return
    out.print(_view(made))
    upload = f"apollo batch create --campaign {made['campaign_id']} examples/contacts.csv"
    out.print(f"\nUpload contacts with: {upload}", markup=False, soft_wrap=True)


def list_(status: Status = None, limit: Limit = _ROWS, as_json: AsJson = False) -> None:
    """List campaigns, newest first."""
    found = read(f"{_PATH}/", {"status": status, "limit": limit})
    if as_json:
        print_json(found)
        return
    rows = [
        (one["campaign_id"], one["name"], one["status"], one["completed_calls"], one["created_at"])
        for one in found
    ]
    print_table(listing(("campaign", "name", "status", "calls completed", "created"), rows))


def show(campaign: CampaignId, as_json: AsJson = False) -> None:
    """Show a campaign's settings."""
    found = read(f"{_PATH}/{campaign}")
    if as_json:
        print_json(found)
    else:
        out.print(_view(found))


def set_(
    campaign: CampaignId,
    name: Name = None,
    agent: Agent = None,
    number: Numbers = None,
    timezone: Zone = None,
    hours: Hours = None,
    concurrency: Concurrency = None,
    max_retries: MaxRetries = None,
    cooldown: Cooldown = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Change a campaign; it holds from the next call on."""
    before = read(f"{_PATH}/{campaign}")
    body = {"name": name, "agent_id": agent, "phone_numbers": number or None}
    body |= _given(timezone, hours, concurrency, max_retries, cooldown, settings, before=before)
    wanted = _filled(body)
    if not wanted:
        raise Misconfigured(["nothing to change: give an option, such as --concurrency 20"])
    changed = change(f"{_PATH}/{campaign}", wanted)
    if as_json:
        print_json(changed)
    else:
        out.print(_view(changed))


def pause(campaign: CampaignId, as_json: AsJson = False) -> None:
    """Start no call of a campaign until it is resumed; calls in progress go on."""
    _act(campaign, "pause", as_json=as_json)


def resume(campaign: CampaignId, as_json: AsJson = False) -> None:
    """Go on with a campaign and the batches that were paused with it."""
    _act(campaign, "resume", as_json=as_json)


def cancel(
    campaign: CampaignId,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """End a campaign for good: contacts that still wait are skipped, calls in progress go on."""
    if not yes:
        typer.confirm(f"End {campaign} for good? Contacts that still wait are skipped", abort=True)
    _act(campaign, "cancel", as_json=as_json)


def preview(
    campaign: CampaignId,
    contacts: Annotated[
        int | None, typer.Option("--contacts", min=0, help="How many a planned batch has.")
    ] = None,
    start: Annotated[
        str | None, typer.Option("--start", metavar="TIME", help="When it would begin.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say when a planned batch would begin and end, and what bounds it; nothing is called."""
    body = _filled({"contacts_count": contacts, "scheduled_start": start})
    found = send(f"{_PATH}/{campaign}/preview", body)
    if as_json:
        print_json(found)
        return
    limit = found["limit"]
    out.print(
        facts(
            [
                ("would be called", found["accepted"]),
                ("held by", found["waiting_for"]),
                ("first call", found["first_call_at"]),
                ("estimated finish", found["estimated_finish_at"]),
                ("bounded by", f"{limit['name']}: {limit['calls_at_a_time']} at a time"),
                *(("warning", one["text"]) for one in found["warnings"]),
            ],
        )
    )
    left_out = rejected_table(found, rows_max=_ROWS)
    if left_out is not None:
        print_table(left_out)


def stats(campaign: CampaignId, as_json: AsJson = False) -> None:
    """Count a campaign's batches, contacts and calls."""
    found = read(f"{_PATH}/{campaign}/stats")
    if as_json:
        print_json(found)
        return
    rows = [
        (words, ", ".join(f"{number:,} {name}" for name, number in found[key].items() if number))
        for key, words in (
            ("batch_counts", "batches"),
            ("contact_counts", "contacts"),
            ("call_counters", "calls ended"),
            ("retry_breakdown", "contacts by retries"),
        )
    ]
    rows.append(("calls placed", f"{found['total_call_attempts']:,}"))
    out.print(facts([(words, said or "none") for words, said in rows]))


def _act(campaign: str, verb: str, *, as_json: bool) -> None:
    done = send(f"{_PATH}/{campaign}/{verb}")
    if as_json:
        print_json(done)
        return
    going = done["calls_in_progress"]
    more = f" {going} calls in progress go on." if going else ""
    out.print(f"{done['message']}.{more}", markup=False)


def _asked_hours() -> list[str]:
    said = typer.prompt("Hours, or none", default="mon-fri 09:00-18:00", err=True)
    return [] if said.strip().lower() == "none" else [said]


def _given(
    timezone: str | None,
    hours: Sequence[str] | None,
    concurrency: int | None,
    max_retries: int | None,
    cooldown: float | None,
    settings: Sequence[str] | None,
    *,
    before: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the API's keys for these options; objects keep what `before` has besides."""
    retry = _filled({"max_retries": max_retries, "cooldown_minutes": cooldown})
    limit = _filled({"concurrency_limit": concurrency})
    body: dict[str, Any] = {
        "timezone": timezone,
        "working_hours": _table(hours) if hours else None,
        "retry_policy": {**before.get("retry_policy", {}), **retry} if retry else None,
        "metadata": {**before.get("metadata", {}), **limit} if limit else None,
    }
    return body | settings_given(settings)


def _filled(body: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in body.items() if value is not None}


def _table(hours: Sequence[str]) -> dict[str, Any]:
    """Return working hours as the API takes them. Raises Misconfigured."""
    table: dict[str, Any] = {}
    for one in hours:
        found = _HOURS.fullmatch(one.strip().lower())
        if found is None:
            raise Misconfigured([f"--hours {one}: {_HOURS_HINT}"])
        for day in _days(found["days"], one):
            table[day] = {"start": found["start"], "end": found["end"], "enabled": True}
    return table


def _days(words: str, one: str) -> list[str]:
    days = []
    for word in words.split(","):
        first, _, last = word.partition("-")
        places = [_day(name, one) for name in (first, last or first)]
        week = len(WEEKDAYS)
        length = (places[1] - places[0]) % week
        days += [WEEKDAYS[(places[0] + step) % week] for step in range(length + 1)]
    return days


def _day(word: str, one: str) -> int:
    for place, day in enumerate(WEEKDAYS):
        if len(word) >= 3 and day.startswith(word):  # noqa: PLR2004 - mon, tue, …
            return place
    raise Misconfigured([f"--hours {one}: {word} is no day; {_HOURS_HINT}"])


def _view(campaign: Mapping[str, Any]) -> RenderableType:
    hours = campaign["working_hours"] or {}
    open_days = [
        f"{day[:3]} {hours[day]['start']}-{hours[day]['end']}"
        for day in WEEKDAYS
        if hours.get(day, {}).get("enabled")
    ]
    policy = campaign["retry_policy"]
    rows = [
        ("name", campaign["name"]),
        ("status", campaign["status"]),
        ("agent", campaign["agent_id"]),
        ("caller ids", ", ".join(campaign["phone_numbers"])),
        ("hours", f"{', '.join(open_days) or 'any'} ({campaign['timezone']})"),
        (
            "retries",
            f"{policy['max_retries']}, {policy['strategy']}, {policy['cooldown_minutes']} min",
        ),
        ("calls at a time", campaign["metadata"].get("concurrency_limit")),
        *(("warning", one["text"]) for one in campaign.get("warnings", ())),
    ]
    return Group(Text(str(campaign["campaign_id"]), "bold"), facts(rows))
