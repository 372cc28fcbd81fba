"""Outages that a study of the real jambonz met, again: how many people are held for nothing.

The times of an outage, of probes and of risk are all a twentieth of the real ones.
"""

import uuid
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from tests.builders import some_numbers
from tests.recovery.site import Site, a_router, a_site, dialled, until

from apollo.core import breaker
from apollo.usecases import grant_requests
from apollo.worker import Worker

# As many were free when the study lost ten people.
SLOTS = 10


@pytest.fixture
async def site(database_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    monkeypatch.setattr(breaker, "_FIRST_PROBE_AFTER_S", 0.25)
    monkeypatch.setattr(breaker, "_PROBE_EVERY_S", 1.5)
    monkeypatch.setattr(grant_requests, "_AT_RISK_FOR", timedelta(seconds=1.5))
    async with a_router() as router, a_site(database_url, router) as one:
        yield one


async def held(site: Site) -> int:
    """How many calls there are of which nobody knows whether they were placed."""
    return int(await site.world.value("select count(*) from calls where state = 'unknown'"))


async def crowd(site: Site, fault: dict[str, object]) -> None:
    """Break the provider, and let ten people become due at once."""
    site.router.plan.change(fault)
    campaign_id = await site.world.a_campaign(limit=SLOTS)
    await site.world.a_batch(campaign_id, some_numbers(SLOTS, start=20))


async def everybody_is_called(site: Site, *, but: int) -> None:
    async def is_done() -> bool:
        return len(await dialled(site.router)) == SLOTS - but

    await until(is_done, f"called {SLOTS - but} people")
    assert set((await dialled(site.router)).values()) == {1}


async def test_while_the_key_store_is_away_nobody_is_held(site: Site) -> None:
    async with site.working() as worker:
        await until(lambda: is_cleared(worker), "cleared")
        await crowd(site, {"key_store_away": True})
        worker.wake(await campaigns(site))
        await until(lambda: is_down(worker), "down")
        assert await held(site) == 0
        site.router.plan.clear()
        await everybody_is_called(site, but=0)


async def test_a_dead_feature_server_that_is_still_registered_costs_four_people_and_not_ten(
    site: Site,
) -> None:
    async with site.working() as worker:
        await until(lambda: is_cleared(worker), "cleared")
        await crowd(site, {"dead_feature_server": {"registered_s": 3.0}})
        worker.wake(await campaigns(site))

        async def is_refused_for_sure() -> bool:
            return "no_capacity" in worker.report()["provider"]["answers"]

        await until(is_refused_for_sure, "registered no more")
        people = await held(site)
        assert 3 <= people <= 4
        site.router.plan.clear()
        await everybody_is_called(site, but=people)


async def test_answers_that_take_longer_than_we_wait_cost_three_people_and_not_ten(
    site: Site,
) -> None:
    site.driver._wire._timeout = site.driver._wire._timeout.__class__(total=0.5, connect=0.5)
    async with site.working() as worker:
        await until(lambda: is_cleared(worker), "cleared")
        await crowd(site, {"call_store_away": {"answers_after_s": [1.0, 1.0]}})
        worker.wake(await campaigns(site))
        await until(lambda: is_down(worker), "down")
        assert await held(site) <= 3


async def campaigns(site: Site) -> list[uuid.UUID]:
    return [row["id"] for row in await site.world.sql("select id from campaigns")]


async def is_cleared(worker: Worker) -> bool:
    return bool(worker.report()["is_cleared"])


async def is_down(worker: Worker) -> bool:
    return bool(worker.report()["provider"]["state"] == "down")
