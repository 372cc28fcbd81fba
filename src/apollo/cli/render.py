"""Shows a batch and a diagnosis to a person: what the API answers, in colours and bars.

Owns words and order on the screen. It never judges: verdict, reasons and fixes are the API's.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from apollo.cli.bars import Bar
from apollo.core.words import count, stamp

# In the order in which a contact goes through them; counter, words, colour.
COUNTERS: Final = (
    ("completed", "completed", "green"),
    ("no_answer", "no answer", "yellow"),
    ("voicemail", "voicemail", "khaki1"),
    ("busy", "busy", "dark_orange"),
    ("failed", "failed", "red"),
    ("max_retries_reached", "no retry left", "magenta"),
    ("skipped", "skipped", "grey58"),
    ("in_flight", "on the phone", "cyan"),
    ("dispatched", "being placed", "blue"),
    ("retrying", "waits for retry", "gold3"),
    ("followup_scheduled", "follow-up agreed", "spring_green3"),
    ("pending", "pending", "grey37"),
)
FINAL_COUNTERS: Final = frozenset(
    {"completed", "no_answer", "voicemail", "busy", "failed", "max_retries_reached", "skipped"}
)
FINISHED: Final = frozenset({"completed", "cancelled", "expired"})
_CALLING: Final = ("in_flight", "dispatched")
_STATUS_STYLE: Final = {
    "in_progress": "bold cyan",
    "completed": "bold green",
    "paused": "bold yellow",
    "cancelled": "bold red",
    "expired": "bold red",
}
VERDICT_STYLE: Final = {
    "healthy": "bold green",
    "finished": "bold green",
    "waiting": "bold cyan",
    "degraded": "bold yellow",
    "blocked": "bold red",
}
_SEVERITY_STYLE: Final = {"critical": "bold red", "warning": "bold yellow", "info": "cyan"}
# A reason's evidence may list every holder of a slot; the whole of it is in --json.
_EVIDENCE_CHARS_MAX: Final = 300


def finished_contacts(batch: Mapping[str, Any]) -> int:
    """Contacts of the batch that will not be called again."""
    return sum(n for name, n in batch["counters"].items() if name in FINAL_COUNTERS)


def calls_in_progress(batch: Mapping[str, Any]) -> int:
    """Contacts with a call on its way, ringing or being spoken on."""
    return sum(int(batch["counters"].get(name, 0)) for name in _CALLING)


def progress_line(batch: Mapping[str, Any], rate: float | None) -> str:
    """One line for logs and pipes: how far the batch is."""
    done, total = finished_contacts(batch), batch["total_contacts"]
    pace = "" if rate is None else f", {rate:.1f} a second"
    return (
        f"{batch['status']}: {done} of {total} contacts finished,"
        f" {calls_in_progress(batch)} on a call{pace}"
    )


def batch_view(batch: Mapping[str, Any], rate: float | None) -> RenderableType:
    """The counters of a batch as bars; `rate` is contacts finished per second."""
    counters, total = batch["counters"], batch["total_contacts"]
    known = [(name, words, style) for name, words, style in COUNTERS if counters.get(name)]
    rows = Table.grid(padding=(0, 1))
    rows.add_column(justify="right")
    rows.add_column(justify="right")
    rows.add_column(ratio=1)
    for name, words, style in known:
        rows.add_row(
            Text(words), Text(f"{counters[name]:,}"), Bar([(counters[name], style)], total)
        )
    head = Text.assemble(
        (str(batch["batch_id"]), "bold"),
        "  ",
        (str(batch["status"]), _STATUS_STYLE.get(str(batch["status"]), "bold")),
        f"  {finished_contacts(batch):,} of {total:,} finished",
        f"  {calls_in_progress(batch):,} on a call",
        "" if rate is None else f"  {rate:.1f}/s",
    )
    whole = Bar([(counters[name], style) for name, _, style in known], total)
    return Group(head, whole, rows)


def verdict_line(debug: Mapping[str, Any], *, told: str | None = None) -> Text:
    """The verdict with its first reason, or the tip when there is none.

    A reason that was told before is named by its code alone.
    """
    found = debug["diagnostics"]
    reasons = found.get("reasons") or []
    why = str(found.get("tip", ""))
    if code := first_reason(debug):
        why = code if code == told else f"{code}: {reasons[0]['fix']}"
    return Text.assemble(_verdict(found), "  ", why)


def first_reason(debug: Mapping[str, Any]) -> str | None:
    """The code of the first reason; None when there is none."""
    reasons = debug["diagnostics"].get("reasons") or []
    return str(reasons[0]["code"]) if reasons else None


def diagnosis(debug: Mapping[str, Any]) -> RenderableType:
    """Everything `/debug` says: verdict, arithmetic, reasons with evidence and fix, limits."""
    found = debug["diagnostics"]
    head = Text.assemble(
        (str(debug["batch_id"]), "bold"),
        "  ",
        (str(debug["status"]), _STATUS_STYLE.get(str(debug["status"]), "bold")),
        "  ",
        _verdict(found),
        (f"   as of {found.get('as_of', '?')}", "dim"),
    )
    parts: list[RenderableType] = [head]
    reasons = found.get("reasons") or []
    # The tip of a batch in trouble is the fix of its first reason, which stands below.
    if not reasons or found.get("tip") != reasons[0].get("fix"):
        parts.append(Text(str(found.get("tip", ""))))
    if found.get("stuck_pending"):
        parts.append(Text("Stuck: contacts could have been dialled and were not.", "bold red"))
    if found.get("stale_inputs"):
        unread = ", ".join(found["stale_inputs"])
        parts.append(Text(f"Could not be read, so not judged: {unread}", "yellow"))
    parts += _arithmetic(found.get("accounting") or {}, found.get("reasons") or [])
    parts += [reason_view(reason) for reason in found.get("reasons") or []]
    if note := (found.get("held") or {}).get("note"):
        parts += [Text(), Text(str(note), "yellow")]
    parts += _limits(found.get("limits") or [])
    parts += _ahead(found)
    if found.get("verdict") != "finished":
        parts += [Text(f"Note: {one['text']}", "dim") for one in found.get("warnings") or ()]
    return Group(*parts)


def _contacts(number: int) -> str:
    return f"{number:,} contact{'' if number == 1 else 's'}"


def _verdict(found: Mapping[str, Any]) -> Text:
    verdict = str(found.get("verdict", "unknown"))
    return Text(verdict, VERDICT_STYLE.get(verdict, "bold"))


def _arithmetic(
    accounting: Mapping[str, Any], reasons: Sequence[Mapping[str, Any]]
) -> list[RenderableType]:
    unfinished = accounting.get("unfinished", 0)
    if not unfinished:
        return []
    severity = {reason["code"]: str(reason["severity"]) for reason in reasons}
    shares = [
        ("on a call", accounting.get("on_call", 0), "green"),
        ("can be dialled now", accounting.get("dialable_now", 0), "blue"),
        *(
            (code, contacts, _SEVERITY_STYLE.get(severity.get(code, ""), "white"))
            for code, contacts in (accounting.get("by_reason") or {}).items()
        ),
    ]
    shares = [share for share in shares if share[1]]
    total = Text.assemble((_contacts(unfinished), "bold"), " unfinished = ")
    for at, (words, contacts, style) in enumerate(shares):
        total.append(" + " if at else "")
        total.append(f"{contacts:,} {words}", style)
    return [Text(), total, Bar([(contacts, style) for _, contacts, style in shares], unfinished)]


def reason_view(reason: Mapping[str, Any]) -> RenderableType:
    """One reason: what it is, what to do, and what proves it."""
    severity = str(reason.get("severity", ""))
    head = Text.assemble(
        (severity, _SEVERITY_STYLE.get(severity, "")), "  ", (str(reason["code"]), "bold")
    )
    if reason.get("contacts"):
        head.append(f"  {_contacts(reason['contacts'])}")
    head.append(
        "".join(f"  {word} {reason[word]}" for word in ("since", "until") if reason.get(word))
    )
    head.append(f"  ({reason.get('layer', '?')})", "dim")
    fix = Text.assemble(("→ ", "bold"), str(reason.get("fix", "")))
    lines: list[RenderableType] = [fix]
    if evidence := _evidence(reason.get("evidence") or {}):
        lines.append(Text(evidence, "dim"))
    return Group(Text(), head, Padding(Group(*lines), (0, 0, 0, 4)))


def _evidence(evidence: Mapping[str, Any]) -> str:
    said = " · ".join(
        f"{name} {_plain(value)}" for name, value in evidence.items() if value not in (None, "", [])
    )
    if len(said) > _EVIDENCE_CHARS_MAX:
        return said[:_EVIDENCE_CHARS_MAX] + " … (all of it: --json)"
    return said


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        known = [(name, part) for name, part in value.items() if part not in (None, "")]
        return "(" + ", ".join(f"{name} {_plain(part)}" for name, part in known) + ")"
    if isinstance(value, list):
        return ", ".join(_plain(part) for part in value)
    return str(value)


def _limits(limits: Sequence[Mapping[str, Any]]) -> list[RenderableType]:
    if not limits:
        return []
    table = Table.grid(padding=(0, 1))
    table.add_column()
    table.add_column(justify="right")
    table.add_column(ratio=1)
    for limit in limits:
        used, allowed = limit["in_use"], limit["limit"]
        table.add_row(
            Text(f"limit of the {limit['name']}"),
            Text(f"{used} of {allowed} in use"),
            Bar([(used, "cyan")], allowed),
        )
    return [Text(), table]


def _ahead(found: Mapping[str, Any]) -> list[RenderableType]:
    ahead = [
        f"{words} {found[key]}"
        for key, words in (
            ("next_dial_at", "next call"),
            ("estimated_finish_at", "estimated finish"),
        )
        if found.get(key)
    ]
    if ahead and found.get("estimate_is_at_least"):
        ahead[-1] += " at the earliest"
    if found.get("not_reached_by_end"):
        ahead.append(f"about {found['not_reached_by_end']:,} contacts will not be called by then")
    return [Text(" · ".join(ahead), "dim")] if ahead else []


def rejected_table(batch: Mapping[str, Any], *, rows_max: int) -> Table | None:
    """The rows that were left out, with the reason; None when all were taken."""
    rejected = batch.get("rejected_count") or 0
    if not rejected:
        return None
    rows = batch.get("rejected") or []
    title = count(rejected, "row was|rows were") + " left out"
    table = Table(title=title, title_justify="left", box=None)
    table.add_column("row", justify="right")
    table.add_column("phone number", overflow="fold")
    table.add_column("why")
    for row in rows[:rows_max]:
        table.add_row(
            Text(str(row.get("index", ""))),
            Text(str(row.get("phone_number", ""))),
            Text(str(row.get("reason", ""))),
        )
    if rejected > rows_max:
        table.add_row("…", "", f"and {rejected - min(rows_max, len(rows)):,} more")
    return table


def trial_report(trial: Mapping[str, Any]) -> Text:
    """Say what a dry run found, and how the list was read."""
    read_as = trial["read_as"]
    how = [
        read_as["format"],
        *(read_as[key] for key in ("encoding", "sheet") if read_as.get(key)),
        *([f"separated by {read_as['separator']}"] if read_as.get("separator") else []),
    ]
    lines = [
        f"Nothing was created. It would be {count(trial['total_contacts'], 'contact')}.",
        f"Left out would be {count(trial['rejected_count'], 'row')}.",
        f"Read as {', '.join(how)}.",
        f"The number is in column {read_as['number_column']!r}.",
    ]
    lines += [
        f"The country or area code of numbers without a plus is in column {column!r}."
        for column in read_as.get("country_columns", ())
    ]
    lines += [
        f"Call variable: {name}" + ("" if name == column else f" (column {column!r})")
        for name, column in read_as.get("variables", {}).items()
    ]
    report = Text("\n".join(lines))
    if trial["would_be_refused"]:
        report.append(f"\nIt would be refused: {trial['would_be_refused']}", "red")
    return report


def listing(titles: Sequence[str], rows: Sequence[Sequence[object]]) -> Table:
    """A plain table; None is shown as a dash, a time to the second in UTC."""
    table = Table(box=None, pad_edge=False)
    for title in titles:
        table.add_column(title, overflow="fold")  # half an address is none
    for row in rows:
        table.add_row(*(Text(_cell(value)) for value in row))
    return table


def facts(rows: Sequence[tuple[str, object]]) -> Table:
    """A table of names and values, without titles; None is shown as a dash."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column()
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(Text(name), Text(_cell(value)))
    return table


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return stamp(value)
    return str(value)
