"""I10 from the database's own record: a final contact that was changed behind its calls is seen."""

import uuid
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from tests.builders import DEADLINES, World, a_world, ended
from tests.simulation.mutants import switched

from apollo.core.events import (
    CallAnswered,
    CallEvent,
    CallRinging,
    CallTrying,
    CallVanished,
    Evidence,
    QuarantineOver,
    RequestLost,
)
from apollo.usecases.audit_ledger import AuditLedger
from apollo.usecases.record_call_events import Arrival, RecordCallEvents, Webhook

NOW = datetime(2026, 5, 10, 9, tzinfo=UTC)
NO_RETRIES = {"max_retries": 0, "strategy": "fixed", "cooldown_minutes": 0}


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with a_world(database_url) as opened:
        yield opened


async def finals(world: World) -> list[str]:
    """What an audit says about I10."""
    found = await AuditLedger(db=world.db).run([])
    (finding,) = [one for one in found if one.invariant == "I10"]
    assert not finding.left_out
    return [violation.what for violation in finding.violations]


async def hear(world: World, call_id: uuid.UUID, event: CallEvent, status: str) -> None:
    """A webhook of this call, stored as it came."""
    webhook = Webhook(uuid.uuid4(), "sid-1", status, b"{}", NOW)
    record = RecordCallEvents(db=world.db, deadlines=DEADLINES, wakes_by_notify=True)
    await record.record([Arrival(call_id, event, "sid-1", webhook)])


async def calls(world: World, people: int = 1, **campaign: Any) -> list[uuid.UUID]:
    campaign_id = await world.a_campaign(**campaign)
    await world.a_batch(campaign_id, people)
    return [job.call.id for job in (await world.claim(campaign_id)).calls]


async def test_every_way_in_which_a_contact_becomes_final_is_right(world: World) -> None:
    one, two, three, four, five = await calls(world, 5, retry_policy=NO_RETRIES)
    await world.end(one)
    await world.end(two, sip_status=486)
    await world.end(three, sip_status=487)
    await world.end(four, sip_status=404)
    await world.record((five, RequestLost(at=NOW, evidence=Evidence.REPLY, reason="timeout")))
    over = QuarantineOver(at=NOW, evidence=Evidence.ASSUMED, may_retry=False)
    await world.record((five, over))
    retried = await world.a_campaign(retry_policy={**NO_RETRIES, "max_retries": 1})
    await world.a_batch(retried, 1)
    for _ in range(2):
        (job,) = (await world.claim(retried)).calls
        await world.end(job.call.id, sip_status=486)
    shown = await world.sql("select distinct status from contacts")
    assert {row["status"] for row in shown} == {
        *("completed", "busy", "no_answer", "failed", "max_retries_reached"),
    }
    assert await finals(world) == []


async def test_a_recorded_correction_is_right(world: World) -> None:
    (call,) = await calls(world, retry_policy=NO_RETRIES)
    await hear(world, call, ended(487), "no-answer")
    await hear(world, call, ended(200), "completed")
    assert (await world.sql("select status from contacts"))[0]["status"] == "completed"
    assert await finals(world) == []


async def test_what_a_record_corrected_is_right(world: World) -> None:
    (call,) = await calls(world, retry_policy=NO_RETRIES)
    await world.record(
        (call, CallTrying(at=NOW, evidence=Evidence.WEBHOOK)),
        (call, CallVanished(at=NOW, evidence=Evidence.ASSUMED, may_retry=True)),
        (call, msgspec.structs.replace(ended(486), evidence=Evidence.RECORD)),
    )
    (shown,) = await world.sql("select k.outcome, c.status from calls k, contacts c")
    assert tuple(shown) == ("busy", "busy")
    assert await finals(world) == []


@pytest.mark.parametrize(("sip_status", "status"), [(200, "failed"), (486, "completed")])
async def test_a_final_contact_changed_behind_its_calls_is_seen(
    world: World, sip_status: int, status: str
) -> None:
    (call,) = await calls(world, retry_policy=NO_RETRIES)
    await world.end(call, sip_status=sip_status)
    await world.sql("update contacts set status = $1", status)
    (what,) = await finals(world)
    assert what.startswith(f"its status is {status}, its last call ended as")


async def test_apollo_in_which_the_last_webhook_wins_is_caught(world: World) -> None:
    events: list[tuple[Callable[..., CallEvent], str]] = [
        (CallRinging, "ringing"),
        (CallAnswered, "in-progress"),
    ]
    (call,) = await calls(world, retry_policy=NO_RETRIES)
    with switched("last webhook wins"):
        await hear(world, call, ended(486), "busy")
        for event, word in events:
            await hear(world, call, event(at=NOW, evidence=Evidence.WEBHOOK), word)
        await hear(world, call, ended(200), "completed")
    assert await finals(world) == ["2 webhooks ended one call, and none is a correction"]
