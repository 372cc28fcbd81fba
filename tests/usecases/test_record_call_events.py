"""Recording what happened to calls: in sets, from several processes, repeated and out of order."""

import asyncio
import hashlib
import uuid
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import structlog
from tests.builders import DEADLINES, ORGANIZATION, World, a_world, ended, some_numbers
from tests.usecases.batch_world import HeardBus

from apollo.core import ids
from apollo.core.carrier import ROW_MEANS_SET_UP
from apollo.core.eligibility import Wait
from apollo.core.events import (
    CallAccepted,
    CallAnswered,
    CallEvent,
    CallRinging,
    Evidence,
    RequestLost,
)
from apollo.core.reasons import Reason
from apollo.core.sip import Family
from apollo.core.states import Off
from apollo.usecases.authenticate import Principal
from apollo.usecases.change_lifecycle import ChangeLifecycle
from apollo.usecases.collector import Collector
from apollo.usecases.record_call_events import Arrival, RecordCallEvents, Recorded, Webhook

AT = datetime(2026, 5, 10, 9, tzinfo=UTC)


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with a_world(database_url) as opened:
        yield opened


def recorder(world: World) -> RecordCallEvents:
    return RecordCallEvents(db=world.db, deadlines=DEADLINES, wakes_by_notify=True)


def arrival(
    call_id: uuid.UUID | None, event: CallEvent | None, provider_call_id: str = "A", word: str = "x"
) -> Arrival:
    """An event as a webhook brings it."""
    body = f"{call_id} {provider_call_id} {type(event).__name__} {word}".encode()
    return Arrival(
        execution_id=call_id,
        event=event,
        provider_call_id=provider_call_id,
        webhook=Webhook(
            content_hash=uuid.UUID(bytes=hashlib.sha256(body).digest()[:16]),
            provider_call_id=provider_call_id,
            call_status=word,
            body=body,
            received_at=AT,
        ),
    )


def accepted(provider_call_id: str) -> CallAccepted:
    return CallAccepted(at=AT, evidence=Evidence.REPLY, provider_call_id=provider_call_id)


def answered(**more: Any) -> CallAnswered:
    return CallAnswered(at=AT, evidence=Evidence.WEBHOOK, **more)


async def begin(world: World, people: int = 1, **campaign: Any) -> tuple[Any, Any, list[uuid.UUID]]:
    """A campaign, a batch of this many people, and an open call to each."""
    campaign_id = await world.a_campaign(limit=100, **campaign)
    batch_id = await world.a_batch(campaign_id, people)
    claimed = await world.claim(campaign_id)
    return campaign_id, batch_id, [job.call.id for job in claimed.calls]


async def call(world: World, call_id: uuid.UUID) -> dict[str, Any]:
    return dict((await world.sql("select * from calls where id = $1", call_id))[0])


# ------------------------------------------------------------------------------------ completion


async def test_the_last_end_completes_the_batch_in_the_same_transaction(world: World) -> None:
    _, batch_id, calls = await begin(world, 2)
    assert (await world.end(calls[0])).completed == []
    assert await world.batch_status(batch_id) == "in_progress"
    assert (await world.end(calls[1])).completed == [batch_id]
    rows = await world.sql(
        "select b.xmin = c.xmin as same from batches b, calls c where c.id = $1", calls[1]
    )
    assert rows[0]["same"]
    assert await world.batch_status(batch_id) == "completed"


@pytest.mark.parametrize("round_", range(5))
async def test_two_recorders_that_end_the_last_two_contacts_together_complete_the_batch(
    world: World, round_: int
) -> None:
    campaign_id = await world.a_campaign(limit=100)
    batches = [await world.a_batch(campaign_id, 2 + round_ % 2) for _ in range(1)]
    # Different people, so that no number parks another.
    claimed = await world.claim(campaign_id)
    await asyncio.gather(*(world.end(job.call.id) for job in claimed.calls))
    assert [await world.batch_status(batch_id) for batch_id in batches] == ["completed"]


