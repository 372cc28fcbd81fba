"""Campaigns, batches and people in a real database, and the use-cases that call them.

Rows are written as the use-cases leave them, so that a test says only what matters to it. Nothing
here stands in for our own code; the one stranger is a provider nobody listens at.
"""

import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from apollo.core.events import CallEnded, CallEvent, Evidence
from apollo.core.model import Deadlines, OnUnresolved
from apollo.storage.database import Database, Record
from apollo.telephony.jambonz import JambonzDriver
from apollo.usecases.dial_contacts import Claimed, DialContacts, DialSettings
from apollo.usecases.record_call_events import Arrival, RecordCallEvents, Recorded
from apollo.usecases.record_call_result import RecordCallResult

ORGANIZATION = "org_acme"
OTHER_ORGANIZATION = "org_other"
CALLER_IDS = ["+919876543210", "+919876543211", "+919876543212"]
DEADLINES = Deadlines(
    ring_timeout=timedelta(seconds=30),
    time_limit=timedelta(minutes=30),
    quarantine=timedelta(minutes=10),
    on_unresolved=OnUnresolved.HOLD,
)
NO_COOLDOWN = {"max_retries": 3, "strategy": "fixed", "cooldown_minutes": 0}


class SetClock:
    """Shows what it is set to; the database keeps its own time."""

    def __init__(self) -> None:
        self.at = datetime(2026, 5, 10, 9, tzinfo=UTC)
        self.seconds = 1000.0

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return self.seconds


def some_numbers(many: int, *, start: int = 1) -> list[str]:
    """Valid Indian mobile numbers, all different."""
    return [f"+9198765{n:05d}" for n in range(start, start + many)]


def noon_zone(now: datetime) -> str:
    """A zone in which it is between 12:00 and 13:00 at this instant."""
    behind = (now.astimezone(UTC).hour - 12) % 24
    # Etc/GMT+5 is five hours behind UTC, and the names end at 12 behind and 14 ahead.
    return f"Etc/GMT+{behind}" if behind <= 12 else f"Etc/GMT-{24 - behind}"


def every_day(start: str, end: str) -> dict[str, Any]:
    """A weekly table with the same hours each day."""
    days = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
    return {day: {"start": start, "end": end, "enabled": True} for day in days}


