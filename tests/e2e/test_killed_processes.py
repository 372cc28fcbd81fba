"""Processes that die or stand still in the middle of a batch, and come back."""

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest
from tests.e2e.runs import Run, under_fire

FULL = os.environ.get("APOLLO_TEST_FULL") == "1"
SEEDS = range(20261123, 20261123 + (40 if FULL else 1))


async def started(run: Run, **worker: object) -> None:
    run.start("serve")
    run.start("worker", **worker)
    await run.until_ready()
    await run.create()


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_worker_killed_at_random_goes_on_by_itself_and_calls_nobody_twice(
    seed: int, database_url: str, tmp_path: Path
) -> None:
    async with under_fire(150, seed=seed, logs=tmp_path, database_url=database_url) as run:
        await started(run)
        for share in sorted(run.random.uniform(0.1, 0.8) for _ in range(3)):
            await run.until_placed(share)
            run.apollo.kill("worker")
            run.start("worker")
            took_s = await run.until_dialling()
            print(f"killed at {share:.0%}, dialled again after {took_s:.1f} s")
        await run.until_completed()
        held = await run.check()
        # At most what was claimed and not yet sent when it died: a claim takes LIMIT at most.
        print(f"{held} of a claim that was never sent")
        assert run.apollo.surprises() == []


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_killed_api_loses_no_outcome(seed: int, database_url: str, tmp_path: Path) -> None:
    async with under_fire(120, seed=seed, logs=tmp_path, database_url=database_url) as run:
        await started(run)
        await run.until_placed(run.random.uniform(0.2, 0.5))
        run.apollo.kill("serve")
        # Answered calls end meanwhile, and nobody tells of their end a second time.
        at = time.monotonic() + 1.0
        while time.monotonic() < at:
            await asyncio.sleep(0.02)
        run.start("serve")
        await run.until_ready()
        print(f"dialled again after {await run.until_dialling():.1f} s")
        await run.until_completed()
        assert await run.check() == 0
        assert run.apollo.surprises() == []


async def test_a_worker_that_stood_still_sends_no_late_request(
    database_url: str, tmp_path: Path
) -> None:
    """It is stopped right after a claim; what it then holds is older than two seconds."""
    async with under_fire(60, seed=7, logs=tmp_path, database_url=database_url) as run:
        await started(run, stop_after_claim=1)
        await run.until_stopped("worker")
        claimed = await run.count_calls("state = 'placing'")
        assert claimed > 0
        assert run.jambonz.requests == 0
        at = time.monotonic() + 2.2
        while time.monotonic() < at:
            await asyncio.sleep(0.02)
        run.apollo.tell("worker", signal.SIGCONT)
        await run.until_completed()
        assert await run.check() == 0
        # Every call of that claim was given back: it left no trace but a released row.
        assert await run.count_calls("state = 'released'") >= claimed
