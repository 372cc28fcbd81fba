"""The request budget: what dialling may use of it, and what it must leave."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apollo.core.request_budget import Budget, Load, allow

FULL = Budget(remaining=600, reset_s=300.0, limit=600, said_s_ago=0.0)


def test_an_idle_connection_keeps_twenty_requests_and_spreads_the_rest() -> None:
    allowance = allow(FULL, Load())
    assert allowance.kept == 20
    assert allowance.per_second == pytest.approx(580 / 300)


def test_what_is_kept_grows_with_the_open_calls_and_a_tenth() -> None:
    allowance = allow(FULL, Load(open_calls=200))
    assert allowance.kept == 220
    assert allowance.per_second == pytest.approx(380 / 300)


def test_requests_on_their_way_count_as_used() -> None:
    assert allow(FULL, Load(open_calls=5, placing=5)).per_second == pytest.approx(575 / 300)


def test_when_the_rest_is_kept_nothing_more_is_placed() -> None:
    assert allow(Budget(22, 40.0, 60, 0.0), Load(open_calls=20)).most == 0
    assert allow(Budget(20, 40.0, 60, 0.0), Load()).most == 0


def test_a_provider_that_allows_few_requests_keeps_half_of_them() -> None:
    allowance = allow(Budget(25, 60.0, 25, 0.0), Load())
    assert (allowance.kept, allowance.most) == (12, 11)


def test_what_was_said_a_while_ago_is_tried_with_one_request() -> None:
    assert allow(Budget(600, 290.0, 600, 10.1), Load()).most == 1


LIMITS = st.none() | st.integers(1, 10_000)


@given(st.integers(0, 10_000), st.integers(0, 5_000), st.integers(0, 64), LIMITS)
def test_after_all_that_is_allowed_every_open_call_can_still_be_hung_up(
    remaining: int, open_calls: int, placing: int, limit: int | None
) -> None:
    load = Load(open_calls=open_calls + placing, placing=placing)
    most = allow(Budget(remaining, 60.0, limit, 0.0), load).most
    left = remaining - placing - most
    if most:
        assert left >= math.floor(1.1 * (load.open_calls + most))
        assert left >= (20 if limit is None else min(20, limit // 2))


@given(st.integers(1, 10_000), st.integers(1, 600))
def test_the_pace_never_uses_more_than_dialling_may_have(remaining: int, reset_s: int) -> None:
    allowance = allow(Budget(remaining, float(reset_s), None, 0.0), Load())
    assert allowance.per_second * reset_s <= max(remaining - allowance.kept, 1) + 1e-6
