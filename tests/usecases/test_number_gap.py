"""NUMBER_RESTING: who was called is left in peace for a while, out of whatever batch."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from tests.builders import (
    OTHER_ORGANIZATION,
    World,
    a_recorder_of_results,
    a_world,
    some_numbers,
)
from tests.usecases.test_claims import call_ids

from apollo.core.eligibility import BatchLoad
from apollo.core.model import Turn
from apollo.core.windows import ALWAYS
from apollo.errors import Stale
from apollo.storage import dialling
from apollo.storage.database import Connection
from apollo.usecases.record_call_result import CallResult

GAP = 15


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with a_world(database_url) as built:
        yield built


async def forget_the_last_minutes(world: World, minutes: float) -> None:
    """Let time pass: all that has happened lies further back."""
    by = timedelta(minutes=minutes)
    await world.sql(
        "update calls set requested_at = requested_at - $1::interval,"
        " ended_at = ended_at - $1::interval",
        by,
    )
    await world.sql("update due_contacts set due_at = due_at - $1::interval", by)
    async with world.db.transaction() as connection:
        await dialling.promote_due(connection, 100)


async def test_a_number_out_of_another_batch_rests_until_the_gap_is_over(world: World) -> None:
    number = some_numbers(1)
    campaigns = [await world.a_campaign(number_gap_minutes=GAP) for _ in range(2)]
    first, second = [await world.a_batch(campaign, number) for campaign in campaigns]
    await world.end(*call_ids(await world.claim(campaigns[0])), sip_status=487)
    assert (await world.claim(campaigns[1])).calls == []
    contact = await world.contact(second)
    assert (contact["status"], contact["wait_reason"]) == ("pending", "number_resting")
    assert (contact["turn"], contact["is_due"]) == (Turn.FRESH, False)
    assert contact["blocked_number"] is None
    ended_at = await world.value("select ended_at from calls")
    assert contact["due_at"] == ended_at + timedelta(minutes=GAP)
    assert await world.counters() == await world.recount()
    # A retry within its own batch has the campaign's cooldown and no other.
    assert len((await world.claim(campaigns[0])).calls) == 1
    await world.end(
        *[r["id"] for r in await world.sql("select id from calls where outcome is null")]
    )
    await forget_the_last_minutes(world, GAP - 0.1)
    assert (await world.claim(campaigns[1])).calls == []
    await forget_the_last_minutes(world, 0.2)
    assert len((await world.claim(campaigns[1])).calls) == 1
    assert (await world.contact(first))["status"] == "completed"


async def test_a_campaign_without_a_gap_calls_at_once(world: World) -> None:
    number = some_numbers(1)
    campaign = await world.a_campaign(number_gap_minutes=0)
    await world.a_batch(campaign, number)
    await world.a_batch(campaign, number)
    for _ in range(2):
        claimed = await world.claim(campaign)
        assert len(claimed.calls) == 1
        await world.end(*call_ids(claimed))


async def test_the_calls_of_another_organisation_make_no_number_rest(world: World) -> None:
    """Else the wait would tell one tenant of the other's calls."""
    number = some_numbers(1)
    theirs = await world.a_campaign(organization_id=OTHER_ORGANIZATION, number_gap_minutes=GAP)
    mine = await world.a_campaign(number_gap_minutes=GAP)
    for campaign in (theirs, mine):
        await world.a_batch(campaign, number)
        claimed = await world.claim(campaign)
        assert len(claimed.calls) == 1
        await world.end(*call_ids(claimed))


async def test_a_call_that_was_never_sent_makes_no_number_rest(world: World) -> None:
    number = some_numbers(1)
    campaigns = [await world.a_campaign(number_gap_minutes=GAP) for _ in range(2)]
    for campaign in campaigns:
        await world.a_batch(campaign, number)
    await world.claim(campaigns[0])
    await world.sql(
        "update calls set state = 'released', attempt = null, ended_at = clock_timestamp()"
    )
    assert len((await world.claim(campaigns[1])).calls) == 1


