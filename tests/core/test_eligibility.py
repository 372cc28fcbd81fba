import uuid
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apollo.core.eligibility import (
    BatchLoad,
    CampaignFacts,
    DialNow,
    Wait,
    choose_caller_ids,
    grant_pace,
    may_dial,
    share_slots,
)
from apollo.core.model import NumberStrategy
from apollo.core.reasons import Reason
from apollo.core.windows import parse_working_hours

MONDAY_NOON = datetime(2026, 5, 11, 12, 0, tzinfo=UTC)
NUMBERS = ["+919876543210", "+919876543211", "+919876543212"]
HOURS = parse_working_hours(
    {"monday": {"start": "09:00", "end": "18:00"}}, enforced=True, timezone="UTC"
)
FREE_CAMPAIGN = CampaignFacts(
    is_stopped=False,
    is_recovering=False,
    is_cancelled=False,
    is_paused=False,
    working_hours=HOURS,
)


# ------------------------------------------------------------------------------ may it dial now?


def test_an_open_window_is_the_answer() -> None:
    verdict = may_dial(FREE_CAMPAIGN, MONDAY_NOON)
    assert isinstance(verdict, DialNow)
    assert verdict.window.contains(MONDAY_NOON)


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        (replace(FREE_CAMPAIGN, is_paused=True), Reason.CAMPAIGN_PAUSED),
        (replace(FREE_CAMPAIGN, is_stopped=True, is_paused=True), Reason.DIALLING_STOPPED),
        (replace(FREE_CAMPAIGN, is_recovering=True, is_paused=True), Reason.RECOVERY_MODE),
        (
            replace(FREE_CAMPAIGN, is_cancelled=True, is_stopped=True, is_recovering=True),
            Reason.CANCELLED,
        ),
    ],
)
def test_what_somebody_wanted_comes_before_the_clock(facts: CampaignFacts, reason: Reason) -> None:
    assert may_dial(facts, MONDAY_NOON) == Wait(reason, None)
    assert may_dial(facts, MONDAY_NOON + timedelta(hours=12)) == Wait(reason, None)


def test_a_closed_window_says_when_it_opens() -> None:
    at_opening = MONDAY_NOON + timedelta(days=7, hours=-3)
    verdict = may_dial(FREE_CAMPAIGN, MONDAY_NOON + timedelta(hours=6))
    assert verdict == Wait(Reason.OUTSIDE_WINDOW, at_opening)


def test_hours_without_any_day_never_open() -> None:
    hours = replace(HOURS, week=(None,) * 7)
    verdict = may_dial(replace(FREE_CAMPAIGN, working_hours=hours), MONDAY_NOON)
    assert verdict == Wait(Reason.WINDOW_NEVER_OPENS, None)


# -------------------------------------------------------------------------------- sharing slots


@st.composite
def loads(draw: st.DrawFn) -> list[BatchLoad]:
    return [
        BatchLoad(
            batch_id=uuid.UUID(int=n),
            concurrency_limit=draw(st.integers(1, 12)),
            open_calls=draw(st.integers(0, 14)),
            ready=draw(st.integers(0, 20)),
        )
        for n in range(draw(st.integers(0, 6)))
    ]


@given(loads(), st.integers(-3, 60))
def test_shares_stay_within_every_bound_and_waste_nothing(
    batches: list[BatchLoad], free: int
) -> None:
    given_out = dict(share_slots(batches, free))
    assert len(given_out) == len(share_slots(batches, free))
    could = 0
    for batch in batches:
        take = given_out.get(batch.batch_id, 0)
        room = max(min(batch.concurrency_limit - batch.open_calls, batch.ready), 0)
        assert 0 <= take <= room
        could += room
    assert all(take > 0 for take in given_out.values())
    assert sum(given_out.values()) == min(max(free, 0), could)


@given(loads(), st.integers(0, 60))
def test_no_batch_gets_a_slot_that_a_less_busy_one_could_have_used(
    batches: list[BatchLoad], free: int
) -> None:
    given_out = dict(share_slots(batches, free))
    for taker in batches:
        take = given_out.get(taker.batch_id, 0)
        if not take:
            continue
        # How busy it was just before its last slot.
        busy = (taker.open_calls + take - 1) / taker.concurrency_limit
        for other in batches:
            has = given_out.get(other.batch_id, 0)
            now_open = other.open_calls + has
            if now_open < other.concurrency_limit and has < other.ready:
                assert now_open / other.concurrency_limit >= busy


