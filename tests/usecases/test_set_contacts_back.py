"""An operator sets a batch's bad numbers back: who is called again, and who never is."""

import uuid
from collections.abc import AsyncIterator

import pytest
from tests.builders import ORGANIZATION, OTHER_ORGANIZATION, World, a_world
from tests.usecases.batch_world import HeardBus

from apollo.core import ids
from apollo.core.states import BatchStatus
from apollo.errors import Invalid, NotAllowedNow, NotFound
from apollo.usecases.authenticate import Principal
from apollo.usecases.set_contacts_back import BatchSetBack, SetContactsBack

ACME = Principal(ORGANIZATION, "ruth")


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with a_world(database_url) as opened:
        yield opened


async def set_back(
    world: World, batch_id: uuid.UUID, *, by: Principal = ACME, reason: str = "trunk unpaid"
) -> BatchSetBack:
    use_case = SetContactsBack(db=world.db, bus=HeardBus())
    return await use_case.set_back(by, ids.batch_id(batch_id), reason=reason)


async def ended_batch(world: World, *codes: int) -> tuple[uuid.UUID, uuid.UUID]:
    """A batch whose contacts' calls ended with these codes, one after the other."""
    campaign_id = await world.a_campaign()
    batch_id = await world.a_batch(campaign_id, len(codes))
    claimed = await world.claim(campaign_id)
    calls = sorted(claimed.calls, key=lambda job: job.call.contact.position)
    for job, code in zip(calls, codes, strict=True):
        await world.end(job.call.id, sip_status=code)
    return campaign_id, batch_id


async def test_bad_numbers_are_called_again_and_nobody_else_is(world: World) -> None:
    campaign_id, batch_id = await ended_batch(world, 404, 200, 484, 607)
    assert await world.batch_status(batch_id) == "completed"
    done = await set_back(world, batch_id)
    assert (done.contacts, done.status) == (2, BatchStatus.IN_PROGRESS)
    assert await world.statuses(batch_id) == ["retrying", "completed", "retrying", "failed"]
    rows = await world.sql("select tries, carrier_failures from contacts where status = 'retrying'")
    assert {tuple(row) for row in rows} == {(0, 1)}
    assert await world.counters() == await world.recount()
    assert len((await world.claim(campaign_id)).calls) == 2


async def test_who_and_why_is_recorded(world: World) -> None:
    _, batch_id = await ended_batch(world, 404)
    await set_back(world, batch_id)
    rows = await world.sql(
        "select actor, action, detail from actions where batch_id = $1", batch_id
    )
    detail = {"contacts": 1, "reason": "trunk unpaid"}
    assert [tuple(row) for row in rows] == [("ruth", "contacts_set_back", detail)]


async def test_a_number_that_fails_again_by_itself_is_a_bad_number(world: World) -> None:
    campaign_id, batch_id = await ended_batch(world, 404, 200)
    await set_back(world, batch_id)
    (again,) = (await world.claim(campaign_id)).calls
    await world.end(again.call.id, sip_status=404)
    assert await world.statuses(batch_id) == ["failed", "completed"]


async def test_a_batch_without_bad_numbers_stays_as_it_is(world: World) -> None:
    _, batch_id = await ended_batch(world, 200, 607)
    done = await set_back(world, batch_id)
    assert (done.contacts, done.status) == (0, BatchStatus.COMPLETED)
    assert await world.sql("select from actions") == []


async def test_a_closed_batch_an_empty_reason_and_a_stranger_are_refused(world: World) -> None:
    _, batch_id = await ended_batch(world, 404)
    with pytest.raises(NotFound):
        await set_back(world, batch_id, by=Principal(OTHER_ORGANIZATION, "eve"))
    with pytest.raises(Invalid):
        await set_back(world, batch_id, reason="  ")
    await world.sql("update batches set status = 'cancelled', completed_at = null")
    with pytest.raises(NotAllowedNow, match="new batch"):
        await set_back(world, batch_id)