@dataclass
class World:
    """One database, and what works on it."""

    db: Database
    clock: SetClock = field(default_factory=SetClock)

    async def sql(self, text: str, *values: Any) -> list[Record]:
        """Run a statement of the test's own."""
        async with self.db.connection() as connection:
            return await connection.fetch(text, *values)

    async def value(self, text: str, *values: Any) -> Any:
        """Run a statement and give its only value."""
        rows = await self.sql(text, *values)
        return rows[0][0] if rows else None

    async def insert(self, table: str, row: dict[str, Any]) -> None:
        """Insert a row."""
        places = ", ".join(f"${n}" for n in range(1, len(row) + 1))
        names = ", ".join(row)
        await self.sql(f"insert into {table} ({names}) values ({places})", *row.values())  # noqa: S608 - names are ours

    async def a_campaign(self, *, limit: int = 10, **columns: Any) -> uuid.UUID:
        """Insert a campaign that may dial at any time."""
        now = await self.value("select clock_timestamp()")
        campaign_id = uuid.uuid4()
        row = {
            "id": campaign_id,
            "organization_id": ORGANIZATION,
            "name": "Renewals",
            "agent_id": "agent_1",
            "phone_numbers": CALLER_IDS,
            "phone_number_strategy": "round_robin",
            "working_hours_enforced": False,
            "timezone": "UTC",
            "retry_policy": NO_COOLDOWN,
            "default_call_variables": {},
            "metadata": {"concurrency_limit": limit},
            "created_at": now,
            "updated_at": now,
            **columns,
        }
        await self.insert("campaigns", row)
        return campaign_id

    async def a_batch(
        self, campaign_id: uuid.UUID, numbers: Sequence[str] | int = 3, **columns: Any
    ) -> uuid.UUID:
        """Insert a running batch of these people."""
        if isinstance(numbers, int):
            numbers = some_numbers(numbers)
        batch_id = uuid.uuid4()
        organization_id, now = (
            await self.sql(
                "select organization_id, clock_timestamp() from campaigns where id = $1",
                campaign_id,
            )
        )[0]
        row = {
            "id": batch_id,
            "organization_id": organization_id,
            "campaign_id": campaign_id,
            "status": "in_progress",
            "total_contacts": len(numbers),
            "call_context": {},
            "metadata": {},
            "ready_at": now,
            "created_at": now,
            "updated_at": now,
            **columns,
        }
        await self.insert("batches", row)
        await self.sql("insert into batch_cursors (batch_id) values ($1)", batch_id)
        await self.sql(
            "insert into contacts (batch_id, position, phone_number, call_variables, updated_at)"
            " select $1, n.position, n.phone_number, '{}', $3"
            " from unnest($2::text[]) with ordinality as n (phone_number, position)",
            batch_id,
            list(numbers),
            now,
        )
        return batch_id

    # ------------------------------------------------------------------------------ what is there

    async def contact(self, batch_id: uuid.UUID, position: int = 1) -> dict[str, Any]:
        """Everything about a contact, its queue entry included."""
        rows = await self.sql(
            "select c.*, d.turn, d.due_at, d.is_due, d.blocked_number from contacts c"
            " left join due_contacts d using (batch_id, position)"
            " where c.batch_id = $1 and c.position = $2",
            batch_id,
            position,
        )
        return dict(rows[0])

    async def statuses(self, batch_id: uuid.UUID) -> list[str]:
        """The statuses of a batch's contacts, in upload order."""
        rows = await self.sql(
            "select status from contacts where batch_id = $1 order by position", batch_id
        )
        return [row["status"] for row in rows]

    async def batch_status(self, batch_id: uuid.UUID) -> str:
        """The status of a batch."""
        return str(await self.value("select status from batches where id = $1", batch_id))

    async def counters(self) -> dict[tuple[uuid.UUID, str, str, int], int]:
        """What the counters say of the contacts, zeros left out."""
        rows = await self.sql(
            "select batch_id, status, wait_reason, retry, sum(contacts)::bigint as contacts"
            " from batch_counters group by 1, 2, 3, 4 having sum(contacts) <> 0"
        )
        return {tuple(row)[:4]: row["contacts"] for row in rows}

    async def recount(self) -> dict[tuple[uuid.UUID, str, str, int], int]:
        """What the contacts themselves say."""
        rows = await self.sql(
            "select batch_id, status, coalesce(wait_reason, ''),"
            " case when status = 'retrying' then retry_count + 1 else 0 end, count(*)"
            " from contacts group by 1, 2, 3, 4"
        )
        return {tuple(row)[:4]: row[4] for row in rows}

    async def call_counts(self, campaign_id: uuid.UUID) -> dict[str, int]:
        """The campaign's counters of calls, zeros left out."""
        rows = await self.sql(
            "select counted, sum(calls)::bigint from call_counters where campaign_id = $1"
            " group by 1 having sum(calls) <> 0",
            campaign_id,
        )
        return {row[0]: row[1] for row in rows}

    # ------------------------------------------------------------------------------ what is done

    def dial(
        self, *, ring_timeout_s: int = 30, per_second: float | None = None, seed: int = 1
    ) -> DialContacts:
        """A worker's hands, in front of a provider that is known to work and does not answer."""
        dial = DialContacts(
            db=self.db,
            driver=JambonzDriver(
                base_url="http://127.0.0.1:9/v1",
                account_sid=str(uuid.UUID(int=7)),
                api_key="example-key",
                webhook_secret="example-secret",
                public_url="http://127.0.0.1:8000",
                clock=self.clock,
            ),
            clock=self.clock,
            settings=DialSettings(
                ring_timeout=timedelta(seconds=ring_timeout_s),
                time_limit=timedelta(minutes=30),
                calls_per_second=per_second,
                default_route=None,
                agent_key_secret=b"example",
                number_gap=timedelta(),
            ),
            worker_id=uuid.uuid4(),
            random=Random(seed),
        )
        dial.breaker.succeeded(self.clock.monotonic())
        return dial

    async def claim(self, campaign_id: uuid.UUID, slots: int = 64) -> Claimed:
        """Claim once, as a worker does."""
        return await self.dial().claim(campaign_id, slots)

    async def record(self, *arrivals: tuple[uuid.UUID, CallEvent]) -> Recorded:
        """Record events of calls, in one transaction."""
        recorder = RecordCallEvents(db=self.db, deadlines=DEADLINES, wakes_by_notify=True)
        return await recorder.record([Arrival(call_id, event) for call_id, event in arrivals])

    async def end(self, *call_ids: uuid.UUID, sip_status: int = 200) -> Recorded:
        """Let calls end."""
        return await self.record(*((call_id, ended(sip_status)) for call_id in call_ids))


def a_recorder_of_results(db: Database) -> RecordCallResult:
    """What takes the results of agents."""
    record = RecordCallEvents(db=db, deadlines=DEADLINES, wakes_by_notify=True)
    return RecordCallResult(db=db, record=record)


def ended(sip_status: int = 200, **more: Any) -> CallEnded:
    """The provider's word that a call is over."""
    words = {200: "completed", 486: "busy", 487: "no-answer"}
    fields: dict[str, Any] = {
        "at": datetime(2026, 5, 10, 9, tzinfo=UTC),
        "evidence": Evidence.WEBHOOK,
        "call_status": words.get(sip_status, "failed"),
        "sip_status": sip_status,
        **more,
    }
    return CallEnded(**fields)


@asynccontextmanager
async def a_world(database_url: str, *, connections_max: int = 8) -> AsyncIterator[World]:
    """Open a database with two organisations in it."""
    db = await Database.connect(database_url, connections_max=connections_max)
    world = World(db)
    try:
        for organization in (ORGANIZATION, OTHER_ORGANIZATION):
            await world.sql("insert into organizations (id) values ($1)", organization)
        yield world
    finally:
        await db.close()
