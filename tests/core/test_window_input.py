"""What clients write about time: weekly tables, zone names and start times, good and bad."""

import os
import re
from datetime import UTC, datetime, timedelta, timezone
from time import monotonic
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.core.window_oracle import clock_changes, first_shown

from apollo.core import zones
from apollo.core.windows import (
    DayHours,
    WorkingHours,
    local_start,
    parse_working_hours,
)
from apollo.core.zones import check_timezone
from apollo.errors import Invalid

FULL = os.environ.get("APOLLO_TEST_FULL") == "1"
GOOD = {"start": "09:00", "end": "18:00", "enabled": True}


def faults(table: dict[str, object], zone: str = "UTC", *, enforced: bool = True) -> dict[str, str]:
    with pytest.raises(Invalid) as refused:
        parse_working_hours(table, enforced=enforced, timezone=zone)
    assert {error.loc[0] for error in refused.value.errors} == {"body"}
    found = {".".join(map(str, error.loc[1:])): error.msg for error in refused.value.errors}
    assert len(found) == len(refused.value.errors), "one error for each wrong field"
    return found


# Weekly tables


def test_a_good_table_becomes_minutes_of_the_day() -> None:
    table = {
        "monday": GOOD,
        "tuesday": {"start": "00:00", "end": "24:00"},
        "friday": {"start": "22:00", "end": "06:30", "enabled": True},
        "sunday": {**GOOD, "enabled": False},
    }
    hours = parse_working_hours(table, enforced=True, timezone="Asia/Kolkata")
    monday, tuesday, friday = DayHours(540, 1080), DayHours(0, 1440), DayHours(1320, 1830)
    assert hours == WorkingHours(
        enforced=True,
        zone=ZoneInfo("Asia/Kolkata"),
        week=(monday, tuesday, None, None, friday, None, None),
    )


@pytest.mark.parametrize(
    "text", ["9:00", "09:60", "25:00", "24:01", "0900", "09:00:00", "", "\u0660\u0669:00"]
)
@pytest.mark.parametrize("key", ["start", "end"])
def test_a_time_that_is_not_hh_mm_is_refused_with_an_example(key: str, text: str) -> None:
    found = faults({"monday": {**GOOD, key: text}})
    assert found.keys() == {f"working_hours.monday.{key}"}
    msg = found[f"working_hours.monday.{key}"]
    assert msg.startswith(f"{text!r} is no time; write HH:MM on the 24-hour clock, such as 09:00")
    assert ("24:00" in msg.removeprefix(repr(text))) == (key == "end")


@pytest.mark.parametrize("wrong", [900, 9.5, True, ["09:00"], {"hour": 9}])
def test_a_time_that_is_no_text_is_refused(wrong: object) -> None:
    found = faults({"monday": {**GOOD, "start": wrong}})
    assert found["working_hours.monday.start"].startswith(f"{wrong!r} is no time; write HH:MM")


def test_midnight_at_the_end_of_a_day_cannot_be_a_start() -> None:
    found = faults({"monday": {"start": "24:00", "end": "08:00"}})
    assert found == {
        "working_hours.monday.start": "24:00 can only be an end; a day starts at 00:00"
    }


def test_equal_start_and_end_are_refused_with_both_things_that_may_be_meant() -> None:
    found = faults({"monday": {"start": "00:00", "end": "00:00"}})
    assert found == {
        "working_hours.monday.end": "is the same as start; for the whole day write start 00:00 "
        "and end 24:00, for none enabled false"
    }


@pytest.mark.parametrize("day", [{"end": "18:00"}, {"start": None, "end": "18:00"}])
def test_an_open_day_without_a_start_is_refused(day: dict[str, object]) -> None:
    found = faults({"monday": day})
    assert found == {
        "working_hours.monday.start": "is missing; write HH:MM on the 24-hour clock, such as 09:00"
    }


def test_a_closed_day_may_lack_hours_but_not_have_unreadable_ones() -> None:
    day = {"start": "noon", "enabled": False}
    assert faults({"tuesday": GOOD, "monday": day}).keys() == {"working_hours.monday.start"}


@pytest.mark.parametrize("wrong", ["yes", 1, None])
def test_enabled_must_be_true_or_false(wrong: object) -> None:
    found = faults({"monday": {**GOOD, "enabled": wrong}})
    assert found == {"working_hours.monday.enabled": f"{wrong!r} is neither true nor false"}


