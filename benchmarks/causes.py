"""Every cause the bench makes: how, which reason it must be named by, and how it is undone.

A cause gives the batch to look at. What has to be undone is left on the stack, which the bench
unwinds. Must never look at `/debug`.
"""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from ward import (
    LONG,
    ONCE_APPLICATION,
    OTHER_APPLICATION,
    QUICK,
    REFUSED,
    REFUSED_CALLER,
    SILENT,
    TALKS,
    Ward,
    closed_hours,
)

from apollo.ports import AgentRoute

Make = Callable[[Ward, AsyncExitStack], Awaitable[str]]
_NO_RETRIES: Final = {"retry_policy": {"max_retries": 0}}


@dataclass(frozen=True, slots=True)
class Cause:
    """One thing that goes wrong, or two."""

    codes: tuple[str, ...]
    make: Make
    world: str = "scripted"
    verify: bool = False

    @property
    def name(self) -> str:
        """Name it by what it must be called."""
        return " + ".join(self.codes)


CAUSES: list[Cause] = []
PAIRS: list[Cause] = []
# The reasons that are no cause here, and where each is tested instead.
ELSEWHERE: Final = {
    "number_resting": "tests/usecases/test_number_gap.py",
    "paused_by_apollo": "here, in a pair: Apollo pauses a batch for bad_request_everywhere alone",
    "calls_missing": "tests/core/evidence_cases.py",
    "webhooks_late": "tests/core/evidence_cases.py",
    "api_was_away": "tests/core/evidence_cases.py",
    "worker_comparing": "tests/core/evidence_cases.py",
    "provider_forgot": "tests/core/evidence_cases.py",
    "how_it_ended": "tests/core/test_diagnosis.py",
}


def cause(*codes: str, **more: object) -> Callable[[Make], Make]:
    """Register a cause under the codes it must be named by."""

    def register(make: Make) -> Make:
        found = Cause(codes, make, **more)  # type: ignore[arg-type]  # the keys are Cause's own
        (CAUSES if len(codes) == 1 else PAIRS).append(found)
        return make

    return register


