"""Follow-ups an operator asks for, and changes to a live batch."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.builders import a_recorder_of_results
from tests.usecases.batch_world import ACME, NOW, OTHER, BatchWorld

from apollo.core import ids
from apollo.core.ids import ContactKey
from apollo.errors import Invalid, NotAllowedNow, NotFound
from apollo.storage.calls import complete_batches
from apollo.usecases.batch_views import View
from apollo.usecases.change_batches import ChangeBatches
from apollo.usecases.change_lifecycle import ChangeLifecycle
from apollo.usecases.record_call_result import CallResult
from apollo.usecases.schedule_follow_ups import ScheduleFollowUps

LATER = NOW + timedelta(hours=2)


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[BatchWorld]:
    built = await BatchWorld.build(database_url)
    yield built
    await built.db.close()


@pytest.fixture
def follow_ups(world: BatchWorld) -> ScheduleFollowUps:
    return ScheduleFollowUps(db=world.db, bus=world.bus)


@pytest.fixture
def changes(world: BatchWorld) -> ChangeBatches:
    return ChangeBatches(db=world.db, bus=world.bus)


def _contact(batch: View, position: int) -> str:
    key = ids.parse_id("btc", batch["batch_id"])
    assert key is not None
    return ids.contact_id(ContactKey(key, position))


async def _completed(world: BatchWorld, **campaign: Any) -> View:
    """A completed batch of three people, all reached."""
    batch = await world.batch(await world.campaign(**campaign))
    for position in (1, 2, 3):
        await world.put_call(batch, position)
    await world.sql("update batches set status = 'completed', completed_at = $1", NOW)
    return batch


async def test_a_follow_up_reopens_a_completed_batch_and_waits_for_its_time(
    world: BatchWorld, follow_ups: ScheduleFollowUps
) -> None:
    batch = await _completed(world)
    world.bus.woken.clear()
    contact = _contact(batch, 2)
    shown = await follow_ups.schedule(ACME, batch["batch_id"], contact, LATER)
    assert shown["contact_id"] == contact
    assert shown["status"] == "followup_scheduled"
    assert (shown["blocked_by"], shown["next_eligible_at"]) == ("follow_up_not_due", LATER)
    after = await world.read.batch(ACME, batch["batch_id"])
    assert (after["status"], after["completed_at"]) == ("in_progress", None)
    assert after["counters"]["followup_scheduled"] == 1
    assert sum(after["counters"].values()) == after["total_contacts"]
    due = await world.sql("select position, turn, due_at, is_due from due_contacts")
    assert [tuple(r) for r in due] == [(2, 0, LATER, False)]
    actions = [r["action"] for r in await world.sql("select action from actions order by id")]
    assert actions == ["batch_created", "batch_reopened", "follow_up_scheduled"]
    assert world.bus.told() == [(batch["campaign_id"], "follow_up_set", batch["batch_id"])]


async def test_a_follow_up_may_be_moved_and_a_past_time_is_now(
    world: BatchWorld, follow_ups: ScheduleFollowUps
) -> None:
    batch = await _completed(world)
    contact = _contact(batch, 1)
    await follow_ups.schedule(ACME, batch["batch_id"], contact, LATER)
    await follow_ups.schedule(ACME, batch["batch_id"], contact, NOW - timedelta(hours=23))
    (due,) = await world.sql("select due_at, clock_timestamp() as now from due_contacts")
    assert timedelta() <= due["now"] - due["due_at"] < timedelta(minutes=1)


async def test_a_time_more_than_a_day_ago_is_refused(
    world: BatchWorld, follow_ups: ScheduleFollowUps
) -> None:
    batch = await _completed(world)
    for at in ("0001-01-01T00:00:00Z", NOW - timedelta(hours=25)):
        with pytest.raises(Invalid, match=r"at: .* passed more than a day ago"):
            await follow_ups.schedule(ACME, batch["batch_id"], _contact(batch, 1), at)
    results = a_recorder_of_results(world.db)
    (call,) = await world.sql("select id from calls where position = 1")
    zero = datetime(1, 1, 1, tzinfo=UTC)
    with pytest.raises(Invalid, match=r"follow_up_at: .* passed more than a day ago"):
        await results.record(
            call["id"], CallResult(summary="spoke", follow_up_at=zero), sent_at=NOW
        )
    assert await world.sql("select from due_contacts") == []
    assert await world.sql("select from calls where summary is not null") == []


@pytest.mark.parametrize("asked_by", ["operator", "agent"])
async def test_a_contact_is_followed_up_no_more_often_than_the_campaign_says(
    world: BatchWorld, follow_ups: ScheduleFollowUps, asked_by: str
) -> None:
    batch = await _completed(world, max_follow_ups=2)
    contact = _contact(batch, 1)
    results = a_recorder_of_results(world.db)
    (call,) = await world.sql("select id from calls where position = 1")

    async def ask(at: datetime) -> str | None:
        if asked_by == "agent":
            asked = CallResult(summary=f"{at:%H:%M}", follow_up_at=at)
            return (await results.record(call["id"], asked, sent_at=NOW)).follow_up_refused
        try:
            await follow_ups.schedule(ACME, batch["batch_id"], contact, at)
        except NotAllowedNow as refused:
            return str(refused)
        return None

    for nth in range(2):
        assert await ask(LATER + timedelta(minutes=nth)) is None
        if asked_by == "operator":  # one that is only moved is the same promise
            assert await ask(LATER + timedelta(minutes=nth, seconds=30)) is None
        await world.sql("update contacts set status = 'completed', is_reached = true")
        await world.sql("delete from due_contacts")
    refused = await ask(LATER + timedelta(hours=1))
    assert refused is not None
    assert "promised 2 follow-ups already, and the campaign's max_follow_ups is 2" in refused
    assert await world.sql("select from due_contacts") == []
    await world.sql("update campaigns set max_follow_ups = 3")
    assert await ask(LATER + timedelta(hours=2)) is None


async def test_what_an_agent_says_is_kept_when_its_follow_up_is_refused(world: BatchWorld) -> None:
    batch = await _completed(world, max_follow_ups=0)
    results = a_recorder_of_results(world.db)
    (call,) = await world.sql("select id from calls where position = 1")
    stored = await results.record(
        call["id"], CallResult(summary="spoke", follow_up_at=LATER), sent_at=NOW
    )
    assert stored.follow_up_refused is not None
    kept = await world.sql("select summary, follow_up_at from calls where position = 1")
    assert [tuple(row) for row in kept] == [("spoke", None)]
    assert (await world.read.batch(ACME, batch["batch_id"]))["counters"]["completed"] == 3


async def test_a_wall_time_is_the_campaigns(
    world: BatchWorld, follow_ups: ScheduleFollowUps
) -> None:
    batch = await _completed(world)
    await follow_ups.schedule(ACME, batch["batch_id"], _contact(batch, 1), "2126-05-11T09:00:00")
    due = await world.sql("select due_at from due_contacts")
    assert [r["due_at"] for r in due] == [datetime(2126, 5, 11, 3, 30, tzinfo=UTC)]


async def test_somebody_on_the_phone_is_promised_it_for_the_end_of_the_call(
    world: BatchWorld, follow_ups: ScheduleFollowUps
) -> None:
    batch = await world.batch(await world.campaign())
    await world.put_call(batch, 1, state="answered")
    shown = await follow_ups.schedule(ACME, batch["batch_id"], _contact(batch, 1), LATER)
    assert shown["status"] == "in_progress"
    calls = await world.sql("select follow_up_at, version from calls")
    assert [tuple(r) for r in calls] == [(LATER, 2)]
    assert await world.sql("select from due_contacts") == []


async def test_somebody_never_reached_cannot_be_followed_up(
    world: BatchWorld, follow_ups: ScheduleFollowUps
) -> None:
    batch = await world.batch(await world.campaign())
    await world.put_call(batch, 2, outcome="no_answer")
    for position in (1, 2):
        with pytest.raises(NotAllowedNow, match="never reached"):
            await follow_ups.schedule(ACME, batch["batch_id"], _contact(batch, position), LATER)


async def test_somebody_reached_whose_follow_up_was_not_taken_may_be_called_again(
    world: BatchWorld, follow_ups: ScheduleFollowUps
) -> None:
    batch = await _completed(world)
    await world.sql(
        "update contacts set status = 'max_retries_reached', is_reached = false where position = 1"
    )
    shown = await follow_ups.schedule(ACME, batch["batch_id"], _contact(batch, 1), LATER)
    assert shown["status"] == "followup_scheduled"


@pytest.mark.parametrize("status", ["cancelled", "expired"])
async def test_a_closed_batch_takes_no_follow_up(
    world: BatchWorld, follow_ups: ScheduleFollowUps, status: str
) -> None:
    batch = await _completed(world)
    await world.sql("update batches set status = $1", status)
    with pytest.raises(NotAllowedNow, match=f"the batch is {status} for good"):
        await follow_ups.schedule(ACME, batch["batch_id"], _contact(batch, 1), LATER)


async def test_a_cancelled_campaign_takes_no_follow_up(
    world: BatchWorld, follow_ups: ScheduleFollowUps
) -> None:
    batch = await _completed(world)
    await world.sql("update campaigns set cancelled_at = $1", NOW)
    with pytest.raises(NotAllowedNow, match="the campaign is closed for good"):
        await follow_ups.schedule(ACME, batch["batch_id"], _contact(batch, 1), LATER)


async def test_a_follow_up_after_the_batchs_end_would_never_be_made(
    world: BatchWorld, follow_ups: ScheduleFollowUps
) -> None:
    batch = await _completed(world)
    await world.sql("update batches set ends_at = $1", NOW + timedelta(hours=1))
    with pytest.raises(Invalid, match="ends before"):
        await follow_ups.schedule(ACME, batch["batch_id"], _contact(batch, 1), LATER)
    await world.sql("update batches set ends_at = $1", NOW - timedelta(hours=1))
    with pytest.raises(NotAllowedNow, match="ends_at has passed"):
        await follow_ups.schedule(ACME, batch["batch_id"], _contact(batch, 1), LATER)


@pytest.mark.parametrize("others", [None, "completed", "in_progress"])
@pytest.mark.parametrize("asked_by", ["operator", "agent"])
async def test_a_batch_reopened_under_a_pause_that_stands_is_paused_with_its_campaign(
    world: BatchWorld, follow_ups: ScheduleFollowUps, others: str | None, asked_by: str
) -> None:
    batch = await _completed(world)
    if others is not None:
        other = await world.batch(batch["campaign_id"])
        await world.sql(
            "update batches set status = $2, completed_at ="
            " case $2 when 'completed' then $3::timestamptz end where id = $1",
            ids.parse_id("btc", other["batch_id"]),
            others,
            NOW,
        )
    await world.sql("update campaigns set paused_at = $1", NOW)
    if asked_by == "operator":
        await follow_ups.schedule(ACME, batch["batch_id"], _contact(batch, 1), LATER)
    else:
        results = a_recorder_of_results(world.db)
        (call,) = await world.sql("select id from calls where position = 1")
        assert await results.record(call["id"], CallResult(follow_up_at=LATER), sent_at=NOW)
    after = await world.read.batch(ACME, batch["batch_id"])
    assert (after["status"], after["paused_by"]) == ("paused", "campaign")
    assert after["counters"]["followup_scheduled"] == 1
    resumed = await ChangeLifecycle(db=world.db, bus=world.bus).resume_campaign(
        ACME, batch["campaign_id"]
    )
    assert resumed.status == "active"
    after = await world.read.batch(ACME, batch["batch_id"])
    assert (after["status"], after["paused_by"]) == ("in_progress", None)


@pytest.mark.parametrize("asked_by", ["operator", "agent"])
@pytest.mark.parametrize("actor", ["operator", "apollo"])
async def test_a_pause_that_nobody_lifted_outlives_the_completion_of_its_batch(
    world: BatchWorld, follow_ups: ScheduleFollowUps, actor: str, asked_by: str
) -> None:
    batch = await _completed(world)
    key = ids.parse_id("btc", batch["batch_id"])
    note = (
        "insert into actions (organization_id, batch_id, at, actor, action, detail)"
        " select organization_id, id, $3, $2, $4, $5 from batches where id = $1"
    )
    why = {"code": "bad_request_everywhere"}
    # Whose clock was ahead does not matter, only who spoke last.
    await world.sql(note, key, actor, NOW + timedelta(hours=1), "batch_resumed", {})
    await world.sql(note, key, actor, NOW, "batch_paused", why)
    results = a_recorder_of_results(world.db)
    first, second, _ = await world.sql("select id from calls order by position")
    if asked_by == "operator":
        await follow_ups.schedule(ACME, batch["batch_id"], _contact(batch, 1), LATER)
    else:
        assert await results.record(first["id"], CallResult(follow_up_at=LATER), sent_at=NOW)
    after = await world.read.batch(ACME, batch["batch_id"])
    is_ours = actor == "apollo"
    assert (after["status"], after["paused_by"]) == ("paused", "apollo" if is_ours else "batch")
    assert after["pause_reason"] == (why if is_ours else None)
    # Once it was lifted, it is over.
    await world.sql(
        "update batches set status = 'completed', completed_at = $1, paused_by = null", NOW
    )
    await world.sql(note, key, actor, NOW, "batch_resumed", {})
    assert await results.record(second["id"], CallResult(follow_up_at=LATER), sent_at=NOW)
    after = await world.read.batch(ACME, batch["batch_id"])
    assert (after["status"], after["paused_by"]) == ("in_progress", None)


async def test_a_follow_up_asked_for_while_the_batch_completes_is_not_forgotten(
    world: BatchWorld,
) -> None:
    batch = await _completed(world)
    await world.sql("update batches set status = 'in_progress', completed_at = null")
    results = a_recorder_of_results(world.db)
    (call,) = await world.sql("select id, batch_id from calls where position = 1")
    async with world.db.transaction() as completing:
        await complete_batches(completing, [call["batch_id"]], NOW)
        asked = asyncio.create_task(
            results.record(call["id"], CallResult(follow_up_at=LATER), sent_at=NOW)
        )
        async with asyncio.timeout(30):
            while not asked.done() and not await world.sql(  # noqa: ASYNC110 - a lock tells nobody
                "select from pg_stat_activity"
                " where datname = current_database() and wait_event_type = 'Lock'"
            ):
                await asyncio.sleep(0.01)
    assert await asked
    after = await world.read.batch(ACME, batch["batch_id"])
    assert (after["status"], after["counters"]["followup_scheduled"]) == ("in_progress", 1)


async def test_a_new_batch_ends_the_pause_of_a_campaign_that_had_completed(
    world: BatchWorld,
) -> None:
    batch = await _completed(world)
    await world.sql("update campaigns set paused_at = $1", NOW)
    new = await world.batch(batch["campaign_id"])
    assert (new["status"], new["paused_by"]) == ("in_progress", None)


async def test_contacts_that_are_not_there_are_not_found(
    world: BatchWorld, follow_ups: ScheduleFollowUps
) -> None:
    batch, other = await _completed(world), await _completed(world)
    for contact in ("con_x", _contact(batch, 99), _contact(other, 1)):
        with pytest.raises(NotFound, match=r"^Contact not found$"):
            await follow_ups.schedule(ACME, batch["batch_id"], contact, LATER)
    with pytest.raises(NotFound, match=r"^Batch not found$"):
        await follow_ups.schedule(OTHER, batch["batch_id"], _contact(batch, 1), LATER)


async def test_two_follow_ups_at_once_leave_one_due_time(
    world: BatchWorld, follow_ups: ScheduleFollowUps
) -> None:
    batch = await _completed(world)
    contact = _contact(batch, 1)
    await asyncio.gather(
        *(follow_ups.schedule(ACME, batch["batch_id"], contact, LATER) for _ in range(3))
    )
    assert len(await world.sql("select from due_contacts")) == 1
    after = await world.read.batch(ACME, batch["batch_id"])
    assert sum(after["counters"].values()) == after["total_contacts"]


async def test_only_what_is_given_changes(world: BatchWorld, changes: ChangeBatches) -> None:
    batch = await world.batch(
        await world.campaign(), concurrency_limit=5, metadata={"a": 1}, max_retries_override=2
    )
    world.bus.woken.clear()
    after = await changes.change(ACME, batch["batch_id"], {"concurrency_limit": 7})
    assert (after["concurrency_limit"], after["max_retries_override"]) == (7, 2)
    assert after["metadata"] == {"a": 1}
    assert [why for _, why, _ in world.bus.told()] == ["batch_changed"]
    after = await changes.change(
        ACME,
        batch["batch_id"],
        {"concurrency_limit": None, "ends_at": "2126-05-10T18:00:00", "metadata": {}},
    )
    assert after["concurrency_limit"] == 10, "without its own it has the campaign's"
    assert after["ends_at"] == datetime(2126, 5, 10, 12, 30, tzinfo=UTC)
    assert after["metadata"] == {}
    after = await changes.change(ACME, batch["batch_id"], {"ends_at": None})
    assert after["ends_at"] is None


async def test_a_batch_that_is_over_cannot_be_changed(
    world: BatchWorld, changes: ChangeBatches
) -> None:
    batch = await _completed(world)
    with pytest.raises(NotAllowedNow, match="only a live batch"):
        await changes.change(ACME, batch["batch_id"], {"concurrency_limit": 7})
    with pytest.raises(NotFound):
        await changes.change(OTHER, batch["batch_id"], {"concurrency_limit": 7})


async def test_an_end_in_the_past_is_refused(world: BatchWorld, changes: ChangeBatches) -> None:
    batch = await world.batch(await world.campaign())
    with pytest.raises(Invalid, match="to end the batch now, cancel"):
        await changes.change(ACME, batch["batch_id"], {"ends_at": "2026-05-10T09:00:00Z"})
