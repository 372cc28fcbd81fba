"""A slice of the simulation, and the negative control: Apollo made wrong must be caught.

What seeds once found is among the mutants, as Apollo without the mend: its seed stays red without
it and green with it, and when the draws move a seed, another one is looked for.


At full length: `python -m tests.simulation.run --seeds 20000 --mutants 2000`.
"""

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.simulation.checks import FinalStays
from tests.simulation.engine import Commit, Row
from tests.simulation.loop import VirtualLoop
from tests.simulation.mutants import MUTANTS, first_to_catch, switched
from tests.simulation.story import Outcome, play
from tests.simulation.world import World

from apollo import worker
from apollo.usecases.dial_contacts import DialContacts

# What only one seed in thousands finds makes no mutant; its seed stays, though later draws may move
# it, beside a test of its own.
PAST_FAILURES = {
    7503: "an answer that corrected a call was lost in a restore, and the person called again",
}
# Enough for a look at each kind of fault; the full run is a hundred times as long.
SLICE = 120
# A seed that catches the mutant, as `--mutants 500` shows it. Every change of what is drawn moves
# them, so that the test goes on to search; a mutant that so many seeds cannot catch is a hole.
SEARCHED = 500
CAUGHT_BY = {
    "mark after POST": 0,
    "requeue on lease expiry": 78,
    "timeout = failed": 9,
    "not found = retry": 9,
    "last webhook wins": 3,
    "correlate by provider id only": 4,
    "ignore events after cancel": 5,
    "claim without the unique index": 2,
    "unknown holds no slot": 151,
    "late answers are ignored": 10,
    "send however late": 30,
    "send while the lease lasts": 269,
    "numbers never rest": 8,
    "follow-ups have no bound": 471,
    "calls without a name are strangers": 42,
    "dials on after a restore": 292,
    "a list that forgot is believed": 162,
    "records are waited for for ever": 25,
    "a stale queue entry is written back": 84,
    "a blind look is believed": 180,
    "absence is believed": 180,
    "a missing record is a fault": 14,
    "what looks unsent is given back": 24,
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


@pytest.mark.parametrize("seed", PAST_FAILURES)
def test_no_seed_that_found_something_finds_it_again(seed: int) -> None:
    outcome = play(seed)
    assert not outcome.violations, shown(outcome)


@pytest.mark.parametrize("name", MUTANTS)
def test_every_mutant_is_caught(name: str) -> None:
    seed = first_to_catch(name, [CAUGHT_BY[name], *range(SEARCHED)])
    assert seed is not None, f"{name}: not caught with {SEARCHED} seeds"
    healthy = play(seed)
    assert not healthy.violations, shown(healthy)


def test_a_mutant_that_only_crashes_is_not_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def stumble() -> Iterator[None]:
        with monkeypatch.context() as changed:
            changed.setattr(DialContacts, "_failed", None)
            yield

    monkeypatch.setitem(MUTANTS, "stumbles", stumble)
    with switched("stumbles"):
        crashed = [seed for seed in range(20) if play(seed).crashes]
    assert crashed
    assert first_to_catch("stumbles", crashed) is None


@pytest.mark.parametrize(
    ("noted_for", "answered_at", "is_fault"),
    [(1, None, False), (2, None, True), (None, None, True), (1, 12.0, True)],
)
def test_a_contact_is_set_back_only_if_that_is_noted_and_nobody_had_answered(
    noted_for: int | None, answered_at: float | None, *, is_fault: bool
) -> None:
    batch, other_batch, call = uuid.UUID(int=1), uuid.UUID(int=2), uuid.UUID(int=3)
    contact = ("contacts", (batch, 1))
    was: Row = {"batch_id": batch, "position": 1, "state": "ended", "outcome": "failed"}
    was = {**was, "hangup_reason": "bad_number", "answered_at": answered_at}
    before: dict[tuple[str, Any], Row | None] = {
        contact: {"status": "failed"},
        ("calls", call): was,
    }
    after: dict[tuple[str, Any], Row | None] = {
        contact: {"status": "retrying"},
        ("calls", call): {**was, "hangup_reason": "no_route"},
    }
    if noted_for is not None:
        batch_id = batch if noted_for == 1 else other_batch
        after["actions", 1] = {"batch_id": batch_id, "action": "contacts_set_back"}
    loop = VirtualLoop()
    world = World(0, loop)
    judge = FinalStays(world)
    commit = Commit({**before, **dict.fromkeys(after.keys() - before.keys())}, after)
    judge.watch(world.server.begin(), commit)
    loop.close()
    assert bool(judge.violations) is is_fault


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
