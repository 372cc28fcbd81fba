"""When it will be over, against cases counted by hand and against slots that are played out."""

import heapq
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from apollo.core.diagnosis.forecast import Forecast, Group, Measured, Work, forecast
from apollo.core.windows import parse_working_hours

_AT = datetime(2026, 5, 12, 10, 0, tzinfo=UTC)
_ALWAYS = parse_working_hours({}, enforced=False, timezone="UTC")
_DAYS = parse_working_hours(
    {
        "tuesday": {"start": "09:00", "end": "11:00"},
        "wednesday": {"start": "09:00", "end": "18:00"},
    },
    enforced=True,
    timezone="UTC",
)
_WORK = Work(
    waiting=[],
    measured=Measured((20.0,) * 40, 0.0),
    cooldown=timedelta(minutes=1),
    hours=_ALWAYS,
    ring=timedelta(),
    slots=20,
)


def _ready(contacts: float, retries: int = 0, *, first_s: float = 0, last_s: float = 0) -> Group:
    first, last = timedelta(seconds=first_s), timedelta(seconds=last_s)
    return Group(contacts, retries, _AT + first, _AT + last)


def _takes(work: Work) -> float:
    found = forecast(work, _AT)
    assert found is not None
    return (found.finish_at - _AT).total_seconds()


@pytest.mark.parametrize(
    ("ready", "out_s", "takes_s"), [(100, None, 100), (60, 4, 76), (20, 5, 35), (0, 15, 5)]
)
def test_a_hundred_calls_of_twenty_seconds_on_twenty_slots_take_a_hundred_seconds(
    ready: int, out_s: float | None, takes_s: float
) -> None:
    out = [] if out_s is None else [(out_s, 0)] * 20
    assert _takes(replace(_WORK, waiting=[_ready(ready)], out=out)) == pytest.approx(takes_s, 0.05)


def test_sixty_busy_people_with_two_retries_after_a_minute_take_two_cooldowns() -> None:
    work = replace(_WORK, measured=Measured((3.0,) * 40, 1.0))
    assert _takes(replace(work, waiting=[_ready(60, 2)])) == pytest.approx(135, 0.05)
    # Half a minute later all cool down: due after 33 to 39 s, and one more retry each.
    cooling = _ready(60, 1, first_s=33, last_s=39)
    assert _takes(replace(work, waiting=[cooling])) == pytest.approx(105, 0.05)
    last = _ready(60, 0, first_s=26, last_s=32)
    assert _takes(replace(work, waiting=[last])) == pytest.approx(35, 0.05)


def test_the_end_of_a_batch_comes_first_and_says_whom_it_leaves_out() -> None:
    ends_at = _AT + timedelta(seconds=60)
    work = replace(_WORK, waiting=[_ready(180)], out=[(0.0, 0)] * 20, ends_at=ends_at)
    assert forecast(work, _AT) == Forecast(ends_at, 140)
    assert forecast(replace(work, ends_at=_AT + timedelta(seconds=201)), _AT) == Forecast(
        _AT + timedelta(seconds=200), 0
    )


def test_retries_that_come_after_the_end_of_a_batch_are_not_reached() -> None:
    ends_at = _AT + timedelta(seconds=50)
    work = replace(_WORK, measured=Measured((3.0,) * 40, 1.0), waiting=[_ready(60, 2)])
    assert forecast(replace(work, ends_at=ends_at), _AT) == Forecast(ends_at, 60)


def test_what_does_not_fit_into_the_hours_goes_on_in_the_next() -> None:
    # 3600 s of dialling are left on Tuesday; 5400 are needed.
    work = replace(_WORK, waiting=[_ready(5400)], hours=_DAYS)
    found = forecast(work, _AT)
    assert found == Forecast(datetime(2026, 5, 13, 9, 30, tzinfo=UTC))


def test_a_pace_slower_than_the_slots_decides() -> None:
    assert _takes(replace(_WORK, waiting=[_ready(100)], per_second=0.5)) == pytest.approx(200, 0.1)


def test_calls_that_outlast_all_that_ended_make_it_the_earliest_instant() -> None:
    measured = Measured((3.0,) * 19 + (4.0,), 1.0)
    assert measured.is_outlasted([1.0, 30.0])
    assert not measured.is_outlasted([1.0, 3.0])
    assert not measured.is_outlasted([])


def _played_s(rng: random.Random, contacts: int, work: Work, retries: int) -> float:
    """Play every call out, with lengths and endings drawn from what was measured."""
    slots = [0.0] * int(work.slots)
    ready = [(0.0, n, retries) for n in range(contacts)]
    over = 0.0
    while ready:
        at, n, left = heapq.heappop(ready)
        begins = max(heapq.heappop(slots), at)
        ends = begins + rng.choice(work.measured.holds)
        heapq.heappush(slots, ends)
        over = max(over, ends)
        if left and rng.random() < work.measured.retry_share:
            heapq.heappush(ready, (ends + work.cooldown.total_seconds(), n, left - 1))
    return over


def test_it_is_true_to_a_fifth_where_every_call_is_played_out() -> None:
    seed = 15
    print("seed", seed)  # noqa: T201 - shown by a red test
    rng = random.Random(seed)
    for _ in range(60):
        holds = tuple(
            sorted(rng.choice((5.0, 20.0, 30.0, 60.0)) * rng.uniform(0.7, 1.3) for _ in range(60))
        )
        work = replace(
            _WORK,
            measured=Measured(holds, rng.choice((0.0, 0.2, 0.5, 1.0))),
            slots=rng.choice((2, 5, 20)),
            cooldown=timedelta(seconds=rng.choice((10, 60, 600))),
        )
        contacts, retries = rng.choice((20, 100, 400)), rng.choice((0, 1, 3))
        played = sorted(_played_s(rng, contacts, work, retries) for _ in range(9))
        said = _takes(replace(work, waiting=[_ready(contacts, retries)]))
        told = (contacts, retries, work.slots, work.cooldown, work.measured.retry_share)
        assert played[0] * 0.8 <= said <= played[-1] * 1.2, (told, said, played)
