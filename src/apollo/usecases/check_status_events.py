"""Do status events wait unread on Kafka? While they do, silence about a call proves nothing."""

from datetime import timedelta
from typing import Final

from apollo.storage import heartbeats
from apollo.storage.database import Database

# As long as a heartbeat counts, for any worker may hold the partition with the missing event.
_ALIVE_WITHIN: Final = timedelta(seconds=15)
# Events are read within milliseconds; this much is not a busy moment.
_LAG_MAX_S: Final = 5.0


class CheckStatusEvents:
    """Asks the heartbeats of all workers."""

    def __init__(self, *, db: Database) -> None:
        self._db = db

    async def are_late(self) -> bool:
        """Tell whether a worker that lives cannot read the events, or is late with them."""
        async with self._db.connection() as connection:
            return await heartbeats.status_events_wait(
                connection, alive_within=_ALIVE_WITHIN, lag_max_s=_LAG_MAX_S
            )
