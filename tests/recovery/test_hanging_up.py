"""`stop-all --hang-up`: every open call the provider knows is over, and the others are named."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import pytest
from tests.builders import OTHER_ORGANIZATION, some_numbers
from tests.recovery.site import DEADLINE_S, KEY, ROUTE, Site, a_router, a_site, until

from apollo.core import ids
from apollo.core.events import CallAccepted, Evidence, RequestLost
from apollo.ports import DialRequest, HangUpAnswer, LiveCall
from apollo.usecases.dial_contacts import ToPlace
from apollo.usecases.hang_up_calls import HangUpCalls, Progress
from apollo.usecases.record_call_events import Arrival

ANSWERS = some_numbers(9)[1]


@pytest.fixture
async def site(database_url: str) -> AsyncIterator[Site]:
    talks = {"does": "answer", "ring_s": 0, "talk_s": 600}
    async with a_router(by_number={ANSWERS: talks}) as router, a_site(database_url, router) as one:
        yield one


async def place(site: Site, job: ToPlace) -> CallAccepted:
    """Let the provider place a claimed call."""
    placed = await site.driver.place(
        DialRequest(
            execution_id=ids.execution_id(job.call.id),
            to=job.call.phone_number,
            from_number=job.call.from_number,
            route=ROUTE,
            agent_key="agent-key-0123456789",
            ring_timeout_s=30,
            time_limit_s=600,
        )
    )
    return CallAccepted(
        at=site.clock.now(), evidence=Evidence.REPLY, provider_call_id=placed.provider_call_id
    )


async def begin(site: Site, people: int, **campaign: Any) -> list[ToPlace]:
    """So many claimed calls."""
    start = 1 if not campaign else 50
    campaign_id = await site.world.a_campaign(**campaign)
    await site.world.a_batch(campaign_id, some_numbers(people, start=start))
    return (await site.world.claim(campaign_id)).calls


async def recorded(site: Site) -> list[tuple[str, str, dict[str, int]]]:
    rows = await site.world.sql(
        "select organization_id, actor, detail from actions where action = 'calls_hung_up'"
        " order by organization_id, id"
    )
    return [tuple(row) for row in rows]


async def test_ringing_and_answered_calls_are_ended_and_the_report_says_so(site: Site) -> None:
    for job in await begin(site, 4):
        await site.record.record([Arrival(job.call.id, await place(site, job))])

    async def has_answered() -> bool:
        states = await site.world.sql("select state from calls order by phone_number")
        return [row["state"] for row in states] == ["ringing", "answered", "ringing", "ringing"]

    await until(has_answered, "ringing and answered")
    seen: list[Progress] = []
    report = await site.hang_up().run(actor="tests", on_progress=seen.append)
    assert (report.hung_up, report.gone, report.not_ended) == (4, 0, [])
    assert seen[-1] == Progress(4, 4)

    async def are_over() -> bool:
        return site.router.ledger.live_now == 0

    await until(are_over, "over")
    assert await recorded(site) == [("org_acme", "tests", {"hung_up": 4})]


async def test_only_the_organisation_that_was_named_is_hung_up_on(site: Site) -> None:
    ours = await begin(site, 1)
    theirs = await begin(site, 1, organization_id=OTHER_ORGANIZATION)
    for job in [*ours, *theirs]:
        await site.record.record([Arrival(job.call.id, await place(site, job))])
    report = await site.hang_up().run("other", actor="tests")
    assert (report.organization_id, report.hung_up) == (OTHER_ORGANIZATION, 1)
    live = await site.driver.list_live()
    ringing = {one.to for one in live if one.call_status in {"trying", "ringing"}}
    assert ringing == {ours[0].call.phone_number}


async def test_calls_of_unknown_fate_are_found_by_number_or_reported(site: Site) -> None:
    there, lost = await begin(site, 2)
    await place(site, there)
    for job in (there, lost):
        event = RequestLost(at=site.clock.now(), evidence=Evidence.REPLY, reason="timeout")
        await site.record.record([Arrival(job.call.id, event)])
    report = await site.hang_up(patience_s=4.0).run(actor="tests")
    assert (report.hung_up, report.not_found) == (1, 1)
    (left,) = report.not_ended
    assert (left.call.id, left.cause) == (lost.call.id, "not_found")


async def with_name(site: Site, job: ToPlace, provider_call_id: str) -> None:
    event = CallAccepted(
        at=site.clock.now(), evidence=Evidence.REPLY, provider_call_id=provider_call_id
    )
    await site.record.record([Arrival(job.call.id, event)])


async def test_a_call_the_provider_does_not_know_is_no_call_that_is_over(site: Site) -> None:
    (job,) = await begin(site, 1)
    await with_name(site, job, str(uuid.uuid4()))
    report = await site.hang_up(patience_s=4.0).run(actor="tests")
    assert (report.gone, report.not_found, dict(report.failed)) == (0, 1, {})
    assert await recorded(site) == [("org_acme", "tests", {"not_found": 1})]


async def test_a_refused_key_ends_the_run_at_once_and_names_every_call(site: Site) -> None:
    for job in await begin(site, 3):
        await site.record.record([Arrival(job.call.id, await place(site, job))])
    await site.driver.close()
    site.driver._wire._api_key = KEY + "x"
    report = await site.hang_up().run(actor="tests")
    assert dict(report.failed) == {"unauthorised": 3}
    assert all("401" in one.why for one in report.not_ended)
    assert await recorded(site) == [("org_acme", "tests", {"unauthorised": 3})]


async def use_up_the_budget(site: Site) -> None:
    while site.driver.rate_limit is None or site.driver.rate_limit.remaining:
        await site.driver.probe()


async def test_a_used_up_budget_is_waited_for_until_every_call_is_over(site: Site) -> None:
    """The case that a real jambonz showed: as many requests a window as there are calls."""
    for job in await begin(site, 25, limit=25):
        await site.record.record([Arrival(job.call.id, await place(site, job))])
    site.router.plan.change({"request_budget": {"requests": 25, "window_s": 2}})
    await use_up_the_budget(site)
    seen: list[Progress] = []
    report = await site.hang_up().run(actor="tests", on_progress=seen.append)
    assert (report.hung_up + report.gone, report.not_ended) == (25, [])
    assert report.hung_up >= 24
    waiting = [one for one in seen if one.until is not None]
    assert waiting, "it says that it waits, and until when"
    assert "budget" in waiting[0].waits_for

    async def are_over() -> bool:
        return site.router.ledger.live_now == 0

    await until(are_over, "over")


async def test_an_outage_shorter_than_its_patience_is_waited_out(site: Site) -> None:
    for job in await begin(site, 2):
        await site.record.record([Arrival(job.call.id, await place(site, job))])
    site.router.plan.change({"key_store_away": True})

    def mend(seen: Progress) -> None:
        if "ECONNREFUSED" in seen.waits_for:
            site.router.plan.clear()

    report = await site.hang_up().run(actor="tests", on_progress=mend)
    assert (report.hung_up, report.not_ended) == (2, [])


async def test_a_longer_outage_ends_with_every_call_and_why(site: Site) -> None:
    for job in await begin(site, 2):
        await site.record.record([Arrival(job.call.id, await place(site, job))])
    site.router.plan.change({"key_store_away": True})
    report = await site.hang_up(patience_s=1.5).run(actor="tests")
    assert dict(report.failed) == {"store_down": 2}
    assert all("connect ECONNREFUSED" in one.why for one in report.not_ended)


async def test_an_interrupted_run_records_what_it_did_and_another_goes_on(site: Site) -> None:
    jobs = await begin(site, 3)
    for job in jobs[:2]:
        await site.record.record([Arrival(job.call.id, await place(site, job))])
    await with_name(site, jobs[2], str(uuid.uuid4()))
    both_over = asyncio.Event()

    def note(seen: Progress) -> None:
        if seen.over == 2:
            both_over.set()

    task = asyncio.create_task(site.hang_up().run(actor="tests", on_progress=note))
    async with asyncio.timeout(DEADLINE_S):
        await both_over.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await recorded(site) == [("org_acme", "tests", {"hung_up": 2, "not_found": 1})]
    report = await site.hang_up(patience_s=4.0).run(actor="tests")
    # The end of a ringing call that is cancelled is never reported: nobody looked it up here.
    assert (report.hung_up, report.not_found) == (0, 1)


@dataclass
class Deaf:
    """A provider that accepts every hang-up and lists every call as up all the same."""

    provider: str
    asked: int = 0

    async def hang_up(self, _: str, *, was_answered: bool) -> HangUpAnswer:
        del was_answered
        self.asked += 1
        return HangUpAnswer.ENDED

    async def list_live(self, *, keep: Callable[[LiveCall], bool]) -> list[LiveCall]:
        found = LiveCall("deaf-1", "+10", "+11", "in-progress")
        return [found] if keep(found) else []


async def test_a_call_that_stays_up_after_an_accepted_hang_up_is_asked_again_and_named(
    site: Site,
) -> None:
    (job,) = await begin(site, 1)
    await with_name(site, job, "deaf-1")
    deaf: Any = Deaf(site.driver.provider)
    hang_up = HangUpCalls(db=site.world.db, driver=deaf, clock=site.clock, patience_s=2.0)
    report = await hang_up.run(actor="tests")
    assert dict(report.failed) == {"still_up": 1}
    assert deaf.asked >= 2
