"""What happens to Kafka and to its topics, and that it costs delay at most."""

import asyncio
import contextlib
import itertools
import json
import os
import threading
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack

import pytest
from confluent_kafka import Message, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.aio import AIOConsumer
from scripts.brokers import JARS, Broker
from tests.builders import World
from tests.buses.lines import (
    PARTITIONS,
    a_bus,
    a_client,
    an_ear,
    ended_in,
    hears,
    rows_of,
    running,
    send_raw,
    until,
    until_so,
)

from apollo.bus.kafka import KafkaBus, KafkaClient, Topic
from apollo.bus.kafka.subscription import Subscription
from apollo.bus.line import open_line
from apollo.core import ids
from apollo.errors import Misconfigured, Unavailable
from apollo.ports import WakeUp, Why
from apollo.wiring.parts import SystemClock

needs_apache = pytest.mark.skipif(
    JARS not in os.environ, reason="needs Apache Kafka itself: make test-kafka"
)


# More than a worker counts as a storm.
GUESTS = 6


@pytest.fixture
async def client(broker: Broker) -> AsyncIterator[KafkaClient]:
    async with a_client(broker) as client:
        yield client


def pointer(campaign_id: uuid.UUID) -> bytes:
    text = ids.campaign_id(campaign_id)
    return f'{{"campaign_id":"{text}","reason":"test","at":"2026-05-10T09:00:00Z"}}'.encode()


def consumer_threads() -> list[str]:
    """The threads in which consumers of the client's asyncio face work."""
    names = (one.name for one in threading.enumerate())
    return [name for name in names if name.startswith("ThreadPoolExecutor")]


async def test_a_broker_that_goes_and_comes_back_costs_no_wake_up_of_ones_own(
    world: World, broker: Broker
) -> None:
    before, meanwhile, after = (uuid.uuid4() for _ in range(3))
    async with AsyncExitStack() as stack:
        bus = await stack.enter_async_context(a_bus("kafka", world.db, broker))
        ear = await stack.enter_async_context(an_ear(bus))
        await bus.wake(ended_in(before))
        await until(lambda: before in ear.heard, "a wake-up over the broker")
        broker.kill()
        await until(lambda: not bus.health().is_connected, "the loss is noticed")
        began = time.monotonic()
        await bus.wake(ended_in(meanwhile))
        assert time.monotonic() - began < 0.5
        await until(lambda: meanwhile in ear.heard, "a wake-up without the broker")
        assert bus.health().last_error
        await until(lambda: bus.health().partitions == 0, "its share is lost")
        broker.start()
        back = time.monotonic()
        await until(lambda: bus.health().is_connected, "the broker is back")
        # Nobody looks for a worker without partitions because Kafka was away.
        # It is told in tenths.
        assert (bus.health().unassigned_s or 0.0) <= time.monotonic() - back + 0.1
        await until(lambda: hears(bus), "a share again")
        other = await stack.enter_async_context(a_bus("kafka", world.db, broker))
        await until(lambda: other.health().is_connected, "another process")
        await other.wake(ended_in(after))
        await until(lambda: after in ear.heard, "a wake-up after the outage")


# Tansu knows no producer from before it died: what was under way then is fatal to that producer,
# and to whoever sent nothing just then it says no for ever. Apache remembers.
@pytest.mark.skipif(JARS in os.environ, reason="needs a broker that forgets: make test")
@pytest.mark.parametrize("is_busy", [True, False])
async def test_a_broker_that_forgot_who_sends_takes_messages_of_the_same_process_again(
    broker: Broker, is_busy: bool
) -> None:
    taken: list[int] = []

    async def speak(client: KafkaClient) -> None:
        for n in itertools.count():
            with contextlib.suppress(Unavailable):
                await send_raw(client, Topic.EVENTS, b"x", key=f"{n}")
                taken.append(n)
            await asyncio.sleep(0)

    async def speak_all(client: KafkaClient) -> None:
        await asyncio.gather(*(speak(client) for _ in range(20)))

    async with a_client(broker, **{"message.timeout.ms": "1000"}) as client:
        async with running(speak_all(client)):
            await until(lambda: len(taken) > 100, "messages taken")
            if is_busy:
                await asyncio.to_thread(broker.kill)
        broker.kill()
        await until(lambda: not client.is_connected, "the loss is noticed")
        broker.start()
        taken.clear()
        async with running(speak_all(client)):
            await until(lambda: len(taken) > 100, "messages taken after the outage")


