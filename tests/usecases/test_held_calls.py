"""Contacts whose last call has an unknown outcome: how they stay held, and how they are let go."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from tests.builders import ORGANIZATION, World, a_recorder_of_results, a_world

from apollo.core import ids
from apollo.core.events import Evidence, QuarantineOver, RequestLost
from apollo.errors import NotAllowedNow
from apollo.usecases.record_call_result import CallResult
from apollo.usecases.release_held import ReleaseHeld

NOW = datetime(2026, 5, 10, 9, tzinfo=UTC)
LOST = RequestLost(at=NOW, evidence=Evidence.REPLY, reason="timeout")
OVER = QuarantineOver(at=NOW, evidence=Evidence.ASSUMED, may_retry=False)


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with a_world(database_url) as opened:
        yield opened


async def held(world: World, *, said: str | None = None, is_said_first: bool = False) -> str:
    """Have one contact held; an agent says something about its call meanwhile, or afterwards."""
    campaign_id = await world.a_campaign()
    await world.a_batch(campaign_id, 1)
    (job,) = (await world.claim(campaign_id)).calls
    results = a_recorder_of_results(world.db)
    await world.record((job.call.id, LOST))
    if is_said_first:
        await results.record(job.call.id, CallResult(hangup_reason=said), sent_at=NOW)
    await world.record((job.call.id, OVER))
    if not is_said_first:
        await results.record(job.call.id, CallResult(hangup_reason=said), sent_at=NOW)
    return ids.execution_id(job.call.id)


@pytest.mark.parametrize("is_said_first", [True, False])
async def test_what_an_agent_says_of_a_call_of_unknown_outcome_lets_nobody_out_of_sight(
    world: World, is_said_first: bool
) -> None:
    execution_id = await held(world, said="goodbye", is_said_first=is_said_first)
    listed = await ReleaseHeld(db=world.db).list_held(ORGANIZATION)
    assert [ids.execution_id(one.id) for one in listed] == [execution_id]
    await ReleaseHeld(db=world.db).release(execution_id, reason="looked it up", actor="op")
    (contact,) = await world.sql("select status from contacts")
    assert contact["status"] == "retrying"


async def test_nobody_is_released_into_a_batch_that_would_expire_at_once(world: World) -> None:
    execution_id = await held(world)
    await world.sql("update batches set ends_at = $1", datetime.now(UTC) - timedelta(minutes=1))
    with pytest.raises(NotAllowedNow, match="ends_at has passed"):
        await ReleaseHeld(db=world.db).release(execution_id, reason="looked it up", actor="op")
    (contact,) = await world.sql("select status from contacts")
    assert contact["status"] == "failed"
