"""Both buses behind one face, for the tests that every bus passes, and what they wait with."""

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from scripts.brokers import Broker

from apollo.bus.kafka import KafkaBus, KafkaClient, Topic
from apollo.bus.postgres import PostgresBus
from apollo.errors import Unavailable
from apollo.ports import Bus, WakeUp, Why
from apollo.storage.database import Database
from apollo.wiring.parts import SystemClock

# Tansu lets a group wait some seconds before it forms; nothing here takes half of this.
PATIENCE_S = 45.0
PARTITIONS = 6


async def until(condition: Callable[[], object], what: str = "the condition") -> float:
    """Wait until it holds; gives the seconds it took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < PATIENCE_S, f"not within {PATIENCE_S} s: {what}"
        await asyncio.sleep(0.01)
    return time.monotonic() - began


async def until_so(ask: Callable[[], Awaitable[object]], what: str) -> float:
    """Ask until the answer is yes; gives the seconds it took."""
    began = time.monotonic()
    while not await ask():
        assert time.monotonic() - began < PATIENCE_S, f"not within {PATIENCE_S} s: {what}"
        await asyncio.sleep(0.02)
    return time.monotonic() - began


@asynccontextmanager
async def running(work: Coroutine[Any, Any, object]) -> AsyncIterator[None]:
    """Have it run meanwhile; what it fails of, the test fails of."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@dataclass
class Ear:
    """Somebody who listens to a bus, as a worker does."""

    bus: Bus
    heard: list[uuid.UUID] = field(default_factory=list)

    async def listen(self) -> None:
        async for campaign_id in self.bus.wake_ups():
            self.heard.append(campaign_id)


@asynccontextmanager
async def a_client(broker: Broker, **settings: str) -> AsyncIterator[KafkaClient]:
    client = KafkaClient(
        {"bootstrap.servers": broker.address, **settings},
        clock=SystemClock(),
        partitions=PARTITIONS,
        replication=None,
    )
    client.start()
    try:
        yield client
    finally:
        await client.close()


@asynccontextmanager
async def a_bus(
    kind: str, db: Database, broker: Broker | None, **settings: str
) -> AsyncIterator[Bus]:
    if broker is None:
        assert kind == "postgres"
        yield PostgresBus(db, SystemClock())
        return
    async with a_client(broker, **settings) as client:
        yield KafkaBus(client, db, SystemClock())


@asynccontextmanager
async def an_ear(bus: Bus) -> AsyncIterator[Ear]:
    """Listen; ready once the bus says that it hears."""
    ear = Ear(bus)
    async with running(ear.listen()):
        await until(lambda: hears(bus), "a listener that hears")
        yield ear


def hears(bus: Bus) -> bool:
    health = bus.health()
    return health.is_connected and health.partitions != 0


def ended_in(*campaigns: uuid.UUID) -> list[WakeUp]:
    """Wake-ups of campaigns in which a call ended."""
    return [WakeUp(one, Why.CALL_ENDED) for one in campaigns]


async def send_raw(client: KafkaClient, topic: Topic, value: bytes, key: str = "k") -> None:
    """Put anything into a topic; a broker that has just started may be slower than a webhook waits.

    Raises Unavailable when it was not taken.
    """
    await client.topics_ready.wait()
    told: asyncio.Future[object] = asyncio.get_running_loop().create_future()
    client.post(topic, key, value, told.set_result)
    async with asyncio.timeout(PATIENCE_S):
        if (error := await told) is not None:
            raise Unavailable(str(error))


async def rows_of(db: Database, statement: str, *, count: int) -> list[Any]:
    """Ask until there are so many rows."""
    began = time.monotonic()
    while True:
        async with db.connection() as connection:
            rows = await connection.fetch(statement)
        if len(rows) >= count:
            return list(rows)
        assert time.monotonic() - began < PATIENCE_S, f"only {len(rows)} of {count}: {statement}"
        await asyncio.sleep(0.02)
