"""Calling hours: when a campaign may dial, and what a wall time given to us means as an instant.

This module turns a weekly table in a campaign's own zone into UTC instants, so that nobody else
needs to know about zones, daylight saving or midnight. The rule for the two odd hours of a year is
one sentence: a window opens the last time its start is reached and closes the first time its end
is. It must never read a clock (`now` is an argument), never answer with a local time, and
never let a database interpret a zone.
"""

import re
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from difflib import get_close_matches
from functools import lru_cache
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from apollo.core.bounds import instant
from apollo.core.zones import known_zone
from apollo.errors import FieldError, Invalid

WEEKDAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")

# A weekly table repeats after 7 days, so windows that still adjoin after 8 never close.
_HORIZON: Final = 8
# A table whose only window falls into a gap opens a week later; a year and a month is ample.
_SEARCH_DAYS: Final = 400
# Seven days, and as many again that are misspelt.
_NAMES_MAX: Final = 14
# Windows are looked for around a date; at the very ends of the calendar there is no "around".
_READABLE: Final = (datetime(2, 1, 1, tzinfo=UTC), datetime(9997, 1, 1, tzinfo=UTC))
_DAY_MIN: Final = 24 * 60

_CLOCK: Final = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])|24:00")
_DATE_TIME: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ]([01][0-9]|2[0-3]):[0-9]{2}(:[0-9]{2}(\.[0-9]+)?)?"
    r"([Zz]|[+-]([01][0-9]|2[0-3]):[0-5][0-9])?"
)
_CLOCK_HINT: Final = "write HH:MM on the 24-hour clock, such as 09:00"
_DATE_TIME_HINT: Final = (
    "write 2026-05-10T09:00:00 for the campaign's timezone, "
    "or add an offset: 2026-05-10T09:00:00+05:30, 2026-05-10T03:30:00Z"
)
# Longer than any time or zone name; enough to recognise one's own value, and to find its like.
_SHOWN_MAX: Final = 40


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of time in which dialling is allowed: aware UTC, start inclusive, end exclusive."""

    opens_at: datetime
    closes_at: datetime

    def contains(self, instant: datetime) -> bool:
        """Whether dialling is allowed at this instant."""
        return self.opens_at <= instant < self.closes_at


# The answer where hours are not enforced; both ends fit PostgreSQL's timestamptz and Python.
ALWAYS: Final = Window(datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC))


class DayHours(NamedTuple):
    """One weekday's hours in minutes after its midnight; past 1440 is the day after."""

    start_min: int
    end_min: int


# Monday first; None is a closed day.
Week = tuple[DayHours | None, ...]


@dataclass(frozen=True, slots=True)
class WorkingHours:
    """A campaign's weekly table, checked; equal tables are equal values."""

    enforced: bool
    zone: ZoneInfo
    week: Week

    def window_at(self, now: datetime) -> Window | None:
        """The window open at this aware instant, or None; an endless one is cut after 8 days."""
        if not self.enforced:
            return ALWAYS
        around = _windows_around(self.zone, self.week, _local_date(now, self.zone))
        return next((window for window in around if window.contains(now)), None)

    def next_window(self, now: datetime) -> Window | None:
        """The window open at this aware instant, else the next one; None if 400 days have none."""
        if not self.enforced:
            return ALWAYS
        today = _local_date(now, self.zone)
        for days in range(0, _SEARCH_DAYS, _HORIZON):
            for window in _windows_around(self.zone, self.week, today + timedelta(days=days)):
                if now < window.closes_at:
                    return window
        return None


def _local_date(now: datetime, zone: ZoneInfo) -> date:
    """Return the local date, of the last years that dates can tell one that has room behind it."""
    return min(max(now, _READABLE[0]), _READABLE[1]).astimezone(zone).date()


# Claims ask a thousand times a second; an entry is a few windows, and campaigns number thousands.
@lru_cache(maxsize=8192)
def _windows_around(zone: ZoneInfo, week: Week, today: date) -> tuple[Window, ...]:
    """All windows that start within 8 local days of this date, in order and apart."""
    walls = []
    for offset in range(-_HORIZON, _HORIZON + 1):
        day = today + timedelta(days=offset)
        if hours := week[day.weekday()]:
            midnight = datetime.combine(day, time.min)
            start, end = (midnight + timedelta(minutes=minute) for minute in hours)
            walls.append((start, end))
    # Joined as wall times first, so that a clock set back across midnight tears no hole between
    # two days; then as instants, because a gap can swallow what lay between two windows.
    instants = (
        (_last_reading(start, zone), _first_reading(end, zone)) for start, end in _joined(walls)
    )
    real = ((opens_at, closes_at) for opens_at, closes_at in instants if opens_at < closes_at)
    return tuple(Window(opens_at, closes_at) for opens_at, closes_at in _joined(real))


def _joined(spans: Iterable[tuple[datetime, datetime]]) -> list[tuple[datetime, datetime]]:
    """Join spans, sorted by their start, that overlap or touch."""
    joined: list[tuple[datetime, datetime]] = []
    for start, end in spans:
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((start, end))
    return joined


def _first_reading(wall: datetime, zone: ZoneInfo) -> datetime:
    """The first instant at which the zone's clock comes to this wall time, or leaps over it."""
    return _reading(wall.replace(tzinfo=zone, fold=0))


def _last_reading(wall: datetime, zone: ZoneInfo) -> datetime:
    """The last instant at which the zone's clock comes to this wall time, or leaps over it."""
    return _reading(wall.replace(tzinfo=zone, fold=1))


