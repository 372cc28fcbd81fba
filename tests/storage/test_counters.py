import asyncio
import os
import uuid
from random import Random

import pytest
from tests.builders import World, a_world

from apollo.core.states import ContactStatus
from apollo.errors import Stale

WAITS = [None, "retry_not_due", "follow_up_not_due", "duplicate_number_blocked"]


async def disturb(world: World, batches: list[uuid.UUID], random: Random, times: int) -> None:
    """Insert, move and cancel contacts as no use-case would, on a connection of its own."""
    async with world.db.connection() as connection:
        for _ in range(times):
            batch_id = random.choice(batches)
            match random.randint(0, 9):
                case 0:
                    await connection.execute(
                        "insert into contacts"
                        " (batch_id, position, phone_number, call_variables, updated_at)"
                        " select $1, $2 + n, '+919876500001', '{}', clock_timestamp()"
                        " from generate_series(1, $3) as n",
                        batch_id,
                        random.randint(1_000, 2**30),
                        random.randint(1, 20),
                    )
                case 1:
                    await connection.execute(
                        "update contacts set status = 'skipped', wait_reason = null,"
                        " updated_at = clock_timestamp() where batch_id = $1 and position % 7 = $2"
                        " and status in ('pending', 'retrying', 'followup_scheduled')",
                        batch_id,
                        random.randint(0, 6),
                    )
                case _:
                    await connection.execute(
                        # Locked in one order, as every statement of ours does.
                        "with chosen as materialized (select batch_id, position from contacts"
                        " where batch_id = any($1) and position % 11 = $2"
                        " order by batch_id, position for update)"
                        " update contacts c set status = $3, wait_reason = $4,"
                        " retry_count = $5, updated_at = clock_timestamp()"
                        " from chosen x where c.batch_id = x.batch_id and c.position = x.position",
                        random.sample(batches, random.randint(1, len(batches))),
                        random.randint(0, 10),
                        random.choice(list(ContactStatus)),
                        random.choice(WAITS),
                        random.randint(0, 3),
                    )


@pytest.mark.parametrize("seed", [int(os.environ.get("APOLLO_TEST_SEED", "20260510")), 2, 3])
async def test_counters_equal_a_recount_whatever_several_connections_do(
    database_url: str, seed: int
) -> None:
    print(f"seed {seed}")  # noqa: T201 - shown with a failure
    async with a_world(database_url) as world:
        campaign_id = await world.a_campaign()
        batches = [await world.a_batch(campaign_id, 100) for _ in range(3)]

        async def one(n: int) -> None:
            random = Random(seed * 100 + n)
            for _ in range(6):
                try:
                    await disturb(world, batches, random, 10)
                except Stale:
                    continue  # a deadlock undoes a statement, never half of one

        await asyncio.gather(*(one(n) for n in range(4)))
        assert await world.counters() == await world.recount()
        total = await world.value("select count(*) from contacts")
        assert sum((await world.counters()).values()) == total


async def test_a_transaction_that_fails_leaves_no_trace_in_the_counters(database_url: str) -> None:
    async with a_world(database_url) as world:
        batch_id = await world.a_batch(await world.a_campaign(), 5)
        before = await world.counters()

        async def fail() -> None:
            async with world.db.transaction() as connection:
                await connection.execute("update contacts set status = 'completed'")
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await fail()
        assert await world.counters() == before == {(batch_id, "pending", "", 0): 5}


async def test_an_update_that_changes_no_status_writes_no_counter(database_url: str) -> None:
    async with a_world(database_url) as world:
        await world.a_batch(await world.a_campaign(), 5)
        versions = "select array_agg(xmin::text) from batch_counters"
        before = await world.value(versions)
        await world.sql("update contacts set attempts = attempts + 1")
        assert await world.value(versions) == before


async def test_the_oldest_change_of_a_final_status_is_kept(database_url: str) -> None:
    async with a_world(database_url) as world:
        batch_id = await world.a_batch(await world.a_campaign(), 5)
        for position, day in ((2, 20), (1, 3), (4, 9)):
            await world.sql(
                "update contacts set status = 'busy', updated_at = make_timestamptz(2026, 5, $3,"
                " 0, 0, 0) where batch_id = $1 and position = $2",
                batch_id,
                position,
                day,
            )
        rows = await world.sql(
            "select extract(day from min(oldest_at))::int, extract(day from max(latest_at))::int"
            " from batch_counters where status = 'busy'"
        )
        assert tuple(rows[0]) == (3, 20)