def test_two_equal_batches_share_equally() -> None:
    batches = [BatchLoad(uuid.UUID(int=n), 10, 0, 100) for n in range(2)]
    assert share_slots(batches, 8) == [(uuid.UUID(int=0), 4), (uuid.UUID(int=1), 4)]


def test_a_freed_slot_goes_to_the_batch_with_the_fewest_calls_for_its_limit() -> None:
    busy = BatchLoad(uuid.UUID(int=1), 10, 5, 100)
    idle = BatchLoad(uuid.UUID(int=2), 100, 20, 100)
    assert share_slots([busy, idle], 1) == [(idle.batch_id, 1)]


# ----------------------------------------------------------------------------------- caller ids


def choose(
    strategy: NumberStrategy, count: int, *, used: int = 0, loads: dict[str, int] | None = None
) -> list[str]:
    return choose_caller_ids(
        strategy, NUMBERS, count=count, used=used, loads=loads or {}, random=Random(7)
    )


@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 50))
def test_round_robin_goes_on_where_the_last_claim_stopped(used: int, one: int, two: int) -> None:
    both = choose(NumberStrategy.ROUND_ROBIN, one + two, used=used)
    first = choose(NumberStrategy.ROUND_ROBIN, one, used=used)
    second = choose(NumberStrategy.ROUND_ROBIN, two, used=used + one)
    assert first + second == both
    counts = Counter(both)
    assert max(counts.values(), default=0) - min((counts[n] for n in NUMBERS), default=0) <= 1


def test_random_draws_from_the_given_source_and_uses_every_number() -> None:
    drawn = choose(NumberStrategy.RANDOM, 100)
    assert set(drawn) == set(NUMBERS)
    assert drawn == choose(NumberStrategy.RANDOM, 100)


@given(st.lists(st.integers(0, 20), min_size=3, max_size=3), st.integers(0, 60))
def test_least_loaded_evens_out_and_breaks_ties_in_list_order(
    open_calls: list[int], count: int
) -> None:
    before = dict(zip(NUMBERS, open_calls, strict=True))
    now = Counter(before)
    for number in choose(NumberStrategy.LEAST_LOADED, count, loads=before):
        assert number == min(NUMBERS, key=lambda n: (now[n], NUMBERS.index(n)))
        now[number] += 1


@pytest.mark.parametrize("strategy", list(NumberStrategy))
def test_every_call_gets_one_of_the_campaigns_numbers(strategy: NumberStrategy) -> None:
    chosen = choose(strategy, 17, used=3, loads={"+14155550123": 9})
    assert len(chosen) == 17
    assert set(chosen) <= set(NUMBERS)
    assert choose(strategy, 0) == []


# ----------------------------------------------------------------------------------------- pace


@given(st.integers(1, 500), st.floats(0.0, 5.0), st.floats(0.05, 500.0))
def test_no_request_is_booked_further_than_a_second_ahead(
    wanted: int, booked_ahead_s: float, per_second: float
) -> None:
    granted = grant_pace(wanted, booked_ahead_s=booked_ahead_s, per_second=per_second)
    assert 0 <= granted <= wanted
    assert (granted == 0) == (booked_ahead_s >= 1.0)
    if granted:
        last_leaves_in_s = booked_ahead_s + (granted - 1) / per_second
        assert last_leaves_in_s < 1.0 + 1e-9


@given(st.floats(0.2, 300.0), st.integers(0, 2**32))
def test_over_time_the_pace_is_kept_and_not_exceeded(per_second: float, seed: int) -> None:
    random, now, booked_until, sent = Random(seed), 0.0, 0.0, 0
    while now < 30.0:
        ahead = max(booked_until - now, 0.0)
        granted = grant_pace(64, booked_ahead_s=ahead, per_second=per_second)
        booked_until = max(booked_until, now) + granted / per_second
        sent += granted
        now += random.uniform(0.0, 0.2)
    # At most a second is booked ahead of the time that has passed; gaps come from slow asking.
    assert sent <= (now + 1.0) * per_second + 1
    assert sent >= 0.7 * min(per_second, 64 / 0.2) * 29.0 - 1
