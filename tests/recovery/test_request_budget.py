"""A provider that allows so many requests: dialling leaves what an emergency stop needs."""

from collections.abc import AsyncIterator
from datetime import datetime

import aiohttp
import msgspec
import pytest
from tests.builders import some_numbers
from tests.recovery.site import Site, a_router, a_site, dialled, until
from tests.recovery.test_hanging_up import begin, place

from apollo.usecases.hang_up_calls import Progress
from apollo.usecases.record_call_events import Arrival


@pytest.fixture
async def site(database_url: str) -> AsyncIterator[Site]:
    async with a_router() as router, a_site(database_url, router) as one:
        yield one


async def test_what_is_kept_is_not_dialled_and_ends_every_call_without_a_wait(site: Site) -> None:
    for job in await begin(site, 5, limit=5):
        await site.record.record([Arrival(job.call.id, await place(site, job))])
    site.router.plan.change({"request_budget": {"requests": 30, "window_s": 300}})
    while site.driver.rate_limit is None or site.driver.rate_limit.remaining > 16:
        await site.driver.probe()
    waiting = await site.world.a_campaign(name="Waits", limit=10)
    await site.world.a_batch(waiting, some_numbers(10, start=20))

    async with site.working() as worker:
        worker.wake([waiting])

        async def is_held() -> bool:
            return bool(worker.report()["provider"]["cause"] == "budget_kept")

        await until(is_held, "held")
        shown = worker.report()["provider"]
    assert shown["state"] == "rate_limited"
    assert "are kept for hanging up and looking up 5 open calls" in shown["last_error"]
    assert shown["budget"]["kept"] == 15
    assert sum((await dialled(site.router)).values()) == 5, "nobody was called meanwhile"

    seen: list[Progress] = []
    report = await site.hang_up().run(actor="tests", on_progress=seen.append)
    assert (report.hung_up, report.not_ended) == (5, [])
    assert not [one for one in seen if one.until]


async def test_requests_are_spread_over_the_time_until_the_budget_is_full_again(
    site: Site,
) -> None:
    site.router.plan.change({"request_budget": {"requests": 220, "window_s": 20}})
    campaign_id = await site.world.a_campaign(limit=30)
    await site.world.a_batch(campaign_id, some_numbers(15))
    async with site.working() as worker:
        worker.wake([campaign_id])

        async def all_called() -> bool:
            return len(await dialled(site.router)) == 15

        await until(all_called, "called")
    asked_at = sorted(await _requested_at(site))
    # Ten a second, of which two may go together; all fifteen went at once before.
    assert (asked_at[-1] - asked_at[0]).total_seconds() > 1.0


async def _requested_at(site: Site) -> list[datetime]:
    url = site.router.url.removesuffix("v1") + "rotary/ledger"
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        lines = (await answer.read()).splitlines()
    return [datetime.fromisoformat(msgspec.json.decode(line)["requested_at"]) for line in lines]
