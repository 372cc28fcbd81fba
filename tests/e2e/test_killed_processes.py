"""Processes that die or stand still in the middle of a batch, and come back."""

import contextlib
import os
import signal
import time
from pathlib import Path

import pytest
from tests.e2e.machine import until
from tests.e2e.runs import Run, under_fire

from apollo import embedded

# `up` kills after 25 s; a machine may be busy.
STOPS_WITHIN_S = 28.0
# Calls of which some are answered, whoever they are made to.
MANY = 15
FULL = os.environ.get("APOLLO_TEST_FULL") == "1"
SEEDS = range(20261123, 20261123 + (40 if FULL else 1))


async def started(run: Run, **worker: object) -> None:
    run.start("serve", **worker)
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
    """Answered calls end while nobody listens, and nobody tells of their end a second time."""
    async with under_fire(120, seed=seed, logs=tmp_path, database_url=database_url) as run:
        # With every patience as it is in the product: half an hour for an answered call.
        await started(run, quick=False)
        await run.until_placed(run.random.uniform(0.2, 0.5))
        await run.until_live(MANY)
        run.apollo.kill("serve")
        run.jambonz.release()
        await run.until_undelivered()
        run.start("serve", quick=False)
        await run.until_ready()
        await run.until_dialling()
        took_s = await run.until_completed(within_s=90)
        print(f"{len(run.jambonz.undelivered)} ends untold, completed after {took_s:.1f} s")
        assert await run.check() == 0
        assert run.apollo.surprises() == []


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGQUIT])
@pytest.mark.parametrize("seed", SEEDS)
async def test_a_crash_of_postgresql_loses_nothing_that_was_answered(
    seed: int, how: signal.Signals, data_dir: Path, tmp_path: Path
) -> None:
    """A claim whose commit was answered to nobody was never sent, and its worker knows that."""
    embedded.ensure_running(data_dir)
    async with under_fire(120, seed=seed, logs=tmp_path, data_dir=data_dir) as run:
        await started(run, quick=False)
        await run.until_placed(run.random.uniform(0.2, 0.5))
        await run.until_live(MANY)
        postmaster = int((data_dir / "postgres/db/postmaster.pid").read_text().split()[0])
        # The whole group: sessions of a dead postmaster would go on for a while. SIGQUIT is
        # PostgreSQL's own way to stop at once.
        os.killpg(postmaster, how)
        run.jambonz.release()
        await run.until_undelivered()
        status, answer = await run.apollo.ask("GET", "/campaigns/")
        assert status == 503
        assert answer["detail"].startswith("The database is not available")
        assert answer["detail"].endswith("nothing was done, send the same request again")
        embedded.ensure_running(data_dir)
        print(f"ready after {await run.until_ready():.1f} s", end=", ")
        print(f"dialled again after {await run.until_dialling():.1f} s")
        await run.until_completed(within_s=90)
        assert await run.check() == 0
        assert run.apollo.surprises() == []


async def test_who_is_told_to_stop_while_postgresql_hangs_stops(
    data_dir: Path, tmp_path: Path
) -> None:
    # The operator's own, which is not theirs to stop.
    url = embedded.ensure_running(data_dir)
    async with under_fire(120, seed=11, logs=tmp_path, database_url=url) as run:
        await started(run)
        await run.until_placed(0.3)
        postmaster = int((data_dir / "postgres/db/postmaster.pid").read_text().split()[0])
        server = [postmaster, *children_of(postmaster)]
        for pid in server:
            os.kill(pid, signal.SIGSTOP)
        began = time.monotonic()
        for name in ("worker", "serve"):
            run.apollo.tell(name, signal.SIGTERM)
        for name in ("worker", "serve"):
            await run.until_ended(name)
            print(f"{name} ended after {time.monotonic() - began:.1f} s", end=", ")
        assert time.monotonic() - began < STOPS_WITHIN_S
        for pid in server:
            os.kill(pid, signal.SIGCONT)
        run.start("serve")
        run.start("worker")
        await run.until_ready()
        await run.until_completed()
        await run.check()
        # The API's requests were cut short by uvicorn, which is a traceback in the log.
        assert [one for one in run.apollo.surprises() if one.startswith("worker")] == []


def children_of(parent: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(stat.read_text().rpartition(")")[2].split()[1]) == parent:
                found.append(int(stat.parent.name))
    return found


async def test_a_claim_whose_commit_was_answered_to_nobody_is_given_back(
    database_url: str, tmp_path: Path
) -> None:
    """Nobody is held for it, though nothing but the worker knows that nothing was sent."""
    async with under_fire(60, seed=5, logs=tmp_path, database_url=database_url) as run:
        await started(run, quick=False, lose_claim=2)
        await run.until_completed()
        assert await run.check() == 0
        assert await run.count_calls("state = 'released' and hangup_reason = 'claim_lost'") > 0
        assert "claim.given_back" in run.apollo.log("worker")


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
        began = time.monotonic()

        async def is_too_late() -> bool:
            return time.monotonic() - began > 2.2

        await until(is_too_late, "two seconds later")
        run.apollo.tell("worker", signal.SIGCONT)
        await run.until_completed()
        assert await run.check() == 0
        # Every call of that claim was given back: it left no trace but a released row.
        assert await run.count_calls("state = 'released'") >= claimed
