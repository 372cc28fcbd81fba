"""Claims on a real database: what may be taken, by whom, in which turn, and what is given back."""

import asyncio
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from tests.builders import (
    CALLER_IDS,
    OTHER_ORGANIZATION,
    World,
    a_world,
    every_day,
    noon_zone,
    some_numbers,
)

from apollo.core.eligibility import BatchLoad
from apollo.core.events import Evidence, RequestNotPlaced
from apollo.core.model import Turn
from apollo.core.reasons import Reason
from apollo.core.windows import Window
from apollo.errors import Stale
from apollo.storage import dialling
from apollo.usecases.advance_time import AdvanceTime
from apollo.usecases.dial_contacts import LEASE, Claimed, DialContacts


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with a_world(database_url) as opened:
        yield opened


def released(reason: str = "connect") -> RequestNotPlaced:
    return RequestNotPlaced(
        at=datetime(2026, 5, 10, tzinfo=UTC), evidence=Evidence.REPLY, reason=reason
    )


def call_ids(claimed: Claimed) -> list[uuid.UUID]:
    return [job.call.id for job in claimed.calls]


def positions(claimed: Claimed) -> list[int]:
    return [job.call.contact.position for job in claimed.calls]


async def promote(world: World) -> set[uuid.UUID]:
    """Let time pass: what is due becomes claimable."""

    async def expire(_: uuid.UUID) -> None:
        return None

    return await AdvanceTime(db=world.db, expire=expire).run()


# ----------------------------------------------------------------------------------------- limits


@pytest.mark.parametrize("queue", ["fresh", "due"])
async def test_limits_hold_while_several_workers_claim_at_once(world: World, queue: str) -> None:
    campaign_id = await world.a_campaign(limit=17)
    batches = [
        await world.a_batch(campaign_id, some_numbers(60, start=100 * n), concurrency_limit=limit)
        for n, limit in enumerate((5, 9, 40), start=1)
    ]
    if queue == "due":
        await world.sql(
            "insert into due_contacts (batch_id, position, turn, due_at, is_due, since)"
            " select batch_id, position, 2, updated_at, true, updated_at from contacts"
        )
        await world.sql("update batch_cursors set next_position = 61")

    async def work(dial: DialContacts) -> list[uuid.UUID]:
        taken = []
        for _ in range(12):
            try:
                taken += call_ids(await dial.claim(campaign_id, 7))
            except Stale:
                await asyncio.sleep(0)
        return taken

    taken = await asyncio.gather(*(work(world.dial()) for _ in range(5)))
    everybody = [call_id for one in taken for call_id in one]
    assert len(everybody) == len(set(everybody)) == 17
    rows = await world.sql("select batch_id, count(*) from calls group by 1")
    by_batch = {row[0]: row[1] for row in rows}
    assert by_batch.get(batches[0], 0) <= 5
    assert by_batch.get(batches[1], 0) <= 9
    people = await world.value("select count(distinct (batch_id, position)) from calls")
    assert people == 17
    assert await world.counters() == await world.recount()


async def test_each_call_keeps_the_limits_that_let_it_go(world: World) -> None:
    campaign_id = await world.a_campaign(limit=6)
    narrow = await world.a_batch(campaign_id, some_numbers(5), concurrency_limit=3)
    wide = await world.a_batch(campaign_id, some_numbers(9, start=100))
    seen = (
        "select distinct batch_open_calls, batch_limit, campaign_open_calls, campaign_limit"
        " from calls where batch_id = $1 order by 1, 3"
    )
    await world.claim(campaign_id, 2)
    assert [tuple(row) for row in await world.sql(seen, narrow)] == [(0, 3, 0, 6)]
    await world.claim(campaign_id, 2)
    assert [tuple(row) for row in await world.sql(seen, narrow)] == [(0, 3, 0, 6), (1, 3, 2, 6)]
    assert [tuple(row) for row in await world.sql(seen, wide)] == [(0, 6, 0, 6), (1, 6, 2, 6)]


async def test_an_unknown_call_holds_its_slot(world: World) -> None:
    campaign_id = await world.a_campaign(limit=2)
    for start in (1, 100):
        await world.a_batch(campaign_id, some_numbers(5, start=start))
    claimed = await world.claim(campaign_id)
    assert len(claimed.calls) == 2
    await world.sql("update calls set state = 'unknown'")
    assert (await world.claim(campaign_id)).calls == []
    await world.end(call_ids(claimed)[0])
    assert len((await world.claim(campaign_id)).calls) == 1


