"""Real processes on Kafka while calls are made: whatever happens to it, the ledger finds no fault.

The provider is the tests' own; its ledger is compared with the database by `apollo audit`, which
judges every invariant, after each trouble.
"""

import asyncio
import json
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from confluent_kafka import Consumer, Message, Producer
from confluent_kafka.admin import AdminClient
from scripts.brokers import JARS, Broker
from tests.buses.lines import PATIENCE_S, a_client, running, until, until_so
from tests.e2e.runs import Run, under_fire

from apollo import embedded
from apollo.bus.kafka import KafkaClient, Topic
from apollo.bus.kafka.subscription import Subscription
from apollo.embedded.programs import ended
from apollo.wiring.parts import SystemClock

PEOPLE = 80
SEED = 20261124
PREFIX = "apollo."
STALLED_S = 8.0
# Webhooks that come while PostgreSQL is away.
TOLD = 10

needs_apache = pytest.mark.skipif(
    JARS not in os.environ, reason="needs Apache Kafka itself: make test-kafka"
)


@asynccontextmanager
async def on_kafka(broker: Broker, logs: Path, **more: Any) -> AsyncIterator[Run]:
    """A batch that two workers dial over Kafka."""
    settings = {
        "APOLLO_KAFKA_BOOTSTRAP_SERVERS": broker.address,
        "APOLLO_KAFKA_PARTITIONS": "6",
        # Shorter than a worker is made to stall.
        "APOLLO_KAFKA_MAX_POLL_INTERVAL_MS": "6000",
        "APOLLO_KAFKA_SESSION_TIMEOUT_MS": "6000",
    }
    async with under_fire(PEOPLE, seed=SEED, logs=logs, settings=settings, **more) as run:
        run.start("serve", quick=False)
        for name in ("worker", "second"):
            run.apollo.start("worker", name=name)
        await run.until_ready()
        await until_so(lambda: shares_given(run), "workers with partitions")
        await run.create()
        yield run


async def passed(seconds: float) -> None:
    """Wait until so much time is over, for a trouble that has a length."""
    over = asyncio.Event()
    asyncio.get_running_loop().call_later(seconds, over.set)
    await over.wait()


async def shares_given(run: Run) -> bool:
    """Both workers read some partitions of the calls' events."""
    return all(has_share(run.apollo.log(name)) for name in ("worker", "second"))


def has_share(log: str) -> bool:
    told = [json.loads(line) for line in log.splitlines() if '"event":"kafka.assigned"' in line]
    shares = [one["partitions"] for one in told if one["topic"] == Topic.STATUS]
    # A rebalance has a round in which one has none yet.
    return bool(shares and shares[-1])


async def judged(run: Run) -> None:
    """Everybody was called as often as they should, and every invariant holds."""
    await run.until_completed()
    await run.until_finished()
    assert await run.check() == 0
    await run.audit()
    assert run.apollo.surprises() == []


async def killed(broker: Broker, run: Run) -> None:
    """A broker that dies, and is back some seconds later."""
    await asyncio.to_thread(broker.kill)
    await run.until_placed(0.5)
    await asyncio.to_thread(broker.start)


async def topics_deleted(broker: Broker, _: Run) -> None:
    """Both topics that workers read."""
    admin = AdminClient({"bootstrap.servers": broker.address})
    topics = [PREFIX + topic for topic in (Topic.DISPATCH, Topic.STATUS)]
    for gone in admin.delete_topics(topics).values():
        await asyncio.wrap_future(gone)


async def stalled(_: Broker, run: Run) -> None:
    """A worker that stands still for longer than a reader may be silent."""
    run.apollo.tell("worker", signal.SIGSTOP)
    await passed(STALLED_S)
    run.apollo.tell("worker", signal.SIGCONT)


async def redeployed(_: Broker, run: Run) -> None:
    """Workers of a new version come, one after another, and the old ones are told to go."""
    for name in ("worker", "second"):
        run.apollo.start("worker", name=f"new-{name}")
        await until(lambda: has_share(run.apollo.log(f"new-{name}")), "a share")  # noqa: B023 - awaited here
        run.apollo.tell(name, signal.SIGTERM)
        await run.until_ended(name)


async def poisoned(broker: Broker, run: Run) -> None:
    """Messages nobody can read, in every partition of both topics."""
    producer = Producer({"bootstrap.servers": broker.address})
    for topic in (Topic.DISPATCH, Topic.STATUS):
        for partition in range(6):
            producer.produce(PREFIX + topic, b"\xff poison", partition=partition)
    await asyncio.to_thread(producer.flush, 10)
    connection = await asyncpg.connect(run.database_url)
    try:
        count = "select count(*) from dead_letters"
        await until_so(lambda: is_so(connection, f"select ({count}) = 12"), "all of it set aside")
        # As an operator does who has looked at them.
        await connection.execute("update dead_letters set replayed_at = clock_timestamp()")
    finally:
        await connection.close()


