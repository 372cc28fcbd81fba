"""Numbers that were called before, or are still to be: what a new batch is compared with."""

import uuid
from collections.abc import Mapping, Sequence
from datetime import timedelta

from apollo.storage.database import Connection, Record, load_queries

_Q = load_queries("repeats")


async def read_batches_beside(
    connection: Connection,
    *,
    organization_id: str,
    campaign_id: uuid.UUID | None,
    batch_id: uuid.UUID,
    within: timedelta | None,
) -> dict[uuid.UUID, int]:
    """Read the other batches that live, or ended within a time, with how many contacts each has.

    Without a campaign those of the whole organisation.
    """
    rows = await _Q["read_batches_beside"].rows(
        connection,
        organization_id=organization_id,
        campaign_id=campaign_id,
        batch_id=batch_id,
        within=within,
    )
    return {r["id"]: r["total_contacts"] for r in rows}


async def find_repeated_numbers(
    connection: Connection, numbers: Sequence[str], batch_ids: Sequence[uuid.UUID]
) -> list[Record]:
    """Find which numbers those batches call or have reached: `nth` (from 1), batch, is_reached."""
    return await _Q["find_repeated_numbers"].rows(
        connection, numbers=numbers, batch_ids=list(batch_ids)
    )


async def find_numbers_of_batch(
    connection: Connection, numbers: Sequence[str], batch_id: uuid.UUID
) -> list[int]:
    """Find which numbers a batch has already, by their place (from 1)."""
    query = _Q["find_numbers_of_batch"]
    return [r["nth"] for r in await query.rows(connection, numbers=numbers, batch_id=batch_id)]


async def has_barred_numbers(connection: Connection, organization_id: str) -> bool:
    """Tell whether there is any number that the organisation is not to call again."""
    query = _Q["has_barred_numbers"]
    return bool(await query.value(connection, organization_id=organization_id))


async def find_barred_numbers(
    connection: Connection, numbers: Sequence[str], organization_id: str
) -> list[Record]:
    """Find which numbers are not to be called again: `nth` (from 1), and what the network said."""
    return await _Q["find_barred_numbers"].rows(
        connection, numbers=numbers, organization_id=organization_id
    )


async def lock_uploads(connection: Connection, organization_id: str) -> None:
    """Wait for other uploads of the organisation that look at all of its batches."""
    await _Q["lock_uploads"].run(connection, organization_id=organization_id)


async def skip_repeats(
    connection: Connection, batch_id: uuid.UUID, after: int, others: Mapping[uuid.UUID, int]
) -> int:
    """Skip contacts of a batch, behind a position, that came into others behind positions there.

    Returns how many.
    """
    rows = await _Q["skip_repeats"].rows(
        connection,
        batch_id=batch_id,
        after_position=after,
        batch_ids=list(others),
        after_positions=list(others.values()),
    )
    return len(rows)
