"""The causes that lie in Kafka, made with a broker of their own: how, and how they are undone.

Apache Kafka when its jars are named in KAFKA_JARS, else the broker from the wheel, on which some
cannot be made. Must never look at `/debug`.
"""

import asyncio
import contextlib
import os
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, cast

import causes
from causes import Cause
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)
from ward import LONG, TALKS, Ward, opened_ward

sys.path.append(str(Path(__file__).parents[1]))
from scripts.brokers import JARS, Broker, make_broker

# Few enough that a third worker has none, enough that one more reader takes some away.
_PARTITIONS: Final = 2
# A guest that gets nothing within this is not waited for.
_VISIT_MAX_S: Final = 10.0
# A heartbeat and a half of the worker that stays.
_AWAY_S: Final = 2.0
WORLD: Final = "kafka"
_DISPATCH: Final = "apollo.batch.dispatch"
_EVENTS: Final = "apollo.events"
_HANGING: Final = (
    "import asyncio; from apollo.bus.kafka import StatusReader;"
    " StatusReader._take = lambda *_: asyncio.sleep(3600)"
)
_ON_POSTGRES: Final = (
    "[os.environ.pop(name) for name in [*os.environ] if name.startswith('APOLLO_KAFKA_')]"
)


KAFKA_CAUSES: list[Cause] = []
# What the wheel's broker has no means for.
_NEEDS_APACHE: Final = {"outbox_stalled", "rebalance_storm"}


@dataclass
class KafkaWard(Ward):
    """A ward with a broker."""

    broker: Broker = field(kw_only=True)

    async def limit_messages(self, topic: str, size: str | None) -> None:
        """Let a topic take no message longer than this many bytes; None: as before."""
        do = AlterConfigOpType.DELETE if size is None else AlterConfigOpType.SET
        entry = ConfigEntry("max.message.bytes", size or "", incremental_operation=do)
        changed = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
        admin = AdminClient({"bootstrap.servers": self.broker.address, "log_level": 0})
        for done in admin.incremental_alter_configs([changed]).values():
            await asyncio.wrap_future(done)

    async def come_and_go(self) -> None:
        """Be a worker that joins, gets its share, and ends, again and again."""
        while True:
            await asyncio.to_thread(_visit, self.broker.address)


Make = Callable[[KafkaWard, AsyncExitStack], Awaitable[str]]


def cause(code: str) -> Callable[[Make], Make]:
    """Register a cause under the code it must be named by."""

    def register(make: Make) -> Make:
        KAFKA_CAUSES.append(Cause((code,), cast("causes.Make", make), world=WORLD))
        return make

    return register


@cause("kafka_unreachable")
async def broker_away(ward: KafkaWard, undo: AsyncExitStack) -> str:
    batch_id = await ward.batch(LONG, 60)
    await ward.until_called(batch_id, 5)
    undo.push_async_callback(asyncio.to_thread, ward.broker.start)
    await asyncio.to_thread(ward.broker.kill)
    return batch_id


@cause("no_partition_assigned")
async def too_many_workers(ward: KafkaWard, undo: AsyncExitStack) -> str:
    batch_id = await ward.batch(LONG, 60)
    for _ in range(_PARTITIONS):
        await ward.another_worker(undo, "pass")
    return batch_id


@cause("kafka_lag")
async def reader_hangs(ward: KafkaWard, undo: AsyncExitStack) -> str:
    await ward.another_worker(undo, _HANGING)
    return await ward.batch(TALKS, 300)


@cause("outbox_stalled")
async def events_refused(ward: KafkaWard, undo: AsyncExitStack) -> str:
    undo.push_async_callback(ward.limit_messages, _EVENTS, None)
    await ward.limit_messages(_EVENTS, "1")
    return await ward.batch(LONG, 60)


@cause("dead_letters")
async def poison(ward: KafkaWard, undo: AsyncExitStack) -> str:
    undo.push_async_callback(ward.sql, "update dead_letters set replayed_at = clock_timestamp()")
    batch_id = await ward.batch(LONG, 60)
    producer = Producer({"bootstrap.servers": ward.broker.address, "log_level": 0})
    producer.produce(_DISPATCH, b"\xff\x00 not a pointer")
    await asyncio.to_thread(producer.flush, 10)
    return batch_id


@cause("workers_other_bus")
async def other_bus(ward: KafkaWard, undo: AsyncExitStack) -> str:
    await ward.another_worker(undo, _ON_POSTGRES)
    return await ward.batch(LONG, 60)


# The last one: whoever was hit counts it for a while.
@cause("rebalance_storm")
async def storm(ward: KafkaWard, undo: AsyncExitStack) -> str:
    batch_id = await ward.batch(LONG, 60)
    visits = asyncio.create_task(ward.come_and_go())
    undo.callback(visits.cancel)
    return batch_id


def _visit(address: str) -> None:
    guest = Consumer(
        {
            "bootstrap.servers": address,
            "group.id": _DISPATCH,
            "partition.assignment.strategy": "cooperative-sticky",
            "enable.auto.commit": False,
            "session.timeout.ms": 6_000,
            "heartbeat.interval.ms": 500,
            "log_level": 0,
        }
    )
    try:
        guest.subscribe([_DISPATCH])
        until = time.monotonic() + _VISIT_MAX_S
        while not guest.assignment() and time.monotonic() < until:
            guest.poll(0.1)
    finally:
        guest.close()
    # Until those who stay have taken over: one who is back sooner takes nothing away.
    time.sleep(_AWAY_S)


@contextlib.asynccontextmanager
async def opened_kafka_ward() -> AsyncGenerator[KafkaWard]:
    """Start a broker and an Apollo that has it for its bus, and put both away afterwards."""
    with tempfile.TemporaryDirectory(prefix="apollo-broker-") as folder:
        broker = await asyncio.to_thread(make_broker, Path(folder))
        await asyncio.to_thread(broker.start)
        settings = {
            "APOLLO_KAFKA_BOOTSTRAP_SERVERS": broker.address,
            "APOLLO_KAFKA_PARTITIONS": str(_PARTITIONS),
        }
        try:
            async with opened_ward(WORLD, settings) as ward:
                yield KafkaWard(**vars(ward), broker=broker)
        finally:
            await asyncio.to_thread(broker.stop)


def makeable() -> list[Cause]:
    """Those that can be made with the broker there is."""
    return [one for one in KAFKA_CAUSES if one.name not in left_out()]


def left_out() -> list[str]:
    """Those that cannot be made with it."""
    return [] if JARS in os.environ else sorted(_NEEDS_APACHE)
