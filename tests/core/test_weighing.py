"""Evidence keeps its discipline: few speak, the newest decide, others are only compared with."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apollo.core.diagnosis.evidence import (
    NEWS_FOR,
    Claim,
    Kind,
    Need,
    Result,
    Sample,
    Scope,
    blame,
    sample,
    weigh,
)

NOW = datetime(2026, 5, 12, 10, 0, tzinfo=UTC)
MOST = Need(above=0.5)
MINE, THEIRS = Scope(Kind.BATCH, "mine"), Scope(Kind.CAMPAIGN, "theirs")


def seen(tail: str, *, scope: Scope = MINE, ago: timedelta = timedelta()) -> Sample:
    """Results one second apart, newest first: B for a hit, G for none."""
    return sample(
        scope,
        [Result(NOW - ago - timedelta(seconds=n), letter == "B") for n, letter in enumerate(tail)],
    )


@pytest.mark.parametrize(
    ("tail", "claim"),
    [
        ("", Claim.CLEAR),
        ("G", Claim.CLEAR),
        ("B", Claim.SO_FAR),
        ("BB", Claim.SO_FAR),
        ("BBB", Claim.HOLDS),
        ("BBB" + "G" * 40, Claim.CLEAR),
        ("BBBBBB" + "G" * 40, Claim.HOLDS),
        ("GGG" + "B" * 40, Claim.OVER),
        ("G" + "B" * 40, Claim.HOLDS),
        ("GGGBGGGGBBBBBBBB", Claim.OVER),
    ],
)
def test_the_fewest_of_the_newest_that_are_sure_decide(tail: str, claim: Claim) -> None:
    assert weigh(seen(tail), MOST, NOW) is claim


@given(st.integers(1, 150))
def test_no_number_of_failures_alone_is_ever_silent(number: int) -> None:
    assert weigh(seen("B" * number), MOST, NOW) in {Claim.SO_FAR, Claim.HOLDS}


@given(st.integers(3, 150), st.integers(3, 50))
def test_good_results_since_end_what_held(bad: int, good: int) -> None:
    assert weigh(seen("G" * good + "B" * bad), MOST, NOW) in {Claim.OVER, Claim.CLEAR}


@given(st.integers(3, 60))
def test_what_is_over_is_forgotten_after_its_time(bad: int) -> None:
    assert weigh(seen("GGG" + "B" * bad, ago=NEWS_FOR), MOST, NOW) is Claim.CLEAR


@settings(deadline=None)
@given(st.text("BG", max_size=40), st.integers(-100_000, 100_000))
def test_times_shifted_together_change_nothing(tail: str, seconds: int) -> None:
    shift = timedelta(seconds=seconds)
    moved = sample(MINE, [Result(one.at + shift, one.is_hit) for one in seen(tail).results])
    assert weigh(moved, MOST, NOW + shift) is weigh(seen(tail), MOST, NOW)


@given(st.text("BG", min_size=1, max_size=40))
def test_a_neighbours_failures_are_never_ones_own(theirs: str) -> None:
    own, rest = seen("GGGG"), seen(theirs, scope=THEIRS)
    found = blame([(own, rest)], MOST, NOW)
    assert found is None


def test_the_narrowest_scope_whose_rest_is_good_is_to_blame() -> None:
    none = Sample(scope=THEIRS)
    bad, good = seen("BBBB"), seen("GGGG", scope=THEIRS)
    found = blame([(bad, none), (seen("BBBBBBBB", scope=THEIRS), good)], MOST, NOW)
    assert found is not None
    assert (found.own.scope, found.is_narrow) == (THEIRS, True)
    alone = blame([(bad, none)], MOST, NOW)
    assert alone is not None
    assert (alone.rest, alone.is_narrow) == (None, False)
