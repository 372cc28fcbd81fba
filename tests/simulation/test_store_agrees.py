# ruff: noqa: T201 - a failure shows its seed
"""The tables in memory do what PostgreSQL does: the same random operations, the same results.

Only the clock and the ids of calls are taken from the test, so that everything can be compared as
it is, times included. What differs is a defect of the stand-in, or of the SQL.
"""

import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, cast

import asyncpg
import pytest
from tests.simulation.engine import MemoryDatabase, Server
from tests.simulation.lifecycle_statements import STATEMENTS

from apollo.core.eligibility import share_slots
from apollo.core.events import (
    CallAccepted,
    CallAnswered,
    CallEnded,
    CallEvent,
    CallRinging,
    CallTrying,
    Evidence,
    LeaseExpired,
    NumberRefused,
    QuarantineOver,
    Reached,
    RequestLost,
    RequestNotPlaced,
)
from apollo.core.ids import ContactKey
from apollo.core.model import Deadlines, OnUnresolved
from apollo.core.states import BatchStatus, PausedBy
from apollo.core.windows import Window
from apollo.errors import NotFound, Stale
from apollo.ports import LiveCall
from apollo.storage import agents, calls, carrier_gates, dialling, lifecycle, overdue, recovery
from apollo.storage.database import Database
from apollo.usecases.record_call_events import Arrival, RecordCallEvents, Webhook
from apollo.usecases.record_call_result import CallResult, RecordCallResult

START = datetime(2026, 5, 10, 9, tzinfo=UTC)
RULES = Deadlines(
    ring_timeout=timedelta(seconds=30),
    time_limit=timedelta(minutes=30),
    quarantine=timedelta(minutes=10),
    on_unresolved=OnUnresolved.HOLD,
)
COMPARED = {
    "organizations": "id",
    "installation": "agent_key_secret",
    "campaigns": "id",
    "batches": "id",
    "batch_cursors": "batch_id",
    "contacts": "batch_id, position",
    "due_contacts": "batch_id, position",
    "calls": "batch_id, position, requested_at, id",
    "providers": "provider",
    "carrier_gates": "provider, kind, scope_id",
    "marked_numbers": "organization_id, phone_number",
    "call_results": "call_id, content_hash",
}
PROVIDER = "sim"
CALLER_IDS = ["+919876500001", "+919876500002"]
# Set by PostgreSQL, and read by nothing that the simulation runs.
NOT_KEPT = {
    "changed_at",
    "window_opens_at",
    "window_closes_at",
    "call_variables",
    "call_context",
    "metadata",
}
# Only a worker that may claim tells how far a database knows from which nothing was claimed.
HEARTBEATS: tuple[tuple[str, dict[str, bool]], ...] = (
    ("worker", {"is_cleared": True}),
    ("worker", {"is_cleared": True}),
    ("worker", {"is_cleared": False}),
    ("web", {"is_cleared": True}),
    ("worker", {}),
)
CLOCK = """
create schema sim;
create table sim.clock (at timestamptz);
insert into sim.clock values ('2026-05-10 09:00Z');
create function sim.clock_timestamp() returns timestamptz language sql volatile
  as 'select at from sim.clock';
"""


class Noted(dict[str, Any]):
    """The imitations by text; notes which of them were run."""

    def __init__(self, statements: Mapping[str, Any]) -> None:
        super().__init__(statements)
        self.run: set[str] = set()

    def __getitem__(self, text: str) -> Any:
        self.run.add(text)
        return super().__getitem__(text)

    def not_run(self) -> set[str]:
        """Give the names of those that were never compared."""
        return {statement.__name__ for text, (_, statement) in self.items() if text not in self.run}


