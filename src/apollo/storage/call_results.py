"""What agents said of calls, remembered by content. The caller holds the call's lock."""

import uuid
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from apollo.storage.database import Connection, load_queries

_Q: Final = load_queries("call_results")


class Remembered(NamedTuple):
    """Whether a result never came before, and whether none that was signed later was there."""

    is_new: bool
    is_newest: bool


async def remember(
    connection: Connection, call_id: uuid.UUID, content_hash: uuid.UUID, sent_at: datetime
) -> Remembered:
    """Remember a result of a call."""
    row = await _Q["remember"].row(
        connection, call_id=call_id, content_hash=content_hash, sent_at=sent_at
    )
    return Remembered(row["is_new"], row["is_newest"]) if row else Remembered(False, False)


async def write(
    connection: Connection, call_id: uuid.UUID, result: Mapping[str, Any], *, is_newest: bool
) -> None:
    """Write what the agent said about a call; None leaves a field as it is.

    What is not the newest only fills what nobody has said yet.
    """
    query = _Q["write"] if is_newest else _Q["fill"]
    await query.run(connection, call_id=call_id, **result)


async def forget_old(connection: Connection, *, kept_for: timedelta, at_most: int) -> int:
    """Forget results that are older than that, so many at most; gives how many."""
    return await _Q["forget_old"].run(connection, kept_for=kept_for, at_most=at_most)