# Tansu answers about a deleted topic without its name, over which librdkafka 2.16 falls dead.
@needs_apache
async def test_a_topic_that_is_deleted_is_made_again_and_read(
    world: World, broker: Broker, client: KafkaClient
) -> None:
    bus = KafkaBus(client, world.db, SystemClock())
    async with an_ear(bus) as ear:
        admin = AdminClient({"bootstrap.servers": broker.address})
        for gone in admin.delete_topics([client.name(Topic.DISPATCH)]).values():
            await asyncio.wrap_future(gone)
        again = uuid.uuid4()

        async def is_heard() -> bool:
            await bus.wake(ended_in(again))
            return again in ear.heard and bus.health().is_connected

        await until_so(is_heard, "a wake-up over the new topic")
        await until(client.topics_ready.is_set, "the topics")
        assert client.partitions_total == PARTITIONS


async def test_a_pointer_says_why_and_for_which_batch(world: World, client: KafkaClient) -> None:
    campaign_id, batch_id = uuid.uuid4(), uuid.uuid4()
    sent: list[tuple[bytes | None, dict[str, str]]] = []

    async def take(messages: Sequence[Message]) -> None:
        sent.extend((one.key(), json.loads(one.value() or b"")) for one in messages)

    await client.topics_ready.wait()
    bus = KafkaBus(client, world.db, SystemClock())
    await bus.wake([WakeUp(campaign_id, Why.BATCH_RESUMED, batch_id), *ended_in(campaign_id)])
    async with running(Subscription(client, Topic.DISPATCH, clock=SystemClock()).run(take)):
        await until(lambda: len(sent) == 2, "both pointers")
    key = ids.campaign_id(campaign_id)
    assert [one for one, _ in sent] == [key.encode()] * 2
    told = [{name: value for name, value in one.items() if name != "at"} for _, one in sent]
    batch = ids.batch_id(batch_id)
    assert told == [
        {"campaign_id": key, "reason": "batch_resumed", "batch_id": batch},
        {"campaign_id": key, "reason": "call_ended"},
    ]


async def test_a_message_nobody_can_read_is_set_aside_once_and_the_next_is_heard(
    world: World, client: KafkaClient
) -> None:
    good = uuid.uuid4()
    bus = KafkaBus(client, world.db, SystemClock())
    for poison in (
        b"\xff\x00",
        b"{}",
        b'{"campaign_id":"x","reason":"r","at":"2026-05-10T09:00:00Z"}',
    ):
        await send_raw(client, Topic.DISPATCH, poison, key="one partition")
    await send_raw(client, Topic.DISPATCH, pointer(good), key="one partition")
    async with an_ear(bus) as ear:
        await until(lambda: good in ear.heard, "the message behind the poison")
        kept = await rows_of(
            world.db, "select topic, value, reason from dead_letters order by id", count=3
        )
    assert [row["topic"] for row in kept] == ["apollo.batch.dispatch"] * 3
    assert kept[0]["value"] == b"\xff\x00"
    assert "campaign_id" in kept[2]["reason"]


async def test_who_takes_longer_than_the_poll_interval_stays_a_member_and_hears_it_once(
    broker: Broker,
) -> None:
    taken: list[bytes] = []
    release = asyncio.Event()

    async def take(messages: Sequence[Message]) -> None:
        taken.extend(message.value() or b"" for message in messages)
        await release.wait()

    limits = {"max.poll.interval.ms": "6000", "session.timeout.ms": "6000"}
    async with a_client(broker, **limits) as client:
        subscription = Subscription(client, Topic.STATUS, clock=SystemClock())
        await send_raw(client, Topic.STATUS, b"1")
        async with running(subscription.run(take)):
            await until(lambda: taken, "the first message")
            began = time.monotonic()
            await until(lambda: time.monotonic() - began > 7, "longer than the poll interval")
            assert len(subscription.partitions) == PARTITIONS
            assert subscription.rebalances == 1
            assert subscription.lag_s > 6
            release.set()
            await send_raw(client, Topic.STATUS, b"2")
            await until(lambda: b"2" in taken, "the second message")
            assert taken == [b"1", b"2"]
            assert await until(lambda: subscription.lag_s == 0) < 5


