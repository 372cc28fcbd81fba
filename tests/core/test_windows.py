"""Calling hours: ordinary days, each odd hour of the year by hand, and a second opinion."""

import os
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from timeit import repeat
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.core.window_oracle import Table, clock_changes, open_stretches, zones_that_differ

from apollo.core.windows import (
    ALWAYS,
    WEEKDAYS,
    Window,
    WorkingHours,
    parse_working_hours,
)

FULL = os.environ.get("APOLLO_TEST_FULL") == "1"
A_SECOND = timedelta(seconds=1)
AN_ORDINARY_DAY = datetime(2026, 3, 29, 1, tzinfo=UTC)
HALF_A_SCAN = timedelta(hours=36)


def week(**days: str) -> Table:
    """week(monday="09:00-18:00", every="…"): `every` is for the days not named."""
    rest = days.pop("every", None)
    table: Table = {}
    for day in WEEKDAYS:
        if hours := days.get(day, rest):
            start, end = hours.split("-")
            table[day] = {"start": start, "end": end, "enabled": True}
    return table


def enforced(table: Table, zone: str = "UTC") -> WorkingHours:
    return parse_working_hours(table, enforced=True, timezone=zone)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def windows_between(hours: WorkingHours, first: datetime, last: datetime) -> list[Window]:
    found = []
    at = first
    while at < last and (window := hours.next_window(at)) and window.opens_at < last:
        found.append(window)
        at = window.closes_at
    return found


def clipped(windows: list[Window], first: datetime, last: datetime) -> list[tuple[datetime, ...]]:
    return [(max(w.opens_at, first), min(w.closes_at, last)) for w in windows]


def test_a_window_includes_its_start_and_excludes_its_end() -> None:
    hours = enforced(week(monday="09:00-18:00"))
    window = Window(utc("2025-06-02T09:00"), utc("2025-06-02T18:00"))
    assert hours.window_at(window.opens_at) == window
    assert hours.window_at(window.closes_at - timedelta(microseconds=1)) == window
    assert hours.window_at(window.opens_at - timedelta(microseconds=1)) is None
    assert hours.window_at(window.closes_at) is None


def test_the_window_is_the_same_whatever_zone_now_is_written_in() -> None:
    hours = enforced(week(monday="09:00-18:00"), "Asia/Kolkata")
    now = utc("2025-06-02T03:30")
    opens = Window(now, utc("2025-06-02T12:30"))
    assert hours.window_at(now.astimezone(ZoneInfo("Pacific/Auckland"))) == opens
    assert hours.next_window(now.astimezone(timezone(timedelta(hours=-9)))) == opens
    assert opens.opens_at.tzinfo is UTC


def test_next_window_is_the_one_that_is_open_else_the_one_that_opens_next() -> None:
    hours = enforced(week(monday="09:00-18:00", thursday="10:00-11:00"))
    monday = Window(utc("2025-06-02T09:00"), utc("2025-06-02T18:00"))
    thursday = Window(utc("2025-06-05T10:00"), utc("2025-06-05T11:00"))
    next_monday = Window(utc("2025-06-09T09:00"), utc("2025-06-09T18:00"))
    assert hours.next_window(monday.opens_at - A_SECOND) == monday
    assert hours.next_window(monday.opens_at) == monday
    assert hours.next_window(monday.closes_at) == thursday
    assert hours.next_window(thursday.closes_at) == next_monday


def test_a_missing_weekday_and_a_disabled_one_are_closed_and_enabled_is_the_default() -> None:
    table: Table = {
        "monday": {"start": "09:00", "end": "18:00"},
        "tuesday": {"start": "09:00", "end": "18:00", "enabled": False},
        "wednesday": {"enabled": False},
        "thursday": {"start": "00:00", "end": "00:00", "enabled": False},
    }
    found = windows_between(enforced(table), utc("2025-06-02T00:00"), utc("2025-06-09T00:00"))
    assert found == [Window(utc("2025-06-02T09:00"), utc("2025-06-02T18:00"))]


def test_hours_that_are_not_enforced_are_always_open() -> None:
    for table in ({}, week(monday="09:00-18:00")):
        hours = parse_working_hours(table, enforced=False, timezone="UTC")
        assert hours.window_at(utc("2025-06-01T03:00")) is ALWAYS
        assert hours.next_window(utc("2025-06-01T03:00")) is ALWAYS
    assert ALWAYS.contains(utc("2025-06-01T03:00"))


def test_a_week_without_open_days_has_no_next_window() -> None:
    closed = WorkingHours(enforced=True, zone=ZoneInfo("UTC"), week=(None,) * 7)
    assert closed.window_at(utc("2025-06-01T03:00")) is None
    assert closed.next_window(utc("2025-06-01T03:00")) is None


