"""Pause, resume, cancel, expire, dispatch: what each leaves behind, and what it refuses."""

import uuid
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from tests.usecases.batch_world import ACME, NOW, OTHER, BatchWorld

from apollo.core import ids
from apollo.core.diagnosis.snapshot import Settings as Explained
from apollo.core.states import ContactStatus
from apollo.errors import NotAllowedNow, NotFound
from apollo.usecases.change_lifecycle import ChangeLifecycle
from apollo.usecases.check_contacts import OnDuplicate
from apollo.usecases.explain_batch import ExplainBatch
from apollo.usecases.manage_campaigns import ManageCampaigns

FAR_AHEAD = "2099-01-01T00:00:00Z"


EXPLAINED = Explained(
    stuck_after=timedelta(minutes=30), ring_timeout=timedelta(seconds=45), bus_kind="postgres"
)


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[BatchWorld]:
    built = await BatchWorld.build(database_url)
    yield built
    await built.db.close()


@pytest.fixture
def lifecycle(world: BatchWorld) -> ChangeLifecycle:
    return ChangeLifecycle(db=world.db, bus=world.bus)


@pytest.fixture
def campaigns(world: BatchWorld) -> ManageCampaigns:
    return ManageCampaigns(db=world.db, bus=world.bus)


async def status_of(world: BatchWorld, batch: Any) -> tuple[str, str | None]:
    shown = await world.read.batch(ACME, batch["batch_id"])
    return shown["status"], shown["paused_by"]


async def contacts_of(world: BatchWorld, batch: Any) -> list[str]:
    shown = await world.read.contacts(ACME, batch["batch_id"], limit=1000)
    return [contact["status"] for contact in shown]


async def put_due(world: BatchWorld, batch: Any, position: int, status: str, turn: int) -> None:
    """Make a contact wait for its turn, as the end of a call would."""
    key = ids.parse_id("btc", batch["batch_id"])
    await world.sql(
        "update contacts set status = $3 where batch_id = $1 and position = $2",
        key,
        position,
        status,
    )
    await world.sql(
        "insert into due_contacts (batch_id, position, turn, due_at, is_due, since)"
        " values ($1, $2, $3, $4, false, $4)",
        key,
        position,
        turn,
        NOW,
    )


async def actions_of(world: BatchWorld) -> list[tuple[str, str]]:
    rows = await world.sql("select actor, action from actions order by id")
    made = "batch_created"
    return [(row["actor"], row["action"]) for row in rows if row["action"] != made]


async def test_pausing_a_batch_says_which_calls_go_on(
    world: BatchWorld, lifecycle: ChangeLifecycle
) -> None:
    batch = await world.batch(await world.campaign())
    await world.put_call(batch, 1, state="placing")
    await world.put_call(batch, 2, state="ended", phone_number="+919876500002")
    paused = await lifecycle.pause_batch(ACME, batch["batch_id"])
    assert (paused.status, paused.calls_in_progress) == ("paused", 1)
    assert paused.message == "Batch paused successfully"
    assert await status_of(world, batch) == ("paused", "batch")
    assert await contacts_of(world, batch) == ["dispatched", "completed", "pending"]
    assert await actions_of(world) == [("tests", "batch_paused")]


async def test_a_repeat_changes_nothing_and_is_not_recorded(
    world: BatchWorld, lifecycle: ChangeLifecycle
) -> None:
    batch = await world.batch(await world.campaign())
    await lifecycle.pause_batch(ACME, batch["batch_id"])
    before = await world.sql("select * from batches")
    again = await lifecycle.pause_batch(ACME, batch["batch_id"])
    assert (again.status, again.message) == ("paused", "Batch is already paused")
    assert await world.sql("select * from batches") == before
    assert len(await actions_of(world)) == 1


async def test_resuming_a_batch_wakes_the_dialler_and_counts_from_now(
    world: BatchWorld, lifecycle: ChangeLifecycle
) -> None:
    batch = await world.batch(await world.campaign())
    await world.sql("update batches set ready_at = $1", NOW)
    await lifecycle.pause_batch(ACME, batch["batch_id"])
    world.bus.woken.clear()
    resumed = await lifecycle.resume_batch(ACME, batch["batch_id"])
    assert resumed.status == "in_progress"
    assert world.bus.told() == [(batch["campaign_id"], "batch_resumed", batch["batch_id"])]
    (row,) = await world.sql("select ready_at, clock_timestamp() from batches")
    assert row["clock_timestamp"] - row["ready_at"] < timedelta(seconds=30)
    again = await lifecycle.resume_batch(ACME, batch["batch_id"])
    assert again.status == "in_progress"


