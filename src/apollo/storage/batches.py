"""Batches and their contacts as they are created, read and changed. Rows in, records out."""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from apollo.storage.database import Connection, Record, load_queries

_Q = load_queries("batches")
_CONTACT_COLUMNS = ("batch_id", "position", "phone_number", "call_variables", "updated_at")


async def read_campaign(
    connection: Connection, *, organization_id: str, campaign_id: uuid.UUID
) -> Record | None:
    """Read what checking a new batch needs to know of its campaign, without a lock."""
    return await _Q["read_campaign"].row(
        connection, organization_id=organization_id, campaign_id=campaign_id
    )


async def insert_batch(connection: Connection, batch: Mapping[str, Any]) -> datetime:
    """Insert a batch and its cursor; it is `pending` until `settle_batch`.

    Returns when it was created, by the database's clock.
    """
    created_at: datetime = await _Q["insert_batch"].value(connection, **batch)
    await _Q["insert_cursor"].run(connection, batch_id=batch["id"])
    return created_at


async def copy_contacts(
    connection: Connection,
    *,
    batch_id: uuid.UUID,
    first_position: int,
    contacts: Iterable[tuple[str, bytes]],
    now: datetime,
) -> None:
    """Append contacts, given as number and variables in JSON, at the positions that follow."""
    await connection.copy_records_to_table(
        "contacts",
        columns=_CONTACT_COLUMNS,
        # Encoded and sent as they are drawn, while the server writes those before.
        records=(
            (batch_id, position, number, msgspec.Raw(variables), now)
            for position, (number, variables) in enumerate(contacts, first_position)
        ),
    )


async def copy_refused_rows(
    connection: Connection, batch_id: uuid.UUID, pages: Iterable[bytes]
) -> None:
    """Store the rows of an upload that did not become contacts, as compressed pages.

    Those of contacts that are added later go behind them if they have the same columns; of other
    columns they would make no file, and only the answer names them.
    """
    header = await read_refused_rows(connection, batch_id=batch_id, page=0)
    for nth, rows in enumerate(pages):
        if nth == 0 and header is not None:
            if rows != header:
                return
            continue
        await _Q["add_refused_rows"].run(connection, batch_id=batch_id, rows=rows)


async def read_refused_rows(
    connection: Connection, *, batch_id: uuid.UUID, page: int
) -> bytes | None:
    """Read one page of a batch's refused rows; None after the last."""
    rows: bytes | None = await _Q["read_refused_rows"].value(
        connection, batch_id=batch_id, page=page
    )
    return rows


async def lock_campaign(connection: Connection, campaign_id: uuid.UUID) -> Record:
    """Lock the campaign of a batch, waiting for claims and lifecycle changes to finish."""
    row = await _Q["lock_campaign"].row(connection, campaign_id=campaign_id)
    if row is None:
        raise LookupError("a batch's campaign is never removed")
    return row


async def is_new_life(
    connection: Connection, *, campaign_id: uuid.UUID, batch_id: uuid.UUID
) -> bool:
    """Tell whether the campaign had batches, and none of them but this one lives."""
    row = await _Q["read_other_batches"].row(connection, campaign_id=campaign_id, batch_id=batch_id)
    return row is not None and row["has_any"] and not row["has_live"]


async def forget_pause(connection: Connection, campaign_id: uuid.UUID, now: datetime) -> None:
    """Lift the pause of a campaign that had ended."""
    await _Q["forget_pause"].run(connection, campaign_id=campaign_id, now=now)


async def settle_batch(
    connection: Connection,
    *,
    batch_id: uuid.UUID,
    status: str,
    paused_by: str | None,
    now: datetime,
) -> None:
    """Give a batch the status it begins, or begins again, with."""
    await _Q["settle_batch"].run(
        connection, batch_id=batch_id, status=status, paused_by=paused_by, now=now
    )


async def read_batch(
    connection: Connection, *, organization_id: str, batch_id: uuid.UUID
) -> Record | None:
    """Read a batch of this organisation with its counts by contact status."""
    return await _Q["read_batch"].row(
        connection, organization_id=organization_id, batch_id=batch_id
    )


async def read_batches(
    connection: Connection,
    *,
    organization_id: str,
    campaign_id: uuid.UUID | None,
    limit: int,
    **filters: Any,
) -> tuple[list[Record], int | None]:
    """Read a page of batches with counts by contact status, and how many there are in all.

    `filters` are the parameters of the query, as `ListFilter.columns` gives them.
    """
    rows = await _Q["read_batches"].rows(
        connection,
        organization_id=organization_id,
        campaign_id=campaign_id,
        limit=limit,
        **filters,
    )
    return [r for r in rows if r["id"] is not None], rows[0]["total"]


async def find_batch(
    connection: Connection, *, organization_id: str, batch_id: uuid.UUID
) -> Record | None:
    """Find a batch of this organisation."""
    return await _Q["find_batch"].row(
        connection, organization_id=organization_id, batch_id=batch_id
    )


async def lock_batch(connection: Connection, batch_id: uuid.UUID) -> Record:
    """Lock a batch; its campaign is locked before it."""
    row = await _Q["lock_batch"].row(connection, batch_id=batch_id)
    if row is None:
        raise LookupError("a batch is never removed")
    return row


async def grow_batch(
    connection: Connection,
    batch_id: uuid.UUID,
    *,
    added: int,
    rejected: Sequence[Mapping[str, Any]],
    rejected_count: int,
    now: datetime,
) -> None:
    """Count contacts that were appended, and tell of the rows that were left out."""
    await _Q["grow_batch"].run(
        connection,
        batch_id=batch_id,
        added=added,
        rejected=list(rejected),
        rejected_count=rejected_count,
        now=now,
    )


async def change_batch(
    connection: Connection, batch_id: uuid.UUID, changes: Mapping[str, Any], *, now: datetime
) -> None:
    """Write the given ones of concurrency_limit, max_retries_override, ends_at and metadata."""
    names = ("concurrency_limit", "max_retries_override", "ends_at", "metadata")
    await _Q["change_batch"].run(
        connection,
        batch_id=batch_id,
        now=now,
        **{name: changes.get(name) for name in names},
        **{f"sets_{name}": name in changes for name in names},
    )


async def record_action(
    connection: Connection,
    *,
    organization_id: str,
    campaign_id: uuid.UUID,
    batch_id: uuid.UUID,
    actor: str,
    action: str,
    detail: Mapping[str, Any],
    now: datetime,
) -> None:
    """Note who did what to a batch."""
    await _Q["record_action"].run(
        connection,
        organization_id=organization_id,
        campaign_id=campaign_id,
        batch_id=batch_id,
        actor=actor,
        action=action,
        detail=dict(detail),
        now=now,
    )
