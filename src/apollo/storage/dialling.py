"""What a claim reads and writes. Every statement here runs inside the claim's own transaction."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from apollo.core.eligibility import BatchLoad
from apollo.core.ids import ContactKey
from apollo.core.model import NumberStrategy
from apollo.core.request_budget import Load
from apollo.core.states import CallKind
from apollo.core.windows import Window
from apollo.errors import Stale
from apollo.ports import AgentRoute
from apollo.storage.database import Connection, Record, load_queries

_Q = load_queries("dialling")


@dataclass(frozen=True, slots=True)
class LockedCampaign:
    """A campaign whose lock this transaction holds; `read_at` is the database's clock."""

    id: uuid.UUID
    organization_id: str
    agent_id: str
    route: AgentRoute | None
    phone_numbers: list[str]
    strategy: NumberStrategy
    working_hours: dict[str, Any] | None
    working_hours_enforced: bool
    timezone: str
    # Between calls to one number; None: the installation's own.
    number_gap: timedelta | None
    concurrency_limit: int
    detects_machines: bool
    caller_ids_used: int
    is_paused: bool
    is_cancelled: bool
    is_stopped: bool
    is_recovering: bool
    has_shut_gates: bool
    database_identity: str
    read_at: datetime


class Loads(NamedTuple):
    """The batches of a campaign that may dial, and the open calls of all its batches."""

    batches: list[BatchLoad]
    open_calls: int


@dataclass(frozen=True, slots=True)
class ClaimedCall:
    """A call whose intent is committed: it may now be asked for, once."""

    id: uuid.UUID
    contact: ContactKey
    kind: CallKind
    attempt: int
    phone_number: str
    from_number: str
    requested_at: datetime


async def lock_campaign(connection: Connection, campaign_id: uuid.UUID) -> LockedCampaign | None:
    """Lock a campaign for a claim; None when it is gone. Raises Stale when it stays locked."""
    row = await _Q["lock_campaign"].row(connection, campaign_id=campaign_id)
    if row is None or row["deleted_at"] is not None:
        return None
    has_route = row["call_hook"] is not None or row["application_sid"] is not None
    route = AgentRoute(
        call_hook=row["call_hook"],
        application_sid=row["application_sid"],
        speech_synthesis=row["speech_synthesis"],
        speech_recognizer=row["speech_recognizer"],
    )
    gap = row["number_gap_minutes"]
    return LockedCampaign(
        id=row["id"],
        organization_id=row["organization_id"],
        agent_id=row["agent_id"],
        route=route if has_route else None,
        phone_numbers=row["phone_numbers"],
        strategy=NumberStrategy(row["phone_number_strategy"]),
        working_hours=row["working_hours"],
        working_hours_enforced=row["working_hours_enforced"],
        timezone=row["timezone"],
        number_gap=None if gap is None else timedelta(minutes=gap),
        concurrency_limit=row["concurrency_limit"],
        detects_machines=row["amd"],
        caller_ids_used=row["caller_ids_used"],
        is_paused=row["paused_at"] is not None,
        is_cancelled=row["cancelled_at"] is not None,
        is_stopped=row["is_stopped"],
        is_recovering=row["is_recovering"],
        has_shut_gates=row["has_shut_gates"],
        database_identity=row["database_identity"],
        read_at=row["read_at"],
    )


async def read_loads(connection: Connection, campaign: LockedCampaign, at_most: int) -> Loads:
    """Read what a campaign's limits leave free."""
    rows = await _Q["read_loads"].rows(
        connection,
        campaign_id=campaign.id,
        campaign_limit=campaign.concurrency_limit,
        at_most=at_most,
    )
    batches = [
        BatchLoad(r["batch_id"], r["concurrency_limit"], r["open_calls"], r["ready"]) for r in rows
    ]
    return Loads(batches, rows[0]["campaign_open_calls"] if rows else 0)


async def read_caller_id_loads(connection: Connection, campaign_id: uuid.UUID) -> dict[str, int]:
    """Count a campaign's open calls by caller id."""
    rows = await _Q["read_caller_id_loads"].rows(connection, campaign_id=campaign_id)
    return {r["from_number"]: r["open_calls"] for r in rows}


async def lock_pace(connection: Connection, provider: str) -> float:
    """Lock a provider's pace; gives the seconds that are booked ahead already."""
    return float(await _Q["lock_pace"].value(connection, provider=provider) or 0.0)


async def read_load(connection: Connection, provider: str, *, risky_for: timedelta) -> Load:
    """Count a provider's open calls; one of unknown fate is at risk `risky_for` its request."""
    row = await _Q["read_load"].row(connection, provider=provider, risky_for=risky_for)
    return Load() if row is None else Load(row["open_calls"], row["placing"], row["at_risk"])