async def test_a_scheduled_batch_waits_for_its_start_again_after_a_pause(
    world: BatchWorld, lifecycle: ChangeLifecycle
) -> None:
    campaign = await world.campaign()
    ahead = await world.batch(campaign, scheduled_start=FAR_AHEAD)
    await lifecycle.pause_batch(ACME, ahead["batch_id"])
    assert (await lifecycle.resume_batch(ACME, ahead["batch_id"])).status == "pending"
    await lifecycle.pause_batch(ACME, ahead["batch_id"])
    await world.sql("update batches set scheduled_start = $1", NOW - timedelta(days=365))
    assert (await lifecycle.resume_batch(ACME, ahead["batch_id"])).status == "in_progress"


async def test_a_campaign_takes_its_batches_along_except_those_paused_on_their_own(
    world: BatchWorld, lifecycle: ChangeLifecycle
) -> None:
    campaign = await world.campaign()
    running, own, scheduled = (
        await world.batch(campaign, on_duplicate=OnDuplicate.KEEP),
        await world.batch(campaign, on_duplicate=OnDuplicate.KEEP),
        await world.batch(campaign, on_duplicate=OnDuplicate.KEEP, scheduled_start=FAR_AHEAD),
    )
    await lifecycle.pause_batch(ACME, own["batch_id"])
    paused = await lifecycle.pause_campaign(ACME, campaign)
    assert (paused.status, paused.message) == ("paused", "Campaign paused successfully")
    assert await status_of(world, running) == ("paused", "campaign")
    assert await status_of(world, own) == ("paused", "batch")
    assert await status_of(world, scheduled) == ("paused", "campaign")
    resumed = await lifecycle.resume_campaign(ACME, campaign)
    assert (resumed.status, resumed.message) == ("active", "Campaign resumed successfully")
    assert await status_of(world, running) == ("in_progress", None)
    assert await status_of(world, own) == ("paused", "batch")
    assert await status_of(world, scheduled) == ("pending", None)


async def test_a_batch_paused_twice_over_stays_paused_when_its_campaign_resumes(
    world: BatchWorld, lifecycle: ChangeLifecycle
) -> None:
    campaign = await world.campaign()
    batch = await world.batch(campaign)
    await lifecycle.pause_campaign(ACME, campaign)
    await lifecycle.pause_batch(ACME, batch["batch_id"])
    assert await status_of(world, batch) == ("paused", "batch")
    await lifecycle.resume_campaign(ACME, campaign)
    assert await status_of(world, batch) == ("paused", "batch")


async def test_a_batch_cannot_be_resumed_under_a_paused_campaign(
    world: BatchWorld, lifecycle: ChangeLifecycle
) -> None:
    campaign = await world.campaign()
    batch = await world.batch(campaign)
    await lifecycle.pause_campaign(ACME, campaign)
    with pytest.raises(NotAllowedNow, match=f"/campaigns/{campaign}/resume"):
        await lifecycle.resume_batch(ACME, batch["batch_id"])
    assert await status_of(world, batch) == ("paused", "campaign")


async def test_cancelling_skips_whoever_waits_and_leaves_calls_alone(
    world: BatchWorld, lifecycle: ChangeLifecycle
) -> None:
    numbers = [f"+91987650000{n}" for n in range(1, 7)]
    batch = await world.batch(await world.campaign(), numbers)
    await world.put_call(batch, 1, state="placing")
    await world.put_call(batch, 2, state="answered", phone_number="+919876500002")
    await world.put_call(batch, 3, state="ended", phone_number="+919876500003")
    await put_due(world, batch, 4, "retrying", 1)
    await put_due(world, batch, 5, "followup_scheduled", 0)
    cancelled = await lifecycle.cancel_batch(ACME, batch["batch_id"])
    assert (cancelled.status, cancelled.calls_in_progress) == ("cancelled", 2)
    kept = ["dispatched", "in_progress", "completed"]
    assert await contacts_of(world, batch) == [*kept, "skipped", "skipped", "skipped"]
    assert await world.sql("select * from due_contacts") == []
    (cursor,) = await world.sql("select next_position from batch_cursors")
    assert cursor["next_position"] == 7
    counters = (await world.read.batch(ACME, batch["batch_id"]))["counters"]
    assert counters["skipped"] == 3
    assert sum(counters.values()) == 6


