"""Questions about calls: GET Calls and GET RecentCalls, with the filters jambonz knows.

Only reads. Must not change a call or its record.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from apollo.rotary.answers import Answer, message
from apollo.rotary.call import Call
from apollo.rotary.exchange import Exchange
from apollo.rotary.faults import FaultPlan
from apollo.rotary.ledger import Entry
from apollo.rotary.records import TRUNK, detail_record
from apollo.rotary.schema import plain_number

COUNT_MAX = 500  # call-detail records on a page


def is_hidden(call: Call, plan: FaultPlan) -> bool:
    """Whether a fault keeps this call out of every answer about calls."""
    rules = plan.rules
    if rules.call_store_away:
        return True
    return plan.strike(rules.call_not_listed, "call_not_listed", call.entry) is not None


def listed_calls(
    exchange: Exchange, query: dict[str, str], plan: FaultPlan
) -> list[dict[str, object]]:
    """The call records that match exactly; unknown filters are ignored, as in jambonz."""
    filters = {
        field: query[asked]
        for asked, field in (
            ("direction", "direction"),
            ("from", "from"),
            ("to", "to"),
            ("callStatus", "call_status"),
        )
        if asked in query
    }
    if "to" in filters:
        candidates = exchange.calls_to.get(plain_number(filters["to"]), [])
    else:
        candidates = list(exchange.calls.values())
    found: list[dict[str, object]] = []
    for call in candidates:
        if not call.indexed or is_hidden(call, plan):
            continue
        if exchange.visible(call):
            record = call.record()
            if all(record.get(field) == value for field, value in filters.items()):
                found.append(record)
        elif not filters and exchange.haunting(call):
            found.append({})  # an expired record leaves its shadow until the next purge
    return found


def recent_calls(
    records: Iterable[tuple[Entry, float]], query: dict[str, str], now: datetime
) -> Answer:
    """A page of call-detail records, the newest first."""
    page, count = _number(query.get("page")), _number(query.get("count"))
    if page is None or page < 1:
        return message(400, 'missing or invalid "page" query arg')
    if count is None or not 1 <= count <= COUNT_MAX:
        return message(400, 'missing or invalid "count" query arg')
    try:
        since, until = _window(query, now)
    except ValueError:
        return message(400, 'invalid "start" or "end" query arg')
    matching = [
        (entry, offset_s)
        for entry, offset_s in records
        if entry.placed_at is not None
        and since <= entry.placed_at + timedelta(seconds=offset_s) <= until
        and _matches(entry, query)
    ]
    matching.sort(key=lambda pair: pair[0].requested_at, reverse=True)
    chosen = matching[(page - 1) * count : page * count]
    return Answer(
        200,
        {
            "total": len(matching),
            "page_size": query["count"],
            "page": query["page"],
            "data": [detail_record(entry, offset_s) for entry, offset_s in chosen],
        },
    )


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() else None


def _window(query: dict[str, str], now: datetime) -> tuple[datetime, datetime]:
    earliest, latest = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    if (days := _number(query.get("days"))) is not None:
        return now - timedelta(days=min(days, 36_500)), latest
    if start := query.get("start"):
        earliest = _moment(start)
    if end := query.get("end"):
        latest = _moment(end)
    return earliest, latest


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _matches(entry: Entry, query: dict[str, str]) -> bool:
    answered = query.get("answered")
    if answered in {"true", "false"} and (entry.answered_at is not None) != (answered == "true"):
        return False
    if query.get("direction", "outbound") != "outbound":
        return False
    if query.get("trunk") not in {None, entry.trunk or TRUNK}:
        return False
    part = query.get("filter")
    return (
        part is None
        or part == entry.call_sid
        or part in entry.number
        or part in plain_number(entry.from_)
    )