def _reading(local: datetime) -> datetime:
    instant = local.astimezone(UTC)
    # zoneinfo accepts a wall time inside a gap without a word; the way back shows it.
    if instant.astimezone(local.tzinfo).replace(tzinfo=None) == local.replace(tzinfo=None):
        return instant
    # Read with the offset after the gap it lies before the change, with the one before it after.
    before = local.replace(fold=1).astimezone(UTC)
    after = local.replace(fold=0).astimezone(UTC)
    old_offset = before.astimezone(local.tzinfo).utcoffset()

    def has_changed(second: int) -> bool:
        instant = before + timedelta(seconds=second)
        return instant.astimezone(local.tzinfo).utcoffset() != old_offset

    gap = range(int((after - before).total_seconds()))
    return before + timedelta(seconds=bisect_left(gap, True, key=has_changed))


def parse_working_hours(
    table: Mapping[str, object], *, enforced: bool, timezone: str
) -> WorkingHours:
    """Check a weekly table as a client sent it; raises Invalid naming every wrong field at once."""
    if len(table) > _NAMES_MAX:  # each name would be compared with all weekdays
        raise Invalid([_fault(f"has {len(table)} keys; write {', '.join(WEEKDAYS)}")])
    errors: list[FieldError] = []
    week: dict[str, DayHours | None] = dict.fromkeys(WEEKDAYS)
    for name, day in table.items():
        if name in week:
            week[name] = _parse_day(name, day, errors)
        else:
            near = get_close_matches(name[:_SHOWN_MAX].lower(), WEEKDAYS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"write one of {', '.join(WEEKDAYS)}"
            errors.append(_fault(f"{_shown(name)} is not a weekday; {hint}", name))
    if enforced and not errors and not any(week.values()):
        errors.append(
            _fault(
                "working hours are enforced but no day is enabled, so no call could ever be placed;"
                " enable a day or set working_hours_enforced to false"
            )
        )
    try:
        zone = known_zone(timezone)
    except Invalid as unknown:
        raise Invalid(unknown.errors + errors) from None
    if errors:
        raise Invalid(errors)
    return WorkingHours(enforced=enforced, zone=zone, week=tuple(week.values()))


def _parse_day(name: str, day: object, errors: list[FieldError]) -> DayHours | None:
    """Read one weekday, adding to `errors`; None for a day that is closed or wrong."""
    if not isinstance(day, Mapping):
        errors.append(_fault('must be an object: {"start": "09:00", "end": "18:00"}', name))
        return None
    faults = [
        _fault(f"{_shown(key)} is not known here; a day has start, end and enabled", name, str(key))
        for key in day
        if key not in {"start", "end", "enabled"}
    ]
    enabled = day.get("enabled", True)
    if not isinstance(enabled, bool):
        faults.append(_fault(f"{_shown(enabled)} is neither true nor false", name, "enabled"))
    minutes: list[int] = []
    for key in ("start", "end"):
        text = day.get(key)
        if text is None and enabled is False:
            continue  # a closed day needs no hours, but those it has must be readable
        minute = _minute_of_day(text) if isinstance(text, str) else None
        if text is None:
            faults.append(_fault(f"is missing; {_CLOCK_HINT}", name, key))
        elif minute is None:
            end_hint = ", or 24:00" if key == "end" else ""
            faults.append(_fault(f"{_shown(text)} is no time; {_CLOCK_HINT}{end_hint}", name, key))
        elif key == "start" and minute == _DAY_MIN:
            faults.append(_fault("24:00 can only be an end; a day starts at 00:00", name, key))
        else:
            minutes.append(minute)
    if not faults and enabled and minutes[0] == minutes[1]:
        hint = "for the whole day write start 00:00 and end 24:00, for none enabled false"
        faults.append(_fault(f"is the same as start; {hint}", name, "end"))
    errors += faults
    if faults or not enabled:
        return None
    start, end = minutes
    return DayHours(start, end if start < end else end + _DAY_MIN)


def _minute_of_day(text: str) -> int | None:
    if not _CLOCK.fullmatch(text):
        return None
    return int(text[:2]) * 60 + int(text[3:])


def local_start(
    value: str | datetime, timezone: str, *, field: str = "scheduled_start"
) -> datetime:
    """The instant a client means, in UTC and whole seconds; raises Invalid naming `field`.

    With an offset it is converted. Without one it is wall time in this zone: one that a spring gap
    skips becomes the first instant after the gap, one that autumn shows twice is the earlier.
    """
    zone = known_zone(timezone)
    try:
        given = _parse_date_time(value) if isinstance(value, str) else value
    except ValueError as error:
        msg = f"{_shown(value)} is no date and time ({error}); {_DATE_TIME_HINT}"
        raise Invalid.field(field, msg) from None
    given = given.replace(microsecond=0)
    try:
        return _first_reading(given, zone) if given.utcoffset() is None else instant(given)
    except (OverflowError, ValueError):
        msg = f"{_shown(str(value))} lies outside the years 1 to 9999 once converted to UTC"
        raise Invalid.field(field, msg) from None


def _parse_date_time(text: str) -> datetime:
    # fromisoformat also takes week dates, bare dates, digits alone and, from Python 3.14, 24:00.
    if not _DATE_TIME.fullmatch(text):
        raise ValueError("not in RFC 3339 form")
    return datetime.fromisoformat(text.upper())


def _fault(msg: str, *where: str) -> FieldError:
    return FieldError(("body", "working_hours", *where), msg)


def _shown(value: object) -> str:
    """What the client wrote, short enough for an error text."""
    text = repr(value)
    return text if len(text) <= _SHOWN_MAX else text[:_SHOWN_MAX] + "…"
