"""An organisation with a campaign in a database of its own, for tests about batches."""

import dataclasses
import uuid
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from apollo.core import ids
from apollo.core.list_rows import GivenContact
from apollo.ports import AgentRoute, BusHealth, WakeUp
from apollo.storage.database import Database
from apollo.usecases.authenticate import Principal
from apollo.usecases.batch_views import View
from apollo.usecases.create_batches import CreateBatches
from apollo.usecases.list_filters import ListFilter
from apollo.usecases.read_batches import ReadBatches
from apollo.usecases.wanted_batches import NewBatch
from apollo.web.listing import number

ACME = Principal("org_acme", "tests")
OTHER = Principal("org_other", "tests")
# Only the database's clock decides anything about batches, and nobody can set that one.
NOW = datetime.now(UTC).replace(microsecond=0)


class SetClock:
    """Shows what it is set to."""

    def __init__(self) -> None:
        self.at = NOW

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return (self.at - NOW).total_seconds()


class HeardBus:
    """Keeps the wake-ups, for the test to look at."""

    def __init__(self) -> None:
        self.woken: list[WakeUp] = []

    async def wake(self, wake_ups: Sequence[WakeUp]) -> None:
        self.woken += wake_ups

    def told(self) -> list[tuple[str, str, str | None]]:
        """Campaign, why, and batch of each wake-up, as a client writes them."""
        return [
            (
                ids.campaign_id(one.campaign_id),
                one.why.value,
                None if one.batch_id is None else ids.batch_id(one.batch_id),
            )
            for one in self.woken
        ]

    async def wake_ups(self) -> AsyncIterator[uuid.UUID]:
        for one in self.woken:
            yield one.campaign_id

    def health(self) -> BusHealth:
        return BusHealth("test", is_connected=True, last_contact_at=None)

    async def close(self) -> None:
        self.woken.clear()


class Reading:
    """What is shown, by the filters that a test names; lists as they are answered."""

    def __init__(self, db: Database, diagnose: Any = None) -> None:
        self.shown = ReadBatches(db=db, diagnose=diagnose)
        self.batch = self.shown.batch
        self.call = self.shown.call
        self.results = self.shown.results
        self.rejected = self.shown.rejected

    async def batches(
        self, principal: Principal, *, campaign_id: str | None = None, **filters: Any
    ) -> list[View]:
        listed = await self.shown.batches(principal, _filter(filters), campaign_id=campaign_id)
        return listed.rows

    async def of_campaign(
        self, principal: Principal, campaign_id: str, **filters: Any
    ) -> list[View]:
        return (await self.shown.of_campaign(principal, campaign_id, _filter(filters))).rows

    async def contacts(
        self,
        principal: Principal,
        batch_id: str,
        *,
        with_calls: bool = False,
        explain: bool = False,
        **filters: Any,
    ) -> list[View]:
        listed = await self.shown.contacts(
            principal, batch_id, _filter(filters), with_calls=with_calls, explain=explain
        )
        return listed.rows

    async def calls(
        self, principal: Principal, *, phone_number: str | None, batch_id: str | None, **more: Any
    ) -> list[View]:
        wanted = _filter({"phone_number": number(phone_number), **more})
        return await self.shown.calls(principal, wanted, batch_id=batch_id)


def _filter(given: dict[str, Any]) -> ListFilter:
    status = given.pop("status", None)
    return ListFilter(statuses=None if status is None else [str(status)], **given)