class Both:
    """The two stores, and one way to do the same to both."""

    def __init__(self, real: Database, server: Server) -> None:
        self.real = real
        self.server = server
        self.statements = Noted(STATEMENTS)
        self.memory = cast("Database", MemoryDatabase(server, self.statements))
        self.now = START
        # Ids of calls: what is what in the other store.
        self.twin: dict[uuid.UUID, uuid.UUID] = {}
        self.worker_ids: list[uuid.UUID] = []

    def number(self, position: int) -> str:
        """Give a contact's number; calls of the campaign before may be open for ever."""
        return f"+91987{len(self.server.tables['campaigns']):03}321{position}"

    async def sql(self, text: str, *values: Any) -> list[Any]:
        async with self.real.connection() as connection:
            return await connection.fetch(text, *values)

    async def put(self, table: str, key: Any, row: dict[str, Any], **more: Any) -> None:
        stored = {**row, **more}
        stored.pop("concurrency_limit" if table == "campaigns" else "", None)
        names, places = ", ".join(stored), ", ".join(f"${n + 1}" for n in range(len(stored)))
        await self.sql(f"insert into {table} ({names}) values ({places})", *stored.values())  # noqa: S608 - names are ours
        self.server.tables[table][key] = row

    async def pass_time(self, seconds: float) -> None:
        self.now += timedelta(seconds=round(seconds, 3))
        await self.sql("update sim.clock set at = $1", self.now)

    async def do(self, what: Callable[[Any, bool], Awaitable[Any]]) -> tuple[Any, Any]:
        """Do something inside a transaction in both stores; both must end in the same way."""
        answers: list[Any] = []
        for db, is_memory in ((self.real, False), (self.memory, True)):
            try:
                async with db.transaction() as connection:
                    answers.append(await what(connection, is_memory))
            except (Stale, asyncpg.IntegrityConstraintViolationError) as e:
                answers.append(type(e).__name__)
        return answers[0], answers[1]

    async def compare(self) -> None:
        for table, order in COMPARED.items():
            rows = await self.sql(f"select * from {table} order by {order}")  # noqa: S608 - ours
            real = [self._shown(dict(row)) for row in rows]
            mine = [self._shown(dict(row)) for row in self.server.tables[table].values()]
            names = [name.strip() for name in order.split(",") if name.strip() != "id"] or ["id"]
            mine.sort(key=lambda row: tuple(str(row[name]) for name in names))
            real.sort(key=lambda row: tuple(str(row[name]) for name in names))
            for one, other in zip(real, mine, strict=True):
                known = {name: one[name] for name in other}
                assert known == other, table
        counted = await self.sql(
            "select campaign_id, counted, sum(calls)::int from call_counters group by 1, 2"
        )
        real_counts = {(r[0], r[1]): r[2] for r in counted if r[2]}
        assert real_counts == {k: n for k, n in self.server.call_counters.items() if n}

    def _shown(self, row: dict[str, Any]) -> dict[str, Any]:
        # The id of a call is the real one's on both sides.
        if "from_number" in row:
            row["id"] = self.twin.get(row["id"], row["id"])
        if "row_calls" in row:
            row["row_calls"] = [self.twin.get(one, one) for one in row["row_calls"]]
        if "call_id" in row:
            row["call_id"] = self.twin.get(row["call_id"], row["call_id"])
        return {name: value for name, value in row.items() if name not in NOT_KEPT}


@dataclass
class Told:
    """The test's clock, for a use-case that keeps one of its own."""

    both: Both

    def now(self) -> datetime:
        return self.both.now

    def monotonic(self) -> float:
        return self.both.now.timestamp()


async def found(both: Both) -> None:
    await both.put("organizations", "org_acme", {"id": "org_acme", "dialling_stopped_at": None})
    for n, (role, report) in enumerate(HEARTBEATS):
        row = {"role": role, "report": report, "started_at": START - timedelta(minutes=n)}
        more = {"host": "host", "pid": n, "version": "1", "seen_at": START}
        await both.put("heartbeats", n, row, process_id=uuid.UUID(int=n), **more)


