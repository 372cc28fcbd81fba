"""The hot queries must not get slower as tables grow: their plans over twenty thousand people."""

import json
import uuid
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Any

import pytest
from tests.builders import World, a_world, some_numbers

from apollo.storage.database import Connection, load_queries

GROWING = {"contacts", "calls", "due_contacts", "call_events", "actions"}
HOT = [
    ("dialling", "read_loads"),
    ("dialling", "read_caller_id_loads"),
    ("dialling", "claim_contacts"),
    ("dialling", "promote_due"),
    ("dialling", "read_next_instant"),
    ("dialling", "read_dialable_campaigns"),
    ("calls", "lock_calls"),
    ("calls", "find_by_provider_ids"),
    ("calls", "find_other_calls"),
    ("calls", "write_moves"),
    ("calls", "complete_batches"),
    ("calls", "take_overdue"),
    ("calls", "set_deadlines"),
    ("calls", "read_known_provider_ids"),
    ("contacts", "read_page"),
    ("lifecycle", "count_open_calls"),
]


async def grow(world: World) -> tuple[uuid.UUID, uuid.UUID]:
    """Twenty thousand contacts, half of them called once; a quarter waits, a hundred are on call.

    Gives the campaign and one of its batches.
    """
    campaign_id = await world.a_campaign(limit=1000)
    numbers = some_numbers(10_000)
    batches = [await world.a_batch(campaign_id, numbers) for _ in range(2)]
    await world.sql(
        "insert into calls (id, organization_id, campaign_id, batch_id, position, attempt, kind,"
        " state, provider, phone_number, from_number, provider_call_id, requested_at, ended_at,"
        " deadline_at, outcome, window_opens_at, window_closes_at)"
        " select gen_random_uuid(), 'org_acme', $1, c.batch_id, c.position, 1, 'first',"
        "  case when is_open then 'accepted' else 'ended' end, 'p', c.phone_number, '+1',"
        "  gen_random_uuid()::text, now(), case when is_open then null else now() end, now(),"
        "  case when is_open then null else 'busy' end, now(), now()"
        " from contacts c"
        " cross join lateral (select c.batch_id = $2 and c.position <= 100 as is_open) as o"
        " where c.position <= 5000",
        campaign_id,
        batches[0],
    )
    await world.sql(
        "insert into due_contacts (batch_id, position, turn, due_at, is_due, since)"
        " select batch_id, position, 1, now() + position * interval '1 second',"
        "  position % 10 = 0, now()"
        " from contacts where position between 101 and 2600"
    )
    await world.sql(
        "insert into due_contacts"
        " (batch_id, position, turn, due_at, is_due, since, blocked_number)"
        " select batch_id, position, 2, now(), false, now(), phone_number"
        " from contacts where position between 2601 and 4000"
    )
    await world.sql("analyze")
    return campaign_id, batches[0]


@pytest.fixture
async def grown(database_url: str) -> AsyncIterator[tuple[World, uuid.UUID, uuid.UUID]]:
    async with a_world(database_url) as world:
        yield world, *(await grow(world))


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", []):
        yield from nodes(child)


def scanned(plan: Any) -> set[str]:
    """The growing tables that a plan reads from beginning to end."""
    decoded = json.loads(plan) if isinstance(plan, str) else plan
    return {
        node["Relation Name"]
        for node in nodes(decoded[0]["Plan"])
        if node["Node Type"] == "Seq Scan" and node["Relation Name"] in GROWING
    }


async def generic_plan(connection: Connection, file: str, name: str) -> Any:
    """How a query is carried out when its values are not looked at."""
    query = load_queries(file)[name]
    await connection.execute(f"prepare hot as {query.text}")
    values = f"({', '.join('null' for _ in query.params)})" if query.params else ""
    plan = await connection.fetchval(f"explain (format json) execute hot{values}")
    await connection.execute("deallocate hot")
    return json.loads(plan) if isinstance(plan, str) else plan


async def test_no_hot_query_reads_a_growing_table_from_end_to_end(
    grown: tuple[World, uuid.UUID, uuid.UUID],
) -> None:
    world = grown[0]
    faults = {}
    async with world.db.connection() as connection:
        # A prepared statement is planned once without its values: that plan must be good.
        await connection.execute("set plan_cache_mode = force_generic_plan")
        for file, name in HOT:
            plan = await generic_plan(connection, file, name)
            if scanned(plan):
                faults[name] = scanned(plan)
    assert faults == {}