async def test_the_second_recorder_waits_for_the_first_and_then_sees_its_work(
    world: World,
) -> None:
    _, batch_id, calls = await begin(world, 2)
    async with world.db.transaction() as connection:
        # Somebody is just deciding whether this batch is finished.
        await connection.execute("select from batches where id = $1 for no key update", batch_id)
        both = [asyncio.create_task(world.end(call_id)) for call_id in calls]
        waiting = (
            "select count(*) from pg_stat_activity where wait_event_type = 'Lock'"
            " and datname = current_database()"
        )
        async with asyncio.timeout(10):
            while await connection.fetchval(waiting) < 2:
                await connection.execute("select pg_stat_clear_snapshot()")
    completed = [done for task in both for done in (await task).completed]
    assert completed == [batch_id]


async def test_while_somebody_was_never_called_nobody_asks_whether_the_batch_is_complete(
    world: World,
) -> None:
    campaign_id = await world.a_campaign(limit=1)
    batch_id = await world.a_batch(campaign_id, 2)
    (first,) = (await world.claim(campaign_id)).calls
    async with world.db.transaction() as connection:
        # Whoever asked would have to wait for this.
        await connection.execute("select from batches where id = $1 for no key update", batch_id)
        async with asyncio.timeout(5):
            assert (await world.end(first.call.id)).completed == []
    (second,) = (await world.claim(campaign_id)).calls
    assert (await world.end(second.call.id)).completed == [batch_id]


async def test_a_batch_with_a_retry_to_come_is_not_completed(world: World) -> None:
    _, batch_id, calls = await begin(world, 2)
    await world.end(calls[0])
    await world.end(calls[1], sip_status=486)
    assert await world.batch_status(batch_id) == "in_progress"


# ------------------------------------------------------------------------------------- cancelling


@pytest.mark.parametrize("round_", range(6))
async def test_no_contact_is_left_waiting_in_a_batch_that_is_cancelled_meanwhile(
    world: World, round_: int
) -> None:
    campaign_id, batch_id, calls = await begin(world, 12)
    change = ChangeLifecycle(db=world.db, bus=HeardBus())
    principal = Principal(ORGANIZATION, "tests")

    async def cancel() -> int:
        for _ in range(round_):
            await asyncio.sleep(0)
        changed = await change.cancel_batch(principal, ids.batch_id(batch_id))
        return changed.calls_in_progress

    results = await asyncio.gather(
        *(world.end(call_id, sip_status=486) for call_id in calls[:6]),
        cancel(),
        *(world.end(call_id, sip_status=486) for call_id in calls[6:]),
    )
    assert await world.batch_status(batch_id) == "cancelled"
    assert set(await world.statuses(batch_id)) <= {"busy", "skipped"}
    assert await world.value("select count(*) from due_contacts") == 0
    assert (await world.claim(campaign_id)).calls == []
    in_progress = [result for result in results if isinstance(result, int)]
    assert 0 <= in_progress[0] <= 12
    assert await world.counters() == await world.recount()


async def test_after_a_cancel_the_true_outcome_is_recorded_and_no_retry_follows(
    world: World,
) -> None:
    campaign_id, batch_id, calls = await begin(world, 1)
    change = ChangeLifecycle(db=world.db, bus=HeardBus())
    changed = await change.cancel_batch(Principal(ORGANIZATION, "tests"), ids.batch_id(batch_id))
    assert changed.calls_in_progress == 1
    await world.end(calls[0], sip_status=487)
    assert await world.statuses(batch_id) == ["no_answer"]
    assert await world.call_counts(campaign_id) == {"attempts": 1, "no_answer": 1}


# -------------------------------------------------------------------------- repeats and strangers


async def test_a_repeated_event_changes_nothing_at_all(world: World) -> None:
    campaign_id, batch_id, calls = await begin(world, 1)
    events = [
        arrival(calls[0], CallRinging(at=AT, evidence=Evidence.WEBHOOK)),
        arrival(calls[0], ended(486, provider_call_id="A")),
    ]
    await recorder(world).record(events)
    before = (
        await call(world, calls[0]),
        await world.contact(batch_id),
        await world.counters(),
        await world.call_counts(campaign_id),
        await world.value("select count(*) from call_events"),
    )
    again = await recorder(world).record([*reversed(events), *events])
    assert again.offs == [Off.REPEAT] * 4
    assert again.freed == set()
    after = (
        await call(world, calls[0]),
        await world.contact(batch_id),
        await world.counters(),
        await world.call_counts(campaign_id),
        await world.value("select count(*) from call_events"),
    )
    assert after == before