async def fill(both: Both, dice: Random) -> uuid.UUID:
    campaign_id = uuid.UUID(int=dice.getrandbits(128))
    policy = {"max_retries": 2, "strategy": "exponential", "cooldown_minutes": dice.choice((0, 1))}
    await both.put(
        "campaigns",
        campaign_id,
        {
            "id": campaign_id,
            "organization_id": "org_acme",
            "agent_id": "agent_1",
            "phone_numbers": CALLER_IDS,
            "phone_number_strategy": "round_robin",
            "working_hours": None,
            "working_hours_enforced": False,
            "timezone": "UTC",
            "retry_policy": policy,
            "max_follow_ups": dice.choice((1, 2)),
            "number_gap_minutes": dice.choice((None, 0.1, 0.5)),
            "concurrency_limit": 6,
            "caller_ids_used": 0,
            "amd": False,
            "paused_at": None,
            "cancelled_at": None,
            "deleted_at": None,
            "updated_at": START,
        },
        name="Renewals",
        default_call_variables={},
        metadata={"concurrency_limit": 6},
        created_at=START,
    )
    for n in range(3):
        await fill_batch(both, dice, campaign_id, n)
    return campaign_id


async def fill_batch(both: Both, dice: Random, campaign_id: uuid.UUID, n: int) -> None:
    batch_id = uuid.UUID(int=dice.getrandbits(128))
    # The last one is completed at the first look, and may be reopened.
    total = (6, 6, 0)[n]
    row = {
        "id": batch_id,
        "organization_id": "org_acme",
        "campaign_id": campaign_id,
        "status": "pending" if n == 1 else "in_progress",
        "total_contacts": total,
        "concurrency_limit": dice.choice((None, 3)),
        "max_retries_override": dice.choice((None, 1)),
        "scheduled_start": START + timedelta(seconds=30) if n == 1 else None,
        "ends_at": dice.choice((None, START + timedelta(hours=1))),
        "paused_by": None,
        "pause_reason": None,
        "ready_at": START,
        "completed_at": None,
        "created_at": START + timedelta(seconds=n),
        "updated_at": START,
    }
    await both.put("batches", batch_id, row, call_context={}, metadata={})
    cursor = {"next_position": 1, "last_claimed_at": None}
    both.server.tables["batch_cursors"][batch_id] = {"batch_id": batch_id, **cursor}
    await both.sql("insert into batch_cursors (batch_id) values ($1)", batch_id)
    for position in range(1, total + 1):
        contact = {
            "batch_id": batch_id,
            "position": position,
            # Each number twice: in another batch, so that one parks behind the other.
            "phone_number": both.number(position),
            "status": "pending",
            "wait_reason": None,
            **dict.fromkeys(("attempts", "tries", "retry_count"), 0),
            **dict.fromkeys(("follow_up_count", "carrier_failures", "promises"), 0),
            "is_reached": False,
            "is_withdrawn": False,
            "last_attempted_at": None,
            "updated_at": START,
        }
        await both.put("contacts", (batch_id, position), contact, call_variables={})


async def claim(both: Both, dice: Random, campaign_id: uuid.UUID) -> None:
    wanted = dice.randint(1, 4)
    worker_id = uuid.UUID(int=dice.getrandbits(128))
    both.worker_ids.append(worker_id)

    async def work(connection: Any, is_memory: bool) -> Any:
        del is_memory
        campaign = await dialling.lock_campaign(connection, campaign_id)
        assert campaign is not None
        shut = sorted(await carrier_gates.read_shut_gates(connection, campaign_id, PROVIDER))
        held = campaign.is_stopped, campaign.is_recovering, campaign.has_shut_gates, shut
        loads = await dialling.read_loads(connection, campaign, wanted)
        free = min(wanted, campaign.concurrency_limit - loads.open_calls)
        shares = share_slots(loads.batches, free)
        if campaign.is_paused or not shares:
            return (held, loads), []
        taken = await dialling.claim_contacts(
            connection,
            campaign,
            window=Window(START - timedelta(days=1), START + timedelta(days=1)),
            shares=shares,
            loads=loads,
            caller_ids=[campaign.phone_numbers[n % 2] for n in range(wanted)],
            provider=PROVIDER,
            worker_id=worker_id,
            lease=timedelta(seconds=30),
            ring_timeout=RULES.ring_timeout,
            number_gap=campaign.number_gap or timedelta(),
        )
        left = {gate.scope: both.now + timedelta(seconds=30) for gate in shut}
        await carrier_gates.note_probes(connection, left)
        return (held, loads), taken

    real, mine = await both.do(work)
    assert real[0] == mine[0]
    assert [(c.contact, c.kind, c.attempt, c.from_number, c.requested_at) for c in real[1]] == [
        (c.contact, c.kind, c.attempt, c.from_number, c.requested_at) for c in mine[1]
    ]
    both.twin.update(zip((c.id for c in mine[1]), (c.id for c in real[1]), strict=True))


