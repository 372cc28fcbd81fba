"""Where and when runs take place: zones, days on which clocks change, and calling hours near them.

The answer to "was this instant inside the hours?" comes from the second, slow oracle of
`tests/core/window_oracle.py`, never from the code under test.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from random import Random
from typing import Any, Final
from zoneinfo import ZoneInfo

from tests.core.window_oracle import Table, open_stretches

DAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
# A zone, and the local instant at which its clock changes (or an ordinary midnight).
CHANGES: Final = (
    ("Asia/Kolkata", datetime(2026, 5, 11, 0, 0)),  # noqa: DTZ001 - a wall time
    ("Europe/Berlin", datetime(2026, 3, 29, 2, 0)),  # noqa: DTZ001 - a wall time
    ("Europe/Berlin", datetime(2026, 10, 25, 3, 0)),  # noqa: DTZ001 - a wall time
    ("America/New_York", datetime(2026, 3, 8, 2, 0)),  # noqa: DTZ001 - a wall time
    ("America/New_York", datetime(2026, 11, 1, 2, 0)),  # noqa: DTZ001 - a wall time
    ("America/Havana", datetime(2026, 3, 8, 0, 0)),  # noqa: DTZ001 - a wall time
    ("Africa/Cairo", datetime(2026, 10, 30, 0, 0)),  # noqa: DTZ001 - a wall time
    ("Australia/Lord_Howe", datetime(2026, 10, 4, 2, 0)),  # noqa: DTZ001 - a wall time
    ("Asia/Beirut", datetime(2026, 3, 29, 0, 0)),  # noqa: DTZ001 - a wall time
)


@dataclass(frozen=True)
class Place:
    """A campaign's zone and hours, and the instant at which the run begins."""

    zone: str
    start: datetime
    hours: str  # the shape of the table, a key for the cache
    change: datetime

    @property
    def is_enforced(self) -> bool:
        """Tell whether there are calling hours at all."""
        return self.hours != "none"

    def table(self) -> dict[str, Any]:
        """Give the weekly table."""
        return table_of(self.hours, self.change)


def choose(dice: Random) -> Place:
    """Draw a place; most runs have no hours, because hours mean waiting."""
    zone, change = dice.choice(CHANGES)
    before = timedelta(minutes=dice.choice((5, 20, 45, 70)))
    start = (change - before).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
    hours = dice.choice(("none", "none", "none", "closes", "opens", "over_midnight"))
    return Place(zone, start, hours, change)


def table_of(hours: str, change: datetime) -> dict[str, Any]:
    """Make a weekly table whose edges lie around the change of the clock."""
    today = DAYS[change.weekday()]
    yesterday = DAYS[(change - timedelta(days=1)).weekday()]

    def at(minutes: int) -> str:
        return f"{change + timedelta(minutes=minutes):%H:%M}"

    if hours == "none":
        return {}
    table: dict[str, Any] = {day: {"start": "00:00", "end": "24:00"} for day in DAYS}
    if hours == "closes":
        # Closes in the odd hour, and opens again next midnight.
        table[today] = {"start": "00:00", "end": at(30)}
    elif hours == "opens":
        table[yesterday] = {"start": "00:00", "end": "23:50"}
        table[today] = {"start": at(30), "end": "24:00"}
    else:
        # From the evening into the odd hour; a quarter of an hour later the next window.
        table[yesterday] = {"start": "20:00", "end": at(15)}
        table[today] = {"start": at(45), "end": "24:00"}
    return table


def stretches(place: Place) -> list[tuple[float, float]]:
    """Give the open stretches around the change in virtual seconds, from the oracle."""
    return [
        ((opens - place.start).total_seconds(), (closes - place.start).total_seconds())
        for opens, closes in _stretches(place.zone, place.hours, place.change)
    ]


@lru_cache(maxsize=256)  # a second of work for each, and there are few
def _stretches(zone: str, hours: str, change: datetime) -> tuple[tuple[datetime, datetime], ...]:
    around = change.replace(hour=0, minute=0, tzinfo=UTC)
    first, last = around - timedelta(hours=42), around + timedelta(hours=66)
    table: Table = table_of(hours, change)
    return tuple(open_stretches(table, ZoneInfo(zone), first, last))
