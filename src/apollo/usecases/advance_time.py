"""What happens because time passes: contacts fall due, batches start and expire."""

import uuid
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from apollo.core import ids
from apollo.storage import dialling as storage
from apollo.storage.database import Database

_log = structlog.get_logger("apollo.time")

# Promoted in sets, so that a million retries due at nine o'clock do not hold one lock for long.
_PROMOTE_AT_MOST: Final = 1_000


class AdvanceTime:
    """Moves what waits for an instant that has come."""

    def __init__(self, *, db: Database, expire: Callable[[uuid.UUID], Awaitable[object]]) -> None:
        self._db = db
        self._expire = expire

    async def run(self) -> set[uuid.UUID]:
        """Promote what fell due, start and expire batches; gives campaigns that may dial now."""
        campaigns: set[uuid.UUID] = set()
        has_more = True
        while has_more:
            async with self._db.transaction() as connection:
                due, has_more = await storage.promote_due(connection, _PROMOTE_AT_MOST)
            campaigns |= due
        async with self._db.connection() as connection:
            campaigns |= await storage.start_batches(connection)
            expired = await storage.read_expired_batches(connection)
        for batch_id in expired:
            await self._expire(batch_id)
        return campaigns

    async def next_instant_s(self) -> float | None:
        """Give the seconds until `run` has something to do again; None when nothing is known."""
        async with self._db.connection() as connection:
            return await storage.read_next_instant_s(connection)

    async def sweep(self) -> set[uuid.UUID]:
        """Catch what a lost wake-up or a crash left behind; gives campaigns with work."""
        async with self._db.connection() as connection:
            for batch_id in await storage.close_finished_batches(connection):
                _log.warning("batch.closed_by_sweep", batch_id=ids.batch_id(batch_id))
            return await storage.read_dialable_campaigns(connection)