# It paused what it had, lost half of that to a guest, and was given it back when the guest left.
@needs_apache
async def test_a_partition_that_was_paused_when_it_was_lost_is_read_when_it_comes_back(
    broker: Broker,
) -> None:
    taken: list[bytes] = []
    release = asyncio.Event()

    async def take(messages: Sequence[Message]) -> None:
        taken.extend(message.value() or b"" for message in messages)
        await release.wait()

    async def nothing(_: Sequence[Message]) -> None:
        await asyncio.Event().wait()

    keys = [f"{n}" for n in range(4 * PARTITIONS)]
    async with a_client(broker) as client, a_client(broker) as other:
        stays = Subscription(client, Topic.STATUS, clock=SystemClock())
        await send_raw(client, Topic.STATUS, b"first")
        async with running(stays.run(take)):
            await until(lambda: taken, "the first message")
            await until(lambda: stays._is_paused, "a pause")
            guest = Subscription(other, Topic.STATUS, clock=SystemClock())
            async with running(guest.run(nothing)):
                await until(lambda: len(guest.partitions) == PARTITIONS // 2, "half of them")
                release.set()
                await until(lambda: not stays._is_paused, "the end of the pause")
            await until(lambda: len(stays.partitions) == PARTITIONS, "what the guest had")
            for key in keys:
                await send_raw(client, Topic.STATUS, key.encode(), key=key)
            await until(lambda: {key.encode() for key in keys} <= set(taken), "every message")


async def test_what_was_not_taken_comes_again(broker: Broker) -> None:
    seen: list[bytes] = []

    async def take(messages: Sequence[Message]) -> None:
        seen.extend(message.value() or b"" for message in messages)
        if len(seen) == 1:
            raise Unavailable("the database is away")

    async with a_client(broker) as client:
        await send_raw(client, Topic.STATUS, b"once more")
        async with running(Subscription(client, Topic.STATUS, clock=SystemClock()).run(take)):
            await until(lambda: len(seen) == 2, "the same message again")
    assert seen == [b"once more"] * 2


@needs_apache
async def test_the_partitions_of_a_reader_that_dies_go_to_the_others_within_ten_seconds(
    world: World, broker: Broker
) -> None:
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(a_bus("kafka", world.db, broker))
        second = await stack.enter_async_context(a_bus("kafka", world.db, broker))
        await stack.enter_async_context(an_ear(first))
        async with an_ear(second):
            await until(
                lambda: first.health().partitions == second.health().partitions == PARTITIONS // 2,
                "an even share",
            )
        took_s = await until(lambda: first.health().partitions == PARTITIONS, "all of them")
        assert took_s < 10


# A guest that leaves and one that comes within a heartbeat are one rebalance, in which the one who
# stays keeps what it has: so guests with partitions are counted, and what they leave must be taken.
@needs_apache
async def test_a_rebalance_every_two_seconds_leaves_no_message_out(broker: Broker) -> None:
    sent: set[bytes] = set()
    taken: set[bytes] = set()
    guests = 0

    async def take(messages: Sequence[Message]) -> None:
        taken.update(message.value() or b"" for message in messages)

    async def has_a_share(guest: Subscription) -> None:
        # At once, even while messages stream in: commits once held rebalances up for a minute.
        assert await until(lambda: guest.partitions, "a share") < 30

    async def come_and_go(client: KafkaClient) -> None:
        nonlocal guests
        while True:
            guest = Subscription(client, Topic.STATUS, clock=SystemClock())
            stayed = asyncio.Event()
            asyncio.get_running_loop().call_later(2, stayed.set)
            async with running(guest.run(take)):
                await asyncio.gather(has_a_share(guest), stayed.wait())
            guests += 1

    async def speak(client: KafkaClient) -> None:
        for n in itertools.count():
            value = f"{n}".encode()
            await send_raw(client, Topic.STATUS, value, key=f"{n}")
            sent.add(value)

    async with a_client(broker) as client, a_client(broker) as other:
        stays = Subscription(client, Topic.STATUS, clock=SystemClock())
        async with running(stays.run(take)):
            async with running(come_and_go(other)), running(speak(client)):
                for count in range(1, GUESTS + 1):
                    await until(lambda: guests >= count, "a guest that came and went")  # noqa: B023 - awaited here
            assert len(sent) > GUESTS * PARTITIONS
            await until(lambda: sent <= taken, "every message")
            await until(lambda: len(stays.partitions) == PARTITIONS, "what the last guest had")


async def test_who_is_told_twice_to_stop_has_left_the_group_when_its_client_is_closed(
    broker: Broker,
) -> None:
    async def take(_: Sequence[Message]) -> None:
        pass

    async with a_client(broker) as client:
        reader = Subscription(client, Topic.STATUS, clock=SystemClock())
        reading = asyncio.create_task(reader.run(take))
        await until(lambda: reader.partitions, "its partitions")
        while not reading.done():
            reading.cancel()
            await asyncio.sleep(0)
        assert consumer_threads()
    assert not consumer_threads()


class CutShort(Subscription):
    """One that is told to stop while a rebalance asks it what it took last."""

    def __init__(self, client: KafkaClient, topic: Topic) -> None:
        super().__init__(client, topic, clock=SystemClock())
        self.is_revoking = asyncio.Event()
        self._is_closing = asyncio.Event()

    def _consumer(self) -> AIOConsumer:
        consumer = super()._consumer()
        close = consumer.close

        async def closing() -> None:
            # Heard by nobody before the close is under way: that is at its first wait.
            self._is_closing.set()
            await close()

        consumer.close = closing  # type: ignore[method-assign]
        return consumer

    async def _on_commit(self, *_: object) -> None:
        """Its first commit stays under way for ever."""

    async def _on_revoke(self, consumer: AIOConsumer, partitions: list[TopicPartition]) -> None:
        self.is_revoking.set()
        await self._is_closing.wait()
        await super()._on_revoke(consumer, partitions)


# The poll that revokes goes on, the close waits for it, and what was taken is still to be noted.
@needs_apache
async def test_who_is_told_to_stop_in_the_middle_of_a_rebalance_notes_what_it_took_and_leaves(
    broker: Broker,
) -> None:
    taken: list[bytes] = []

    async def take(messages: Sequence[Message]) -> None:
        taken.extend(message.value() or b"" for message in messages)

    async with a_client(broker) as client, a_client(broker) as other:
        leaves = CutShort(client, Topic.STATUS)
        leaving = asyncio.create_task(leaves.run(take))
        for count, message in enumerate((b"1", b"2"), 1):
            await send_raw(client, Topic.STATUS, message)
            await until(lambda: len(taken) == count, "the message")  # noqa: B023 - awaited here
        await until(lambda: leaves._taken, "a place that is not committed")
        guest = Subscription(other, Topic.STATUS, clock=SystemClock())
        async with running(guest.run(take)):
            await until(leaves.is_revoking.is_set, "a rebalance")
            leaving.cancel()
            await until(leaving.done, "its end")
            await until(lambda: len(guest.partitions) == PARTITIONS, "what it left")
            await send_raw(client, Topic.STATUS, b"3")
            await until(lambda: b"3" in taken, "the next message")
    assert taken == [b"1", b"2", b"3"]


async def test_a_setting_the_client_does_not_know_stops_the_start_and_is_named(
    world: World,
) -> None:
    settings = {"bootstrap.servers": "127.0.0.1:1", "no.such.thing": "1"}
    with pytest.raises(Misconfigured, match=r"no\.such\.thing"):
        async with open_line(settings, (1, None), db=world.db, clock=SystemClock()):
            pass


async def test_kafka_that_is_away_does_not_stop_the_start(world: World) -> None:
    settings = {"bootstrap.servers": "127.0.0.1:1"}
    async with open_line(settings, (1, None), db=world.db, clock=SystemClock()) as line:
        await until(lambda: line.bus.health().last_error, "the error is known")
        assert not line.bus.health().is_connected
        assert line.status_stream is not None
        with pytest.raises(Unavailable):
            await line.status_stream.append("key", b"value")