async def is_so(connection: Any, question: str) -> bool:
    return bool(await connection.fetchval(question))


async def delivered_again(broker: Broker, _: Run) -> None:
    """Every status event that came so far, twice more."""
    again = await asyncio.to_thread(everything_in, broker, Topic.STATUS)
    assert again
    producer = Producer({"bootstrap.servers": broker.address})
    for message in again * 2:
        producer.produce(PREFIX + Topic.STATUS, message.value(), message.key())
    await asyncio.to_thread(producer.flush, 10)


def everything_in(broker: Broker, topic: Topic) -> list[Message]:
    reader = Consumer(
        {
            "bootstrap.servers": broker.address,
            "group.id": "a witness",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    found: list[Message] = []
    try:
        reader.subscribe([PREFIX + topic])
        deadline = time.monotonic() + PATIENCE_S
        # Empty at first, until the group has formed; empty after the last.
        while (some := reader.consume(500, 1.0)) or not found:
            assert time.monotonic() < deadline, f"nothing to read in {topic}"
            found += some
    finally:
        reader.close()
    return found


async def rebalanced(broker: Broker, run: Run) -> None:
    """Readers that come, get their share, take nothing of it, and go, every two seconds."""
    guests = 0

    async def take(_: object) -> None:
        await asyncio.Event().wait()

    async def visit(client: KafkaClient, topic: Topic) -> None:
        nonlocal guests
        while True:
            guest = Subscription(client, topic, clock=SystemClock())
            async with running(guest.run(take)):
                await until(lambda: guest.partitions, "a share")  # noqa: B023 - awaited here
                await passed(1)
            guests += 1

    async with (
        a_client(broker) as client,
        running(visit(client, Topic.DISPATCH)),
        running(visit(client, Topic.STATUS)),
    ):
        for count in range(1, 7):
            await until(lambda: guests >= count, "a guest that came and went")  # noqa: B023 - awaited here
    assert run.apollo.surprises() == []


TROUBLES: tuple[Callable[[Broker, Run], Awaitable[None]], ...] = (
    killed, topics_deleted, stalled, redeployed, poisoned, delivered_again, rebalanced,
)  # fmt: skip


@needs_apache
@pytest.mark.parametrize("trouble", TROUBLES)
async def test_after_each_trouble_with_kafka_every_invariant_holds(
    trouble: Callable[[Broker, Run], Awaitable[None]],
    broker: Broker,
    database_url: str,
    tmp_path: Path,
) -> None:
    async with on_kafka(broker, tmp_path, database_url=database_url) as run:
        await run.until_placed(0.2)
        await trouble(broker, run)
        await judged(run)


def kill_postgresql(data_dir: Path) -> None:
    postmaster = int((data_dir / "postgres/db/postmaster.pid").read_text().split()[0])
    # The whole group: sessions of a dead postmaster would go on for a while.
    os.killpg(postmaster, signal.SIGKILL)
    # Until it is gone it looks as if it ran, and nobody would start another one.
    assert ended(postmaster, within_s=30.0)


async def answered(run: Run, count: int) -> Counter[int]:
    """The answers to the webhooks of calls that go on now."""
    before = Counter(run.jambonz.answers)
    await until(lambda: (run.jambonz.answers - before).total() >= count, "webhooks")
    return run.jambonz.answers - before


async def test_postgresql_dies_and_every_webhook_is_answered_200_and_applied_when_it_is_back(
    broker: Broker, data_dir: Path, tmp_path: Path
) -> None:
    embedded.ensure_running(data_dir)
    async with on_kafka(broker, tmp_path, data_dir=data_dir) as run:
        await run.until_placed(0.4)
        await run.until_live(TOLD)
        kill_postgresql(data_dir)
        run.jambonz.release()
        assert set(await answered(run, TOLD)) == {200}
        embedded.ensure_running(data_dir)
        await judged(run)
        assert run.jambonz.undelivered == []


async def test_kafka_and_postgresql_die_and_the_provider_is_told_to_send_it_again(
    broker: Broker, data_dir: Path, tmp_path: Path
) -> None:
    embedded.ensure_running(data_dir)
    async with on_kafka(broker, tmp_path, data_dir=data_dir) as run:
        await run.until_placed(0.4)
        await run.until_live(TOLD)
        kill_postgresql(data_dir)
        await asyncio.to_thread(broker.kill)
        run.jambonz.release()
        await until(lambda: run.jambonz.answers[503] >= 3, "webhooks answered with 503")
        await asyncio.to_thread(broker.start)
        embedded.ensure_running(data_dir)
        await judged(run)
