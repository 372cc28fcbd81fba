"""What dialling reads hangs neither on the planner's statistics nor on how large other batches are.

A new or restored database has no statistics, and where batches differ in size an average over them
is wrong for each. So the rows and index entries that a worker touches are counted here, beside one
large batch and fifteen hundred small ones: a few for each call, whatever the planner believes.
"""

import os
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Final

import pytest
from tests.builders import World, a_world

from apollo.core.ids import ContactKey
from apollo.storage import contacts, dialling, lifecycle, overdue
from apollo.usecases.advance_time import AdvanceTime

# Contacts of the large batch; a third of them has been called, twice.
LARGE: Final = 300_000 if os.environ.get("APOLLO_TEST_FULL") == "1" else 20_000
MANY: Final = 1_500  # small batches, of 20 contacts each
TABLES: Final = ("campaigns", "batches", "batch_cursors", "contacts", "due_contacts", "calls")
CLAIMED: Final = 10
# Ten contacts, a few rows and index entries in a dozen tables for each. Going through the large
# batch, or the calls that it had, touches twenty times as many and grows with it.
FEW: Final = 1_000
# A claim looks at each running batch of its campaign, of which there are up to five hundred here:
# its row, its cursor, what is due. Starts and ends are looked for among all live batches.
MORE: Final = {"claim": 3_000, "advance time": 7_000, "find the next instant": 7_000}
A_MINUTE: Final = timedelta(minutes=1)


@dataclass(frozen=True)
class Lopsided:
    """One large batch and many small ones, over a single connection."""

    world: World
    large: uuid.UUID
    campaign_of_large: uuid.UUID
    campaign_of_many: uuid.UUID

    async def touched(self, work: Callable[[], Awaitable[object]]) -> Counter[str]:
        """Do some work; gives how many rows and index entries of each relation it read."""
        before = await self._read()
        await work()
        return await self._read() - before

    async def _read(self) -> Counter[str]:
        await self.world.sql("select pg_stat_force_next_flush()")
        await self.world.sql("select pg_stat_clear_snapshot()")
        rows = await self.world.sql(
            "select relname as name, coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) as read"
            "  from pg_stat_user_tables"
            " union all"
            " select indexrelname, idx_tup_read from pg_stat_user_indexes"
        )
        return Counter({row["name"]: row["read"] for row in rows})


async def fill(world: World) -> Lopsided:
    """Make the batches, of each of which a third has been called."""
    of_large = await world.a_campaign(limit=10_000, number_gap_minutes=0.0001)
    of_many = [await world.a_campaign(limit=10_000, number_gap_minutes=0.0001) for _ in range(3)]
    large = await world.a_batch(of_large, 0, total_contacts=LARGE)
    await world.sql(
        "insert into batches (id, organization_id, campaign_id, status, total_contacts,"
        " call_context, metadata, ready_at, created_at, updated_at)"
        " select gen_random_uuid(), 'org_acme', ($1::uuid[])[n % 3 + 1], 'in_progress', 20,"
        "  '{}', '{}', now(), now(), now() from generate_series(1, $2::integer) n",
        of_many,
        MANY,
    )
    await world.sql(
        "insert into batch_cursors (batch_id, next_position)"
        " select id, total_contacts / 3 + 1 from batches on conflict (batch_id) do update"
        "    set next_position = excluded.next_position"
    )
    await world.sql(
        "insert into contacts (batch_id, position, phone_number, call_variables, status, attempts,"
        " updated_at)"
        " select b.id, n, '+9198' || lpad((row_number() over ())::text, 8, '0'), '{}',"
        "  case when n <= b.total_contacts / 3 then 'completed' else 'pending' end,"
        "  case when n <= b.total_contacts / 3 then 2 else 0 end, now()"
        " from batches b cross join lateral generate_series(1, b.total_contacts) n"
    )
    await world.sql(
        "insert into calls (id, organization_id, campaign_id, batch_id, position, attempt, kind,"
        " state, provider, phone_number, from_number, provider_call_id, requested_at, ended_at,"
        " outcome, window_opens_at, window_closes_at)"
        " select gen_random_uuid(), 'org_acme', b.campaign_id, c.batch_id, c.position, a.n,"
        "  'first', 'ended', 'p', c.phone_number, '+1', gen_random_uuid()::text, now(), now(),"
        "  'busy', now(), now()"
        " from contacts c join batches b on b.id = c.batch_id"
        " cross join generate_series(1, 2) as a (n)"
        " where c.status = 'completed'"
    )
    await world.sql(
        "insert into due_contacts (batch_id, position, turn, due_at, is_due, since)"
        " select batch_id, position, 1, now() + position * interval '1 hour', position < 200,"
        "  now() from contacts where batch_id = $1 and position between 100 and 6000",
        large,
    )
    return Lopsided(world, large, of_large, of_many[0])