async def test_the_same_event_on_two_processes_at_once_counts_once(world: World) -> None:
    campaign_id, batch_id, calls = await begin(world, 3)
    events = [arrival(call_id, ended(200), f"P{n}") for n, call_id in enumerate(calls)]
    await asyncio.gather(*(recorder(world).record(events) for _ in range(4)))
    assert await world.call_counts(campaign_id) == {"attempts": 3, "completed": 3}
    assert await world.batch_status(batch_id) == "completed"
    assert await world.value("select count(*) from call_events") == 3


async def test_events_of_nobodys_call_are_kept_as_orphans(world: World) -> None:
    recorded = await recorder(world).record(
        [arrival(uuid.uuid4(), ended(200)), arrival(None, answered(), "unheard-of")]
    )
    assert recorded.freed == set()
    verdicts = await world.sql("select verdict from call_events")
    assert [row["verdict"] for row in verdicts] == ["orphan", "orphan"]


async def test_an_event_without_a_tag_finds_its_call_by_the_providers_id(world: World) -> None:
    _, _, calls = await begin(world, 1)
    await world.record((calls[0], accepted("A")))
    await recorder(world).record([arrival(None, answered(provider_call_id="A"), "A")])
    assert (await call(world, calls[0]))["state"] == "answered"


async def test_one_poisoned_event_does_not_lose_the_others(world: World) -> None:
    _, _, calls = await begin(world, 4)
    await world.record((calls[0], accepted("TAKEN")))
    write = recorder(world)

    async def in_sets(arrivals: Any) -> Any:
        return (await write.record(arrivals)).offs

    lane: Collector[Arrival, Off | None] = Collector(in_sets)
    results = await asyncio.gather(
        lane.put(arrival(calls[1], ended(200), "B")),
        # The provider's id belongs to another call already: the database refuses it.
        lane.put(arrival(calls[2], accepted("TAKEN"), "TAKEN")),
        lane.put(arrival(calls[3], ended(486), "D")),
        return_exceptions=True,
    )
    assert results[0] is None
    assert isinstance(results[1], Exception)
    assert results[2] is None
    states = [(await call(world, call_id))["state"] for call_id in calls]
    assert states == ["accepted", "ended", "placing", "ended"]


async def test_a_set_that_cannot_be_written_leaves_nothing_behind(world: World) -> None:
    campaign_id, batch_id, calls = await begin(world, 2)
    counted = await world.counters()
    with pytest.raises(Exception, match="calls_at_provider"):
        await world.record((calls[0], accepted("A")), (calls[1], accepted("A")))
    assert [(await call(world, c))["state"] for c in calls] == ["placing", "placing"]
    assert await world.counters() == counted
    assert await world.statuses(batch_id) == ["dispatched"] * 2
    assert await world.call_counts(campaign_id) == {"attempts": 2}


async def test_recorders_with_the_same_calls_in_different_order_do_not_stop_each_other(
    world: World,
) -> None:
    _, batch_id, calls = await begin(world, 30)
    forward = [(call_id, CallRinging(at=AT, evidence=Evidence.WEBHOOK)) for call_id in calls]
    backward = [(call_id, ended(200)) for call_id in reversed(calls)]
    await asyncio.gather(world.record(*forward), world.record(*backward), world.record(*forward))
    assert await world.batch_status(batch_id) == "completed"
    assert await world.counters() == await world.recount()


async def test_a_move_from_a_version_that_is_gone_is_decided_again(world: World) -> None:
    _, _, calls = await begin(world, 1)
    await world.record((calls[0], accepted("A")))
    first = (await call(world, calls[0]))["version"]
    ringing = CallRinging(at=AT, evidence=Evidence.WEBHOOK)
    with structlog.testing.capture_logs() as logged:
        await asyncio.gather(*(world.record((calls[0], ringing)) for _ in range(6)))
    assert [line["event"] for line in logged] == ["call.ringing"]
    # One of them moved it; each of the others read again and found nothing to move.
    assert (await call(world, calls[0]))["version"] == first + 1


# ---------------------------------------------------------------------------------- corrections


