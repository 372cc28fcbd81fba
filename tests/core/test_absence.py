"""What the silence of a look-up proves, call by call: the rules of `core.absence`."""

from datetime import UTC, datetime, timedelta

import pytest

from apollo.core.absence import (
    LISTED_FOR,
    OF_THAT_TIME,
    Look,
    OtherCall,
    Place,
    calls_beside,
    conclude,
    needs_proof,
    worth,
    worth_of_list,
)
from apollo.core.events import CallVanished, QuarantineOver
from apollo.core.model import Deadlines, OnUnresolved
from apollo.core.states import CallState

ASKED_AT = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)
NOW = ASKED_AT + timedelta(minutes=3)
SECOND = timedelta(seconds=1)


def other(
    name: str, asked: float, ended: float | None = None, *, has_rung: bool = True
) -> OtherCall:
    """Another call; seconds before (negative) or after the missing one was asked for."""
    ended_at = None if ended is None else ASKED_AT + ended * SECOND
    return OtherCall(name, ASKED_AT + asked * SECOND, ended_at, has_rung)


def names(place: Place, *others: OtherCall, now: datetime = NOW) -> tuple[list[str], list[str]]:
    before, after = calls_beside(place, ASKED_AT, others, now)
    return [x.provider_call_id for x in before], [x.provider_call_id for x in after]


def look(place: Place, known: str, *others: OtherCall) -> Look:
    return worth(calls_beside(place, ASKED_AT, others, NOW), set(known.split()))


def test_the_list_is_judged_by_what_was_over_before_and_what_was_asked_for_later() -> None:
    over, up, later = other("over", -60, -20), other("up", -60, 30), other("later", 10)
    assert names(Place.LIVE_LIST, over, up, later) == (["over"], ["later"])


def test_records_are_judged_by_calls_that_rang_and_have_been_over_for_long_enough() -> None:
    others = [
        other("before", -60, 40),
        other("after", 10, 60),
        other("refused", -20, -19, has_rung=False),
        other("just over", 20, 170),
        other("up", -10),
    ]
    assert names(Place.RECORDS, *others) == (["before"], ["after"])


def test_only_the_three_nearest_of_each_side_count() -> None:
    before = [other(f"b{n}", -100 - n, -10.0 * n) for n in range(1, 6)]
    after = [other(f"a{n}", 7.0 * n) for n in range(1, 6)]
    assert names(Place.LIVE_LIST, *after, *before) == (["b1", "b2", "b3"], ["a1", "a2", "a3"])


@pytest.mark.parametrize("place", Place)
def test_calls_of_another_time_say_nothing(place: Place) -> None:
    far = OF_THAT_TIME.total_seconds() + 1
    others = [other("before", -far - 1, -far), other("after", far, far + 1)]
    assert names(place, *others, now=NOW + timedelta(hours=0.4)) == ([], [])


def test_the_list_need_not_know_what_it_may_have_forgotten_by_now() -> None:
    over, later = other("over", -60, -20), other("later", 10, 20)
    assert names(Place.LIVE_LIST, over, later, now=ASKED_AT + LISTED_FOR) == ([], ["later"])


@pytest.mark.parametrize("place", Place)
@pytest.mark.parametrize(
    ("known", "look_is"),
    [
        # Redis is away: the list is empty.
        ("", Look.BLIND),
        # It came back without what it had: only what was written since is there.
        ("a1 a2 a3", Look.BLIND),
        # It takes nothing new, or lost its last minutes.
        ("b1 b2 b3", Look.BLIND),
        ("b1 a1 a2 a3", Look.BLIND),
        # One record or another is always lost.
        ("b1 b3 a2 a3", Look.SIGHTED),
        ("b1 b2 b3 a1 a2 a3", Look.SIGHTED),
    ],
)
def test_a_place_is_sighted_if_it_knows_most_calls_on_both_sides(
    place: Place, known: str, look_is: Look
) -> None:
    before = [other(f"b{n}", -90 - n, -10.0 * n) for n in (1, 2, 3)]
    after = [other(f"a{n}", 7.0 * n, 8.0 * n) for n in (1, 2, 3)]
    assert look(place, known, *before, *after) is look_is


