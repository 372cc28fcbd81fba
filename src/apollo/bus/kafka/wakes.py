"""The bus on Kafka: pointers to campaigns, keyed so that one worker usually claims for a campaign.

A pointer that cannot be sent wakes this process itself; what is lost all the same is found by the
sweep. Must never wait for Kafka, and never carry anything but a pointer.
"""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime
from typing import Final

import msgspec
import structlog
from confluent_kafka import KafkaError, Message

from apollo.bus.kafka.client import KafkaClient, Topic
from apollo.bus.kafka.subscription import Subscription, letter_of
from apollo.core import ids
from apollo.errors import Unavailable
from apollo.ports import BusHealth, Clock, WakeUp
from apollo.storage.database import Database
from apollo.storage.dead_letters import bury

_log = structlog.get_logger("apollo.bus")


class Pointer(msgspec.Struct, omit_defaults=True):
    """The value of a wake-up: where to look, and for people, why."""

    campaign_id: str
    reason: str
    at: datetime
    batch_id: str | None = None


_POINTER: Final = msgspec.json.Decoder(Pointer)
_ENCODER: Final = msgspec.json.Encoder()


class KafkaBus:
    """The bus for many workers on many machines."""

    def __init__(self, client: KafkaClient, db: Database, clock: Clock) -> None:
        self._client = client
        self._db = db
        self._clock = clock
        self._subscription = Subscription(client, Topic.DISPATCH, clock=clock)
        self._woken: asyncio.Queue[uuid.UUID] = asyncio.Queue()
        self._is_read = False

    async def wake(self, wake_ups: Sequence[WakeUp]) -> None:
        """Tell whoever dials; a failure only costs delay."""
        now = self._clock.now()
        for one in wake_ups:
            key = ids.campaign_id(one.campaign_id)
            value = _ENCODER.encode(_pointer(one, now))
            try:
                self._client.post(Topic.DISPATCH, key, value, self._sent_or_own(one.campaign_id))
            except Unavailable:
                self._wake_own(one.campaign_id)

    async def wake_ups(self) -> AsyncIterator[uuid.UUID]:
        """Yield campaigns as they are woken; reconnects by itself."""
        self._is_read = True
        reading = asyncio.create_task(self._subscription.run(self._take))
        try:
            while True:
                campaign_id = await self._woken.get()
                yield campaign_id
                # Asked for the next one: this one was handed over.
                self._woken.task_done()
        finally:
            self._is_read = False
            reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reading

    def health(self) -> BusHealth:
        """Tell how the bus is."""
        client, place = self._client, self._subscription
        known = BusHealth(
            "kafka", client.is_connected, client.last_contact_at, last_error=client.last_error
        )
        if not self._is_read:
            return known
        return BusHealth(
            "kafka",
            client.is_connected,
            client.last_contact_at,
            partitions=len(place.partitions),
            partitions_total=client.partitions_total,
            unassigned_s=round(place.unassigned_s, 1),
            lag_s=round(place.lag_s, 3),
            rebalances=place.rebalances,
            last_error=client.last_error,
        )

    async def close(self) -> None:
        """The client is closed by who made it."""

    async def _take(self, messages: Sequence[Message]) -> None:
        dead = []
        for message in messages:
            try:
                self._woken.put_nowait(_campaign_of(message.value()))
            except ValueError as e:
                dead.append(letter_of(message, str(e)))
        if dead:
            async with self._db.connection() as connection:
                await bury(connection, dead)
        await self._woken.join()

    def _sent_or_own(self, campaign_id: uuid.UUID) -> Callable[[KafkaError | None], None]:
        def done(error: KafkaError | None) -> None:
            if error is not None:
                _log.warning("wake_up.lost", error=error.str())
                self._wake_own(campaign_id)

        return done

    def _wake_own(self, campaign_id: uuid.UUID) -> None:
        # A process that does not dial has nobody to tell; the sweep of the others finds it.
        if self._is_read:
            self._woken.put_nowait(campaign_id)


def _pointer(wake_up: WakeUp, now: datetime) -> Pointer:
    batch_id = wake_up.batch_id
    return Pointer(
        campaign_id=ids.campaign_id(wake_up.campaign_id),
        reason=wake_up.why,
        at=now,
        batch_id=None if batch_id is None else ids.batch_id(batch_id),
    )


def _campaign_of(value: bytes | None) -> uuid.UUID:
    """Read a pointer. Raises ValueError with what is wrong."""
    try:
        pointer = _POINTER.decode(value or b"")
    except msgspec.DecodeError as e:
        raise ValueError(f"not a pointer: {e}") from e
    campaign_id = ids.parse_id("cmp", pointer.campaign_id)
    if campaign_id is None:
        raise ValueError("not a pointer: campaign_id is not a campaign id; expected cmp_…")
    return campaign_id