async def test_a_claim_takes_no_more_than_the_process_can_send(world: World) -> None:
    campaign_id = await world.a_campaign(limit=50)
    await world.a_batch(campaign_id, 50)
    claimed = await world.claim(campaign_id, slots=4)
    assert len(claimed.calls) == 4
    assert claimed.has_more


async def test_two_batches_share_the_slots_and_a_freed_one_goes_to_the_less_busy(
    world: World,
) -> None:
    campaign_id = await world.a_campaign(limit=8)
    one = await world.a_batch(campaign_id, some_numbers(20, start=1))
    two = await world.a_batch(campaign_id, some_numbers(20, start=100))
    claimed = await world.claim(campaign_id)
    taken = Counter(job.call.contact.batch_id for job in claimed.calls)
    assert taken == {one: 4, two: 4}
    of_two = [job.call.id for job in claimed.calls if job.call.contact.batch_id == two]
    await world.end(*of_two[:2])
    again = await world.claim(campaign_id)
    assert [job.call.contact.batch_id for job in again.calls] == [two, two]


async def test_everybody_is_called_once_and_in_upload_order(world: World) -> None:
    campaign_id = await world.a_campaign(limit=4)
    numbers = some_numbers(11)[::-1]
    batch_id = await world.a_batch(campaign_id, numbers)
    order: list[int] = []
    while claimed := (await world.claim(campaign_id)).calls:
        order += [job.call.contact.position for job in claimed]
        await world.end(*(job.call.id for job in claimed))
    assert order == list(range(1, 12))
    assert await world.batch_status(batch_id) == "completed"


# ------------------------------------------------------------------------------ when not to dial


async def test_outside_the_window_a_claim_says_when_it_opens(world: World) -> None:
    now = await world.value("select clock_timestamp()")
    campaign_id = await world.a_campaign(
        working_hours_enforced=True,
        timezone=noon_zone(now),
        working_hours=every_day("09:00", "11:00"),
    )
    await world.a_batch(campaign_id)
    claimed = await world.claim(campaign_id)
    assert claimed.calls == []
    assert claimed.wait is not None
    assert claimed.wait.reason is Reason.OUTSIDE_WINDOW
    assert claimed.wait.until is not None
    # At noon the next opening is nine o'clock tomorrow, 20 to 21 hours away.
    assert timedelta(hours=20) <= claimed.wait.until - now <= timedelta(hours=21)
    assert claimed.wait_s is not None
    assert await world.value("select count(*) from calls") == 0


async def test_nobody_is_called_whose_phone_could_still_ring_when_the_window_closes(
    world: World,
) -> None:
    now = await world.value("select clock_timestamp()")
    # Closes at one o'clock, at most an hour from now.
    campaign_id = await world.a_campaign(
        working_hours_enforced=True,
        timezone=noon_zone(now),
        working_hours=every_day("09:00", "13:00"),
    )
    await world.a_batch(campaign_id)
    claimed = await world.dial(ring_timeout_s=3601).claim(campaign_id, 10)
    assert claimed.calls == []
    assert claimed.wait is not None
    assert claimed.wait.reason is Reason.OUTSIDE_WINDOW


async def test_the_statement_itself_refuses_a_window_that_closed_after_the_decision(
    world: World,
) -> None:
    campaign_id = await world.a_campaign()
    batch_id = await world.a_batch(campaign_id)
    now = await world.value("select clock_timestamp()")

    async def take(opens_at: datetime, closes_at: datetime) -> int:
        async with world.db.transaction() as connection:
            campaign = await dialling.lock_campaign(connection, campaign_id)
            assert campaign is not None
            taken = await dialling.claim_contacts(
                connection,
                campaign,
                window=Window(opens_at, closes_at),
                shares=[(batch_id, 1)],
                loads=dialling.Loads([BatchLoad(batch_id, 10, 0, 1)], 0),
                caller_ids=CALLER_IDS[:1],
                provider="p",
                worker_id=uuid.uuid4(),
                lease=LEASE,
                ring_timeout=timedelta(seconds=30),
                number_gap=timedelta(),
            )
            return len(taken)

    hour = timedelta(hours=1)
    assert await take(now - hour, now - timedelta(seconds=1)) == 0
    assert await take(now - hour, now + timedelta(seconds=29)) == 0
    assert await take(now + hour, now + 2 * hour) == 0
    assert await take(now - hour, now + hour) == 1


