"""Measures whole calls: contacts from upload to their end, and how fast a freed slot is used again.

Real processes, a real carrier of simulated people, and RotaryRouter's ledger as the witness.
"""

import asyncio
import re
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from figures import Figure, say, share
from rig import Rig, numbers_of, running_rig

from apollo.errors import Unavailable

ROUNDS = 3
CONTACTS = 5_000
CONCURRENCY = 1_000
_WARM_UP = 500
# A hundredth of a round, and each look costs the API some milliseconds.
_LOOK_EVERY_S = 0.1
# Ten times what it takes on a slow machine: past that it hangs.
_COMPLETE_WITHIN_S = 120.0
_ROLES = ("serve", "worker", "rotary", "postgres")
# People who ring and talk for 0.3 to 1 s; those whose number ends in 3 talk for three seconds.
_TALKING = {
    "preset": "instant",
    "ring_s": [0.1, 0.3],
    "talk_s": [0.2, 0.7],
    "by_ending": {"3": {"does": "answer", "ring_s": 0, "talk_s": 3.0}},
}
_FINAL = frozenset({"completed", "failed", "busy", "no-answer"})


async def end_to_end(rounds: int = ROUNDS, contacts: int = CONTACTS) -> list[Figure]:
    """Contacts a second, from the upload to the last final state, and what each costs."""
    say(f"end to end: {rounds} rounds of {contacts:,} contacts, {CONCURRENCY:,} at a time")
    rates: list[float] = []
    costs: dict[str, list[float]] = {role: [] for role in _ROLES}
    statements: list[float] = []
    async with running_rig({"preset": "instant"}) as rig:
        await _count_statements(rig)
        await run_batch(rig, numbers_of(_WARM_UP))
        for nth in range(1, rounds + 1):
            await rig.checkpoint()
            log, before = _log_size(rig), rig.running.processor_s()
            took_s = await run_batch(rig, numbers_of(contacts))
            after = rig.running.processor_s()
            rates.append(contacts / took_s)
            statements.append(_statements_since(rig, log) / contacts)
            for role in _ROLES:
                costs[role].append((after[role] - before[role]) / contacts * 1e3)
            each = ", ".join(f"{role} {costs[role][-1]:.2f}" for role in _ROLES)
            say(f"round {nth}: {rates[-1]:,.0f} contacts/s; ms of processor a contact: {each}")
        memory = {role: rig.running.memory_mib(role) for role in ("serve", "worker")}
        ready_after_s = rig.ready_after_s
    ours = [sum(one) for one in zip(*(costs[r] for r in _ROLES if r != "rotary"), strict=True)]
    figures = [
        Figure(name="contacts end to end", unit="/s", rounds=rates, at_least=1000),
        Figure(
            name="processor a contact, Apollo and PostgreSQL", unit="ms", rounds=ours, at_most=1
        ),
    ]
    figures += [
        Figure(name=f"  of it {role}", unit="ms", rounds=costs[role]) for role in _ROLES[:2]
    ]
    figures += [
        Figure(name="  of it postgres", unit="ms", rounds=costs["postgres"]),
        Figure(name="  beside it rotary, the carrier", unit="ms", rounds=costs["rotary"]),
        Figure(name="SQL statements a contact", unit="", rounds=statements, at_most=1),
        Figure(name="everything started, embedded", unit="s", rounds=[ready_after_s], at_most=5),
    ]
    figures += [
        Figure(name=f"memory of {role}, at most", unit="MiB", rounds=[mib], at_most=150)
        for role, mib in memory.items()
    ]
    return figures


