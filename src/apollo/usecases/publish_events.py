"""Brings what happened from the outbox to Kafka: at least once, in order for each contact.

One worker at a time does it, whichever holds the lock. An event leaves the outbox only after Kafka
has it, so a crash in between means once more.
"""

import asyncio
from typing import Final

import structlog

from apollo.errors import Stale, Unavailable
from apollo.ports import Stream
from apollo.storage import outbox
from apollo.storage.database import Connection, Database
from apollo.usecases.event_messages import message_of

_log = structlog.get_logger("apollo.events")

# As many as one round trip to Kafka carries anyway.
_AT_MOST: Final = 500
# Other systems need not know sooner; one look costs a tenth of a millisecond.
_LOOK_EVERY_S: Final = 0.2
# Whoever leads dies rarely: the next one follows within this.
_LEAD_AGAIN_S: Final = 2.0
_AWAY_AGAIN_S: Final = 1.0


class PublishEvents:
    """The relay from outbox to stream."""

    def __init__(self, *, db: Database, stream: Stream) -> None:
        self._db = db
        self._stream = stream

    async def run(self) -> None:
        """Publish until cancelled."""
        while True:
            try:
                async with self._db.session() as connection:
                    await outbox.publish_events(connection, wanted=True)
                    while await outbox.lead(connection):
                        await self._relay(connection)
                await asyncio.sleep(_LEAD_AGAIN_S)
            except (Unavailable, Stale) as e:
                _log.warning("events.wait", error=str(e))
                await asyncio.sleep(_AWAY_AGAIN_S)

    async def _relay(self, connection: Connection) -> None:
        """Publish what waits, until nothing does. Raises Unavailable."""
        while noted := await outbox.take(connection, _AT_MOST):
            lines: dict[str, list[tuple[int, bytes]]] = {}
            for one in noted:
                key, value = message_of(one)
                lines.setdefault(key, []).append((one.id, value))
            sent = await asyncio.gather(*(self._send(key, line) for key, line in lines.items()))
            await outbox.forget(connection, [noted_id for ids, _ in sent for noted_id in ids])
            # One for all: while Kafka is away it refuses every key.
            for _, refusal in sent:
                if refusal is not None:
                    raise refusal
        await asyncio.sleep(_LOOK_EVERY_S)

    async def _send(
        self, key: str, line: list[tuple[int, bytes]]
    ) -> tuple[list[int], Unavailable | None]:
        """Send one key's events, each after the one before it was taken.

        Gives those that were, and why the next was not.
        """
        taken: list[int] = []
        for noted_id, value in line:
            try:
                await self._stream.append(key, value)
            except Unavailable as e:
                return taken, e
            taken.append(noted_id)
        return taken, None


async def stop_publishing(db: Database) -> None:
    """Where Kafka is not the bus nobody reads the outbox, so it is not written."""
    async with db.connection() as connection:
        await outbox.publish_events(connection, wanted=False)
