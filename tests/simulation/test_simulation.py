"""A slice of the simulation, and the negative control: Apollo made wrong must be caught.

What seeds once found is among the mutants, as Apollo without the mend: its seed stays red without
it and green with it, and when the draws move a seed, another one is looked for.


At full length: `python -m tests.simulation.run --seeds 20000 --mutants 2000`.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.simulation.mutants import MUTANTS, switched
from tests.simulation.story import Outcome, play

from apollo import worker

# Enough for a look at each kind of fault; the full run is a hundred times as long.
SLICE = 120
# A seed that catches the mutant. Every change of what is drawn moves them, so that the test goes on
# to search from the first one; a mutant that many seeds cannot catch is a hole in the checks.
SEARCHED = 600
CAUGHT_BY = {
    "mark after POST": 0,
    "requeue on lease expiry": 170,
    "timeout = failed": 0,
    "not found = retry": 9,
    "last webhook wins": 0,
    "correlate by provider id only": 0,
    "ignore events after cancel": 15,
    "claim without the unique index": 1,
    "unknown holds no slot": 270,
    "late answers are ignored": 11,
    "send however late": 42,
    "send while the lease lasts": 107,
    "records are waited for for ever": 157,
    "a stale queue entry is written back": 189,
}


@pytest.fixture(autouse=True)
def _constants_as_they_were() -> Iterator[None]:
    before = worker._GATE_EVERY_S
    yield
    assert before == worker._GATE_EVERY_S


def shown(outcome: Outcome) -> str:
    again = f"python -m tests.simulation.run --seed {outcome.seed} --verbose"
    return "\n".join([*outcome.violations, again])


def test_no_seed_of_the_slice_finds_anything() -> None:
    calls = 0
    for seed in range(SLICE):
        outcome = play(seed)
        assert not outcome.violations, shown(outcome)
        calls += outcome.calls
    assert calls > SLICE, "hardly anybody was called: the simulation has become trivial"


@pytest.mark.parametrize("name", MUTANTS)
def test_every_mutant_is_caught(name: str) -> None:
    seed = next((n for n in [CAUGHT_BY[name], *range(SEARCHED)] if caught(name, n)), None)
    assert seed is not None, f"{name}: not caught with {SEARCHED} seeds"
    healthy = play(seed)
    assert not healthy.violations, shown(healthy)


def caught(name: str, seed: int) -> bool:
    with switched(name):
        return bool(play(seed).violations)


def test_a_seed_replays_exactly_in_another_process() -> None:
    first, second = (
        subprocess.run(
            [sys.executable, "-m", "tests.simulation.run", "--seed", "2", "--verbose"],
            cwd=Path(__file__).parents[2],
            env={**os.environ, "PYTHONHASHSEED": salt, "PYTHONPATH": "src"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for salt in ("1", "2")
    )
    assert len(first.splitlines()) > 20
    assert first == second