async def test_late_news_of_an_answer_corrects_the_outcome_and_cancels_the_retry(
    world: World,
) -> None:
    campaign_id, batch_id, calls = await begin(world, 1)
    await world.end(calls[0], sip_status=487)
    assert await world.statuses(batch_id) == ["retrying"]
    recorded = await recorder(world).record([arrival(calls[0], answered())])
    assert recorded.completed == [batch_id]
    contact = await world.contact(batch_id)
    assert (contact["status"], contact["due_at"], contact["is_reached"]) == (
        "completed",
        None,
        True,
    )
    assert await world.call_counts(campaign_id) == {"attempts": 1, "completed": 1}
    verdicts = await world.sql("select verdict from call_events")
    assert [row["verdict"] for row in verdicts] == ["correction"]
    assert (await world.claim(campaign_id)).calls == []
    assert await world.counters() == await world.recount()


async def test_late_news_together_with_the_end_of_the_retry_leads_to_no_further_call(
    world: World,
) -> None:
    campaign_id, batch_id, calls = await begin(world, 1)
    await world.end(calls[0], sip_status=487)
    retry = (await world.claim(campaign_id)).calls[0].call.id
    recorded = await world.record((calls[0], answered()), (retry, ended(487)))
    assert recorded.completed == [batch_id]
    assert await world.statuses(batch_id) == ["completed"]
    assert (await world.claim(campaign_id)).calls == []


async def test_the_end_of_the_retry_just_before_the_late_news_leads_to_no_further_call(
    world: World,
) -> None:
    campaign_id, batch_id, calls = await begin(world, 1)
    await world.end(calls[0], sip_status=487)
    retry = (await world.claim(campaign_id)).calls[0].call.id
    await world.record((retry, ended(487)), (calls[0], answered()))
    assert await world.statuses(batch_id) == ["completed"]
    assert await world.value("select count(*) from due_contacts") == 0


async def test_a_lost_reply_holds_the_contact_until_more_is_known(world: World) -> None:
    campaign_id, batch_id, calls = await begin(world, 1)
    await world.record((calls[0], RequestLost(at=AT, evidence=Evidence.REPLY, reason="timeout")))
    assert (await call(world, calls[0]))["state"] == "unknown"
    assert await world.statuses(batch_id) == ["dispatched"]
    assert (await world.claim(campaign_id)).calls == []


# ----------------------------------------------------------------------------------- counters


async def test_calls_are_counted_once_each_by_outcome(world: World) -> None:
    campaign_id, _, calls = await begin(world, 5)
    for call_id, sip_status in zip(calls, (200, 486, 487, 503, 404), strict=True):
        await world.end(call_id, sip_status=sip_status)
    assert await world.call_counts(campaign_id) == {
        "attempts": 5,
        "completed": 1,
        "busy": 1,
        "no_answer": 1,
        "failed": 2,
    }


async def test_a_follow_up_is_counted_apart(world: World) -> None:
    campaign_id, batch_id, calls = await begin(world, 1)
    await world.sql("update calls set follow_up_at = now() - interval '1 day'")
    await world.end(calls[0])
    assert await world.statuses(batch_id) == ["followup_scheduled"]
    await world.sql("update due_contacts set is_due = true")
    await world.sql("update contacts set wait_reason = null")
    claimed = await world.claim(campaign_id)
    await world.end(*(job.call.id for job in claimed.calls))
    assert await world.call_counts(campaign_id) == {
        "attempts": 2,
        "follow_up_attempts": 1,
        "completed": 2,
        "follow_up": 1,
    }


async def test_an_end_wakes_the_dialler_when_it_commits(world: World) -> None:
    campaign_id, _, calls = await begin(world, 1)
    heard: asyncio.Queue[str] = asyncio.Queue()
    listener = await world.db.listen("apollo_wake", heard.put_nowait)
    try:
        recorded: Recorded = await world.end(calls[0])
        assert recorded.freed == {campaign_id}
        async with asyncio.timeout(5):
            assert await heard.get() == str(campaign_id)
    finally:
        await listener.close()


async def test_what_happens_is_dated_by_the_database(world: World) -> None:
    _, batch_id, calls = await begin(world, 1)
    before = await world.value("select clock_timestamp()")
    far_off = datetime(2031, 1, 1, tzinfo=UTC)
    await world.record((calls[0], ended(486, at=far_off)))
    contact = await world.contact(batch_id)
    assert timedelta(0) <= contact["updated_at"] - before < timedelta(minutes=1)