async def slot_refill() -> list[Figure]:
    """From a call's final webhook to the next request, and how much of the slots is used."""
    figures: list[Figure] = []
    async with running_rig(_TALKING) as rig:
        for limit, contacts in ((10, 160), (100, 1_500)):
            say(f"slot refill: limit {limit}, {contacts:,} people who talk for half a second")
            calls = await _witnessed(rig, limit, numbers_of(contacts, ending="1"))
            gaps = _refills_ms(calls, limit)
            for name, part, goal in (("p50", 0.5, 3.0), ("p95", 0.95, 10.0), ("max", 1.0, None)):
                label = f"slot refill, limit {limit}, {name}"
                rounds = [share(gaps, part)]
                figures.append(Figure(name=label, unit="ms", rounds=rounds, at_most=goal))
        say("slots in use: limit 100, 500 people who talk for three seconds")
        calls = await _witnessed(rig, 100, numbers_of(500, ending="3"))
        used = [_in_use(calls, 100) * 100]
        figures.append(
            Figure(name="slots in use, limit 100, calls of 3 s", unit="%", rounds=used, at_least=99)
        )
    return figures


async def run_batch(rig: Rig, numbers: Sequence[str], limit: int = CONCURRENCY) -> float:
    """Upload a batch and wait for its end; gives the seconds from the one to the other."""
    campaign_id = await rig.campaign(limit)
    began = time.perf_counter()
    batch_id = await rig.batch(campaign_id, numbers)
    async with asyncio.timeout(_COMPLETE_WITHIN_S):
        batch = await rig.status(batch_id)
        while batch["status"] != "completed":
            await asyncio.sleep(_LOOK_EVERY_S)
            batch = await rig.status(batch_id)
    took_s = time.perf_counter() - began
    if batch["counters"]["completed"] != len(numbers):
        raise Unavailable(f"not everybody was reached: {batch['counters']}")
    return took_s


async def _witnessed(rig: Rig, limit: int, numbers: Sequence[str]) -> list[dict[str, Any]]:
    since = datetime.now(UTC)
    await run_batch(rig, numbers, limit)
    calls = await rig.ledger(since.isoformat())
    if len(calls) != len(numbers):
        raise Unavailable(f"{len(numbers)} contacts, but RotaryRouter saw {len(calls)} calls")
    return calls


def _refills_ms(calls: Sequence[dict[str, Any]], limit: int) -> list[float]:
    """The n-th end frees the slot of request n + limit, whichever call it was."""
    requests = sorted(_time(call["requested_at"]) for call in calls)
    ends = sorted(_time(_final(call)["attempts"][-1]["at"]) for call in calls)
    gaps = [
        (r - e) / timedelta(milliseconds=1) for e, r in zip(ends, requests[limit:], strict=False)
    ]
    if min(gaps) < 0:
        raise Unavailable(f"the limit of {limit} calls was exceeded")
    return gaps


def _in_use(calls: Sequence[dict[str, Any]], limit: int) -> float:
    """The share of all slots with a call, from when all were first taken to the last request."""
    requests = sorted(_time(call["requested_at"]) for call in calls)
    begin, end = requests[limit - 1], requests[-1]
    busy = sum(
        (
            max(
                min(_time(call["ended_at"]), end) - max(_time(call["placed_at"]), begin),
                timedelta(),
            )
            for call in calls
        ),
        timedelta(),
    )
    return busy / ((end - begin) * limit)


def _final(call: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = next(one for one in call["webhooks"] if one["event"] in _FINAL)
    return found


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


async def _count_statements(rig: Rig) -> None:
    """Have PostgreSQL log each statement: few, as they are shared by many contacts."""
    await rig.run_sql("alter system set log_statement = 'all'")
    await rig.run_sql("select pg_reload_conf()")


def _postgres_log(rig: Rig) -> Path:
    return rig.folder / "postgres" / "postgres.log"


def _log_size(rig: Rig) -> int:
    return _postgres_log(rig).stat().st_size


def _statements_since(rig: Rig, size: int) -> int:
    """How many statements were run, BEGIN and COMMIT among them, the benchmark's own too."""
    with _postgres_log(rig).open("rb") as log:
        log.seek(size)
        return len(re.findall(rb"LOG:  (?:execute|statement)", log.read()))