def test_a_window_over_midnight_belongs_to_the_day_it_starts_on() -> None:
    hours = enforced(week(friday="22:00-02:00"))
    night = Window(utc("2025-06-06T22:00"), utc("2025-06-07T02:00"))
    assert hours.window_at(utc("2025-06-07T01:59")) == night
    assert hours.window_at(utc("2025-06-06T01:00")) is None
    assert hours.next_window(utc("2025-06-07T02:00")) == Window(
        utc("2025-06-13T22:00"), utc("2025-06-14T02:00")
    )


@pytest.mark.parametrize("end", ["24:00", "00:00"])
def test_midnight_can_be_written_both_ways_as_an_end(end: str) -> None:
    hours = enforced(week(friday=f"22:00-{end}"))
    assert hours.window_at(utc("2025-06-06T23:59:59")) == Window(
        utc("2025-06-06T22:00"), utc("2025-06-07T00:00")
    )


@pytest.mark.parametrize(
    ("friday", "saturday"),
    [
        ("09:00-24:00", "00:00-12:00"),
        ("09:00-02:00", "02:00-12:00"),
        ("09:00-05:00", "03:00-12:00"),
        ("09:00-08:00", "07:00-12:00"),
    ],
)
def test_windows_that_touch_or_overlap_are_one(friday: str, saturday: str) -> None:
    hours = enforced(week(friday=friday, saturday=saturday))
    whole = Window(utc("2025-06-06T09:00"), utc("2025-06-07T12:00"))
    assert hours.window_at(whole.opens_at) == whole
    assert hours.window_at(utc("2025-06-07T00:00")) == whole
    assert hours.window_at(whole.closes_at - A_SECOND) == whole


def test_a_window_inside_the_night_before_does_not_shorten_it() -> None:
    hours = enforced(week(friday="09:00-08:00", saturday="01:00-02:00"))
    assert hours.window_at(utc("2025-06-07T01:30")) == Window(
        utc("2025-06-06T09:00"), utc("2025-06-07T08:00")
    )


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/Havana", "Africa/Cairo"])
def test_a_table_open_day_and_night_never_closes_within_eight_days(zone: str) -> None:
    hours = enforced(week(every="00:00-24:00"), zone)
    start = utc("2025-01-01T00:00")
    for now in (start + timedelta(hours=7 * n) for n in range(1300)):
        window = hours.window_at(now)
        assert window is not None
        assert window.contains(now)
        assert window.closes_at - now >= timedelta(days=8)
        assert hours.next_window(now) == window


def test_a_window_of_almost_a_week_is_whole_from_wherever_it_is_asked_for() -> None:
    hours = enforced(week(every="00:00-24:00", sunday="00:00-23:59"))
    window = Window(utc("2025-06-02T00:00"), utc("2025-06-08T23:59"))
    for now in (window.opens_at, utc("2025-06-05T12:00"), window.closes_at - A_SECOND):
        assert hours.window_at(now) == window
    assert hours.next_window(utc("2025-06-01T23:59")) == window


# The odd hours of the year. Every row is the complete list of windows in the three days around
# the change, worked out by hand; the oracle must agree with the hand as well.