def an_event(both: Both, dice: Random, sid: str) -> CallEvent:
    known: dict[str, Any] = {"at": both.now, "evidence": Evidence.WEBHOOK, "provider_call_id": sid}
    said: dict[str, Any] = {"at": both.now, "evidence": Evidence.REPLY}
    ends: dict[str, Any] = {**known, "duration_s": None}
    return dice.choice(
        (
            CallAccepted(**{**known, "evidence": Evidence.REPLY}),
            CallTrying(**known),
            CallRinging(**known),
            CallAnswered(**known),
            CallEnded(**ends, call_status="completed", sip_status=200),
            CallEnded(**ends, call_status="busy", sip_status=486),
            CallEnded(**ends, call_status="failed", sip_status=503),
            CallEnded(**ends, call_status="busy", sip_status=603),
            CallEnded(**ends, call_status="failed", sip_status=404),
            CallEnded(**ends, call_status="no-answer", sip_status=487),
            RequestLost(**said, reason="timeout"),
            RequestNotPlaced(**said, reason="no_capacity"),
            NumberRefused(**said, reason="bad_number"),
            LeaseExpired(**said),
            QuarantineOver(at=both.now, evidence=Evidence.ASSUMED, may_retry=dice.random() < 0.5),
        )
    )


async def record(both: Both, dice: Random, _: uuid.UUID) -> None:
    known = list(both.server.tables["calls"])
    # Often of the latest: what is told of a call that ended long ago is mostly told in vain.
    pool = dice.choice((known, known[-10:]))
    chosen = dice.sample(pool, min(len(pool), dice.randint(1, 3)))
    # Now and then every call that is open ends alike: that is no accident, and is taken back.
    is_outage = dice.random() < 0.3
    if is_outage:
        calls = both.server.tables["calls"]
        chosen = [one for one in known if calls[one]["ended_at"] is None]
    arrivals = []
    for mine in chosen:
        sid = f"sid-{known.index(mine)}" if dice.random() < 0.95 else "sid-0"
        event = an_event(both, dice, sid)
        if is_outage:
            said: dict[str, Any] = {"at": both.now, "evidence": Evidence.WEBHOOK}
            event = CallEnded(**said, provider_call_id=sid, call_status="busy", sip_status=603)
        hook = None
        if event.evidence is Evidence.WEBHOOK:
            content = uuid.UUID(int=dice.getrandbits(128))
            hook = Webhook(content, sid, "any", b"{}", both.now)
        # Some carry no tag, and are found by the provider's own id.
        tag = mine if hook is None or dice.random() < 0.8 else None
        arrivals.append(Arrival(tag, event, sid, hook))

    async def work(db: Database, mine: bool) -> Any:
        told = [
            a if mine else Arrival(a.execution_id and both.twin[a.execution_id], *_rest(a))
            for a in arrivals
        ]
        recorder = RecordCallEvents(db=db, deadlines=RULES, wakes_by_notify=True)
        try:
            done = await recorder.record(told)
        except (Stale, asyncpg.IntegrityConstraintViolationError) as e:
            return type(e).__name__
        return done.offs, done.freed, done.completed

    assert await work(both.real, mine=False) == await work(both.memory, mine=True)


def _rest(arrival: Arrival) -> tuple[Any, Any, Any]:
    return arrival.event, arrival.provider_call_id, arrival.webhook


async def advance(both: Both, dice: Random, _: uuid.UUID) -> None:
    await both.pass_time(dice.choice((0.5, 20.0, 45.0, 90.0)))

    async def work(connection: Any, is_memory: bool) -> Any:
        del is_memory
        return (
            await dialling.promote_due(connection, 3),
            await dialling.start_batches(connection),
            # Those that are due at the same instant come in any order.
            sorted(await dialling.read_expired_batches(connection)),
            await dialling.read_next_instant_s(connection),
            await dialling.read_dialable_campaigns(connection),
            sorted(await dialling.close_finished_batches(connection)),
            await dialling.read_caller_id_loads(connection, _),
        )

    real, mine = await both.do(work)
    assert real == mine


