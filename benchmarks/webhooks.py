"""Measures durable webhooks: signed events of open calls, each stored before its 200.

One API process takes them; what it stored is counted against what it answered.
"""

import asyncio
import multiprocessing
import uuid

from figures import Figure, say, share
from rig import Rig, numbers_of, running_rig
from webhook_load import EVENTS, Answers, Load, provider_call_id, send_all

from apollo.cli.rehearsal import kept_secrets
from apollo.core import ids
from apollo.errors import Unavailable

ROUNDS = 3
CALLS = 4_000
CONNECTIONS = 64
# Sending takes seconds; making and signing the requests before it one more.
_ANSWERED_WITHIN_S = 120.0

_CONTACTS = """
insert into contacts (batch_id, position, phone_number, call_variables, status, attempts, tries,
                      last_attempted_at, updated_at)
select $1, n + 1, '+9198' || lpad(n::text, 8, '0'), '{}', 'dispatched', 1, 1, now(), now()
  from generate_series(1, $2::integer) as n
"""
_CALLS = """
insert into calls (id, organization_id, campaign_id, batch_id, position, attempt, kind, state,
                   provider, phone_number, from_number, provider_call_id, requested_at,
                   deadline_at, window_opens_at, window_closes_at)
select c.id, b.organization_id, b.campaign_id, b.id, c.nth + 1, 1, 'first', 'accepted', $4,
       '+9198' || lpad(c.nth::text, 8, '0'), '+14155550100', c.provider_call_id, now(),
       now() + interval '1 hour', now(), now() + interval '1 hour'
  from batches b
 cross join unnest($2::uuid[], $3::text[]) with ordinality as c (id, provider_call_id, nth)
 where b.id = $1
"""
_OPEN = "update batches set total_contacts = total_contacts + $2 where id = $1"
_OUTCOME = """
select (select count(*) from call_events where execution_id = any($1::uuid[])) as stored,
       (select count(*) from calls where id = any($1::uuid[]) and outcome = 'completed') as ended
"""


async def webhooks(rounds: int = ROUNDS, calls: int = CALLS) -> list[Figure]:
    """Webhooks a second over 64 connections, and how long each waits for its 200."""
    say(f"webhooks: {rounds} rounds of {calls * len(EVENTS):,} over {CONNECTIONS} connections")
    rates: list[float] = []
    p50: list[float] = []
    p99: list[float] = []
    costs: dict[str, list[float]] = {"serve": [], "postgres": []}
    async with running_rig({"preset": "instant"}) as rig:
        for nth in range(1, rounds + 1):
            call_ids = await _open_calls(rig, calls)
            await rig.checkpoint()
            before = rig.running.processor_s()
            answers = await _send(rig, call_ids)
            after = rig.running.processor_s()
            count = len(answers.latencies_ms)
            await _check(rig, call_ids, answers)
            rates.append(count / answers.took_s)
            p50.append(share(answers.latencies_ms, 0.5))
            p99.append(share(answers.latencies_ms, 0.99))
            for role, each in costs.items():
                each.append((after[role] - before[role]) / count * 1e6)
            shown = ", ".join(f"{role} {each[-1]:.0f}" for role, each in costs.items())
            say(f"round {nth}: {rates[-1]:,.0f}/s, p99 {p99[-1]:.1f} ms; µs of processor: {shown}")
    return [
        Figure(name="durable webhooks, one process", unit="/s", rounds=rates, at_least=10_000),
        Figure(name="  until the 200, p50", unit="ms", rounds=p50),
        Figure(name="  until the 200, p99", unit="ms", rounds=p99, at_most=20),
        *(
            Figure(name=f"  processor a webhook, {role}", unit="µs", rounds=each)
            for role, each in costs.items()
        ),
    ]


async def _open_calls(rig: Rig, count: int) -> list[uuid.UUID]:
    """Give open calls of a paused campaign, as if they had been placed a moment ago."""
    campaign_id = await rig.campaign(10)
    later = "2099-01-01T00:00:00Z"
    shown = await rig.batch(campaign_id, numbers_of(1, first=99_999), scheduled_start=later)
    await rig.api.send(f"/api/v1/campaigns/{campaign_id}/pause")
    batch_id = ids.parse_id("btc", shown)
    kept = kept_secrets(rig.folder)
    if batch_id is None or kept is None:
        raise Unavailable("the rig has no batch or no RotaryRouter")
    call_ids = [uuid.uuid4() for _ in range(count)]
    at_provider = [provider_call_id(one) for one in call_ids]
    await rig.run_sql(_CONTACTS, batch_id, count)
    await rig.run_sql(_CALLS, batch_id, call_ids, at_provider, f"jambonz:{kept.account_sid}")
    await rig.run_sql(_OPEN, batch_id, count)
    return call_ids


async def _send(rig: Rig, call_ids: list[uuid.UUID]) -> Answers:
    here, there = multiprocessing.Pipe(duplex=False)
    load = Load(rig.stack.settings.port, rig.webhook_secret().encode(), CONNECTIONS, call_ids)
    context = multiprocessing.get_context("spawn")
    sender = context.Process(target=send_all, args=(load, there), daemon=True)
    sender.start()
    there.close()
    try:
        arrived = await asyncio.to_thread(here.poll, _ANSWERED_WITHIN_S)
        if not arrived:
            raise Unavailable(f"not everything was answered within {_ANSWERED_WITHIN_S:.0f} s")
        answers: Answers = here.recv()
    except EOFError:
        raise Unavailable("the load generator ended without a result") from None
    finally:
        sender.terminate()
        sender.join()
    return answers


async def _check(rig: Rig, call_ids: list[uuid.UUID], answers: Answers) -> None:
    if answers.other:
        raise Unavailable(f"not every webhook was taken: {answers.other[0]!r}")
    (found,) = await rig.run_sql(_OUTCOME, call_ids)
    if found["stored"] != len(answers.latencies_ms):
        raise Unavailable(f"{len(answers.latencies_ms)} times 200, but {found['stored']} stored")
    if found["ended"] != len(call_ids):
        raise Unavailable(f"{len(call_ids)} calls, but only {found['ended']} have ended")
