"""How sure a recovery is: counted by what is known to have been."""

from datetime import UTC, datetime, timedelta

import pytest

from apollo.core.absence import OtherCall
from apollo.core.certainty import Certainty, Known, measure

NOW = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)


def over(name: str, minutes_ago: float, *, has_rung: bool = True) -> OtherCall:
    ended_at = NOW - timedelta(minutes=minutes_ago)
    return OtherCall(name, ended_at - timedelta(minutes=1), ended_at, has_rung)


def test_each_place_is_measured_by_what_it_has_to_know() -> None:
    before = [
        over("just now", 0.5),
        over("early", 30),
        over("refused", 30, has_rung=False),
        # The list has forgotten it, rightly.
        over("long ago", 55),
        OtherCall("up", NOW - timedelta(minutes=3), None, has_rung=True),
    ]
    sure = measure(before, {"just now", "early", "up"}, {"early"}, NOW)
    assert sure == Certainty(live_list=Known(4, 3), records=Known(2, 1))


@pytest.mark.parametrize(
    ("live_list", "records", "is_blind"),
    [
        # Redis is away, and the record store lost most: nothing is proven.
        (Known(10, 0), Known(10, 5), True),
        (Known(10, 0), Known(0, 0), True),
        # One of them knows its calls.
        (Known(10, 0), Known(10, 9), False),
        (Known(10, 10), Known(10, 0), False),
        # Nothing to measure by is no sign of anything.
        (Known(0, 0), Known(0, 0), False),
    ],
)
def test_look_ups_are_blind_when_no_place_knows_most_of_what_it_should(
    live_list: Known, records: Known, *, is_blind: bool
) -> None:
    sure = Certainty(live_list, records)
    assert sure.is_blind is is_blind
    assert sure.is_measured is bool(live_list.of + records.of)


@pytest.mark.parametrize(
    ("records", "found", "missing"), [((40, 37), 118, 10), ((40, 40), 118, 0), ((40, 0), 118, 0)]
)
def test_the_share_of_lost_records_says_how_many_calls_may_be_missing(
    records: tuple[int, int], found: int, missing: int
) -> None:
    assert Certainty(Known(0, 0), Known(*records)).likely_missing(found) == missing