async def test_cancelling_a_campaign_cancels_every_live_batch_and_no_other(
    world: BatchWorld, lifecycle: ChangeLifecycle
) -> None:
    campaign, other = await world.campaign(), await world.campaign()
    live = [await world.batch(campaign, on_duplicate=OnDuplicate.KEEP) for _ in range(3)]
    await lifecycle.pause_batch(ACME, live[0]["batch_id"])
    elsewhere = await world.batch(other, ["+919876511111"])
    await world.sql(
        "update batches set status = 'completed', completed_at = now() where id = $1",
        ids.parse_id("btc", live[2]["batch_id"]),
    )
    cancelled = await lifecycle.cancel_campaign(ACME, campaign)
    assert (cancelled.status, cancelled.calls_in_progress) == ("cancelled", 0)
    assert await status_of(world, live[0]) == ("cancelled", None)
    assert await status_of(world, live[1]) == ("cancelled", None)
    assert await status_of(world, live[2]) == ("completed", None)
    assert await status_of(world, elsewhere) == ("in_progress", None)
    assert (await lifecycle.cancel_campaign(ACME, campaign)).status == "cancelled"
    for impossible in (lifecycle.pause_campaign, lifecycle.resume_campaign):
        with pytest.raises(NotAllowedNow, match="cancelled"):
            await impossible(ACME, campaign)


@pytest.mark.parametrize("status", ["completed", "cancelled", "expired"])
async def test_a_closed_batch_refuses_every_other_command(
    world: BatchWorld, lifecycle: ChangeLifecycle, status: str
) -> None:
    batch = await world.batch(await world.campaign())
    await world.sql("update batches set status = $1, completed_at = now()", status)
    before = await world.sql("select * from batches")
    commands = [lifecycle.pause_batch, lifecycle.resume_batch]
    if status != "cancelled":
        commands.append(lifecycle.cancel_batch)
    for command in commands:
        with pytest.raises(NotAllowedNow, match=status):
            await command(ACME, batch["batch_id"])
    assert await world.sql("select * from batches") == before
    assert await actions_of(world) == []


async def test_a_campaign_at_rest_refuses_what_makes_no_sense(
    world: BatchWorld, lifecycle: ChangeLifecycle
) -> None:
    draft, done = await world.campaign(), await world.campaign()
    with pytest.raises(NotAllowedNow, match="draft"):
        await lifecycle.resume_campaign(ACME, draft)
    assert (await lifecycle.pause_campaign(ACME, draft)).status == "paused"
    assert (await lifecycle.resume_campaign(ACME, draft)).status == "draft"
    await world.batch(done)
    await world.sql("update batches set status = 'completed', completed_at = now()")
    for command in (
        lifecycle.pause_campaign,
        lifecycle.resume_campaign,
        lifecycle.cancel_campaign,
    ):
        with pytest.raises(NotAllowedNow, match="completed"):
            await command(ACME, done)


async def test_a_batch_expires_only_once_its_end_has_passed(
    world: BatchWorld, lifecycle: ChangeLifecycle
) -> None:
    batch = await world.batch(await world.campaign())
    key = ids.parse_id("btc", batch["batch_id"])
    assert key is not None
    assert not await lifecycle.expire(key)
    await world.sql("update batches set ends_at = clock_timestamp() + interval '1 hour'")
    assert not await lifecycle.expire(key)
    await lifecycle.pause_batch(ACME, batch["batch_id"])
    await world.sql("update batches set ends_at = clock_timestamp()")
    with pytest.raises(NotAllowedNow, match="ends_at"):
        await lifecycle.resume_batch(ACME, batch["batch_id"])
    assert await lifecycle.expire(key)
    assert not await lifecycle.expire(key)
    assert await status_of(world, batch) == ("expired", None)
    assert await contacts_of(world, batch) == ["skipped"] * 3
    assert (await actions_of(world))[-1] == ("apollo", "batch_expired")
    assert not await lifecycle.expire(uuid.uuid4())


async def test_dispatching_counts_pending_contacts_and_touches_none(world: BatchWorld) -> None:
    lifecycle = ChangeLifecycle(
        db=world.db, bus=world.bus, explain=ExplainBatch(db=world.db, settings=EXPLAINED)
    )
    batch = await world.batch(await world.campaign())
    await world.put_call(batch, 1, state="placing")
    before = await world.sql("select * from contacts order by position")
    world.bus.woken.clear()
    found = await lifecycle.dispatch(ACME, batch["batch_id"])
    assert (found.status, found.dispatched_count) == ("in_progress", 2)
    assert found.message == "Batch dispatch re-triggered successfully"
    assert found.waiting_for == "no_worker_alive"
    assert world.bus.told() == [(batch["campaign_id"], "batch_dispatched", batch["batch_id"])]
    assert await world.sql("select * from contacts order by position") == before


async def test_dispatching_a_completed_batch_finds_nothing(
    world: BatchWorld, lifecycle: ChangeLifecycle
) -> None:
    batch = await world.batch(await world.campaign())
    await world.sql("update batches set status = 'completed', completed_at = now()")
    found = await lifecycle.dispatch(ACME, batch["batch_id"])
    assert (found.dispatched_count, found.waiting_for) == (0, None)


