"""A verified status webhook is taken: into Kafka where that is the bus, else into PostgreSQL.

Returns only when the event cannot be lost any more, since the provider forgets it with our answer.
"""

import asyncio
import hashlib
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime

import structlog

from apollo.core import ids
from apollo.errors import Unavailable
from apollo.ports import Stream, TelephonyDriver
from apollo.usecases.record_call_events import Arrival, Webhook

_log = structlog.get_logger("apollo.webhooks")


class ReceiveStatus:
    """Takes status webhooks whose signature was verified."""

    def __init__(
        self,
        *,
        driver: TelephonyDriver,
        record: Callable[[Arrival], Awaitable[object]],
        stream: Stream | None,
    ) -> None:
        self._driver = driver
        self._record = record
        self._stream = stream
        # The newest event of each call that is on its way; over when it is kept, or was refused.
        self._under_way: dict[str, asyncio.Event] = {}

    async def receive(self, body: bytes, received_at: datetime) -> None:
        """Keep one event.

        Raises ValueError when it cannot be read; Unavailable, Stale or Overloaded when nobody has
        it, so that the provider must send it again.
        """
        arrival = arrival_of(self._driver, body, received_at)
        if self._stream is None:
            await self._record(arrival)
            return
        async with self._in_turn(_key(arrival)):
            try:
                await self._stream.append(_key(arrival), body)
            except Unavailable as e:
                _log.warning("webhook.past_kafka", error=str(e))
                await self._record(arrival)

    @asynccontextmanager
    async def _in_turn(self, key: str) -> AsyncGenerator[None]:
        """Let no event of a call overtake the one before: two ways lead to PostgreSQL."""
        before, mine = self._under_way.get(key), asyncio.Event()
        self._under_way[key] = mine
        try:
            if before is not None:
                await before.wait()
            yield
        finally:
            mine.set()
            if self._under_way[key] is mine:
                del self._under_way[key]


def arrival_of(driver: TelephonyDriver, body: bytes, received_at: datetime) -> Arrival:
    """Read a verified webhook. Raises ValueError with what is wrong."""
    status = driver.read_status(body, received_at)
    return Arrival(
        execution_id=status.execution_id,
        event=status.event,
        provider_call_id=status.provider_call_id,
        webhook=Webhook(
            content_hash=_content_hash(driver.provider, body),
            provider_call_id=status.provider_call_id,
            call_status=status.call_status,
            body=body,
            received_at=received_at,
            is_child_leg=status.is_child_leg,
        ),
    )


def _key(arrival: Arrival) -> str:
    """Events of one call stay in order."""
    if arrival.execution_id is not None:
        return ids.execution_id(arrival.execution_id)
    return arrival.provider_call_id or ""


def _content_hash(provider: str, body: bytes) -> uuid.UUID:
    return uuid.UUID(bytes=hashlib.sha256(provider.encode() + b"\x00" + body).digest()[:16])