@pytest.mark.parametrize(
    ("table", "change", "reason"),
    [
        ("campaigns", "paused_at = now()", Reason.CAMPAIGN_PAUSED),
        ("campaigns", "cancelled_at = now()", Reason.CANCELLED),
        ("organizations", "dialling_stopped_at = now()", Reason.DIALLING_STOPPED),
    ],
)
async def test_what_is_paused_cancelled_or_stopped_is_not_dialled(
    world: World, table: str, change: str, reason: Reason
) -> None:
    campaign_id = await world.a_campaign()
    await world.a_batch(campaign_id)
    await world.sql(f"update {table} set {change}")  # noqa: S608 - the test's own words
    claimed = await world.claim(campaign_id)
    assert claimed.calls == []
    assert claimed.wait is not None
    assert (claimed.wait.reason, claimed.wait_s) == (reason, None)


async def test_stopping_the_installation_stops_every_organisation(world: World) -> None:
    campaign_id = await world.a_campaign()
    await world.a_batch(campaign_id)
    await world.sql(
        "insert into installation (agent_key_secret, dialling_stopped_at) values ('x', now())"
        " on conflict (is_only) do update set dialling_stopped_at = now()"
    )
    claimed = await world.claim(campaign_id)
    assert claimed.wait is not None
    assert claimed.wait.reason is Reason.DIALLING_STOPPED


@pytest.mark.parametrize("status", ["pending", "completed", "cancelled", "expired", "paused"])
async def test_only_a_batch_in_progress_is_dialled(world: World, status: str) -> None:
    campaign_id = await world.a_campaign()
    await world.a_batch(
        campaign_id,
        status=status,
        paused_by="batch" if status == "paused" else None,
        completed_at=datetime(2026, 5, 10, tzinfo=UTC) if status == "completed" else None,
    )
    assert (await world.claim(campaign_id)).calls == []


async def test_a_batch_past_its_end_is_not_dialled_even_before_it_is_marked(world: World) -> None:
    campaign_id = await world.a_campaign()
    await world.a_batch(campaign_id, ends_at=datetime(2026, 1, 1, tzinfo=UTC))
    assert (await world.claim(campaign_id)).calls == []


async def test_a_campaign_that_is_gone_or_deleted_gives_nothing(world: World) -> None:
    campaign_id = await world.a_campaign(deleted_at=datetime(2026, 5, 10, tzinfo=UTC))
    await world.a_batch(campaign_id)
    assert (await world.claim(campaign_id)).calls == []
    assert (await world.claim(uuid.uuid4())).calls == []


async def test_a_locked_campaign_is_not_waited_for(world: World) -> None:
    campaign_id = await world.a_campaign()
    await world.a_batch(campaign_id)
    async with world.db.transaction() as connection:
        await connection.execute("select from campaigns where id = $1 for update", campaign_id)
        began = time.monotonic()
        with pytest.raises(Stale):
            await world.claim(campaign_id)
        # 100 ms of patience; the rest is for a busy machine.
        assert 0.08 < time.monotonic() - began < 2.0
    assert len((await world.claim(campaign_id)).calls) == 3


# -------------------------------------------------------------------------- one call per number


async def test_a_number_on_a_call_parks_its_doubles_everywhere_until_the_call_ends(
    world: World,
) -> None:
    number = some_numbers(1)
    mine = await world.a_campaign()
    first, double = [await world.a_batch(mine, number) for _ in range(2)]
    theirs = await world.a_campaign(organization_id=OTHER_ORGANIZATION)
    foreign = await world.a_batch(theirs, number)

    claimed = await world.claim(mine)
    assert len(claimed.calls) == 1
    assert (await world.claim(theirs)).calls == []
    holder = claimed.calls[0].call.contact.batch_id
    parked = double if holder == first else first
    # Whose call it is is the other organisation's affair: it learns that the number rests.
    reasons = {parked: "duplicate_number_blocked", foreign: "number_resting"}
    for batch_id, reason in reasons.items():
        contact = await world.contact(batch_id)
        assert (contact["status"], contact["wait_reason"]) == ("pending", reason)
        assert (contact["blocked_number"], contact["is_due"]) == (number[0], False)
        assert contact["turn"] == Turn.FRESH
        assert contact["attempts"] == 0

    recorded = await world.end(*call_ids(claimed))
    assert recorded.freed == {mine, theirs}
    for batch_id in (parked, foreign):
        contact = await world.contact(batch_id)
        assert (contact["wait_reason"], contact["is_due"]) == (None, True)
    assert len((await world.claim(theirs)).calls) == 1
    assert (await world.claim(mine)).calls == [], "now the other organisation speaks to them"
    assert await world.counters() == await world.recount()