# ------------------------------------------------------------------------------------ the carrier


async def gate(world: World, kind: str = "campaign") -> dict[str, Any]:
    """The one gate of this kind; empty when nothing was written of any."""
    rows = await world.sql("select * from carrier_gates where kind = $1", kind)
    assert len(rows) <= 1
    return dict(rows[0]) if rows else {}


async def test_what_the_carrier_fails_is_counted_for_campaign_and_batch(world: World) -> None:
    campaign_id, batch_id, calls = await begin(world, 4)
    await world.end(*calls[:2], sip_status=503)
    await world.end(calls[2], sip_status=402)
    for kind, scope_id in (("campaign", campaign_id), ("batch", batch_id)):
        one = await gate(world, kind)
        assert (one["scope_id"], one["failed"], one["sip_status"]) == (scope_id, 3, 402)


async def test_a_carrier_that_works_costs_no_write(world: World) -> None:
    _, _, calls = await begin(world, 3)
    await world.end(*calls[:2])
    await world.end(calls[2], sip_status=486)
    assert await gate(world) == {}


async def test_calls_carried_while_others_fail_are_counted_once_each(world: World) -> None:
    _, _, calls = await begin(world, 3)
    await world.end(calls[0], sip_status=503)
    ringing = CallRinging(at=AT, evidence=Evidence.WEBHOOK)
    await world.record((calls[1], ringing), (calls[1], answered()), (calls[1], ended()))
    await world.end(calls[2], sip_status=480)
    one = await gate(world)
    assert (one["failed"], one["carried"]) == (1, 2)


async def test_a_claim_meets_the_gate_of_its_campaign_and_takes_nobody(world: World) -> None:
    campaign_id = await world.a_campaign(limit=5)
    batch_id = await world.a_batch(campaign_id, 15)
    other_id = await world.a_campaign(limit=5)
    await world.a_batch(other_id, some_numbers(30)[25:])
    dial = world.dial()
    claimed = await dial.claim(campaign_id, 5)
    await world.end(*(job.call.id for job in claimed.calls), sip_status=503)
    held = await dial.claim(campaign_id, 5)
    assert not held.calls
    shut = await gate(world)
    assert held.wait == Wait(Reason.CARRIER_REJECTS, shut["probe_at"])
    assert held.wait_s is not None
    assert 3 < held.wait_s <= 5
    assert await world.statuses(batch_id) == ["retrying"] * 5 + ["pending"] * 10
    assert len((await dial.claim(other_id, 5)).calls) == 5, "nobody else is held"


async def test_one_probe_leaves_whoever_claims_and_a_phone_that_rings_opens_the_gate(
    world: World,
) -> None:
    campaign_id = await world.a_campaign(limit=5)
    await world.a_batch(campaign_id, 15)
    dial, another = world.dial(), world.dial()
    claimed = await dial.claim(campaign_id, 5)
    await world.end(*(job.call.id for job in claimed.calls), sip_status=503)
    await world.sql("update carrier_gates set probe_at = clock_timestamp()")
    probe = await dial.claim(campaign_id, 5)
    assert len(probe.calls) == 1
    assert not (await another.claim(campaign_id, 5)).calls, "one probe, whoever claims"
    ringing = CallRinging(at=AT, evidence=Evidence.WEBHOOK)
    recorded = await world.record((probe.calls[0].call.id, ringing))
    assert recorded.freed == {campaign_id}, "it is dialled on at once"
    assert len((await another.claim(campaign_id, 5)).calls) == 4


async def end_like(world: World, calls: Sequence[uuid.UUID], sip_status: int) -> None:
    for call_id in calls:
        await world.end(call_id, sip_status=sip_status)