ODD_HOURS = {
    "berlin spring, start in the gap": (
        "Europe/Berlin", "2025-03-30T01:00", week(sunday="02:30-10:00"),
        [("2025-03-30T01:00", "2025-03-30T08:00")],
    ),
    "berlin spring, end in the gap": (
        "Europe/Berlin", "2025-03-30T01:00", week(saturday="20:00-02:30"),
        [("2025-03-29T19:00", "2025-03-30T01:00")],
    ),
    "berlin spring, all of it in the gap": (
        "Europe/Berlin", "2025-03-30T01:00", week(every="02:10-02:50"),
        [("2025-03-29T01:10", "2025-03-29T01:50"), ("2025-03-31T00:10", "2025-03-31T00:50")],
    ),
    "berlin spring, the gap is all that lay between": (
        "Europe/Berlin", "2025-03-30T01:00", week(saturday="20:00-02:15", sunday="02:45-04:00"),
        [("2025-03-29T19:00", "2025-03-30T02:00")],
    ),
    "berlin autumn, start shown twice": (
        "Europe/Berlin", "2025-10-26T01:00", week(sunday="02:30-10:00"),
        [("2025-10-26T01:30", "2025-10-26T09:00")],
    ),
    "berlin autumn, end shown twice": (
        "Europe/Berlin", "2025-10-26T01:00", week(saturday="20:00-02:30"),
        [("2025-10-25T18:00", "2025-10-26T00:30")],
    ),
    "berlin autumn, all of it shown twice": (
        "Europe/Berlin", "2025-10-26T01:00", week(sunday="02:10-02:50", monday="09:00-10:00"),
        [("2025-10-27T08:00", "2025-10-27T09:00")],
    ),
    "berlin autumn, the repeated hour lies inside": (
        "Europe/Berlin", "2025-10-26T01:00", week(sunday="00:00-24:00"),
        [("2025-10-25T22:00", "2025-10-26T23:00")],
    ),
    "berlin autumn, windows that touch in the repeated hour": (
        "Europe/Berlin", "2025-10-26T01:00", week(saturday="20:00-02:30", sunday="02:30-04:00"),
        [("2025-10-25T18:00", "2025-10-26T03:00")],
    ),
    "new york spring": (
        "America/New_York", "2025-03-09T07:00", week(sunday="02:30-21:00"),
        [("2025-03-09T07:00", "2025-03-10T01:00")],
    ),
    "new york autumn, from the first minute shown twice": (
        "America/New_York", "2025-11-02T06:00", week(sunday="01:00-02:00"),
        [("2025-11-02T06:00", "2025-11-02T07:00")],
    ),
    "new york autumn, until the first minute shown twice": (
        "America/New_York", "2025-11-02T06:00", week(sunday="00:00-01:00"),
        [("2025-11-02T04:00", "2025-11-02T05:00")],
    ),
    "lord howe spring, half an hour is missing": (
        "Australia/Lord_Howe", "2025-10-04T15:30", week(sunday="02:15-09:00"),
        [("2025-10-04T15:30", "2025-10-04T22:00")],
    ),
    "lord howe autumn, half an hour comes twice": (
        "Australia/Lord_Howe", "2025-04-05T15:00",
        week(saturday="20:00-01:40", sunday="01:50-09:00"),
        [("2025-04-05T09:00", "2025-04-05T14:40"), ("2025-04-05T15:20", "2025-04-05T22:30")],
    ),
    "cairo spring, there is no midnight": (
        "Africa/Cairo", "2025-04-24T22:00", week(friday="00:00-12:00"),
        [("2025-04-24T22:00", "2025-04-25T09:00")],
    ),
    "cairo spring, until a midnight there is not": (
        "Africa/Cairo", "2025-04-24T22:00", week(thursday="09:00-24:00"),
        [("2025-04-24T07:00", "2025-04-24T22:00")],
    ),
    "cairo autumn, the last hour of thursday comes twice": (
        "Africa/Cairo", "2025-10-30T21:00", week(thursday="09:00-23:30"),
        [("2025-10-30T06:00", "2025-10-30T20:30")],
    ),
    "cairo autumn, until midnight, which comes once": (
        "Africa/Cairo", "2025-10-30T21:00", week(thursday="09:00-24:00"),
        [("2025-10-30T06:00", "2025-10-30T22:00")],
    ),
    "havana autumn, midnight comes twice": (
        "America/Havana", "2025-11-02T05:00", week(saturday="09:00-24:00"),
        [("2025-11-01T13:00", "2025-11-02T04:00")],
    ),
    "havana autumn, from the second midnight": (
        "America/Havana", "2025-11-02T05:00", week(sunday="00:00-12:00"),
        [("2025-11-02T05:00", "2025-11-02T17:00")],
    ),
    "havana autumn, through both midnights": (
        "America/Havana", "2025-11-02T05:00", week(saturday="09:00-24:00", sunday="00:00-12:00"),
        [("2025-11-01T13:00", "2025-11-02T17:00")],
    ),
    "casablanca, ramadan begins: the clock goes back": (
        "Africa/Casablanca", "2025-02-23T02:00", week(sunday="02:30-18:00"),
        [("2025-02-23T02:30", "2025-02-23T18:00")],
    ),
    "casablanca, ramadan is over: the clock leaps": (
        "Africa/Casablanca", "2025-04-06T02:00", week(sunday="02:30-18:00"),
        [("2025-04-06T02:00", "2025-04-06T17:00")],
    ),
    "gaza spring": (
        "Asia/Gaza", "2025-04-12T00:00", week(saturday="02:30-08:00"),
        [("2025-04-12T00:00", "2025-04-12T05:00")],
    ),
    "gaza autumn": (
        "Asia/Gaza", "2025-10-24T23:00", week(friday="20:00-01:30", saturday="01:45-08:00"),
        [("2025-10-24T17:00", "2025-10-24T22:30"), ("2025-10-24T23:45", "2025-10-25T06:00")],
    ),
    "apia, a friday that never was": (
        "Pacific/Apia", "2011-12-30T10:00", week(thursday="09:00-18:00", friday="09:00-18:00"),
        [("2011-12-29T19:00", "2011-12-30T04:00")],
    ),
    "apia, over the midnight after which it was saturday": (
        "Pacific/Apia", "2011-12-30T10:00", week(thursday="22:00-02:00"),
        [("2011-12-30T08:00", "2011-12-30T10:00")],
    ),
    "kolkata never changes": (
        "Asia/Kolkata", "2025-03-30T01:00", week(sunday="09:00-18:00"),
        [("2025-03-30T03:30", "2025-03-30T12:30")],
    ),
    "sao paulo no longer changes": (
        "America/Sao_Paulo", "2025-11-02T03:00", week(sunday="00:00-12:00"),
        [("2025-11-02T03:00", "2025-11-02T15:00")],
    ),
}  # fmt: skip


