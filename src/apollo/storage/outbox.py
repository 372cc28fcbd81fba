"""What happened and is not in Kafka yet. Rows come from triggers; only the relay takes them out."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from apollo.storage.database import Connection, load_queries

_Q: Final = load_queries("outbox")


@dataclass(frozen=True, slots=True, kw_only=True)
class Noted:
    """One row of the outbox."""

    id: int
    at: datetime
    type: str
    organization_id: str
    campaign_id: uuid.UUID
    batch_id: uuid.UUID | None
    position: int | None
    execution_id: uuid.UUID | None
    was: str | None
    status: str
    detail: dict[str, Any]


async def publish_events(connection: Connection, *, wanted: bool) -> None:
    """Start or end the writing of the outbox; it goes on while another worker publishes."""
    await _Q["publish_events"].value(connection, wanted=wanted)


async def lead(connection: Connection) -> bool:
    """Become the one relay for as long as this connection is held; False when another is."""
    return bool(await _Q["lead"].value(connection))


async def take(connection: Connection, at_most: int) -> list[Noted]:
    """Read the oldest that wait."""
    return [Noted(**row) for row in await _Q["take"].rows(connection, at_most=at_most)]


async def forget(connection: Connection, noted_ids: Sequence[int]) -> None:
    """Take out what Kafka has."""
    await _Q["forget"].run(connection, ids=noted_ids)