async def book_requests(connection: Connection, provider: str, seconds: float) -> None:
    """Book the pace for so many more seconds."""
    await _Q["book_requests"].run(connection, provider=provider, seconds=seconds)


async def claim_contacts(
    connection: Connection,
    campaign: LockedCampaign,
    *,
    window: Window,
    shares: Sequence[tuple[uuid.UUID, int]],
    loads: Loads,
    caller_ids: Sequence[str],
    provider: str,
    worker_id: uuid.UUID,
    lease: timedelta,
    ring_timeout: timedelta,
    number_gap: timedelta,
) -> list[ClaimedCall]:
    """Take contacts and write the intent to call them; nothing outside the window.

    Numbers that were called less than `number_gap` ago are left to rest. `loads` is what the shares
    were worked out from: each call keeps it. Raises Stale when a number was called meanwhile; then
    the whole claim is undone, and may be tried again.
    """
    known = {load.batch_id: load for load in loads.batches}
    chosen = [known[batch_id] for batch_id, _ in shares]
    rows = await _Q["claim_contacts"].rows(
        connection,
        campaign_id=campaign.id,
        organization_id=campaign.organization_id,
        batch_ids=[batch_id for batch_id, _ in shares],
        takes=[take for _, take in shares],
        batch_open_calls=[load.open_calls for load in chosen],
        batch_limits=[load.concurrency_limit for load in chosen],
        campaign_open_calls=loads.open_calls,
        campaign_limit=campaign.concurrency_limit,
        caller_ids=list(caller_ids),
        provider=provider,
        worker_id=worker_id,
        opens_at=window.opens_at,
        closes_at=window.closes_at,
        lease=lease,
        ring_timeout=ring_timeout,
        number_gap=number_gap,
    )
    if rows and number_gap and await _has_called_too_soon(connection, rows, number_gap):
        raise Stale("a number was called while it was claimed")
    return [_claimed(r) for r in rows]


def _claimed(r: Record) -> ClaimedCall:
    return ClaimedCall(
        id=r["id"],
        contact=ContactKey(r["batch_id"], r["position"]),
        kind=CallKind(r["kind"]),
        attempt=r["attempt"],
        phone_number=r["phone_number"],
        from_number=r["from_number"],
        requested_at=r["requested_at"],
    )


async def _has_called_too_soon(
    connection: Connection, rows: Sequence[Record], number_gap: timedelta
) -> bool:
    call_ids = [r["id"] for r in rows]
    query = _Q["has_called_too_soon"]
    return bool(await query.value(connection, call_ids=call_ids, number_gap=number_gap))


async def find_unsent_claims(
    connection: Connection, worker_id: uuid.UUID, told_until: datetime | None
) -> list[uuid.UUID]:
    """Find calls that this worker claimed since the last claim of which it was told.

    It must not be claiming meanwhile.
    """
    query = _Q["find_unsent_claims"]
    rows = await query.rows(connection, worker_id=worker_id, told_until=told_until)
    return [r["id"] for r in rows]


async def promote_due(connection: Connection, at_most: int) -> tuple[set[uuid.UUID], bool]:
    """Make what fell due claimable; gives its campaigns, and whether there may be more."""
    rows = await _Q["promote_due"].rows(connection, at_most=at_most)
    promoted = rows[0]["promoted"] if rows else 0
    return {r["campaign_id"] for r in rows}, promoted == at_most


async def start_batches(connection: Connection) -> set[uuid.UUID]:
    """Start scheduled batches whose time has come; gives their campaigns."""
    return {r["campaign_id"] for r in await _Q["start_batches"].rows(connection)}


async def read_expired_batches(connection: Connection) -> list[uuid.UUID]:
    """Read the batches whose end has passed."""
    return [r["id"] for r in await _Q["read_expired_batches"].rows(connection)]


async def read_next_instant_s(connection: Connection) -> float | None:
    """Give the seconds until something falls due by itself; None when nothing will."""
    seconds = await _Q["read_next_instant"].value(connection)
    return None if seconds is None else float(seconds)


async def read_dialable_campaigns(connection: Connection) -> set[uuid.UUID]:
    """Read the campaigns that have a contact to take."""
    return {r["campaign_id"] for r in await _Q["read_dialable_campaigns"].rows(connection)}


async def close_finished_batches(connection: Connection) -> list[uuid.UUID]:
    """Close batches that are finished and were not closed; normally none."""
    return [r["id"] for r in await _Q["close_finished_batches"].rows(connection)]
