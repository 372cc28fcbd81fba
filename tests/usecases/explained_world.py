"""A campaign with one batch in a real database, made as a test about the diagnosis needs it."""

import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from apollo.core import ids
from apollo.core.diagnosis.snapshot import Settings
from apollo.storage.database import Database
from apollo.usecases.explain_batch import ExplainBatch, as_json
from apollo.web.debug import DebugAnswer

NOW = datetime(2026, 5, 12, 10, 0, tzinfo=UTC)  # a Tuesday
CREATED = NOW - timedelta(hours=2)
HOOK = "https://apollo.example/webhooks/call-status"
EVERY_DAY = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


class StoppedClock:
    """The instant that every test is about, unless it says another."""

    at = NOW

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return 0.0


class World:
    """A campaign with one batch, and the hands to change its tables."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self.clock = StoppedClock()
        self.campaign_id, self.batch_id = uuid.uuid4(), uuid.uuid4()
        self.use_case = ExplainBatch(
            db=db,
            clock=self.clock,
            settings=Settings(
                stuck_after=timedelta(minutes=30),
                ring_timeout=timedelta(seconds=45),
                bus_kind="postgres",
            ),
        )

    async def run(self, statement: str, *values: Any) -> None:
        async with self.db.connection() as connection:
            await connection.execute(statement, *values)

    async def make(self, contacts: int, *, limit: int = 10) -> None:
        await self.run(
            "insert into organizations (id) values ('org_a'), ('org_b')",
        )
        await self.run(
            """
            insert into campaigns (id, organization_id, name, agent_id, phone_numbers,
              phone_number_strategy, working_hours_enforced, timezone, retry_policy,
              default_call_variables, metadata, created_at, updated_at)
            values ($1, 'org_a', 'spring', 'agt', '{+14155550123}', 'round_robin', false,
                    'Asia/Kolkata', '{}', '{}', jsonb_build_object('concurrency_limit', $2::int),
                    $3, $3)
            """,
            self.campaign_id,
            limit,
            CREATED,
        )
        await self.add_batch(self.batch_id, contacts)

    async def add_batch(
        self, batch_id: uuid.UUID, contacts: int, organization_id: str = "org_a"
    ) -> None:
        async with self.db.transaction() as connection:
            await connection.execute(
                """
                insert into batches (id, organization_id, campaign_id, status, total_contacts,
                  call_context, metadata, ready_at, created_at, updated_at)
                values ($1, $2, $3, 'in_progress', $4, '{}', '{}', $5, $5, $5)
                """,
                batch_id,
                organization_id,
                self.campaign_id,
                contacts,
                CREATED,
            )
            await connection.execute("insert into batch_cursors (batch_id) values ($1)", batch_id)
            await connection.execute(
                """
                insert into contacts (batch_id, position, phone_number, call_variables, updated_at)
                select $1, n, '+9198' || (10000000 + n), '{}', $3
                  from generate_series(1, $2::int) as n
                """,
                batch_id,
                contacts,
                CREATED,
            )

    async def take(self, upto: int) -> None:
        """Move the cursor past the first contacts."""
        await self.run(
            "update batch_cursors set next_position = $2 where batch_id = $1",
            self.batch_id,
            upto + 1,
        )

    async def move(self, first: int, last: int, status: str, **columns: Any) -> None:
        await self.run(
            """
            update contacts
               set status = $4, wait_reason = $5, updated_at = $6
             where batch_id = $1 and position between $2 and $3
            """,
            self.batch_id,
            first,
            last,
            status,
            columns.get("wait_reason"),
            columns.get("at", NOW - timedelta(minutes=1)),
        )

    async def call(self, first: int, last: int, **columns: Any) -> None:
        """Put contacts on a call."""
        batch_id = columns.get("batch_id", self.batch_id)
        state = columns.get("state", "accepted")
        at = columns.get("at", NOW - timedelta(minutes=1))
        await self.run(
            """
            insert into calls (id, organization_id, campaign_id, batch_id, position, attempt, kind,
              state, provider, phone_number, from_number, requested_at, deadline_at,
              window_opens_at, window_closes_at)
            select gen_random_uuid(), $7, $1, $2, n, 1, 'first', $5, 'jambonz',
                   coalesce($8, '+9198' || (10000000 + n)), '+14155550123',
                   $6::timestamptz + n * interval '1 millisecond', $6, $6, $6
              from generate_series($3::int, $4::int) as n
            """,
            self.campaign_id,
            batch_id,
            first,
            last,
            state,
            at,
            columns.get("organization_id", "org_a"),
            columns.get("number"),
        )
        if batch_id == self.batch_id:
            await self.take(last)
            await self.move(first, last, columns.get("status", "dispatched"), at=at)

    async def wait(
        self, position: int, turn: int, due_at: datetime, *, is_due: bool, **columns: Any
    ) -> None:
        await self.run(
            """
            insert into due_contacts
              (batch_id, position, turn, due_at, is_due, since, blocked_number)
            values ($1, $2, $3, $4, $5, $6, $7)
            """,
            self.batch_id,
            position,
            turn,
            due_at,
            is_due,
            columns.get("since", NOW - timedelta(minutes=1)),
            columns.get("number"),
        )

    async def beat(self, role: str, report: dict[str, Any], **columns: Any) -> None:
        await self.run(
            """
            insert into heartbeats
              (process_id, role, host, pid, version, started_at, seen_at, stopped_at, report)
            values (gen_random_uuid(), $1, 'dialler-1', 41, '0.1.0', $2, $3, $4, $5)
            """,
            role,
            CREATED,
            columns.get("seen_at", NOW - timedelta(seconds=2)),
            columns.get("stopped_at"),
            report,
        )

    async def worker(self, state: str = "ok", **known: Any) -> None:
        since = (NOW - timedelta(minutes=3)).isoformat()
        provider = {"provider": "jambonz", "state": state, "since": since, **known}
        claimed = (NOW - timedelta(seconds=2)).isoformat()
        report = {"status_hook_url": HOOK, "provider": provider, "last_claim_at": claimed}
        await self.beat("worker", report)

    async def answer(self, *, verify: bool = False) -> dict[str, Any]:
        """The whole answer, after the checks that hold for every one."""
        diagnosis = await self.use_case.explain("org_a", ids.batch_id(self.batch_id), verify=verify)
        answer = as_json(diagnosis)
        DebugAnswer.model_validate_json(json.dumps(answer))
        sums = answer["diagnostics"]["accounting"]
        assert sums["unfinished"] == (
            sums["on_call"] + sums["dialable_now"] + sum(sums["by_reason"].values())
        )
        return answer

    async def diagnostics(self, *, verify: bool = False) -> dict[str, Any]:
        answer: dict[str, Any] = (await self.answer(verify=verify))["diagnostics"]
        return answer

    async def reason(self, code: str, *, verify: bool = False) -> dict[str, Any]:
        """The one reason asked about."""
        reasons = (await self.diagnostics(verify=verify))["reasons"]
        return next(dict(reason) for reason in reasons if reason["code"] == code)
