"""A second opinion on calling hours, slow and plain, sharing no code with apollo.core.windows.

It only ever turns instants into wall times, which is never ambiguous, and walks minute by minute.
It owns the meaning of the rule; it must never import anything of Apollo.

    Write down what the clock on the wall shows at every minute of some days. Dialling is allowed
    at a minute if every reading is inside the table, from the last that will not be shown again
    to the latest that has been shown already.

On an ordinary day both are the present reading. Where the clock goes back, a window thus closes
the first time its end is shown and opens only when its start is shown for the last time. Where it
leaps forward, the skipped readings are simply never shown.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from functools import cache
from itertools import accumulate, pairwise
from zoneinfo import ZoneInfo, available_timezones

MINUTE = timedelta(minutes=1)
DAY_NAMES = {
    1: "monday",
    2: "tuesday",
    3: "wednesday",
    4: "thursday",
    5: "friday",
    6: "saturday",
    7: "sunday",
}
Table = dict[str, dict[str, object]]


def covers(table: Table, reading: datetime) -> bool:
    """Whether the table, read as a poster on the wall, is open at this reading of the clock."""
    clock = f"{reading:%H:%M}"  # compares like a time, and sorts before 24:00
    today = hours_of(table, reading.date())
    if today is not None:
        start, end = today
        if start < end and start <= clock < end:
            return True
        if start > end and clock >= start:
            return True
    yesterday = hours_of(table, reading.date() - timedelta(days=1))
    if yesterday is not None:
        start, end = yesterday
        return start > end and clock < end
    return False


def hours_of(table: Table, day: date) -> tuple[str, str] | None:
    hours = table.get(DAY_NAMES[day.isoweekday()])
    if hours is None or hours.get("enabled") is False:
        return None
    return str(hours["start"]), str(hours["end"])


def open_stretches(
    table: Table, zone: ZoneInfo, first: datetime, last: datetime
) -> list[tuple[datetime, datetime]]:
    """The stretches of [first, last) in which dialling is allowed, whole minutes in UTC.

    Right only if no clock changes within a day of either end.
    """
    minutes = int((last - first) / MINUTE)
    instants = [first + n * MINUTE for n in range(minutes)]
    shown = [instant.astimezone(zone).replace(tzinfo=None, fold=0) for instant in instants]
    latest_seen = list(accumulate(shown, max))
    earliest_yet = list(accumulate(reversed(shown), min))[::-1]
    to_come = [*earliest_yet[1:], shown[-1] + MINUTE]
    shown_for_good = [min(now, next_ - MINUTE) for now, next_ in zip(shown, to_come, strict=True)]
    stretches: list[tuple[datetime, datetime]] = []
    for instant, low, high in zip(instants, shown_for_good, latest_seen, strict=True):
        if not all(covers(table, reading) for reading in readings(low, high)):
            continue
        if stretches and stretches[-1][1] == instant:
            stretches[-1] = (stretches[-1][0], instant + MINUTE)
        else:
            stretches.append((instant, instant + MINUTE))
    return stretches


def readings(low: datetime, high: datetime) -> Iterator[datetime]:
    while low <= high:
        yield low
        low += MINUTE


def first_shown(wall: datetime, zone: ZoneInfo) -> datetime:
    """The first instant at which the clock shows this minute, or any later one."""
    # No zone is ever more than a day from UTC, nor skips more than a day.
    instant = wall.replace(tzinfo=UTC) - timedelta(days=1)
    while instant.astimezone(zone).replace(tzinfo=None) < wall:
        instant += MINUTE
    return instant


@cache
def clock_changes(zone: ZoneInfo, first_year: int, last_year: int) -> list[datetime]:
    """Every instant in these years at which the zone's offset from UTC becomes another."""
    end = datetime(last_year + 1, 1, 1, tzinfo=UTC)
    days = [datetime(first_year, 1, 1, tzinfo=UTC)]
    while days[-1] < end:
        days.append(days[-1] + timedelta(days=1))
    changes = []
    for day, next_day in pairwise(days):
        if day.astimezone(zone).utcoffset() == next_day.astimezone(zone).utcoffset():
            continue
        instant = day
        while instant.astimezone(zone).utcoffset() == day.astimezone(zone).utcoffset():
            instant += MINUTE
        changes.append(instant)
    return changes


def zones_that_differ(first_year: int, last_year: int) -> list[str]:
    """One zone for each history of the clock in these years, of all zones there are."""
    names: dict[tuple[object, ...], str] = {}
    for name in sorted(available_timezones() - {"Factory", "localtime"}):
        changes = clock_changes(ZoneInfo(name), first_year, last_year)
        offsets = (change.astimezone(ZoneInfo(name)).utcoffset() for change in changes)
        names.setdefault((*changes, *offsets), name)
    return sorted(names.values())
