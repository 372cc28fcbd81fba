"""Wake-ups through PostgreSQL's own NOTIFY: no broker to run, lost when nobody listens."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Final

import structlog

from apollo.errors import Unavailable
from apollo.ports import BusHealth, Clock, WakeUp
from apollo.storage.calls import notify_campaigns
from apollo.storage.database import Database, Listener

_log = structlog.get_logger("apollo.bus")

CHANNEL: Final = "apollo_wake"
# A dead connection says nothing; asking this often bounds how long wake-ups are lost.
_CHECK_EVERY_S: Final = 5.0
_RECONNECT_AFTER_S: Final = 0.5


class PostgresBus:
    """The default bus."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._clock = clock
        self._is_connected = False
        self._last_contact_at: datetime | None = None

    async def wake(self, wake_ups: Sequence[WakeUp]) -> None:
        """Tell whoever dials; a failure only costs delay."""
        try:
            async with self._db.connection() as connection:
                await notify_campaigns(connection, [one.campaign_id for one in wake_ups])
        except Unavailable as e:
            _log.warning("wake_up.lost", error=str(e))

    async def wake_ups(self) -> AsyncIterator[uuid.UUID]:
        """Yield campaigns as they are woken; reconnects by itself."""
        woken: asyncio.Queue[uuid.UUID] = asyncio.Queue()
        while True:
            try:
                listener = await self._db.listen(
                    CHANNEL, lambda payload: woken.put_nowait(uuid.UUID(payload))
                )
            except Unavailable as e:
                self._lost(e)
                await asyncio.sleep(_RECONNECT_AFTER_S)
                continue
            try:
                async for campaign_id in self._until_dead(listener, woken):
                    yield campaign_id
            except Unavailable as e:
                self._lost(e)
            finally:
                await listener.close()

    async def _until_dead(
        self, listener: Listener, woken: "asyncio.Queue[uuid.UUID]"
    ) -> AsyncIterator[uuid.UUID]:
        self._touched()
        while True:
            try:
                async with asyncio.timeout(_CHECK_EVERY_S):
                    campaign_id = await woken.get()
            except TimeoutError:
                await listener.check()
                self._touched()
            else:
                yield campaign_id

    def health(self) -> BusHealth:
        """Tell how the bus is."""
        return BusHealth("postgres", self._is_connected, self._last_contact_at)

    async def close(self) -> None:
        """Nothing is held between wake-ups."""

    def _touched(self) -> None:
        self._is_connected = True
        self._last_contact_at = self._clock.now()

    def _lost(self, error: Unavailable) -> None:
        if self._is_connected:
            _log.warning("bus.lost", bus="postgres", error=str(error))
        self._is_connected = False
