"""Several operators at once, and events of calls between them: the answers stay true."""

import asyncio
import random
import uuid
from collections.abc import AsyncIterator

import pytest
from tests.usecases.batch_world import ACME, BatchWorld, HeardBus, some_numbers

from apollo.core import ids
from apollo.errors import NotAllowedNow, Stale
from apollo.storage import lifecycle
from apollo.storage.database import Connection, Database
from apollo.usecases.batch_views import View
from apollo.usecases.change_lifecycle import ChangeLifecycle

LOCKED_SOON_S = 5.0  # a waiting statement shows up within milliseconds


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[BatchWorld]:
    built = await BatchWorld.build(database_url)
    yield built
    await built.db.close()


@pytest.fixture
async def operators(database_url: str) -> AsyncIterator[list[ChangeLifecycle]]:
    """Four operators on two processes' worth of connections."""
    pools = [await Database.connect(database_url, connections_max=4) for _ in range(2)]
    yield [ChangeLifecycle(db=pools[n % 2], bus=HeardBus()) for n in range(4)]
    for pool in pools:
        await pool.close()


async def waiting_for_locks(world: BatchWorld, many: int) -> None:
    """Return once so many statements wait for a lock."""
    async with asyncio.timeout(LOCKED_SOON_S):
        while True:
            (row,) = await world.sql(
                "select count(*) as waiting from pg_stat_activity"
                " where wait_event_type = 'Lock' and datname = current_database()"
            )
            if row["waiting"] >= many:
                return


async def test_of_pause_and_cancel_at_once_cancel_wins_and_nobody_is_left_in_between(
    world: BatchWorld, operators: list[ChangeLifecycle]
) -> None:
    seed = random.randrange(10**9)
    print(f"seed {seed}")  # noqa: T201 - a failure shows it
    order = random.Random(seed)
    for _ in range(8):
        campaign = await world.campaign()
        batch = await world.batch(campaign, some_numbers(20))
        commands = [
            operators[0].pause_batch(ACME, batch["batch_id"]),
            operators[1].cancel_batch(ACME, batch["batch_id"]),
            operators[2].pause_campaign(ACME, campaign),
            operators[3].resume_campaign(ACME, campaign),
        ]
        order.shuffle(commands)
        results = await asyncio.gather(*commands, return_exceptions=True)
        unexpected = [
            r for r in results if isinstance(r, BaseException) and not isinstance(r, NotAllowedNow)
        ]
        assert unexpected == []
        shown = await world.read.batch(ACME, batch["batch_id"])
        assert (shown["status"], shown["paused_by"]) == ("cancelled", None)
        assert shown["counters"]["skipped"] == shown["total_contacts"] == 20


async def test_two_who_cancel_at_once_both_hear_that_it_is_cancelled(
    world: BatchWorld, operators: list[ChangeLifecycle]
) -> None:
    batch = await world.batch(await world.campaign())
    answers = await asyncio.gather(*(o.cancel_batch(ACME, batch["batch_id"]) for o in operators))
    assert {answer.status for answer in answers} == {"cancelled"}
    rows = await world.sql("select from actions where action = 'batch_cancelled'")
    assert len(rows) == 1


@pytest.mark.parametrize(
    "command", ["pause_campaign", "cancel_campaign", "pause_batch", "cancel_batch"]
)
async def test_a_command_waits_for_a_claim_under_way_and_counts_its_calls(
    world: BatchWorld, operators: list[ChangeLifecycle], command: str
) -> None:
    batch = await world.batch(await world.campaign())
    key = ids.parse_id("cmp", batch["campaign_id"])
    stop = getattr(operators[0], command)
    of = batch["batch_id" if command.endswith("batch") else "campaign_id"]
    async with world.db.transaction() as claim:
        await claim.execute("select from campaigns where id = $1 for no key update", key)
        stopping = asyncio.create_task(stop(ACME, of))
        await waiting_for_locks(world, 1)
        await _insert_open_call(claim, batch)
    assert (await stopping).calls_in_progress == 1


async def test_a_cancel_waits_for_an_event_under_way_and_skips_what_it_left(
    world: BatchWorld, operators: list[ChangeLifecycle]
) -> None:
    batch = await world.batch(await world.campaign())
    await world.put_call(batch, 1, state="placing")
    key = ids.parse_id("btc", batch["batch_id"])
    async with world.db.transaction() as event:
        await event.execute("select from batches where id = $1 for key share", key)
        cancelling = asyncio.create_task(operators[0].cancel_batch(ACME, batch["batch_id"]))
        await waiting_for_locks(world, 1)
        # The call ended unanswered just before: its contact waits for a retry.
        await event.execute(
            "update calls set state = 'ended', outcome = 'busy', ended_at = now()"
            " where batch_id = $1",
            key,
        )
        await event.execute(
            "update contacts set status = 'retrying' where batch_id = $1 and position = 1", key
        )
        await event.execute("insert into due_contacts values ($1, 1, 1, now(), false, now())", key)
    assert (await cancelling).calls_in_progress == 0
    shown = await world.read.batch(ACME, batch["batch_id"])
    assert shown["counters"]["skipped"] == 3
    assert await world.sql("select * from due_contacts") == []


async def test_a_lock_that_is_never_given_up_is_a_lost_race_and_changes_nothing(
    world: BatchWorld, operators: list[ChangeLifecycle], monkeypatch: pytest.MonkeyPatch
) -> None:
    query = lifecycle._Q["lock_campaign"]
    monkeypatch.setattr(query, "text", query.text.replace("15s", "50ms"))
    batch = await world.batch(await world.campaign())
    async with world.db.transaction() as stuck:
        await stuck.execute("select from campaigns for no key update")
        with pytest.raises(Stale):
            await operators[0].pause_campaign(ACME, batch["campaign_id"])
    assert (await world.read.batch(ACME, batch["batch_id"]))["status"] == "in_progress"


async def _insert_open_call(claim: Connection, batch: View) -> None:
    await claim.execute(
        "insert into calls (id, organization_id, campaign_id, batch_id, position, attempt, kind,"
        " state, provider, phone_number, from_number, requested_at, window_opens_at,"
        " window_closes_at) values ($1, 'org_acme', $2, $3, 1, 1, 'first', 'placing', 'rotary',"
        " '+919876500001', '+919876543210', now(), now(), now())",
        uuid.uuid4(),
        ids.parse_id("cmp", batch["campaign_id"]),
        ids.parse_id("btc", batch["batch_id"]),
    )