async def test_a_batch_that_may_not_dial_is_not_dispatched(
    world: BatchWorld, lifecycle: ChangeLifecycle
) -> None:
    campaign = await world.campaign()
    batch = await world.batch(campaign)
    await lifecycle.pause_batch(ACME, batch["batch_id"])
    with pytest.raises(NotAllowedNow, match=f"/batches/{batch['batch_id']}/resume"):
        await lifecycle.dispatch(ACME, batch["batch_id"])
    await world.sql("update batches set paused_by = 'campaign'")
    with pytest.raises(NotAllowedNow, match=f"/campaigns/{campaign}/resume"):
        await lifecycle.dispatch(ACME, batch["batch_id"])
    await lifecycle.cancel_batch(ACME, batch["batch_id"])
    with pytest.raises(NotAllowedNow, match="final"):
        await lifecycle.dispatch(ACME, batch["batch_id"])
    scheduled = await world.batch(campaign, scheduled_start=FAR_AHEAD)
    with pytest.raises(NotAllowedNow, match="scheduled start"):
        await lifecycle.dispatch(ACME, scheduled["batch_id"])


async def test_another_organisation_finds_and_changes_nothing(
    world: BatchWorld, lifecycle: ChangeLifecycle, campaigns: ManageCampaigns
) -> None:
    campaign = await world.campaign()
    batch = await world.batch(campaign)
    tables = "select b, c from batches b cross join campaigns c"
    before = await world.sql(tables)
    for command in (lifecycle.pause_batch, lifecycle.resume_batch, lifecycle.cancel_batch):
        with pytest.raises(NotFound, match=r"^Batch not found$"):
            await command(OTHER, batch["batch_id"])
    with pytest.raises(NotFound, match=r"^Batch not found$"):
        await lifecycle.dispatch(OTHER, batch["batch_id"])
    for of_campaign in (
        lifecycle.pause_campaign,
        lifecycle.resume_campaign,
        lifecycle.cancel_campaign,
    ):
        with pytest.raises(NotFound, match=r"^Campaign not found$"):
            await of_campaign(OTHER, campaign)
    with pytest.raises(NotFound, match=r"^Campaign not found$"):
        await campaigns.delete(OTHER, campaign)
    assert await world.sql(tables) == before


async def test_a_campaign_is_deleted_only_at_rest(
    world: BatchWorld, lifecycle: ChangeLifecycle, campaigns: ManageCampaigns
) -> None:
    campaign = await world.campaign()
    batch = await world.batch(campaign)
    await world.put_call(batch, 1, state="placing")
    with pytest.raises(NotAllowedNow, match="1 live batch:"):
        await campaigns.delete(ACME, campaign)
    await lifecycle.cancel_campaign(ACME, campaign)
    with pytest.raises(NotAllowedNow, match="1 call in progress"):
        await campaigns.delete(ACME, campaign)
    await world.sql("update calls set state = 'ended', outcome = 'busy', ended_at = now()")
    await campaigns.delete(ACME, campaign)
    with pytest.raises(NotFound):
        await campaigns.read(ACME, campaign)
    with pytest.raises(NotFound):
        await campaigns.delete(ACME, campaign)
    assert len(await world.sql("select * from batches")) == 1


async def test_the_numbers_of_a_campaign_come_from_one_count(
    world: BatchWorld, campaigns: ManageCampaigns
) -> None:
    campaign = await world.campaign()
    batch = await world.batch(campaign, [f"+91987650000{n}" for n in range(1, 6)])
    await world.put_call(batch, 1, state="placing")
    await world.put_call(batch, 2, state="ended", phone_number="+919876500002")
    await put_due(world, batch, 3, "retrying", 1)
    await put_due(world, batch, 4, "followup_scheduled", 0)
    await world.sql(
        "insert into call_counters values ($1, 'attempts', 0, 3), ($1, 'attempts', 5, 4),"
        " ($1, 'completed', 1, 2), ($1, 'follow_up_attempts', 0, 1)",
        ids.parse_id("cmp", campaign),
    )
    stats = await campaigns.stats(ACME, campaign)
    assert {k: n for k, n in stats.contact_counts.items() if n} == {
        "pending": 1,
        "dispatched": 1,
        "completed": 1,
        "retrying": 1,
        "followup_scheduled": 1,
    }
    assert len(stats.contact_counts) == len(ContactStatus)
    assert stats.batch_counts["in_progress"] == 1
    assert stats.retry_breakdown == {"retry_1": 1, "retry_2": 0, "retry_3": 0}
    assert stats.in_flight_contacts == 3
    assert stats.call_counters["completed_calls"] == 2
    assert (stats.total_call_attempts, stats.follow_up_attempts) == (7, 1)
