"""A short slice of `make faults`: a random run of real processes, and one that must be caught."""

from pathlib import Path

import pytest
from tests.faults.plan import draw
from tests.faults.run import play
from tests.faults.site import Postgres


@pytest.fixture
def postgres(data_dir: Path) -> Postgres:
    """A server that may be killed."""
    return Postgres(data_dir)


async def test_a_random_run_breaks_no_invariant(postgres: Postgres, tmp_path: Path) -> None:
    result = await play(draw(4), postgres, tmp_path)
    print("\n".join((result.plan, *result.log)))
    assert result.violations == []
    assert {f"I{n}" for n in range(1, 13)} <= {name for name, n in result.checks.items() if n}


async def test_the_same_run_catches_apollo_made_wrong(postgres: Postgres, tmp_path: Path) -> None:
    result = await play(draw(0, "claim without the unique index"), postgres, tmp_path)
    print("\n".join((result.plan, *result.violations)))
    assert any(one.startswith("I1:") for one in result.breaches)


def test_a_seed_draws_the_same_plan_again() -> None:
    assert draw(7) == draw(7)
    assert draw(7) != draw(8)
