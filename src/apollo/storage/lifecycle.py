"""Pausing, resuming and ending: the locks, the moves, and the record of who did it.

Every function runs in the caller's transaction. The caller takes the campaign's lock, then the
batches', and only then counts and changes: so what it counts is true when it answers.
"""

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from apollo.core.states import BatchStatus, CampaignStatus, PausedBy
from apollo.storage.database import Connection, Query, load_queries

_Q = load_queries("lifecycle")
# Ten million contacts take minutes to skip; half of it would leave none of it.
_SKIP_TIMEOUT_S: Final = 1800.0


@dataclass(frozen=True, slots=True)
class LockedCampaign:
    """A campaign whose lock this transaction holds; `read_at` is the database's clock after it."""

    id: uuid.UUID
    is_paused: bool
    is_cancelled: bool
    read_at: datetime


@dataclass(frozen=True, slots=True)
class LockedBatch:
    """A batch whose lock this transaction holds."""

    id: uuid.UUID
    status: BatchStatus
    paused_by: PausedBy | None
    scheduled_start: datetime | None
    ends_at: datetime | None


@dataclass(frozen=True, slots=True)
class BatchHome:
    """Whose a batch is, and of which campaign."""

    organization_id: str
    campaign_id: uuid.UUID


@dataclass(frozen=True, slots=True)
class Dispatchable:
    """What dispatching a batch again needs to know."""

    campaign_id: uuid.UUID
    status: BatchStatus
    paused_by: PausedBy | None
    pending: int


@dataclass(frozen=True, slots=True)
class CallToHangUp:
    """An open call; `is_placing`: its request may be on the wire this moment."""

    id: uuid.UUID
    organization_id: str
    batch_id: uuid.UUID
    position: int
    is_placing: bool
    provider_call_id: str | None
    phone_number: str
    from_number: str
    was_answered: bool


async def lock_campaign(
    connection: Connection, organization_id: str, campaign_id: uuid.UUID
) -> LockedCampaign | None:
    """Lock a campaign of the organisation, waiting for it. Raises Stale after 15 s."""
    row = await _Q["lock_campaign"].row(
        connection, organization_id=organization_id, campaign_id=campaign_id
    )
    return None if row is None else LockedCampaign(**row)


async def find_batch(connection: Connection, batch_id: uuid.UUID) -> BatchHome | None:
    """Find a batch of any organisation."""
    row = await _Q["find_batch"].row(connection, batch_id=batch_id)
    return None if row is None else BatchHome(**row)


async def lock_batches(
    connection: Connection, campaign_id: uuid.UUID, batch_id: uuid.UUID | None = None
) -> list[LockedBatch]:
    """Lock one batch, whatever its status, or every live batch of the campaign."""
    rows = await _Q["lock_batches"].rows(connection, campaign_id=campaign_id, batch_id=batch_id)
    return [
        LockedBatch(
            id=row["id"],
            status=BatchStatus(row["status"]),
            paused_by=_paused_by(row["paused_by"]),
            scheduled_start=row["scheduled_start"],
            ends_at=row["ends_at"],
        )
        for row in rows
    ]


async def count_open_calls(
    connection: Connection, campaign_id: uuid.UUID, batch_id: uuid.UUID | None = None
) -> int:
    """Count the calls that go on; true only under the campaign's lock."""
    return int(
        await _Q["count_open_calls"].value(connection, campaign_id=campaign_id, batch_id=batch_id)
    )


async def read_campaign_status(connection: Connection, campaign_id: uuid.UUID) -> CampaignStatus:
    """Read the derived status."""
    status = await _Q["read_campaign_status"].value(connection, campaign_id=campaign_id)
    return CampaignStatus(status)


async def pause_campaign(connection: Connection, campaign_id: uuid.UUID, *, at: datetime) -> None:
    """Set the campaign's pause."""
    await _Q["pause_campaign"].run(connection, campaign_id=campaign_id, at=at)


async def resume_campaign(connection: Connection, campaign_id: uuid.UUID, *, at: datetime) -> None:
    """Lift the campaign's pause."""
    await _Q["resume_campaign"].run(connection, campaign_id=campaign_id, at=at)


async def cancel_campaign(connection: Connection, campaign_id: uuid.UUID, *, at: datetime) -> None:
    """End the campaign for good."""
    await _Q["cancel_campaign"].run(connection, campaign_id=campaign_id, at=at)


async def pause_batches(
    connection: Connection, batch_ids: list[uuid.UUID], paused_by: PausedBy, *, at: datetime
) -> None:
    """Pause live batches, or make somebody else the one who paused them."""
    await _Q["pause_batches"].run(connection, batch_ids=batch_ids, paused_by=paused_by, at=at)