async def look(both: Both, dice: Random, _: uuid.UUID) -> None:
    turn = timedelta(seconds=dice.choice((5, 15)))
    worker_id = dice.choice(both.worker_ids)
    told_until = dice.choice((None, both.now - timedelta(seconds=20)))
    asked = dice.choice((PROVIDER, PROVIDER, "another"))
    has_moved = dice.random() < 0.5

    async def work(connection: Any, is_memory: bool) -> Any:
        unsent = await dialling.find_unsent_claims(connection, worker_id, told_until)
        taken = await overdue.take_overdue(
            connection, asked, turn=turn, abandoned_after=timedelta(seconds=10), at_most=1_000
        )
        silent = await overdue.read_silent(connection, PROVIDER, silence=turn, at_most=1_000)
        # One of them, whatever the order of those with the same deadline.
        first = sorted(taken, key=lambda c: c.phone_number)[:1]
        # Half of them have moved meanwhile.
        version = first[0].version - has_moved if first else 0
        again = {replace(c, version=version): c.read_at + timedelta(seconds=20) for c in first}
        await overdue.set_deadlines(connection, again)
        known = await overdue.read_known_provider_ids(connection, {"sid-1", "sid-2", "none"})
        existing = await overdue.read_existing_between(
            connection, PROVIDER, both.now - turn * 3, both.now - turn, at_most=1_000
        )
        existing.sort(key=lambda c: c.provider_call_id)
        ids = {c.id for c in taken}, {c.id for c in silent}, set(unsent)
        return existing, known, [{both.twin[i] if is_memory else i for i in found} for found in ids]

    real, mine = await both.do(work)
    assert real == mine


async def command(both: Both, dice: Random, campaign_id: uuid.UUID) -> None:
    kind = dice.choice(("pause", "refused", *["resume"] * 4, "reopen", "close"))
    whole, lucky = dice.random() < 0.5, dice.random() < 0.2

    async def work(connection: Any, is_memory: bool) -> Any:
        del is_memory
        held = await lifecycle.lock_campaign(connection, "org_acme", campaign_id)
        assert held is not None
        batches = await lifecycle.lock_batches(connection, campaign_id)
        batch_ids = [b.id for b in batches][: None if whole else 1]
        if kind == "pause":
            if whole:
                await lifecycle.pause_campaign(connection, campaign_id, at=held.read_at)
            by = PausedBy.CAMPAIGN if whole else PausedBy.BATCH
            await lifecycle.pause_batches(connection, batch_ids, by, at=held.read_at)
        elif kind == "resume":
            await lifecycle.resume_campaign(connection, campaign_id, at=held.read_at)
            await lifecycle.resume_batches(connection, batch_ids, at=held.read_at)
        elif kind == "reopen":
            if whole:
                await lifecycle.pause_campaign(connection, campaign_id, at=held.read_at)
            for batch_id in list(both.server.tables["batches"]):
                await calls.reopen_batch(connection, batch_id, both.now)
        elif kind == "refused":
            status = {"status": "400"}
            for batch_id in batch_ids:
                await calls.pause_refused_batch(connection, batch_id, status, both.now)
        elif lucky:
            closed = BatchStatus.CANCELLED
            await lifecycle.close_batches(connection, batch_ids[:1], closed, at=held.read_at)
        return (
            held,
            batches,
            await lifecycle.find_batch(connection, uuid.UUID(int=0)),
            [await lifecycle.find_batch(connection, batch_id) for batch_id in batch_ids],
            await lifecycle.count_open_calls(connection, campaign_id),
            await lifecycle.read_campaign_status(connection, campaign_id),
        )

    real, mine = await both.do(work)
    assert real == mine


