"""A process dies at each marked point of the protocol; the invariants hold, and it goes on."""

import os
from pathlib import Path

import pytest
from tests.e2e.people import KINDS
from tests.e2e.provider import Jambonz, Quirks
from tests.e2e.runs import Run, under_fire
from tests.faults.entry import KILL_POINTS

FULL = os.environ.get("APOLLO_TEST_FULL") == "1"
PEOPLE = 60
# A claim takes no more than the slots, and an answer is recorded with no more others: so there are
# at least six sets of either, however slow the machine is, and a process dies at one of those.
SLOTS, SETS = 10, 6
SEEDS = range(1, 13) if FULL else range(1, 2)
# One of each kind in every run of the tests; `make faults` runs all of them, many times.
POINTS = (
    tuple(KILL_POINTS)
    if FULL
    else ("before the claim commits", "request written", "before the record commits")
)


async def arrange(run: Run, point: str) -> str:
    """Start both processes, one of them to die at the point; gives its role."""
    role, nth = KILL_POINTS[point], run.random.randint(1, SETS)
    if point == "request written":

        async def kill(number: int) -> None:
            # The request was read here, so it is on its way; nothing was answered.
            if number == nth * 5:
                run.apollo.processes["worker"].kill()

        run.jambonz.on_request = kill
        run.start("serve")
        run.start("worker")
    else:
        other = "worker" if role == "serve" else "serve"
        run.start(other)
        run.start(role, kill_at=point, nth=nth)
    return role


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("point", POINTS)
async def test_a_process_killed_at_a_marked_point_leaves_nothing_for_a_person_to_do(
    point: str, seed: int, database_url: str, tmp_path: Path
) -> None:
    # Without lost requests, some of them placed, nothing would ever be looked up.
    lossy = Quirks(lost_then_500=0.1, placed_then_500=0.1, lost=0.2)
    quirks = lossy if "look-up" in point else Quirks()
    async with under_fire(
        PEOPLE, seed=seed, logs=tmp_path, database_url=database_url, quirks=quirks
    ) as run:
        role = await arrange(run, point)
        await run.until_ready()
        await run.create(metadata={"concurrency_limit": SLOTS})
        await run.until_ended(role)
        run.start(role)
        await run.until_ready()
        took_s = await run.until_dialling()
        await run.until_completed()
        held = await run.check()
        print(f"{point}: dialled again after {took_s:.1f} s, {held} held")
        await run.audit()
        assert run.apollo.surprises() == []


async def test_the_provider_of_these_tests_notices_a_second_call() -> None:
    """The witness can fail: two requests for one number are an overlap."""
    jambonz = Jambonz({"+919810000000": KINDS[0][1]}, seed=1)
    asked = {"from": "+912261234567", "tag": {"execution_id": "x"}, "call_status_hook": {"url": ""}}
    for _ in range(2):
        jambonz._new_line(asked, "+919810000000", "")
    assert jambonz.overlaps == ["+919810000000"]
    assert jambonz.live_max["all"] == 2
