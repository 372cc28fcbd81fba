"""Measures reading: `/debug` and a batch with its counters, at a thousand and a million contacts.

The large and the small batch are asked in turn, so that both meet the same machine.
"""

import time
import uuid
from collections.abc import Mapping
from typing import Any

from figures import Figure, say, share
from rig import Rig, numbers_of, running_rig

from apollo.core import ids
from apollo.errors import Unavailable

ROUNDS = 3
SMALL, LARGE = 1_000, 1_000_000
_REQUESTS = 100
_WARM_UP = 20
_PATHS = {"/debug": "/api/v1/batches/{}/debug", "GET a batch": "/api/v1/batches/{}"}
# Closed all day but on one day of the week that is neither today, yesterday nor tomorrow: the batch
# is in progress and nobody is called.
_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")

# A batch half way through: of twenty contacts eight wait, two are to be called again, ten are done.
_CONTACTS = """
insert into contacts (batch_id, position, phone_number, call_variables, status, wait_reason,
                      attempts, tries, is_reached, last_attempted_at, updated_at)
select $1, n, '+9198' || lpad(n::text, 8, '0'), '{}', s.status,
       case s.status when 'retrying' then 'retry_not_due'
                     when 'followup_scheduled' then 'follow_up_not_due' end,
       s.tries, s.tries, s.status in ('completed', 'followup_scheduled'),
       case when s.tries > 0 then now() end, now() - interval '1 minute'
  from generate_series(2, $2::integer) as n
 cross join lateral (
   select case when n > $2 * 0.6 then 'pending'
               when n % 12 = 0 then 'retrying'
               when n % 12 = 1 then 'followup_scheduled'
               when n % 12 = 2 then 'busy'
               when n % 12 = 3 then 'no_answer'
               when n % 12 = 4 then 'failed'
               else 'completed' end as status,
          (n <= $2 * 0.6)::integer as tries) as s
"""
_DUE = """
insert into due_contacts (batch_id, position, turn, due_at, is_due, since)
select batch_id, position, case status when 'retrying' then 1 else 0 end,
       now() + make_interval(hours => 1 + position % 24), false, updated_at
  from contacts
 where batch_id = $1 and status in ('retrying', 'followup_scheduled')
"""
_FIRST = "update contacts set status = 'completed', attempts = 1, tries = 1 where batch_id = $1"
_CURSOR = "update batch_cursors set next_position = $2::integer * 0.6 + 1 where batch_id = $1"
_TOTAL = "update batches set total_contacts = $2 where id = $1"


async def reads(rounds: int = ROUNDS) -> list[Figure]:
    """How long the two answers take, at both sizes, and by how much they differ."""
    p50: dict[tuple[str, int], list[float]] = {}
    p95: dict[tuple[str, int], list[float]] = {}
    async with running_rig({"preset": "instant"}) as rig:
        batches = {size: await _batch_of(rig, size) for size in (SMALL, LARGE)}
        # What autovacuum does within seconds, so that it does not fall into a round.
        for name in ("contacts", "due_contacts", "batch_counters", "batches", "batch_cursors"):
            await rig.run_sql(f"vacuum (analyze) {name}")
        await rig.checkpoint()
        await _asked(rig, batches, _WARM_UP)
        for nth in range(1, rounds + 1):
            for key, times in (await _asked(rig, batches, _REQUESTS)).items():
                p50.setdefault(key, []).append(share(times, 0.5))
                p95.setdefault(key, []).append(share(times, 0.95))
            shown = ", ".join(f"{name} {size:,}: {p95[name, size][-1]:.1f}" for name, size in p95)
            say(f"round {nth}: p95 in ms: {shown}")
    figures: list[Figure] = []
    for name in _PATHS:
        for size in (SMALL, LARGE):
            label = f"{name}, {size:,} contacts"
            rounds_p50, rounds_p95 = p50[name, size], p95[name, size]
            figures.append(Figure(name=f"{label}, p50", unit="ms", rounds=rounds_p50))
            figures.append(Figure(name=f"{label}, p95", unit="ms", rounds=rounds_p95, at_most=10))
        ratios = [
            big / small for small, big in zip(p50[name, SMALL], p50[name, LARGE], strict=True)
        ]
        figures.append(
            Figure(name=f"{name}, a million to a thousand", unit="times", rounds=ratios, at_most=2)
        )
    return figures


async def _asked(
    rig: Rig, batches: Mapping[int, str], times: int
) -> dict[tuple[str, int], list[float]]:
    """Ask everything in turn, one request at a time; gives milliseconds by path and size."""
    took: dict[tuple[str, int], list[float]] = {}
    for _ in range(times):
        for name, path in _PATHS.items():
            for size, batch_id in batches.items():
                began = time.perf_counter()
                await rig.api.read(path.format(batch_id))
                took.setdefault((name, size), []).append((time.perf_counter() - began) * 1e3)
    return took


async def _batch_of(rig: Rig, size: int) -> str:
    """Make a batch of that size, half way through, outside its working hours."""
    say(f"reads: a batch of {size:,} contacts")
    closed = {day: {"start": "09:00", "end": "18:00", "enabled": False} for day in _DAYS}
    far = _DAYS[(time.gmtime().tm_wday + 3) % len(_DAYS)]
    hours: dict[str, Any] = closed | {far: {"start": "09:00", "end": "18:00", "enabled": True}}
    campaign_id = await rig.campaign(100, working_hours_enforced=True, working_hours=hours)
    shown = await rig.batch(campaign_id, numbers_of(1, first=99_999))
    batch_id = ids.parse_id("btc", shown)
    if batch_id is None:
        raise Unavailable(f"{shown} is not the id of a batch")
    await _fill(rig, batch_id, size)
    batch = await rig.status(shown)
    if batch["status"] != "in_progress" or sum(batch["counters"].values()) != size:
        raise Unavailable(f"the batch is not as it was meant to be: {batch}")
    return shown


async def _fill(rig: Rig, batch_id: uuid.UUID, size: int) -> None:
    await rig.run_sql(_TOTAL, batch_id, size)
    await rig.run_sql(_CONTACTS, batch_id, size)
    await rig.run_sql(_DUE, batch_id)
    await rig.run_sql(_CURSOR, batch_id, size)
    # Last of all: a batch without anybody to call is completed by the next sweep.
    await rig.run_sql(_FIRST, batch_id)