async def pace(both: Both, dice: Random, _: uuid.UUID) -> None:
    seconds = dice.choice((0.5, 1.0))

    async def work(connection: Any, is_memory: bool) -> Any:
        del is_memory
        ahead = await dialling.lock_pace(connection, PROVIDER)
        load = await dialling.read_load(connection, PROVIDER, risky_for=timedelta(seconds=30))
        await dialling.book_requests(connection, PROVIDER, seconds)
        return round(ahead, 6), load

    real, mine = await both.do(work)
    assert real == mine


async def stop(both: Both, dice: Random, _: uuid.UUID) -> None:
    whom, is_stopped = dice.choice((None, "org_acme", "org_nobody")), dice.random() < 0.5

    async def work(connection: Any, is_memory: bool) -> Any:
        del is_memory
        return (
            await agents.agent_key_secret(connection, fresh=bytes(32)),
            await lifecycle.set_dialling_stopped(
                connection, whom, is_stopped=is_stopped, actor="operator"
            ),
            sorted(await lifecycle.wakeable_campaigns(connection, whom)),
            await lifecycle.count_calls_of(connection, whom),
        )

    real, mine = await both.do(work)
    assert real == mine


async def say_result(both: Both, dice: Random, _: uuid.UUID) -> None:
    """Let the agent add to a call, and ask for a follow-up."""
    known, contacts = both.server.tables["calls"], both.server.tables["contacts"]
    people = {i: contacts[c["batch_id"], c["position"]] for i, c in known.items()}
    done = [i for i, person in people.items() if person["status"] == "completed"]
    # What an agent said first it takes back now and then.
    wrong = [i for i, c in known.items() if c["reached"] == "wrong_person"]
    call_id = dice.choice((wrong if dice.random() < 0.3 else []) or done[-3:] or list(known))
    follow_up_at = dice.choice((None, both.now + timedelta(seconds=dice.choice((-5, 60)))))
    result = CallResult(
        summary=dice.choice((None, "spoke")),
        follow_up_at=follow_up_at,
        reached=None if follow_up_at else dice.choice((None, *Reached)),
    )

    sent_at = both.now + timedelta(seconds=dice.choice((0, 0, -30)))

    async def work(db: Database, known: uuid.UUID) -> Any:
        record = RecordCallEvents(db=db, deadlines=RULES, wakes_by_notify=True)
        results = RecordCallResult(db=db, record=record)
        try:
            stored = await results.record(known, result, sent_at=sent_at)
        except NotFound as unknown:
            return str(unknown)
        return stored.follow_up_refused, len(stored.effects)

    assert await work(both.real, both.twin[call_id]) == await work(both.memory, call_id)


async def recover(both: Both, dice: Random, _: uuid.UUID) -> None:
    shown = [
        LiveCall(f"sid-{n}", to=both.number(n), from_number=CALLER_IDS[0], call_status="trying")
        for n in range(1, 4)
    ]
    # Calls that ended without a name count since then only.
    since = both.now - timedelta(seconds=dice.choice((5, 60)))
    is_entered, is_left, is_read_in = (dice.random() < 0.3 for _ in range(3))

    async def work(connection: Any, is_memory: bool) -> Any:
        reach = await recovery.read_reach(connection)
        ours = await recovery.read_our_calls(connection, PROVIDER, shown, since)
        named = [replace(o, id=both.twin[o.id]) if is_memory else o for o in ours]
        if is_read_in:
            await recovery.note_read_in(connection, {"read_in": {"given": dice_of_settled}})
        if is_left:
            await recovery.note_compared(connection, replace(reach, lineage="another"))
            evidence = {"settled": [f"sid-{dice_of_settled}"]}
            await recovery.leave_recovery(connection, evidence, actor="operator", detail={})
            woken = await lifecycle.wakeable_campaigns(connection, None)
            await calls.notify_campaigns(connection, woken)
        return (
            reach.knows_until,
            await recovery.read_caller_ids(connection),
            {
                both.twin[i] if is_memory else i
                for i in await recovery.read_open_calls(connection, PROVIDER)
            },
            sorted(named, key=lambda one: one.id),
            is_entered and await recovery.enter_recovery(connection, {"unknown_calls": 1}),
            await recovery.read_recovery(connection),
        )

    dice_of_settled = dice.randint(1, 9)
    real, mine = await both.do(work)
    assert real == mine