@pytest.fixture
async def lopsided(database_url: str) -> AsyncIterator[Lopsided]:
    async with a_world(database_url, connections_max=1) as world:
        yield await fill(world)


# ------------------------------------------------------------------- what the planner believes


async def nothing(there: Lopsided) -> None:
    """No table was ever analysed, as after the first upload."""
    del there


async def all_there_is(there: Lopsided) -> None:
    """Every table was analysed, as after a night with autovacuum."""
    # Three thousand rows are enough: what can be wrong here is no matter of precision.
    await there.world.sql("set default_statistics_target = 10")
    await there.world.sql("analyze " + ", ".join(TABLES))
    await there.world.sql("discard plans")


async def all_but(tables: tuple[str, ...], there: Lopsided) -> None:
    """Of these tables no more than how many rows they have, as in a restored database."""
    await all_there_is(there)
    await there.world.sql(
        "delete from pg_statistic where starelid = any($1::text[]::regclass[]::oid[])", list(tables)
    )
    await there.world.sql("discard plans")


async def so_many_batches(batches: float, there: Lopsided) -> None:
    """A wrong number of batches, and so a wrong size of each; below 0: a share of the rows."""
    for table in ("contacts", "calls", "due_contacts"):
        await there.world.sql(
            f"alter table {table} alter column batch_id set (n_distinct = {batches})"
        )
    await all_there_is(there)


BELIEFS: Final[Mapping[str, Callable[[Lopsided], Awaitable[None]]]] = {
    "nothing": nothing,  # first: there is no way back to it
    "all there is": all_there_is,
    "nothing but sizes": partial(all_but, TABLES),
    **{f"nothing of {table}": partial(all_but, (table,)) for table in TABLES},
    "a batch is one row": partial(so_many_batches, -1),
    "all rows are one batch's": partial(so_many_batches, 1),
}


# --------------------------------------------------------------------------- what a worker does


async def _nobody_expires(batch_id: uuid.UUID) -> None:
    raise AssertionError(batch_id)


async def a_day(there: Lopsided, campaign_id: uuid.UUID) -> dict[str, Counter[str]]:
    """Do with a campaign what a worker does; gives what each part of it touched."""
    world, claimed = there.world, list[uuid.UUID]()
    time = AdvanceTime(db=world.db, expire=_nobody_expires)

    async def claim() -> None:
        taken = await world.claim(campaign_id, CLAIMED)
        claimed.extend(job.call.id for job in taken.calls)

    async def look_for_lost_calls() -> None:
        async with world.db.connection() as connection:
            await overdue.take_overdue(
                connection, "p", turn=A_MINUTE, abandoned_after=A_MINUTE, at_most=100
            )
            await overdue.read_silent(connection, "p", silence=A_MINUTE, at_most=100)
            await lifecycle.count_open_calls(connection, there.campaign_of_large, there.large)
            await dialling.find_unsent_claims(connection, uuid.uuid4(), None)
            await dialling.read_caller_id_loads(connection, campaign_id)

    async def read() -> None:
        async with world.db.connection() as connection:
            await contacts.read_page(connection, batch_id=there.large, skip=LARGE // 2, limit=10)
            for position in (1, LARGE // 2, LARGE):
                await contacts.lock_contact(connection, ContactKey(there.large, position))

    day: dict[str, Callable[[], Awaitable[object]]] = {
        "claim": claim,
        "look for lost calls": look_for_lost_calls,
        "record an end": lambda: world.end(claimed[0], sip_status=486),
        "record ends": lambda: world.end(*claimed[1:], sip_status=486),
        "advance time": time.run,
        "find the next instant": time.next_instant_s,
        "read contacts": read,
    }
    touched = {what: await there.touched(work) for what, work in day.items()}
    assert len(claimed) == CLAIMED
    return touched


async def test_nothing_goes_through_a_large_batch_whatever_the_planner_believes(
    lopsided: Lopsided,
) -> None:
    too_many = {}
    for belief, believe in BELIEFS.items():
        await believe(lopsided)
        for campaign_id in (lopsided.campaign_of_large, lopsided.campaign_of_many):
            for what, touched in (await a_day(lopsided, campaign_id)).items():
                if touched.total() > MORE.get(what, FEW):
                    too_many[belief, what] = touched.most_common(4)
    assert too_many == {}
    # The measure itself: what goes through a large batch is seen to.
    counting = "select count(*) from contacts where batch_id = $1 and status = 'failed'"
    touched = await lopsided.touched(lambda: lopsided.world.value(counting, lopsided.large))
    assert touched["contacts"] == LARGE