async def test_claims_of_two_campaigns_for_the_same_people_never_double_a_call(
    world: World,
) -> None:
    numbers = some_numbers(40)
    campaigns = [await world.a_campaign(limit=100) for _ in range(2)]
    for campaign_id, order in zip(campaigns, (numbers, numbers[::-1]), strict=True):
        await world.a_batch(campaign_id, order)

    async def work(campaign_id: uuid.UUID) -> int:
        taken = 0
        for _ in range(20):
            try:
                taken += len((await world.claim(campaign_id, 8)).calls)
            except Stale:
                await asyncio.sleep(0)
        return taken

    taken = await asyncio.gather(*(work(campaign_id) for campaign_id in campaigns))
    assert sum(taken) == 40
    doubles = "select count(*) from (select from calls group by phone_number having count(*) > 1) d"
    assert await world.value(doubles) == 0


async def test_a_parked_contact_looks_by_itself_if_the_end_was_missed(world: World) -> None:
    number = some_numbers(1)
    campaign_id = await world.a_campaign()
    batches = [await world.a_batch(campaign_id, number) for _ in range(2)]
    claimed = await world.claim(campaign_id)
    await world.sql("update calls set state = 'ended', outcome = 'busy', ended_at = now()")
    assert (await world.claim(campaign_id)).calls == []
    await world.sql("update due_contacts set due_at = now()")
    assert await promote(world) == {campaign_id}
    again = await world.claim(campaign_id)
    assert {job.call.contact.batch_id for job in (*claimed.calls, *again.calls)} == set(batches)


# ----------------------------------------------------------------------------------------- turns


async def test_follow_ups_come_before_retries_and_retries_before_the_rest(world: World) -> None:
    campaign_id = await world.a_campaign(limit=10)
    batch_id = await world.a_batch(campaign_id, 8)
    await world.sql(
        "update contacts set status = case position when 2 then 'followup_scheduled'"
        " else 'retrying' end, attempts = 1, tries = 1 where position <= 3"
    )
    await world.sql(
        "insert into due_contacts (batch_id, position, turn, due_at, is_due, since)"
        " select $1, p, t, now() - d * interval '1 minute', true, now()"
        " from (values (1, 1, 1), (2, 0, 0), (3, 1, 5)) as v (p, t, d)",
        batch_id,
    )
    await world.sql("update batch_cursors set next_position = 4")
    dial = world.dial()
    order = []
    for _ in range(5):
        order += positions(await dial.claim(campaign_id, 1))
    assert order == [2, 3, 1, 4, 5]
    kinds = await world.sql("select kind from calls order by requested_at")
    assert [row["kind"] for row in kinds] == ["follow_up", "retry", "retry", "first", "first"]


async def test_a_retry_is_not_taken_before_its_time_and_then_at_once(world: World) -> None:
    policy = {"max_retries": 1, "strategy": "fixed", "cooldown_minutes": 30}
    campaign_id = await world.a_campaign(retry_policy=policy)
    batch_id = await world.a_batch(campaign_id, 1)
    await world.end(*call_ids(await world.claim(campaign_id)), sip_status=486)
    contact = await world.contact(batch_id)
    assert (contact["status"], contact["wait_reason"]) == ("retrying", "retry_not_due")
    assert contact["due_at"] - contact["updated_at"] == timedelta(minutes=30)
    assert await promote(world) == set()
    assert (await world.claim(campaign_id)).calls == []
    await world.sql("update due_contacts set due_at = now()")
    assert await promote(world) == {campaign_id}
    assert positions(await world.claim(campaign_id)) == [1]
    assert (await world.contact(batch_id))["retry_count"] == 1
    assert await world.counters() == await world.recount()


async def test_promoting_waits_for_nobody(world: World) -> None:
    campaign_id = await world.a_campaign()
    batch_id = await world.a_batch(campaign_id, 2)
    await world.sql(
        "insert into due_contacts (batch_id, position, turn, due_at, is_due, since)"
        " select $1, p, 2, now(), false, now() from generate_series(1, 2) as p",
        batch_id,
    )
    async with world.db.transaction() as connection:
        await connection.execute("select from contacts where position = 1 for update")
        async with asyncio.timeout(5):
            assert await promote(world) == {campaign_id}
    waiting = await world.sql("select position from due_contacts where not is_due")
    assert [row["position"] for row in waiting] == [1]


