"""Requests whose answer never comes back, and a machine whose clock is an hour off."""

import os
from pathlib import Path
from random import Random

import pytest
from tests.e2e.runs import under_fire
from tests.faults.proxy import Cut, FaultProxy

FULL = os.environ.get("APOLLO_TEST_FULL") == "1"
SEEDS = range(1, 21) if FULL else range(1, 2)
# A silence lasts until the driver's own patience of 15 s is over.
CUTS = tuple(Cut) if FULL else (Cut.BEFORE_REQUEST, Cut.AFTER_REQUEST, Cut.MID_REPLY)


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_connection_cut_after_the_request_never_makes_a_second_call(
    seed: int, database_url: str, tmp_path: Path
) -> None:
    proxy = FaultProxy(target=0, random=Random(seed), share=0.05, cuts=CUTS)
    async with under_fire(
        120, seed=seed, logs=tmp_path, database_url=database_url, proxy=proxy
    ) as run:
        run.start("serve")
        run.start("worker")
        await run.until_ready()
        await run.create()
        await run.until_completed(within_s=150)
        print(dict(proxy.done))
        assert sum(proxy.done.values()) >= 3
        # A connection that is cut before the request looks the same to the worker as one that is
        # cut after it: both are unknown, and only what the provider does not know is given up.
        held = await run.check()
        assert held <= proxy.done[Cut.BEFORE_REQUEST]
        await run.audit()
        assert run.apollo.surprises() == []


@pytest.mark.parametrize("hours", [-1, 1])
async def test_a_worker_whose_clock_is_an_hour_off_calls_nobody_twice_or_out_of_hours(
    hours: int, database_url: str, tmp_path: Path
) -> None:
    async with under_fire(40, seed=hours + 9, logs=tmp_path, database_url=database_url) as run:
        run.start("serve")
        run.start("worker", clock_off_s=hours * 3600)
        await run.until_ready()
        # By the worker's clock this window is over, or not open yet; by the database's it is open.
        await run.create(**run.hours(0))
        await run.until_completed()
        assert await run.check() == 0
        await run.audit()
        # And the other way round.
        requests = run.jambonz.requests
        await run.create(**run.hours(60 * hours))
        await run.until_waiting("outside_window")
        assert run.jambonz.requests == requests
