"""What nobody asks for any more is thrown away, and nothing else."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from tests.builders import World, a_world

from apollo.usecases.tidy_up import EVENTS_AT_ONCE, TidyUp


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with a_world(database_url) as opened:
        yield opened


async def put_heartbeat(world: World, role: str, days: int) -> None:
    await world.sql(
        "insert into heartbeats values (gen_random_uuid(), $1, $1 || $2::integer, 1, '1', now(),"
        " now() - make_interval(days => $2), null, '{}')",
        role,
        days,
    )


async def test_old_answers_and_heartbeats_go_and_the_last_worker_stays(world: World) -> None:
    for role, days in [("web", 1), ("web", 8), ("web", 10), ("worker", 9), ("worker", 11)]:
        await put_heartbeat(world, role, days)
    for key, days in [("new", 0), ("old", 2)]:
        await world.sql(
            "insert into idempotency_keys (organization_id, path, key, lease_until, created_at)"
            " values ('org_acme', '/x', $1, now(), now() - make_interval(days => $2))",
            key,
            days,
        )
    await TidyUp(db=world.db, clock=world.clock, events_kept_for=timedelta(days=30)).once()
    hosts = await world.sql("select host from heartbeats order by host")
    # A restore is recognised by when a worker was last there.
    assert [row["host"] for row in hosts] == ["web1", "web8", "worker9"]
    assert [row["key"] for row in await world.sql("select key from idempotency_keys")] == ["new"]


async def test_events_go_when_they_are_as_old_as_the_operator_says(world: World) -> None:
    many = EVENTS_AT_ONCE + 1
    await world.sql(
        "insert into call_events"
        " (content_hash, provider_call_id, call_status, body, verdict, received_at)"
        " select gen_random_uuid(), case when n <= $1 then 'old' else 'new' end, 'ringing', '{}',"
        "  'applied', now() - case when n <= $1 then interval '31 days' else interval '29 days' end"
        " from generate_series(1, $1::integer + 7) n",
        many,
    )
    await TidyUp(db=world.db, clock=world.clock, events_kept_for=timedelta(days=30)).once()
    left = await world.sql(
        "select provider_call_id as id, count(*) as n from call_events group by 1"
    )
    assert [(row["id"], row["n"]) for row in left] == [("new", 7)]