@pytest.mark.parametrize(
    ("sip_status", "reason", "family"),
    [
        (404, "no_route", Family.NUMBER),
        (484, "no_route", Family.NUMBER),
        (488, "no_codec", Family.CODEC),
        (603, "no_carrier", Family.DECLINED),
    ],
)
async def test_a_carrier_that_knows_no_number_costs_nobody_an_attempt(
    world: World, sip_status: int, reason: str, family: Family
) -> None:
    length = ROW_MEANS_SET_UP[family]
    campaign_id, batch_id, calls = await begin(world, length + 2)
    await end_like(world, calls, sip_status)
    assert await world.statuses(batch_id) == ["retrying"] * (length + 2)
    rows = await world.sql("select tries, carrier_failures, attempts from contacts")
    assert {tuple(row) for row in rows} == {(0, 1, 1)}
    shown = await world.sql("select distinct hangup_reason, outcome, sip_status from calls")
    assert [tuple(row) for row in shown] == [(reason, "failed", sip_status)]
    assert (await gate(world))["shut_at"] is not None
    assert (await gate(world, "batch"))["shut_at"] is not None
    noted = await world.sql("select actor, detail, batch_id from actions")
    assert [tuple(row) for row in noted] == [
        ("apollo", {"contacts": length - 1, "sip_status": sip_status}, batch_id)
    ]
    counted = await world.sql(
        "select counted, sum(calls)::int from call_counters where campaign_id = $1"
        " group by 1 having sum(calls) <> 0",
        campaign_id,
    )
    assert {row[0]: row[1] for row in counted} == {"attempts": length + 2, "failed": length + 2}


async def test_a_list_with_some_bad_numbers_is_dialled_on(world: World) -> None:
    _, batch_id, calls = await begin(world, 12)
    for n, call_id in enumerate(calls):
        await world.end(call_id, sip_status=487 if n % 4 == 3 else 404)
    statuses = await world.statuses(batch_id)
    assert statuses.count("failed") == 9
    assert (await gate(world)).get("shut_at") is None


async def test_a_batch_that_was_completed_goes_on_when_its_contacts_are_set_back(
    world: World,
) -> None:
    length = ROW_MEANS_SET_UP[Family.NUMBER]
    campaign_id = await world.a_campaign(limit=length)
    first = await world.a_batch(campaign_id, length - 1)
    calls = [job.call.id for job in (await world.dial().claim(campaign_id, length)).calls]
    await end_like(world, calls, 404)
    assert await world.value("select status from batches where id = $1", first) == "completed"
    second = await world.a_batch(campaign_id, some_numbers(70)[-1:])
    last = (await world.dial().claim(campaign_id, 1)).calls[0].call.id
    await world.end(last, sip_status=404)
    assert await world.value("select status from batches where id = $1", first) == "in_progress"
    assert await world.statuses(first) == ["retrying"] * (length - 1)
    assert await world.statuses(second) == ["retrying"]


async def test_who_was_cancelled_meanwhile_is_set_back_to_nothing_that_is_called(
    world: World,
) -> None:
    length = ROW_MEANS_SET_UP[Family.NUMBER]
    _, batch_id, calls = await begin(world, length)
    await end_like(world, calls[:-1], 404)
    await world.sql("update batches set status = 'cancelled'")
    await world.end(calls[-1], sip_status=404)
    assert await world.statuses(batch_id) == ["failed"] * length
    assert await world.value("select count(*) from due_contacts") == 0


async def test_a_bad_list_holds_no_other_batch_of_its_campaign(world: World) -> None:
    length = ROW_MEANS_SET_UP[Family.NUMBER]
    campaign_id = await world.a_campaign(limit=2 * length)
    bad = await world.a_batch(campaign_id, 2 * length)
    good = await world.a_batch(campaign_id, some_numbers(70)[50:])
    dial = world.dial()
    claimed = await dial.claim(campaign_id, 2 * length)
    by_batch = {
        batch: [job.call.id for job in claimed.calls if job.call.contact.batch_id == batch]
        for batch in (bad, good)
    }
    # One of the good ones rings after each of the bad ones: the campaign itself gets through.
    for one, other in zip(by_batch[bad], by_batch[good], strict=True):
        await world.end(one, sip_status=404)
        await world.end(other, sip_status=487)
    assert (await gate(world)).get("shut_at") is None
    held = await world.sql("select scope_id from carrier_gates where shut_at is not null")
    assert [row["scope_id"] for row in held] == [bad]
    claimed = await dial.claim(campaign_id, 2 * length)
    assert {job.call.contact.batch_id for job in claimed.calls} == {good}