@pytest.mark.parametrize("wrong", [None, "09:00-18:00", ["09:00", "18:00"], True])
def test_a_day_that_is_no_object_is_refused(wrong: object) -> None:
    assert faults({"monday": wrong})["working_hours.monday"].startswith("must be an object: {")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("Monday", "did you mean monday?"),
        ("wensday", "did you mean wednesday?"),
        ("lundi", "write one of monday, tuesday, wednesday, thursday, friday, saturday, sunday"),
        ("x" * 10_000, "write one of monday"),
    ],
)
def test_an_unknown_weekday_is_refused_with_the_nearest(name: str, hint: str) -> None:
    found = faults({name: GOOD, "tuesday": GOOD})
    assert found.keys() == {f"working_hours.{name}"}
    assert f"is not a weekday; {hint}" in found[f"working_hours.{name}"]
    assert len(found[f"working_hours.{name}"]) < 200


def test_an_unknown_key_of_a_day_is_refused() -> None:
    found = faults({"monday": {**GOOD, "breaks": []}})
    assert found == {
        "working_hours.monday.breaks": "'breaks' is not known here; "
        "a day has start, end and enabled"
    }


@pytest.mark.parametrize("table", [{}, {"monday": {**GOOD, "enabled": False}}])
def test_enforced_hours_without_an_open_day_are_refused(table: dict[str, object]) -> None:
    assert "no day is enabled" in faults(table)["working_hours"]
    assert not parse_working_hours(table, enforced=False, timezone="UTC").enforced


def test_a_table_is_checked_even_when_it_is_not_enforced() -> None:
    found = faults({"monday": {**GOOD, "end": "6 pm"}}, enforced=False)
    assert found.keys() == {"working_hours.monday.end"}


def test_every_wrong_field_is_named_at_once() -> None:
    table = {
        "monday": {"start": "9", "end": "18", "enabled": "on", "note": ""},
        "tuesday": {},
        "sundai": GOOD,
    }
    assert faults(table, "Europe/Berln").keys() == {
        "timezone",
        "working_hours.monday.start",
        "working_hours.monday.end",
        "working_hours.monday.enabled",
        "working_hours.monday.note",
        "working_hours.tuesday.start",
        "working_hours.tuesday.end",
        "working_hours.sundai",
    }


# Zone names


@pytest.mark.parametrize("name", ["UTC", "Asia/Kolkata", "Asia/Calcutta", "America/Indiana/Knox"])
def test_names_the_iana_data_knows_are_taken(name: str) -> None:
    assert check_timezone(name) is ZoneInfo(name)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("Europe/Berln", "did you mean Europe/Berlin"),
        ("europe/berlin", "did you mean Europe/Berlin?"),
        ("new york", "did you mean America/New_York?"),
        ("Kolkata", "did you mean Asia/Kolkata?"),
        ("Asia/Kolkatta", "did you mean Asia/Kolkata"),
        ("utc", "did you mean UTC?"),
        ("", "write one such as"),
        ("Europe", "write one such as"),
        ("localtime", ""),
        ("Factory", ""),
        ("posixrules", ""),
        ("../../etc/passwd", ""),
        ("/etc/localtime", ""),
        ("Europe/Berlin\0", "did you mean Europe/Berlin"),
        ("\ud800", ""),
        ("Z" * 10_000, "write one such as"),
    ],
)
def test_an_unknown_zone_is_refused_with_the_nearest(name: str, hint: str) -> None:
    with pytest.raises(Invalid) as refused:
        check_timezone(name)
    (error,) = refused.value.errors
    assert error.loc == ("body", "timezone")
    assert "is not an IANA timezone; " in error.msg
    assert hint in error.msg
    assert len(error.msg) < 200


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("EST", "did you mean America/New_York, America/Toronto or America/Panama?"),
        ("MST", "did you mean America/Denver or America/Phoenix?"),
        ("HST", "did you mean Pacific/Honolulu?"),
        ("EST5EDT", "did you mean America/New_York"),
        ("CET", "did you mean Europe/Berlin"),
        ("GMT", "did you mean Europe/London, Africa/Accra or UTC?"),
        # In the Etc/ family a plus is behind UTC.
        ("Etc/GMT+5", "did you mean America/New_York"),
        ("Etc/GMT-1", "did you mean Europe/"),
        ("Etc/GMT0", "did you mean Europe/London"),
        ("Etc/GMT-14", "write one such as"),
        ("GMT-5", "did you mean America/New_York"),
        ("GMT+5", "did you mean Asia/Karachi?"),
        ("UTC+5", "did you mean Asia/Karachi?"),
        ("GMT+5:30", "did you mean Asia/Kolkata?"),
        ("+0530", "did you mean Asia/Kolkata?"),
        ("+05:30", "did you mean Asia/Kolkata?"),
        ("IST", "did you mean Asia/Kolkata, Europe/Dublin or Asia/Jerusalem?"),
        ("ist", "did you mean Asia/Kolkata, Europe/Dublin or Asia/Jerusalem?"),
        ("BST", "did you mean Europe/London or Asia/Dhaka?"),
        ("PST", "did you mean America/Los_Angeles or America/Vancouver?"),
        ("CST", "did you mean America/Chicago, America/Mexico_City or Asia/Shanghai?"),
        ("Zulu", "did you mean UTC?"),
        ("+99:99", "write one such as"),
    ],
)
def test_a_name_without_a_place_is_refused_with_the_places_it_may_mean(
    name: str, hint: str
) -> None:
    with pytest.raises(Invalid) as refused:
        check_timezone(name)
    (error,) = refused.value.errors
    assert error.loc == ("body", "timezone")
    assert "names no place, so it does not say when its clocks change; " in error.msg
    assert hint in error.msg


