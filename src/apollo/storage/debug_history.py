"""What the diagnosis of a batch said over time, and who did what meanwhile. Records out."""

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple

from apollo.storage.database import Connection, Record, load_queries

_Q: Final = load_queries("debug_history")


class BatchKey(NamedTuple):
    """A batch, its campaign, and whose they are."""

    campaign_id: uuid.UUID
    batch_id: uuid.UUID
    organization_id: str


async def try_to_be_the_one(connection: Connection) -> bool:
    """Become the one that records, until this transaction ends; False when another one is."""
    return bool(await _Q["try_to_be_the_one"].value(connection))


async def live_batches(
    connection: Connection, *, after: tuple[uuid.UUID, uuid.UUID], at_most: int
) -> list[BatchKey]:
    """Read a few live batches after (campaign, batch), in that order."""
    rows = await _Q["live_batches"].rows(
        connection, after_campaign=after[0], after=after[1], at_most=at_most
    )
    return [BatchKey(r["campaign_id"], r["id"], r["organization_id"]) for r in rows]


async def note_verdicts(
    connection: Connection, found: Sequence[tuple[uuid.UUID, str, str | None]], now: datetime
) -> None:
    """Write down (batch, verdict, reason) where it differs from what was written last."""
    await _Q["note_verdicts"].run(
        connection,
        batch_ids=[batch_id for batch_id, _, _ in found],
        verdicts=[verdict for _, verdict, _ in found],
        reasons=[reason for _, _, reason in found],
        now=now,
    )


async def read_clock(connection: Connection) -> datetime:
    """Read the clock by which verdicts and changes were dated."""
    now: datetime = await _Q["read_clock"].value(connection)
    return now


async def read_history(
    connection: Connection, batch_id: uuid.UUID, start: datetime, end: datetime, *, at_most: int
) -> list[Record]:
    """Read what was in force at `start` and every change before `end`, oldest first."""
    return await _Q["read_history"].rows(
        connection, batch_id=batch_id, start=start, end=end, at_most=at_most
    )


async def read_actions(
    connection: Connection, batch: BatchKey, start: datetime, end: datetime, *, at_most: int
) -> list[Record]:
    """Read what was done to a batch, its campaign and its whole organisation, oldest first."""
    return await _Q["read_actions"].rows(
        connection,
        batch_id=batch.batch_id,
        campaign_id=batch.campaign_id,
        organization_id=batch.organization_id,
        start=start,
        end=end,
        at_most=at_most,
    )