# --------------------------------------------------------------------------------- giving back


async def test_a_released_first_call_leaves_no_trace_on_the_contact(world: World) -> None:
    campaign_id = await world.a_campaign()
    batch_id = await world.a_batch(campaign_id, 1)
    before, counted = await world.contact(batch_id), await world.counters()
    claimed = await world.claim(campaign_id)
    assert (await world.contact(batch_id))["status"] == "dispatched"
    await world.record((call_ids(claimed)[0], released()))
    after = await world.contact(batch_id)
    queue = {key: after.pop(key) for key in ("turn", "due_at", "is_due", "blocked_number")}
    assert after == {key: before[key] for key in after}
    assert (queue["turn"], queue["is_due"]) == (Turn.FRESH, True)
    assert await world.counters() == counted
    assert await world.call_counts(campaign_id) == {}
    again = await world.claim(campaign_id)
    assert [job.call.attempt for job in again.calls] == [1], "the attempt was not used up"


async def test_a_released_retry_gets_its_due_time_and_counts_back(world: World) -> None:
    campaign_id = await world.a_campaign()
    batch_id = await world.a_batch(campaign_id, 1)
    await world.end(*call_ids(await world.claim(campaign_id)), sip_status=487)
    await promote(world)
    before = await world.contact(batch_id)
    counted, calls = await world.counters(), await world.call_counts(campaign_id)
    claimed = await world.claim(campaign_id)
    assert (await world.contact(batch_id))["retry_count"] == before["retry_count"] + 1
    await world.record((call_ids(claimed)[0], released("rate_limited")))
    assert await world.contact(batch_id) == before
    assert await world.counters() == counted
    assert await world.call_counts(campaign_id) == calls


async def test_a_job_that_comes_too_late_is_not_sent_and_blocks_no_probe(world: World) -> None:
    campaign_id = await world.a_campaign()
    await world.a_batch(campaign_id, 1)
    dial = world.dial()
    for _ in range(3):
        dial.breaker.failed(world.clock.monotonic(), "connect", "refused connection")
    world.clock.seconds += 5
    assert dial.breaker.may_send(world.clock.monotonic(), 64) == 1
    (job,) = (await dial.claim(campaign_id, 1)).calls
    world.clock.seconds += 2.1
    event = await dial.place(job)
    assert isinstance(event, RequestNotPlaced)
    assert event.reason == "sent_too_late"
    assert dial.breaker.may_send(world.clock.monotonic(), 64) == 1, "the next probe may leave"


# ---------------------------------------------------------------------------- caller ids and pace


async def test_round_robin_goes_on_over_claims(world: World) -> None:
    campaign_id = await world.a_campaign(limit=2)
    await world.a_batch(campaign_id, 6)
    used = []
    for _ in range(3):
        claimed = await world.claim(campaign_id)
        used += [job.call.from_number for job in claimed.calls]
        await world.end(*call_ids(claimed))
    assert Counter(used) == dict.fromkeys(CALLER_IDS, 2)


async def test_the_least_loaded_caller_id_is_the_one_with_the_fewest_live_calls(
    world: World,
) -> None:
    campaign_id = await world.a_campaign(phone_number_strategy="least_loaded")
    await world.a_batch(campaign_id, 9)
    claimed = await world.claim(campaign_id, 6)
    assert Counter(job.call.from_number for job in claimed.calls) == dict.fromkeys(CALLER_IDS, 2)
    rested = [job.call.id for job in claimed.calls if job.call.from_number == CALLER_IDS[1]]
    await world.end(*rested)
    again = await world.claim(campaign_id, 2)
    assert [job.call.from_number for job in again.calls] == [CALLER_IDS[1]] * 2


async def test_the_pace_is_shared_by_all_workers_and_says_when_to_come_back(world: World) -> None:
    campaign_id = await world.a_campaign(limit=100)
    await world.a_batch(campaign_id, 100)
    one, two = world.dial(per_second=10), world.dial(per_second=10)
    began = time.monotonic()
    first = await one.claim(campaign_id, 64)
    assert len(first.calls) == 10
    assert first.wait_s is not None, "there is more, and nobody else will wake us"
    assert 0.0 < first.wait_s <= 0.2
    leaves = [job.not_before - world.clock.monotonic() for job in first.calls]
    assert leaves == pytest.approx([n / 10 for n in range(10)])
    second = await two.claim(campaign_id, 64)
    assert len(second.calls) <= 1 + 10 * (time.monotonic() - began)
    assert second.wait_s is not None
