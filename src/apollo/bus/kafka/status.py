"""Reads the topic of status events and hands them to whoever records them, in sets.

The web process answered 200 for these: Kafka has the only copy until PostgreSQL has it too, so an
offset moves only after the commit. Must never leave an event out but into the dead letters.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import structlog
from confluent_kafka import Message

from apollo.bus.kafka.client import KafkaClient, Topic
from apollo.bus.kafka.subscription import Subscription, letter_of
from apollo.errors import Stale, Unavailable
from apollo.ports import Clock, TelephonyDriver
from apollo.storage.database import Database
from apollo.storage.dead_letters import DeadLetter, bury
from apollo.usecases.collector import Overloaded
from apollo.usecases.receive_status import arrival_of
from apollo.usecases.record_call_events import Arrival

_log = structlog.get_logger("apollo.kafka")

_AGAIN_AFTER_S: Final = 0.5


class StatusReader:
    """One worker's share of the status events."""

    def __init__(
        self, client: KafkaClient, *, driver: TelephonyDriver, db: Database, clock: Clock
    ) -> None:
        self._client = client
        self._driver = driver
        self._db = db
        self._subscription = Subscription(client, Topic.STATUS, clock=clock)

    async def run(self, record: Callable[[Arrival], Awaitable[object]]) -> None:
        """Hand each event to `record`, which returns after its commit, until cancelled."""

        async def take(messages: Sequence[Message]) -> None:
            await self._take(messages, record)

        await self._subscription.run(take)

    def report(self) -> dict[str, Any]:
        """Describe it for the heartbeat."""
        place = self._subscription
        return {
            "is_connected": self._client.is_connected,
            "partitions": len(place.partitions),
            "lag_s": round(place.lag_s, 3),
            "rebalances": place.rebalances,
        }

    async def _take(
        self, messages: Sequence[Message], record: Callable[[Arrival], Awaitable[object]]
    ) -> None:
        """Record a set; returns when every event of it is in PostgreSQL, or a dead letter."""
        dead: list[DeadLetter] = []
        waiting: list[tuple[Message, Arrival]] = []
        for message in messages:
            try:
                waiting.append((message, self._read(message)))
            except ValueError as e:
                dead.append(letter_of(message, str(e)))
        while waiting:
            results = await asyncio.gather(
                *(record(arrival) for _, arrival in waiting), return_exceptions=True
            )
            again: list[tuple[Message, Arrival]] = []
            for entry, result in zip(waiting, results, strict=True):
                if isinstance(result, Unavailable | Stale | Overloaded):
                    again.append(entry)
                elif isinstance(result, BaseException):
                    _log.error("status.not_recorded", exc_info=result)
                    dead.append(letter_of(entry[0], f"{type(result).__name__}: {result}"))
            if again:
                _log.warning("status.waits", events=len(again))
                await asyncio.sleep(_AGAIN_AFTER_S)
            waiting = again
        if dead:
            async with self._db.connection() as connection:
                await bury(connection, dead)

    def _read(self, message: Message) -> Arrival:
        received_at = datetime.fromtimestamp(message.timestamp()[1] / 1000, UTC)
        return arrival_of(self._driver, message.value() or b"", received_at)
