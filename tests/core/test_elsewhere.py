"""Numbers of a list that lie in another time zone than the campaign's hours."""

from datetime import UTC, datetime

import pytest

from apollo.core.elsewhere import Elsewhere, HoursIn

SUMMER = datetime(2026, 7, 1, 12, tzinfo=UTC)
INDIA, SYDNEY, LONDON, LISBON = "+919876543211", "+61291570156", "+442079460018", "+351211234567"
NEW_YORK, HONOLULU = "+12125550143", "+18085550143"


@pytest.mark.parametrize(
    ("zone", "numbers", "elsewhere"),
    [
        ("Europe/London", [INDIA, SYDNEY, HONOLULU, LONDON], 3),
        # Another zone with the same time is not elsewhere.
        ("Europe/London", [LISBON, LONDON], 0),
        ("America/New_York", [NEW_YORK, HONOLULU], 1),
        # A mobile number of Australia may be anywhere in it.
        ("Australia/Perth", ["+61491570156"], 0),
        (None, [INDIA], 0),
    ],
)
def test_numbers_of_another_time_are_counted(
    zone: str | None, numbers: list[str], elsewhere: int
) -> None:
    found = Elsewhere(HoursIn(zone, SUMMER) if zone else None)
    for number in numbers:
        found.add(number)
    assert found.numbers == elsewhere
    assert bool(found.warnings()) is bool(elsewhere)


def test_the_warning_says_how_many_where_and_what_to_do() -> None:
    found = Elsewhere(HoursIn("Europe/London", SUMMER))
    for number in (INDIA, LONDON):
        found.add(number)
    (warning,) = found.warnings()
    assert warning["code"] == "numbers_in_other_zones"
    assert warning["text"].startswith("Make a campaign for each time zone")
    assert "1 of 2 numbers lie" in warning["text"]
    assert "for example in Asia/Calcutta" in warning["text"]