# The index each of them was made for; a plan that reads another one has got slower as well.
MADE_FOR = {
    ("dialling", "read_loads"): {"calls_open", "due_contacts_ready"},
    ("dialling", "read_caller_id_loads"): {"calls_open"},
    ("dialling", "claim_contacts"): {"due_contacts_ready", "contacts_pkey", "batch_cursors_pkey"},
    ("dialling", "promote_due"): {"due_contacts_coming", "contacts_pkey"},
    ("calls", "lock_calls"): {"calls_pkey", "contacts_pkey", "due_contacts_pkey"},
    ("calls", "find_by_provider_ids"): {"calls_at_provider"},
    ("calls", "write_moves"): {"calls_pkey", "contacts_pkey", "due_contacts_blocked"},
    ("contacts", "read_page"): {"contacts_pkey"},
    ("lifecycle", "count_open_calls"): {"calls_open"},
}


async def test_hot_queries_use_the_indexes_made_for_them(
    grown: tuple[World, uuid.UUID, uuid.UUID],
) -> None:
    world = grown[0]
    missing = {}
    async with world.db.connection() as connection:
        await connection.execute("set plan_cache_mode = force_generic_plan")
        for (file, name), wanted in MADE_FOR.items():
            plan = await generic_plan(connection, file, name)
            used = {node["Index Name"] for node in nodes(plan[0]["Plan"]) if "Index Name" in node}
            if wanted - used:
                missing[name] = wanted - used
    assert missing == {}


async def test_with_real_values_the_plans_are_as_good(
    grown: tuple[World, uuid.UUID, uuid.UUID],
) -> None:
    world, campaign_id, batch_id = grown
    calls = [row["id"] for row in await world.sql("select id from calls limit 50")]
    cases: list[tuple[str, str, dict[str, Any]]] = [
        (
            "dialling",
            "read_loads",
            {"campaign_id": campaign_id, "campaign_limit": 10, "at_most": 64},
        ),
        ("dialling", "promote_due", {"at_most": 1000}),
        ("dialling", "read_next_instant", {}),
        ("dialling", "read_dialable_campaigns", {}),
        ("calls", "lock_calls", {"call_ids": calls}),
        ("contacts", "read_page", {"batch_id": batch_id, "skip": 9000, "limit": 100}),
    ]
    async with world.db.connection() as connection:
        for file, name, given in cases:
            query = load_queries(file)[name]
            plan = await connection.fetchval(
                f"explain (format json) {query.text}", *(given[p] for p in query.params)
            )
            assert scanned(plan) == set(), name


async def test_old_events_are_found_without_reading_the_young_ones(database_url: str) -> None:
    async with a_world(database_url) as world:
        await world.sql(
            "insert into call_events"
            " (content_hash, provider_call_id, call_status, body, verdict, received_at)"
            " select gen_random_uuid(), n, 'ringing', repeat('x', 700)::bytea, 'applied',"
            "  now() - interval '30 days' + n * interval '1 second'"
            " from generate_series(1, 50000) n"
        )
        await world.sql("vacuum analyze call_events")
        query = load_queries("raw_events")["forget_old"]
        given = {"kept_for": timedelta(days=30), "at_most": 5000}
        async with world.db.connection() as connection:
            plan = await connection.fetchval(
                f"explain (format json) {query.text}", *(given[p] for p in query.params)
            )
            # What it is planned with when it has been carried out often.
            await connection.execute("set plan_cache_mode = force_generic_plan")
            often = await generic_plan(connection, "raw_events", "forget_old")
    for one in (json.loads(plan), often):
        assert scanned(one) == set()
        used = {node["Index Name"] for node in nodes(one[0]["Plan"]) if "Index Name" in node}
        assert used == {"call_events_by_age"}


async def test_a_plan_that_scans_is_noticed(grown: tuple[World, uuid.UUID, uuid.UUID]) -> None:
    world = grown[0]
    async with world.db.connection() as connection:
        plan = await connection.fetchval(
            "explain (format json) select count(*) from contacts where status = 'pending'"
        )
    assert scanned(plan) == {"contacts"}


async def test_moving_contacts_touches_no_index(database_url: str) -> None:
    async with a_world(database_url, connections_max=1) as world:
        campaign_id = await world.a_campaign(limit=1000)
        await world.a_batch(campaign_id, 600)
        await world.sql("vacuum analyze contacts")
        before = await tuples(world)
        for _ in range(60):
            claimed = await world.claim(campaign_id, 10)
            assert len(claimed.calls) == 10
            await world.end(*(job.call.id for job in claimed.calls))
        after = await tuples(world)
        moved, in_place = after[0] - before[0], after[1] - before[1]
        assert moved == 1200, "each contact was moved twice"
        # An index on a column that moves makes it none at all; how close to all depends on which
        # pages could be pruned just then, which other work on the server decides.
        assert in_place / moved > 0.5


async def tuples(world: World) -> tuple[int, int]:
    await world.sql("select pg_stat_force_next_flush()")
    await world.sql("select pg_stat_clear_snapshot()")
    rows = await world.sql(
        "select n_tup_upd, n_tup_hot_upd from pg_stat_user_tables where relname = 'contacts'"
    )
    return rows[0][0], rows[0][1]