def test_every_place_that_is_proposed_is_taken() -> None:
    assert all(
        check_timezone(place) for places in zones._BY_ABBREVIATION.values() for place in places
    )


def test_no_fixed_offset_but_utc_is_taken() -> None:
    """A place may have had one offset for years; a name that is an offset says nothing of it."""
    taken = [name for name in available_timezones() if name in zones._places()]
    assert len(taken) > 400
    assert not [name for name in taken if re.search(r"GMT|[A-Z]{3}[0-9]", name)]
    assert sorted(name for name in taken if "UTC" in name) == ["Etc/UTC", "UTC"]


def test_a_zone_that_was_accepted_once_is_read_as_it_was_meant() -> None:
    noon = datetime(2026, 7, 1, 12, tzinfo=UTC)
    assert local_start("2026-07-01T07:00:00", "EST") == noon
    table = {"wednesday": GOOD}
    assert parse_working_hours(table, enforced=True, timezone="EST").window_at(noon) is None


def test_a_huge_name_is_refused_without_a_long_search() -> None:
    huge = "Z" * 20_000_000
    began = monotonic()
    assert faults({huge: GOOD}, huge).keys() == {"timezone", f"working_hours.{huge}"}
    assert monotonic() - began < 2, "seconds spent looking for what is like a huge name"


# Start times


@pytest.mark.parametrize(
    ("value", "zone", "expected"),
    [
        ("2026-05-10T09:00:00", "Asia/Kolkata", "2026-05-10T03:30:00"),
        ("2026-05-10T09:00", "Asia/Kolkata", "2026-05-10T03:30:00"),
        ("2026-05-10 09:00:00", "UTC", "2026-05-10T09:00:00"),
        ("2026-05-10T09:00:00Z", "Asia/Kolkata", "2026-05-10T09:00:00"),
        ("2026-05-10t09:00:00z", "Asia/Kolkata", "2026-05-10T09:00:00"),
        ("2026-05-10T09:00:00-04:00", "Asia/Kolkata", "2026-05-10T13:00:00"),
        ("2026-05-10T09:00:00.999999999+05:30", "UTC", "2026-05-10T03:30:00"),
        ("0001-01-01T00:00:00Z", "Asia/Kolkata", "0001-01-01T00:00:00"),
        # a wall time that spring skips is the first instant after the gap, whatever its minute
        ("2025-03-30T02:00:00", "Europe/Berlin", "2025-03-30T01:00:00"),
        ("2025-03-30T02:59:59", "Europe/Berlin", "2025-03-30T01:00:00"),
        ("2025-03-30T03:00:00", "Europe/Berlin", "2025-03-30T01:00:00"),
        ("2025-10-05T02:10:00", "Australia/Lord_Howe", "2025-10-04T15:30:00"),
        ("2025-04-25T00:30:00", "Africa/Cairo", "2025-04-24T22:00:00"),
        ("2011-12-30T12:00:00", "Pacific/Apia", "2011-12-30T10:00:00"),
        # one that autumn shows twice is the earlier, unless an offset says which
        ("2025-10-26T02:30:00", "Europe/Berlin", "2025-10-26T00:30:00"),
        ("2025-10-26T02:30:00+01:00", "Europe/Berlin", "2025-10-26T01:30:00"),
        ("2025-11-02T00:00:00", "America/Havana", "2025-11-02T04:00:00"),
    ],
)
def test_a_start_time_becomes_the_instant_the_client_means(
    value: str, zone: str, expected: str
) -> None:
    start = local_start(value, zone)
    assert start == datetime.fromisoformat(expected).replace(tzinfo=UTC)
    assert start.tzinfo is UTC


