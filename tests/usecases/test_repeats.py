"""Who is still to be called, or was reached, in another batch is not called again by a new one."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from tests.usecases.batch_world import ACME, NOW, OTHER, BatchWorld, some_numbers

from apollo.core import ids
from apollo.core.list_rows import GivenContact
from apollo.errors import Invalid
from apollo.usecases.batch_views import View
from apollo.usecases.check_contacts import Across, OnDuplicate
from apollo.usecases.wanted_batches import NewBatch


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[BatchWorld]:
    built = await BatchWorld.build(database_url)
    yield built
    await built.db.close()


async def settle(world: BatchWorld, batch: View, contact_status: str, **batch_columns: Any) -> None:
    """Give every contact of a batch a status, and the batch what is asked for."""
    key = ids.parse_id("btc", batch["batch_id"])
    await world.sql(
        "update contacts set status = $2, is_reached = $2 = 'completed' where batch_id = $1",
        key,
        contact_status,
    )
    for column, value in batch_columns.items():
        await world.sql(f"update batches set {column} = $2 where id = $1", key, value)  # noqa: S608 - ours


async def test_the_same_file_twice_calls_nobody_twice(world: BatchWorld) -> None:
    campaign = await world.campaign()
    first = await world.batch(campaign, some_numbers(3))
    with pytest.raises(
        Invalid, match=r"at least one contact; all rows were left out .3."
    ) as refused:
        await world.batch(campaign, some_numbers(3))
    assert f"is still to be called in batch {first['batch_id']}" in str(refused.value)
    assert "on_duplicate=keep" in str(refused.value)
    second = await world.batch(campaign, some_numbers(5))
    assert (second["total_contacts"], second["rejected_count"]) == (2, 3)
    assert await world.phone_numbers(second) == some_numbers(5)[3:]
    assert [row["index"] for row in second["rejected"]] == [0, 1, 2]
    assert [row["phone_number"] for row in second["rejected"]] == some_numbers(3)
    assert sum(second["counters"].values()) == 2
    kept = await world.batch(campaign, some_numbers(3), on_duplicate=OnDuplicate.KEEP)
    assert kept["total_contacts"] == 3


@pytest.mark.parametrize(
    ("status", "is_left_out"),
    [
        ("pending", True),
        ("retrying", True),
        ("completed", True),
        ("no_answer", False),
        ("max_retries_reached", False),
        ("skipped", False),
    ],
)
async def test_who_was_not_reached_and_is_not_waited_for_may_be_called_again(
    world: BatchWorld, status: str, is_left_out: bool
) -> None:
    campaign = await world.campaign()
    await settle(world, await world.batch(campaign, some_numbers(1)), status)
    batch = await world.batch(campaign, some_numbers(2))
    assert batch["total_contacts"] == (1 if is_left_out else 2)
    if status == "completed":
        assert "was reached in batch" in batch["rejected"][0]["reason"]


async def test_how_far_it_looks_is_said_by_across(world: BatchWorld) -> None:
    mine, other = await world.campaign(), await world.campaign()
    foreign = await world.campaign(principal=OTHER)
    await world.batch(other, some_numbers(1))
    await world.sql(
        "insert into batches (id, organization_id, campaign_id, status, total_contacts,"
        " call_context, metadata, ready_at, created_at, updated_at)"
        " values (gen_random_uuid(), 'org_other', $1, 'in_progress', 1, '{}', '{}', now(), now(),"
        " now())",
        ids.parse_id("cmp", foreign),
    )
    await world.sql(
        "insert into contacts (batch_id, position, phone_number, call_variables, updated_at)"
        " select id, 1, $1, '{}', now() from batches where organization_id = 'org_other'",
        some_numbers(2)[1],
    )
    for across, left in ((Across.NONE, 2), (Across.CAMPAIGN, 2), (Across.ORGANIZATION, 1)):
        batch = await world.batch(mine, some_numbers(2), across=across)
        assert batch["total_contacts"] == left, across
        await world.sql(
            "update batches set status = 'cancelled' where id = $1",
            ids.parse_id("btc", batch["batch_id"]),
        )


async def test_batches_that_ended_count_within_a_time(world: BatchWorld) -> None:
    campaign = await world.campaign()
    numbers = some_numbers(3)
    for number, days in zip(numbers, (10, 40, 10), strict=True):
        ended_at = NOW - timedelta(days=days)
        old = await world.batch(campaign, [number])
        is_reached = number != numbers[2]
        await settle(
            world,
            old,
            "completed" if is_reached else "no_answer",
            completed_at=ended_at,
            status="completed",
        )
    batch = await world.batch(campaign, numbers, within="P30D")
    assert await world.phone_numbers(batch) == numbers[1:]
    await world.sql("update batches set status = 'cancelled' where status = 'in_progress'")
    assert (await world.batch(campaign, numbers))["total_contacts"] == 3


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        ({"within": "30 days"}, "no duration; write an ISO 8601 duration"),
        ({"within": "P1M"}, "no duration"),
        ({"within": "P"}, "no duration"),
        ({"within": "PT"}, "no duration"),
        ({"within": "P0D"}, "more than nothing"),
        ({"within": "P9999D"}, "at most P3660D"),
        ({"within": "P1D", "across": Across.NONE}, "has no effect"),
        ({"within": "P1D", "on_duplicate": OnDuplicate.KEEP}, "has no effect"),
    ],
)
async def test_a_time_that_cannot_be_read_is_refused(
    world: BatchWorld, wanted: dict[str, Any], says: str
) -> None:
    with pytest.raises(Invalid, match=says):
        await world.batch(await world.campaign(), **wanted)


@pytest.mark.parametrize(
    ("reason", "sip_status", "says"),
    [("bad_number", 404, "no such number (SIP 404)"), ("unwanted", 607, "does not want to be")],
)
async def test_a_number_that_the_network_barred_is_remembered(
    world: BatchWorld, reason: str, sip_status: int, says: str
) -> None:
    numbers = some_numbers(2)
    old = await world.batch(await world.campaign(), numbers[:1])
    await world.put_call(
        old,
        1,
        phone_number=numbers[0],
        outcome="failed",
        hangup_reason=reason,
        sip_status=sip_status,
    )
    campaign = await world.campaign()
    batch = await world.batch(campaign, numbers)
    assert await world.phone_numbers(batch) == numbers[1:]
    assert says in batch["rejected"][0]["reason"]
    kept = await world.batch(await world.campaign(), numbers[:1], on_barred=OnDuplicate.KEEP)
    assert kept["total_contacts"] == 1
    await world.put_call(
        kept,
        1,
        phone_number=numbers[0],
        requested_at=NOW + timedelta(minutes=1),
        ended_at=NOW + timedelta(minutes=2),
    )
    again = await world.batch(await world.campaign(), numbers)
    assert again["total_contacts"] == (2 if reason == "bad_number" else 1)


async def test_two_uploads_at_once_do_not_both_take_a_number(world: BatchWorld) -> None:
    numbers = some_numbers(400)

    async def upload(campaign: str, across: Across) -> str:
        contacts = [GivenContact(n, number, {}) for n, number in enumerate(numbers)]
        wanted = NewBatch(campaign_id=campaign, across=across)
        try:
            made = await world.create.from_contacts(ACME, wanted, contacts)
        except Invalid:
            return ""
        return str(made["batch_id"])

    for across in (Across.CAMPAIGN, Across.ORGANIZATION):
        campaigns = [await world.campaign()] * 2
        if across is Across.ORGANIZATION:
            campaigns = [await world.campaign(), await world.campaign()]
        await asyncio.gather(*(upload(campaign, across) for campaign in campaigns * 2))
        rows = await world.sql(
            "select phone_number from contacts where status = 'pending' group by 1"
            " having count(*) > 1"
        )
        assert rows == []
        (row,) = await world.sql("select count(*) as n from contacts where status = 'pending'")
        assert row["n"] == 400
        unequal = await world.sql(
            "select from batches b where b.total_contacts <>"
            " (select sum(k.contacts) from batch_counters k where k.batch_id = b.id)"
        )
        assert unequal == []
        await world.sql("update batches set status = 'cancelled'")
        await world.sql("update contacts set status = 'skipped'")
