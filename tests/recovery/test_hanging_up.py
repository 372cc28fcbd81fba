"""`stop-all --hang-up`: every open call the provider knows is over, and the others are named."""

import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.builders import OTHER_ORGANIZATION, some_numbers
from tests.recovery.site import KEY, ROUTE, Site, a_router, a_site, until

from apollo.core import ids
from apollo.core.events import CallAccepted, Evidence, RequestLost
from apollo.ports import DialRequest
from apollo.usecases.dial_contacts import ToPlace
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
    seen: list[tuple[int, int]] = []
    report = await site.hang_up().run(
        actor="tests", on_progress=lambda done, known: seen.append((done, known))
    )
    assert (report.hung_up, report.gone, report.not_found) == (4, 0, 0)
    assert not report.failed
    assert seen[-1] == (4, 4)

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
    report = await site.hang_up().run(actor="tests")
    assert (report.hung_up, report.not_found) == (1, 1)


async def test_what_the_provider_does_not_know_may_be_up_and_what_is_refused_is_named(
    site: Site,
) -> None:
    (job,) = await begin(site, 1)
    event = CallAccepted(
        at=site.clock.now(), evidence=Evidence.REPLY, provider_call_id=str(uuid.uuid4())
    )
    await site.record.record([Arrival(job.call.id, event)])
    report = await site.hang_up().run(actor="tests")
    assert (report.gone, report.not_found) == (0, 1)
    await site.driver.close()
    site.driver._wire._api_key = KEY + "x"  # a key that is refused
    report = await site.hang_up().run(actor="tests")
    assert dict(report.failed) == {"unauthorised": 1}
    assert await recorded(site) == [
        ("org_acme", "tests", {"not_found": 1}),
        ("org_acme", "tests", {"unauthorised": 1}),
    ]