def test_a_start_time_may_already_be_a_datetime() -> None:
    naive = datetime(2025, 10, 26, 2, 30, 0, 5, fold=1)  # noqa: DTZ001 - naive is what is tested
    aware = datetime(2025, 10, 26, 2, 30, 0, 5, tzinfo=timezone(timedelta(hours=1)))
    assert local_start(naive, "Europe/Berlin") == datetime(2025, 10, 26, 0, 30, tzinfo=UTC)
    assert local_start(aware, "Europe/Berlin") == datetime(2025, 10, 26, 1, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "tomorrow",
        "2026-05-10",
        "20260510T090000",
        "2026-W19-7T09:00",
        "10.05.2026 09:00",
        "2026-05-10T9:00",
        "2026-02-30T09:00:00",
        "2026-05-10T24:00:00",
        "2026-05-10T09:00:60",
        "2026-05-10T09:00:00+24:00",
        "2026-05-10T09:00:00 +05:30",
        "2026-05-10T09:00:00Z\n",
        "\u0662026-05-10T09:00:00",
        "9" * 1_000_000,
    ],
)
def test_what_is_no_date_and_time_is_refused_with_examples(value: str) -> None:
    with pytest.raises(Invalid) as refused:
        local_start(value, "Europe/Berlin")
    (error,) = refused.value.errors
    assert error.loc == ("body", "scheduled_start")
    assert "is no date and time" in error.msg
    assert "2026-05-10T09:00:00+05:30" in error.msg
    assert len(error.msg) < 300


@pytest.mark.parametrize(
    ("value", "zone"),
    [
        ("0001-01-01T00:00:00", "Asia/Kolkata"),
        ("0001-01-01T00:00:00+05:30", "UTC"),
        ("9999-12-31T23:59:59", "America/New_York"),
        ("9999-12-31T23:59:59-05:00", "UTC"),
    ],
)
def test_a_start_time_off_the_calendar_is_refused(value: str, zone: str) -> None:
    with pytest.raises(Invalid, match="outside the years 1 to 9999"):
        local_start(value, zone)


def test_another_field_can_be_named_and_an_unknown_zone_is_refused() -> None:
    with pytest.raises(Invalid) as refused:
        local_start("soon", "UTC", field="ends_at")
    assert refused.value.errors[0].loc == ("body", "ends_at")
    with pytest.raises(Invalid, match="timezone"):
        local_start("2026-05-10T09:00:00", "Mars/Olympus")


CHANGES = [
    (zone, change)
    for zone in ("Africa/Cairo", "America/Havana", "Australia/Lord_Howe", "Europe/Berlin")
    for change in clock_changes(ZoneInfo(zone), 2026, 2030 if FULL else 2026)
]


@settings(max_examples=2000 if FULL else 60, deadline=None, database=None, print_blob=True)
@given(st.sampled_from(CHANGES), st.integers(-180, 180))
def test_the_oracle_sees_the_clock_reach_a_wall_time_at_the_same_instant(
    near: tuple[str, datetime], shift: int
) -> None:
    zone, change = near
    wall = change.astimezone(ZoneInfo(zone)).replace(tzinfo=None) + timedelta(minutes=shift)
    expected = first_shown(wall, ZoneInfo(zone))
    assert local_start(wall, zone) == expected
    assert local_start(wall.isoformat(), zone) == expected