async def test_a_follow_up_that_is_asked_for_at_once_waits_for_the_gap(world: World) -> None:
    campaign = await world.a_campaign(number_gap_minutes=GAP)
    batch = await world.a_batch(campaign, 1)
    (call,) = call_ids(await world.claim(campaign))
    await world.end(call)
    now = await world.value("select clock_timestamp()")
    results = a_recorder_of_results(world.db)
    await results.record(call, CallResult(follow_up_at=now - timedelta(minutes=1)), sent_at=now)
    await forget_the_last_minutes(world, 1)
    assert (await world.claim(campaign)).calls == []
    contact = await world.contact(batch)
    assert (contact["status"], contact["wait_reason"]) == ("followup_scheduled", "number_resting")
    await forget_the_last_minutes(world, GAP)
    followed = await world.claim(campaign)
    assert len(followed.calls) == 1
    # Nobody took it: it is tried again after the campaign's cooldown, which is none here.
    await world.end(*call_ids(followed), sip_status=487)
    assert len((await world.claim(campaign)).calls) == 1


async def take(
    world: World, connection: Connection, batch_id: uuid.UUID, many: int
) -> list[dialling.ClaimedCall]:
    """Claim in a transaction of the test's own, which waits for locks as long as it must."""
    campaign_id = await world.value("select campaign_id from batches where id = $1", batch_id)
    campaign = await dialling.lock_campaign(connection, campaign_id)
    assert campaign is not None
    await connection.execute("set local lock_timeout = '30s'")
    return await dialling.claim_contacts(
        connection,
        campaign,
        window=ALWAYS,
        shares=[(batch_id, many)],
        loads=dialling.Loads([BatchLoad(batch_id, 10, 0, many)], 0),
        caller_ids=[campaign.phone_numbers[0]] * many,
        provider="p",
        worker_id=uuid.uuid4(),
        lease=timedelta(seconds=30),
        ring_timeout=timedelta(seconds=30),
        number_gap=timedelta(minutes=GAP),
    )


async def take_alone(world: World, batch_id: uuid.UUID, many: int) -> list[dialling.ClaimedCall]:
    async with world.db.transaction() as connection:
        return await take(world, connection, batch_id, many)


async def test_a_whole_call_between_the_claims_beginning_and_its_end_is_seen(world: World) -> None:
    """A claim that had to wait has an old view of things: it must look again before it commits."""
    blocked, called = sorted(some_numbers(2))
    both, quick, held = [
        await world.a_batch(await world.a_campaign(), numbers)
        for numbers in ([blocked, called], [called], [blocked])
    ]
    async with world.db.connection() as connection:
        undone = connection.transaction()
        await undone.start()
        await take(world, connection, held, 1)
        waiting = asyncio.create_task(take_alone(world, both, 2))
        async with asyncio.timeout(30):
            while not await world.sql(  # noqa: ASYNC110 - a lock tells nobody
                "select from pg_stat_activity"
                " where datname = current_database() and wait_event_type = 'Lock'"
            ):
                await asyncio.sleep(0.01)
        (call,) = await take_alone(world, quick, 1)
        await world.end(call.id, sip_status=487)
        await undone.rollback()
    with pytest.raises(Stale, match="while it was claimed"):
        await waiting
    assert [c.phone_number for c in await take_alone(world, both, 2)] == [blocked]
    assert (await world.contact(both, 2))["wait_reason"] == "number_resting"
    assert await world.value("select count(*) from calls where phone_number = $1", called) == 1


async def test_two_workers_that_claim_the_same_people_keep_the_gap(world: World) -> None:
    numbers = some_numbers(20)
    campaigns = [await world.a_campaign(number_gap_minutes=GAP) for _ in range(2)]
    for campaign, order in zip(campaigns, (numbers, numbers[::-1]), strict=True):
        await world.a_batch(campaign, order)

    async def work(campaign: uuid.UUID) -> None:
        for _ in range(12):
            try:
                claimed = await world.claim(campaign, 4)
            except Stale:
                continue
            await world.end(*call_ids(claimed), sip_status=607)

    await asyncio.gather(*(work(campaign) for campaign in campaigns))
    doubles = "select count(*) from (select from calls group by phone_number having count(*) > 1) d"
    assert await world.value(doubles) == 0
    assert await world.value("select count(*) from calls") == 20