def test_half_of_two_is_not_most() -> None:
    others = [other("b1", -90, -10), other("b2", -90, -20), other("a1", 5, 6)]
    assert look(Place.LIVE_LIST, "b1 a1", *others) is Look.BLIND


@pytest.mark.parametrize(
    ("listed", "look_is"),
    [
        ("e1 e2 e3", Look.SIGHTED),
        ("e2 e3 old", Look.SIGHTED),
        ("e3 old", Look.BLIND),
        ("up", Look.BLIND),
    ],
)
def test_after_a_restore_the_list_has_to_know_the_calls_that_ended_last(
    listed: str, look_is: Look
) -> None:
    ended = [other(f"e{n}", -90 - n, -10.0 * n) for n in (1, 2, 3)]
    others = [*ended, other("old", -200, -150), other("up", -60)]
    assert worth_of_list(others, set(listed.split()), NOW) is look_is


def test_a_database_without_calls_of_late_can_judge_no_list() -> None:
    long_over = other("over", -90, -20)
    now = ASKED_AT + LISTED_FOR
    assert worth_of_list([long_over, other("up", -60)], {"over", "up"}, now) is Look.ALONE


@pytest.mark.parametrize("others", [(), (other("b1", -90, -10),), (other("a1", 5, 6),)])
def test_the_only_call_of_a_time_is_alone(others: tuple[OtherCall, ...]) -> None:
    for place in Place:
        assert look(place, "b1 a1", *others) is Look.ALONE


RULES = Deadlines(
    ring_timeout=timedelta(seconds=30),
    time_limit=timedelta(minutes=30),
    quarantine=timedelta(minutes=10),
    on_unresolved=OnUnresolved.RELEASE,
)
LONGEST = timedelta(seconds=30 + 1800 + 120)


@pytest.mark.parametrize(
    ("was_answered", "is_proven", "age", "may_retry"),
    [
        # Nobody answered, and it is certainly gone: at its deadline.
        (False, True, timedelta(minutes=2.5), True),
        # Not certain: only when it would be over had somebody answered it, and then nobody calls.
        (False, False, LONGEST - SECOND, None),
        (False, False, LONGEST, False),
        # Somebody answered: no retry follows in any case.
        (True, False, timedelta(minutes=2.5), False),
    ],
)
def test_a_vanished_call_leads_to_another_one_only_with_proof(
    age: timedelta, *, was_answered: bool, is_proven: bool, may_retry: bool | None
) -> None:
    event = conclude(
        state=CallState.ANSWERED if was_answered else CallState.ACCEPTED,
        was_answered=was_answered,
        age=age,
        read_at=NOW,
        deadlines=RULES,
        is_proven=is_proven,
    )
    assert (event is None) == (may_retry is None)
    assert event is None or (isinstance(event, CallVanished) and event.may_retry is may_retry)


@pytest.mark.parametrize("policy", OnUnresolved)
@pytest.mark.parametrize("is_proven", [True, False])
def test_an_unknown_call_is_released_by_policy_only_with_proof(
    policy: OnUnresolved, *, is_proven: bool
) -> None:
    rules = Deadlines(RULES.ring_timeout, RULES.time_limit, RULES.quarantine, policy)

    def after(age: timedelta) -> object:
        return conclude(
            state=CallState.UNKNOWN,
            was_answered=False,
            age=age,
            read_at=NOW,
            deadlines=rules,
            is_proven=is_proven,
        )

    assert after(RULES.quarantine - SECOND) is None
    event = after(RULES.quarantine)
    assert isinstance(event, QuarantineOver)
    assert event.may_retry == (is_proven and policy is OnUnresolved.RELEASE)


def test_proof_is_asked_for_only_where_a_retry_may_follow() -> None:
    asked = {
        (state, was_answered, policy)
        for state in (CallState.ACCEPTED, CallState.ANSWERED, CallState.UNKNOWN)
        for was_answered in (True, False)
        for policy in OnUnresolved
        if needs_proof(state, was_answered=was_answered, policy=policy)
    }
    assert all(not answered or state is CallState.UNKNOWN for state, answered, _ in asked)
    assert (CallState.ACCEPTED, False, OnUnresolved.HOLD) in asked
    assert (CallState.UNKNOWN, False, OnUnresolved.RELEASE) in asked
    assert (CallState.UNKNOWN, False, OnUnresolved.HOLD) not in asked