def soon(seconds: float) -> str:
    """A time so many seconds ahead."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


# ----------------------------------------------------------------------------------------- intent


@cause("batch_scheduled")
async def scheduled(ward: Ward, _: AsyncExitStack) -> str:
    return await ward.batch(scheduled_start=soon(3600))


@cause("batch_paused")
async def paused(ward: Ward, _: AsyncExitStack) -> str:
    batch_id = await ward.batch()
    await ward.api.send(f"/api/v1/batches/{batch_id}/pause")
    return batch_id


@cause("campaign_paused")
async def campaign_paused(ward: Ward, _: AsyncExitStack) -> str:
    campaign_id = await ward.campaign()
    batch_id = await ward.batch(campaign_id=campaign_id)
    await ward.api.send(f"/api/v1/campaigns/{campaign_id}/pause")
    return batch_id


@cause("dialling_stopped")
async def stopped(ward: Ward, undo: AsyncExitStack) -> str:
    batch_id = await ward.batch()
    await ward.office.stop_dialling.stop()
    undo.push_async_callback(ward.office.stop_dialling.resume)
    return batch_id


@cause("recovery_mode")
async def restored(ward: Ward, undo: AsyncExitStack) -> str:
    undo.push_async_callback(ward.operator, "recover", "--confirm")
    batch_id = await ward.batch(TALKS, 100)
    await ward.until_called(batch_id, 10)
    monday = await ward.dump(undo)
    await ward.until_called(batch_id, 30)
    await ward.restore(monday)
    return batch_id


@cause("batch_expired")
async def expired(ward: Ward, _: AsyncExitStack) -> str:
    batch_id = await ward.batch(LONG, 60, limit=2, ends_at=soon(3))
    await asyncio.sleep(4)
    return batch_id


@cause("cancelled")
async def cancelled(ward: Ward, _: AsyncExitStack) -> str:
    batch_id = await ward.batch()
    await ward.api.send(f"/api/v1/batches/{batch_id}/cancel")
    return batch_id


@cause("outside_window")
async def closed(ward: Ward, _: AsyncExitStack) -> str:
    return await ward.batch(campaign=closed_hours())


@cause("window_never_opens", world="slow")
async def never_opens(ward: Ward, _: AsyncExitStack) -> str:
    hours = closed_hours()
    for day in hours["working_hours"].values():
        day["end"] = day["start"][:3] + "01"  # a minute, and phones ring for two
    return await ward.batch(campaign=hours)


# ---------------------------------------------------------------------------- contact and capacity


@cause("retry_not_due")
async def retries(ward: Ward, _: AsyncExitStack) -> str:
    return await ward.batch(SILENT, 8)


@cause("follow_up_not_due")
async def follow_up(ward: Ward, _: AsyncExitStack) -> str:
    batch_id = await ward.batch(QUICK, 3)
    await ward.until_called(batch_id, 3)
    await asyncio.sleep(2)
    contacts = await ward.api.read(f"/api/v1/batches/{batch_id}/contacts")
    path = f"/api/v1/batches/{batch_id}/contacts/{contacts[0]['contact_id']}/follow-up"
    await ward.api.send(path, {"at": soon(3600)})
    return batch_id


@cause("duplicate_number_blocked")
async def duplicate(ward: Ward, _: AsyncExitStack) -> str:
    numbers = ward.numbers(LONG, 4)
    first = await ward.batch(numbers=numbers)
    await ward.until_called(first, 4)
    return await ward.batch(numbers=numbers)


@cause("invalid_numbers")
async def invalid(ward: Ward, _: AsyncExitStack) -> str:
    numbers = [*ward.numbers(TALKS, 5), "+12", "nobody"]
    return await ward.batch(numbers=numbers, on_invalid="skip")


@cause("concurrency_full")
async def full(ward: Ward, _: AsyncExitStack) -> str:
    return await ward.batch(LONG, 20, limit=10, concurrency_limit=3)


@cause("campaign_concurrency_full")
async def campaign_full(ward: Ward, _: AsyncExitStack) -> str:
    campaign_id = await ward.campaign(4)
    first = await ward.batch(LONG, 20, campaign_id=campaign_id)
    await ward.until_called(first, 4)
    return await ward.batch(LONG, 20, campaign_id=campaign_id)


@cause("shared_limit_starved")
async def starved(ward: Ward, _: AsyncExitStack) -> str:
    campaign_id = await ward.campaign(4)
    first = await ward.batch(LONG, 20, campaign_id=campaign_id)
    await ward.until_called(first, 4)
    batch_id = await ward.batch(LONG, 20, campaign_id=campaign_id)
    # It counts after two minutes, and who talks for as long keeps everybody waiting.
    await ward.age_newest_batch()
    return batch_id


@cause("rate_limited_by_provider")
async def rate_limited(ward: Ward, undo: AsyncExitStack) -> str:
    await ward.faults(undo, refuse={"status": 429, "retry_after_s": 20})
    return await ward.batch()


@cause("pacing_low", world="slow")
async def slow_pace(ward: Ward, _: AsyncExitStack) -> str:
    return await ward.batch(QUICK, 400, limit=50, ends_at=soon(120))


@cause("concurrency_leaked")
async def leaked(ward: Ward, undo: AsyncExitStack) -> str:
    # Each call's feature server dies as it is answered, and every record of it: what anybody could
    # still ask for would give the slot back within seconds.
    silent = {"events": ["completed"]}
    await ward.faults(undo, call_silent=silent, record_expires={"delay_s": 0}, cdr_lost=1.0)
    batch_id = await ward.batch(TALKS, 30, limit=4)
    await ward.until_called(batch_id, 4)
    return batch_id


# ---------------------------------------------------------------------------------------- pipeline


@cause("no_worker_alive")
async def no_worker(ward: Ward, undo: AsyncExitStack) -> str:
    batch_id = await ward.batch(LONG, 60)
    await ward.until_called(batch_id, 10)
    await ward.halt_worker(undo)
    return batch_id


@cause("worker_stuck")
async def hung_worker(ward: Ward, _: AsyncExitStack) -> str:
    batch_id = await ward.batch(LONG, 60)
    pid = await ward.worker_pid()
    os.kill(pid, signal.SIGSTOP)
    await asyncio.sleep(12)
    os.kill(pid, signal.SIGCONT)
    return batch_id


@cause("process_restarted")
async def restarted(ward: Ward, undo: AsyncExitStack) -> str:
    batch_id = await ward.batch(LONG, 60)
    patch = (
        "from apollo.core.diagnosis.reported import Restarts; work = worker._work;"
        " worker._work = lambda s, _: work(s, Restarts(count=2, ending='was killed by SIGKILL'))"
    )
    await ward.another_worker(undo, patch)
    return batch_id


@cause("version_mismatch")
async def versions(ward: Ward, undo: AsyncExitStack) -> str:
    batch_id = await ward.batch(LONG, 60)
    await ward.another_worker(undo, "worker.__version__ = '0.0.9'")
    return batch_id


@cause("clock_skew")
async def skew(ward: Ward, undo: AsyncExitStack) -> str:
    batch_id = await ward.batch(LONG, 60)
    patch = (
        "from datetime import timedelta; right = parts.SystemClock.now;"
        " parts.SystemClock.now = lambda self: right(self) - timedelta(seconds=200)"
    )
    await ward.another_worker(undo, patch)
    return batch_id


@cause("db_readonly")
async def readonly(ward: Ward, undo: AsyncExitStack) -> str:
    batch_id = await ward.batch(LONG, 60)
    connection = await ward.connect()

    async def lift() -> None:
        await connection.execute("set default_transaction_read_only = off")
        await connection.execute("alter system reset default_transaction_read_only")
        await connection.execute("select pg_reload_conf()")
        await connection.close()
        await asyncio.sleep(6)  # until every heartbeat is written again

    undo.push_async_callback(lift)
    await connection.execute("alter system set default_transaction_read_only = on")
    await connection.execute("select pg_reload_conf()")
    return batch_id


@cause("db_disk_full")
async def full_disk(ward: Ward, undo: AsyncExitStack) -> str:
    await ward.fill_disk_of_calls(undo)
    return await ward.batch(TALKS, 300)


@cause("db_locks")
async def locks(ward: Ward, undo: AsyncExitStack) -> str:
    batch_id = await ward.batch(TALKS, 200)
    await ward.until_called(batch_id, 5)
    await ward.lock(undo, "lock table call_counters in exclusive mode")
    return batch_id


@cause("db_slow")
async def slow_database(ward: Ward, undo: AsyncExitStack) -> str:
    await ward.sql(
        "create function dawdle() returns trigger language plpgsql as"
        " $$ begin perform pg_sleep(0.7); return null; end $$"
    )
    await ward.sql(
        "create trigger dawdled after insert on calls for each statement execute function dawdle()"
    )
    undo.push_async_callback(ward.sql, "drop function dawdle() cascade")
    return await ward.batch(QUICK, 300)


@cause("pool_exhausted")
async def pool(ward: Ward, _: AsyncExitStack) -> str:
    campaign_id = await ward.campaign()
    batch_id = await ward.batch(LONG, 60, campaign_id=campaign_id)
    async with AsyncExitStack() as hold:
        await ward.lock(hold, "lock table call_counters in access exclusive mode")
        await ward.ask_at_once(f"/api/v1/campaigns/{campaign_id}/stats", 60)
        await asyncio.sleep(4)
    return batch_id


@cause("status_events_lagging")
async def late_events(ward: Ward, _: AsyncExitStack) -> str:
    batch_id = await ward.batch(TALKS, 100)
    async with AsyncExitStack() as hold:
        await ward.lock(hold, "lock table call_events in exclusive mode")
        await asyncio.sleep(8)
    return batch_id


@cause("completed_not_closed")
async def not_closed(ward: Ward, undo: AsyncExitStack) -> str:
    batch_id = await ward.batch(QUICK, 3)
    async with asyncio.timeout(30):
        while (await ward.api.read(f"/api/v1/batches/{batch_id}"))["status"] != "completed":
            await asyncio.sleep(0.1)
    await ward.halt_worker(undo)
    await ward.sql(
        "update batches set status = 'in_progress', completed_at = null"
        " where id = (select id from batches order by created_at desc limit 1)"
    )
    return batch_id


# ---------------------------------------------------------------------------------------- provider


@cause("provider_unauthorised")
async def unauthorised(ward: Ward, undo: AsyncExitStack) -> str:
    await ward.faults(undo, refuse={"status": 401})
    return await ward.batch()


@cause("provider_down")
async def down(ward: Ward, undo: AsyncExitStack) -> str:
    await ward.faults(undo, refuse={"status": 480})
    return await ward.batch()


@cause("provider_errors_unknown")
async def unknown(ward: Ward, undo: AsyncExitStack) -> str:
    await ward.faults(undo, delay_before_placing={"rate": 0.05, "delay_s": 60})
    return await ward.batch(TALKS, 300, limit=30)


@cause("bad_request_everywhere")
async def bad_request(ward: Ward, undo: AsyncExitStack) -> str:
    await ward.faults(undo, refuse={"status": 400})
    return await ward.batch()


@cause("webhooks_not_arriving")
async def no_webhooks(ward: Ward, undo: AsyncExitStack) -> str:
    await ward.faults(undo, webhook_lost=1.0)
    return await ward.batch(LONG, 60)


@cause("webhooks_rejected_signature")
async def bad_signature(ward: Ward, undo: AsyncExitStack) -> str:
    await ward.faults(undo, webhook_badly_signed=1.0)
    return await ward.batch(LONG, 60)


@cause("status_hook_overridden")
async def overridden(ward: Ward, _: AsyncExitStack) -> str:
    await ward.office.agents.set_route("agent_other", AgentRoute(application_sid=OTHER_APPLICATION))
    return await ward.batch(LONG, 60, campaign={"agent_id": "agent_other"})


@cause("webhook_retry_off")
async def once(ward: Ward, _: AsyncExitStack) -> str:
    await ward.office.agents.set_route("agent_once", AgentRoute(application_sid=ONCE_APPLICATION))
    return await ward.batch(LONG, 60, campaign={"agent_id": "agent_once"})


@cause("status_never_ends")
async def never_ends(ward: Ward, undo: AsyncExitStack) -> str:
    await ward.faults(undo, webhook_lost={"events": ["completed"]})
    return await ward.batch(TALKS, 100)


@cause("answered_then_dropped")
async def dropped(ward: Ward, _: AsyncExitStack) -> str:
    route = AgentRoute(
        call_hook=f"{ward.agent_url}/broken",
        speech_synthesis="google,en-US,en-US-Standard-C",
        speech_recognizer="google,en-US",
    )
    await ward.office.agents.set_route("agent_broken", route)
    return await ward.batch(LONG, 100, campaign={"agent_id": "agent_broken"})


@cause("agent_unreachable")
async def unreachable(ward: Ward, _: AsyncExitStack) -> str:
    route = AgentRoute(
        call_hook="http://127.0.0.1:9/hook",
        speech_synthesis="google,en-US,en-US-Standard-C",
        speech_recognizer="google,en-US",
    )
    await ward.office.agents.set_route("agent_gone", route)
    # Each lasts a moment: few at a time, so that it is not over before it is seen.
    return await ward.batch(LONG, 500, limit=3, campaign={"agent_id": "agent_gone"})


@cause("carrier_rejects")
async def rejects(ward: Ward, _: AsyncExitStack) -> str:
    return await ward.batch(REFUSED, 60)


@cause("caller_id_blocked")
async def blocked(ward: Ward, _: AsyncExitStack) -> str:
    return await _from_one_number(ward)


async def _from_one_number(ward: Ward) -> str:
    # Nearly all are refused at once: fewer people, and the batch is over before anybody asks.
    campaign_id = await ward.campaign(30, one_caller=True, **_NO_RETRIES)
    return await ward.batch(QUICK, 900, campaign_id=campaign_id)


@cause("caller_id_invalid")
async def invalid_caller(ward: Ward, _: AsyncExitStack) -> str:
    numbers = ["+442079460998", REFUSED_CALLER]
    campaign_id = await ward.campaign(10, phone_numbers=numbers)
    return await ward.batch(QUICK, 36, campaign_id=campaign_id)


@cause("no_answer_high")
async def nobody_answers(ward: Ward, _: AsyncExitStack) -> str:
    return await ward.batch(SILENT, 120, limit=30)


# -------------------------------------------------------------------------------------------- data


@cause("accounting_gap")
async def gap(ward: Ward, _: AsyncExitStack) -> str:
    batch_id = await ward.batch(LONG, 60)
    await ward.sql(
        "update batches set total_contacts = total_contacts + 3"
        " where id = (select id from batches order by created_at desc limit 1)"
    )
    return batch_id


@cause("counters_verified", verify=True)
async def verified(ward: Ward, _: AsyncExitStack) -> str:
    return await ward.batch(LONG, 60)


# ------------------------------------------------------------------------------------------- pairs


@cause("bad_request_everywhere", "paused_by_apollo")
async def refused_and_paused(ward: Ward, undo: AsyncExitStack) -> str:
    return await bad_request(ward, undo)


@cause("no_worker_alive", "batch_paused")
async def halted_and_paused(ward: Ward, undo: AsyncExitStack) -> str:
    batch_id = await paused(ward, undo)
    await ward.halt_worker(undo)
    return batch_id


@cause("no_worker_alive", "outside_window")
async def halted_and_closed(ward: Ward, undo: AsyncExitStack) -> str:
    batch_id = await closed(ward, undo)
    await ward.halt_worker(undo)
    return batch_id


@cause("webhooks_not_arriving", "provider_unauthorised")
async def silent_and_refused(ward: Ward, undo: AsyncExitStack) -> str:
    batch_id = await no_webhooks(ward, undo)
    await ward.until_called(batch_id, 5)
    await ward.faults(undo, refuse={"status": 401})
    # The next request is refused: raise the limit so that there is one.
    more = await ward.batch(LONG, 5)
    await ward.until_called(more, 0)
    return batch_id


@cause("carrier_rejects", "version_mismatch")
async def rejects_and_versions(ward: Ward, undo: AsyncExitStack) -> str:
    await versions(ward, undo)
    return await rejects(ward, undo)


@cause("caller_id_blocked", "status_never_ends")
async def blocked_and_never_ends(ward: Ward, undo: AsyncExitStack) -> str:
    await ward.faults(undo, webhook_lost={"events": ["completed"]})
    # One in ten is answered and then looked up after 15 s: more of those than the batch has slots,
    # or it is over as soon as the first of them is known to have ended.
    return await _from_one_number(ward)


@cause("status_hook_overridden", "retry_not_due")
async def overridden_and_retries(ward: Ward, _: AsyncExitStack) -> str:
    await ward.office.agents.set_route("agent_other", AgentRoute(application_sid=OTHER_APPLICATION))
    numbers = [*ward.numbers(SILENT, 3), *ward.numbers(LONG, 20)]
    return await ward.batch(numbers=numbers, limit=30, campaign={"agent_id": "agent_other"})


@cause("agent_unreachable", "clock_skew")
async def unreachable_and_skew(ward: Ward, undo: AsyncExitStack) -> str:
    await skew(ward, undo)
    return await unreachable(ward, undo)


@cause("db_locks", "outside_window")
async def locks_and_closed(ward: Ward, undo: AsyncExitStack) -> str:
    busy = await ward.batch(TALKS, 200)
    await ward.until_called(busy, 5)
    batch_id = await closed(ward, undo)
    await ward.lock(undo, "lock table call_counters in exclusive mode")
    return batch_id