@dataclasses.dataclass
class BatchWorld:
    """The use-cases about batches, over one database."""

    db: Database
    clock: SetClock
    bus: HeardBus
    create: CreateBatches
    read: Reading
    registered: set[str]

    @classmethod
    async def build(cls, url: str) -> "BatchWorld":
        db = await Database.connect(url, connections_max=4)
        clock, bus, registered = SetClock(), HeardBus(), {"agent_1"}

        async def route_of(agent_id: str, organization_id: str) -> AgentRoute | None:
            del organization_id
            known = agent_id in registered
            return AgentRoute(call_hook="https://agent.test/hook") if known else None

        world = cls(
            db=db,
            clock=clock,
            bus=bus,
            create=CreateBatches(db=db, bus=bus, route_of=route_of),
            read=Reading(db),
            registered=registered,
        )
        for principal in (ACME, OTHER):
            await world.sql("insert into organizations (id) values ($1)", principal.organization_id)
        return world

    async def sql(self, text: str, *values: Any) -> list[Any]:
        """Run a statement of the test's own."""
        async with self.db.connection() as connection:
            return await connection.fetch(text, *values)

    async def campaign(self, *, principal: Principal = ACME, **columns: Any) -> str:
        """Insert a campaign; gives its public id."""
        row = {
            "id": uuid.uuid4(),
            "organization_id": principal.organization_id,
            "name": "Renewals",
            "agent_id": "agent_1",
            "phone_numbers": ["+919876543210"],
            "phone_number_strategy": "round_robin",
            "working_hours_enforced": False,
            "timezone": "Asia/Kolkata",
            "retry_policy": {"max_retries": 3, "strategy": "fixed", "cooldown_minutes": 30},
            "default_call_variables": {},
            "metadata": {},
            "created_at": NOW,
            "updated_at": NOW,
            **columns,
        }
        places = ", ".join(f"${n}" for n in range(1, len(row) + 1))
        await self.sql(
            f"insert into campaigns ({', '.join(row)}) values ({places})",  # noqa: S608 - names are ours
            *row.values(),
        )
        return ids.campaign_id(row["id"])

    async def batch(
        self, campaign_id: str, numbers: list[str] | None = None, **wanted: Any
    ) -> View:
        """Create a batch of contacts with these numbers."""
        given = [
            GivenContact(n, number, {"callee_name": f"Person {n}"})
            for n, number in enumerate(numbers or some_numbers(3))
        ]
        return await self.create.from_contacts(
            ACME, NewBatch(campaign_id=campaign_id, **wanted), given
        )

    async def upload(self, campaign_id: str, text: str | bytes, **wanted: Any) -> View:
        """Create a batch from a CSV file."""
        content = text.encode() if isinstance(text, str) else text

        async def pieces() -> AsyncIterator[bytes]:
            for at in range(0, len(content), 1000):
                yield content[at : at + 1000]

        return await self.create.from_csv(
            ACME, NewBatch(campaign_id=campaign_id, **wanted), pieces()
        )

    async def phone_numbers(self, batch: View) -> list[str]:
        """Give the numbers of a batch, in order."""
        shown = await self.read.contacts(ACME, batch["batch_id"], limit=1000)
        return [contact["phone_number"] for contact in shown]

    async def put_call(self, batch: View, position: int, **columns: Any) -> str:
        """Insert a call as a worker would have left it; gives its execution id."""
        state = columns.get("state", "ended")
        row = {
            "id": uuid.uuid4(),
            "organization_id": ACME.organization_id,
            "campaign_id": ids.parse_id("cmp", batch["campaign_id"]),
            "batch_id": ids.parse_id("btc", batch["batch_id"]),
            "position": position,
            "attempt": 1,
            "kind": "first",
            "state": state,
            "provider": "rotary",
            "phone_number": "+919876500001",
            "from_number": "+919876543210",
            "requested_at": NOW,
            "ended_at": NOW + timedelta(seconds=42) if state == "ended" else None,
            "outcome": "completed" if state == "ended" else None,
            "window_opens_at": NOW,
            "window_closes_at": NOW + timedelta(hours=9),
            **columns,
        }
        places = ", ".join(f"${n}" for n in range(1, len(row) + 1))
        await self.sql(
            f"insert into calls ({', '.join(row)}) values ({places})",  # noqa: S608 - names are ours
            *row.values(),
        )
        contact_status = {"ended": row["outcome"], "placing": "dispatched"}.get(
            state, "in_progress"
        )
        await self.sql(
            "update contacts set status = $3, attempts = attempts + 1, last_attempted_at = $4,"
            " is_reached = $5, updated_at = $4 where batch_id = $1 and position = $2",
            row["batch_id"],
            position,
            contact_status,
            NOW,
            row["outcome"] == "completed",
        )
        return ids.execution_id(row["id"])


def some_numbers(many: int) -> list[str]:
    """Valid Indian mobile numbers, all different."""
    return [f"+9198765{n:05d}" for n in range(1, many + 1)]