async def resume_batches(
    connection: Connection, batch_ids: list[uuid.UUID], *, at: datetime
) -> list[BatchStatus]:
    """Resume paused batches; gives the status of each afterwards."""
    rows = await _Q["resume_batches"].rows(connection, batch_ids=batch_ids, at=at)
    return [BatchStatus(row["status"]) for row in rows]


async def close_batches(
    connection: Connection, batch_ids: list[uuid.UUID], status: BatchStatus, *, at: datetime
) -> None:
    """End live batches before their time: whoever waits is skipped, open calls go on."""
    given: dict[str, Any] = {"batch_ids": batch_ids, "at": at}
    await _Q["close_batches"].run(connection, **given, status=status)
    await _run_long(connection, _Q["skip_contacts"], **given)
    await _run_long(connection, _Q["drop_due_contacts"], batch_ids=batch_ids)
    await _Q["end_cursors"].run(connection, batch_ids=batch_ids)


async def read_batch_for_dispatch(
    connection: Connection, organization_id: str, batch_id: uuid.UUID
) -> Dispatchable | None:
    """Read a batch of the organisation with its pending contacts, from one snapshot."""
    row = await _Q["read_batch_for_dispatch"].row(
        connection, organization_id=organization_id, batch_id=batch_id
    )
    if row is None:
        return None
    return Dispatchable(
        campaign_id=row["campaign_id"],
        status=BatchStatus(row["status"]),
        paused_by=_paused_by(row["paused_by"]),
        pending=row["pending"],
    )


async def record_action(
    connection: Connection,
    *,
    organization_id: str,
    campaign_id: uuid.UUID,
    batch_id: uuid.UUID | None,
    actor: str,
    action: str,
    detail: dict[str, Any] | None = None,
) -> None:
    """Write down who did what."""
    await _Q["record_action"].run(
        connection,
        organization_id=organization_id,
        campaign_id=campaign_id,
        batch_id=batch_id,
        actor=actor,
        action=action,
        detail=detail or {},
    )


async def read_stops(connection: Connection) -> list[tuple[str | None, datetime]]:
    """Read for whom dialling is stopped, and since when; None: for everybody."""
    rows = await _Q["read_stops"].rows(connection)
    return [(r["organization_id"], r["dialling_stopped_at"]) for r in rows]


async def set_dialling_stopped(
    connection: Connection,
    organization_id: str | None,
    *,
    is_stopped: bool,
    actor: str,
) -> bool:
    """Stop or allow dialling for one organisation, or all (None); False if there is none."""
    if organization_id is None:
        changed = await _Q["stop_all_dialling"].run(connection, is_stopped=is_stopped)
    else:
        changed = await _Q["stop_dialling"].run(
            connection, organization_id=organization_id, is_stopped=is_stopped
        )
    await _Q["record_action_everywhere"].run(
        connection,
        organization_id=organization_id,
        actor=actor,
        action="dialling_stopped" if is_stopped else "dialling_resumed",
    )
    return changed > 0


async def wakeable_campaigns(
    connection: Connection, organization_id: str | None
) -> list[uuid.UUID]:
    """List campaigns that may have something to dial."""
    rows = await _Q["wakeable_campaigns"].rows(connection, organization_id=organization_id)
    return [row["campaign_id"] for row in rows]


async def count_calls_of(connection: Connection, organization_id: str | None) -> int:
    """Count the open calls of one organisation, or of all."""
    return int(await _Q["count_calls_of"].value(connection, organization_id=organization_id))


async def read_calls_to_hang_up(
    connection: Connection, provider: str, organization_id: str | None
) -> list[CallToHangUp]:
    """Read the open calls of one organisation, or of all, at one provider connection."""
    rows = await _Q["read_calls_to_hang_up"].rows(
        connection, provider=provider, organization_id=organization_id
    )
    return [CallToHangUp(**row) for row in rows]


async def record_organization_action(
    connection: Connection, organization_id: str, *, actor: str, action: str, detail: dict[str, Any]
) -> None:
    """Write down who did what to a whole organisation."""
    await _Q["record_organization_action"].run(
        connection, organization_id=organization_id, actor=actor, action=action, detail=detail
    )


async def _run_long(connection: Connection, query: Query, **given: Any) -> None:
    """Run a statement that the pool's timeout would cut off."""
    values = [given[name] for name in query.params]
    await connection.execute(query.text, *values, timeout=_SKIP_TIMEOUT_S)


def _paused_by(text: str | None) -> PausedBy | None:
    return None if text is None else PausedBy(text)