async def adopt(both: Both, dice: Random, _: uuid.UUID) -> None:
    """Read a call in that the database does not know; some it does, and some numbers are taken."""
    people = list(both.server.tables["contacts"].values())
    waiting = [c for c in people if c["status"] in {"pending", "retrying", "followup_scheduled"}]
    contact = dice.choice(dice.choice((people, waiting)) or people)
    key = ContactKey(contact["batch_id"], contact["position"])
    call = LiveCall(
        f"sid-{dice.choice((0, 1, 2, 101, 102, 103, 104, 105, 106))}",
        to=contact["phone_number"],
        from_number=CALLER_IDS[1],
        call_status="trying",
        attempted_at=dice.choice((None, both.now - timedelta(seconds=30))),
    )

    async def work(connection: Any, is_memory: bool) -> Any:
        del is_memory
        found = await recovery.find_contacts(connection, {call.to, both.number(6)})
        return found, await recovery.adopt_call(connection, PROVIDER, key, call)

    real, mine = await both.do(work)
    assert real[0] == mine[0]
    assert (real[1] is None) == (mine[1] is None)
    if mine[1] is not None:
        both.twin[mine[1]] = real[1]


async def cancel(both: Both, campaign_id: uuid.UUID) -> None:
    async def work(connection: Any, is_memory: bool) -> Any:
        del is_memory
        held = await lifecycle.lock_campaign(connection, "org_acme", campaign_id)
        assert held is not None
        batches = await lifecycle.lock_batches(connection, campaign_id)
        closed = [b.id for b in batches], BatchStatus.CANCELLED
        await lifecycle.cancel_campaign(connection, campaign_id, at=held.read_at)
        await lifecycle.close_batches(connection, *closed, at=held.read_at)
        who: dict[str, Any] = {"organization_id": "org_acme", "actor": "operator"}
        where: dict[str, Any] = {"campaign_id": campaign_id, "batch_id": None}
        await lifecycle.record_action(connection, **who, **where, action="campaign_cancelled")
        return batches, await lifecycle.read_campaign_status(connection, campaign_id)

    real, mine = await both.do(work)
    assert real == mine


KINDS = (
    *(claim, claim, record, record, record, advance, look, command, pace, stop),
    *(recover, adopt, adopt, say_result, say_result),
)


@asynccontextmanager
async def two_stores(database_url: str, seed: int) -> AsyncGenerator[Both]:
    connection = await asyncpg.connect(database_url)
    await connection.execute(CLOCK)
    name = await connection.fetchval("select current_database()")
    # A schema that comes before PostgreSQL's own: its clock is the test's.
    await connection.execute(f'alter database "{name}" set search_path = sim, public, pg_catalog')
    await connection.close()
    real = await Database.connect(database_url, connections_max=1)
    both = Both(real, Server(lambda: both.now, Random(seed)))
    try:
        await found(both)
        yield both
    finally:
        await real.close()


async def do_many(both: Both, dice: Random, operations: int) -> None:
    campaign_id = await fill(both, dice)
    # How far a database knows before the first claim; then there are calls for the others.
    for n in range(operations):
        kind = (recover, claim)[n] if n < 2 else dice.choice(KINDS)
        await kind(both, dice, campaign_id)
        await both.compare()
        await both.pass_time(0.25)
    await cancel(both, campaign_id)
    await both.compare()


@pytest.mark.parametrize("seed", range(6))
async def test_the_same_operations_lead_to_the_same_tables(database_url: str, seed: int) -> None:
    print(f"seed {seed}")
    async with two_stores(database_url, seed) as both:
        await do_many(both, Random(seed), 60)


async def test_every_imitation_is_compared(database_url: str) -> None:
    async with two_stores(database_url, 7) as both:
        dice, rounds = Random(7), 0
        # A reopened batch needs some luck; what takes more rounds than this is hardly compared.
        while both.statements.not_run() and rounds < 20:
            await do_many(both, dice, 60)
            rounds += 1
        assert not both.statements.not_run()