@pytest.mark.parametrize("example", ODD_HOURS)
def test_an_odd_hour_gives_the_windows_worked_out_by_hand(example: str) -> None:
    zone, change, table, expected = ODD_HOURS[example]
    first, last = utc(change) - HALF_A_SCAN, utc(change) + HALF_A_SCAN
    by_hand = [(utc(opens_at), utc(closes_at)) for opens_at, closes_at in expected]
    found = windows_between(enforced(table, zone), first, last)
    assert clipped(found, first, last) == by_hand
    assert open_stretches(table, ZoneInfo(zone), first, last) == by_hand


def test_a_window_swallowed_by_a_gap_opens_the_week_after() -> None:
    hours = enforced(week(sunday="02:10-02:50"), "Europe/Berlin")
    assert hours.next_window(utc("2025-03-23T02:00")) == Window(
        utc("2025-04-06T00:10"), utc("2025-04-06T00:50")
    )


# Against the oracle

FEW_ZONES = [
    "Africa/Cairo",
    "Africa/Casablanca",
    "America/Havana",
    "America/New_York",
    "America/Nuuk",
    "Asia/Gaza",
    "Asia/Kolkata",
    "Australia/Lord_Howe",
    "Europe/Berlin",
]
YEARS = (2025, 2030) if FULL else (2026, 2026)
ZONES = zones_that_differ(*YEARS) if FULL else FEW_ZONES
thorough = settings(
    max_examples=300 if FULL else 12,
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)


def minutes_near(zone: ZoneInfo, change: datetime) -> st.SearchStrategy[int]:
    """Minutes of the day, most of them near what the clock shows on both sides of the change."""
    sides = [change.astimezone(zone), (change - A_SECOND).astimezone(zone) + A_SECOND]
    near = st.builds(
        lambda side, shift: (side.hour * 60 + side.minute + shift) % 1440,
        st.sampled_from(sides),
        st.integers(-65, 65),
    )
    return near | near | st.integers(0, 1439)


@st.composite
def tables(draw: st.DrawFn, minutes: st.SearchStrategy[int]) -> Table:
    def clock(minute: int) -> str:
        return f"{minute // 60:02}:{minute % 60:02}"

    table: Table = {}
    for name in WEEKDAYS:
        start = draw(minutes)
        end = draw(minutes | st.just(1440))
        if start == end:
            end = start + 1
        enabled = draw(st.sampled_from([True, True, True, False]))
        table[name] = {"start": clock(start), "end": clock(end), "enabled": enabled}
    table[draw(st.sampled_from(WEEKDAYS))]["enabled"] = True
    return table


@pytest.mark.parametrize("name", ZONES)
@thorough
@given(data=st.data())
def test_the_oracle_finds_the_same_windows_around_every_change_of_the_clock(
    name: str, data: st.DataObject
) -> None:
    zone = ZoneInfo(name)
    change = data.draw(st.sampled_from(clock_changes(zone, *YEARS) or [AN_ORDINARY_DAY]))
    table = data.draw(tables(minutes_near(zone, change)))
    hours = enforced(table, name)
    first, last = change - HALF_A_SCAN, change + HALF_A_SCAN
    found = windows_between(hours, first, last)
    assert clipped(found, first, last) == open_stretches(table, zone, first, last)
    for window in found:
        assert hours.window_at(window.opens_at) == window
        assert hours.window_at(window.closes_at - A_SECOND) == window
    for window, later in pairwise(found):
        assert window.closes_at < later.opens_at
        assert hours.window_at(window.closes_at) is None
        assert hours.window_at(later.opens_at - A_SECOND) is None


def test_asking_for_the_window_is_cheap_enough_for_every_claim() -> None:
    hours = enforced(week(every="09:00-18:00"), "Europe/Berlin")
    nows = [utc("2025-03-29T00:00") + timedelta(minutes=3 * n) for n in range(1000)]
    rounds = repeat(lambda: [hours.window_at(now) for now in nows], number=1, repeat=5)
    # A thousand claims a second may spend a twentieth of it here; the best round is the honest one.
    assert min(rounds) / len(nows) < 50e-6
