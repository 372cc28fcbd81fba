"""Status events over Kafka: safe before the 200, applied once PostgreSQL is there, never lost."""

import json
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
from scripts.brokers import Broker
from starlette.requests import Request
from tests.builders import DEADLINES, World, a_recorder_of_results
from tests.buses.lines import a_client, rows_of, running, send_raw, until

from apollo.bus.kafka import KafkaClient, StatusReader, Topic
from apollo.bus.kafka.subscription import Subscription
from apollo.core import ids
from apollo.core.signatures import sign
from apollo.errors import NotAllowedNow, NotFound, Unavailable
from apollo.storage.dead_letters import DeadLetter, bury
from apollo.telephony.jambonz import JambonzDriver
from apollo.usecases.check_status_events import CheckStatusEvents
from apollo.usecases.record_call_events import Arrival, RecordCallEvents
from apollo.usecases.replay_dead_letters import ReplayDeadLetters
from apollo.web.callbacks import Callbacks
from apollo.wiring.parts import SystemClock

SECRET = "example-secret"


@pytest.fixture
async def driver() -> AsyncIterator[JambonzDriver]:
    driver = JambonzDriver(
        base_url="http://127.0.0.1:9/v1",
        account_sid=str(uuid.UUID(int=7)),
        api_key="example-key",
        webhook_secret=SECRET,
        public_url="http://127.0.0.1:8000",
        clock=SystemClock(),
    )
    yield driver
    await driver.close()


def status(call_id: uuid.UUID, **fields: Any) -> bytes:
    event = {
        "call_sid": str(uuid.uuid4()),
        "call_status": "completed",
        "sip_status": 200,
        "duration": 12,
        "customerData": {"execution_id": ids.execution_id(call_id)},
        **fields,
    }
    return json.dumps(event).encode()


def a_reader(client: KafkaClient, driver: JambonzDriver, world: World) -> StatusReader:
    return StatusReader(client, driver=driver, db=world.db, clock=SystemClock())


class Stream:
    """A stream that takes everything, or nothing."""

    def __init__(self, *, is_there: bool) -> None:
        self.is_there = is_there
        self.taken: list[tuple[str, bytes]] = []

    async def append(self, key: str, value: bytes) -> None:
        if not self.is_there:
            raise Unavailable("Kafka is away")
        self.taken.append((key, value))


def callbacks(world: World, driver: JambonzDriver, stream: Stream) -> Callbacks:
    return Callbacks(
        driver=driver,
        record=RecordCallEvents(db=world.db, deadlines=DEADLINES, wakes_by_notify=True),
        results=a_recorder_of_results(world.db),
        result_secret=None,
        clock=SystemClock(),
        status_stream=stream,
    )


async def a_call(world: World) -> tuple[uuid.UUID, uuid.UUID]:
    """A call on its way: its batch, and its id."""
    campaign_id = await world.a_campaign()
    batch_id = await world.a_batch(campaign_id, 1)
    claimed = await world.claim(campaign_id)
    return batch_id, claimed.calls[0].call.id


async def post(world: World, driver: JambonzDriver, stream: Stream, body: bytes) -> int:
    """Send a signed webhook to a web process; gives the status it answers."""
    signed = sign(body, SECRET.encode(), 1).encode()
    scope = {"type": "http", "method": "POST", "headers": [(b"jambonz-signature", signed)]}

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    answer = await callbacks(world, driver, stream).call_status(Request(scope, receive))
    return answer.status_code


async def test_a_webhook_is_answered_200_when_kafka_has_it_and_postgresql_does_not(
    world: World, driver: JambonzDriver
) -> None:
    _, call_id = await a_call(world)
    stream = Stream(is_there=True)
    await world.db.close()
    assert await post(world, driver, stream, body := status(call_id)) == 200
    assert stream.taken == [(ids.execution_id(call_id), body)]


async def test_while_kafka_is_away_a_webhook_goes_straight_to_postgresql(
    world: World, driver: JambonzDriver
) -> None:
    batch_id, call_id = await a_call(world)
    assert await post(world, driver, Stream(is_there=False), status(call_id)) == 200
    assert await world.statuses(batch_id) == ["completed"]


async def test_when_both_are_away_the_provider_is_told_to_send_it_again(
    world: World, driver: JambonzDriver
) -> None:
    _, call_id = await a_call(world)
    await world.db.close()
    assert await post(world, driver, Stream(is_there=False), status(call_id)) == 503


async def test_a_webhook_nobody_could_read_never_reaches_kafka(
    world: World, driver: JambonzDriver
) -> None:
    stream = Stream(is_there=True)
    assert await post(world, driver, stream, b"{}") == 422
    assert stream.taken == []


async def test_an_event_waits_in_kafka_until_it_is_recorded_and_a_bad_one_is_set_aside(
    world: World, driver: JambonzDriver, broker: Broker
) -> None:
    _, call_id = await a_call(world)
    recorded: list[Arrival] = []
    refused = 0

    async def record(arrival: Arrival) -> None:
        nonlocal refused
        if refused < 3:
            refused += 1
            raise Unavailable("the database is away")
        if arrival.provider_call_id == "defect":
            raise ZeroDivisionError("a defect")
        recorded.append(arrival)

    async with a_client(broker) as client:
        await send_raw(client, Topic.STATUS, status(call_id))
        await send_raw(client, Topic.STATUS, b"not even JSON")
        await send_raw(client, Topic.STATUS, status(call_id, call_sid="defect"))
        reader = a_reader(client, driver, world)
        async with running(reader.run(record)):
            kept = await rows_of(
                world.db, "select reason from dead_letters order by message_offset", count=2
            )
            await until(lambda: recorded, "the good event")
            assert reader.report()["is_connected"]
    assert [one.execution_id for one in recorded] == [call_id]
    assert recorded[0].webhook is not None
    assert [row["reason"].partition(":")[0] for row in kept] == [
        "status webhook",
        "ZeroDivisionError",
    ]


async def test_conclusions_wait_while_a_worker_is_late_with_status_events(world: World) -> None:
    late = CheckStatusEvents(db=world.db)

    async def report(**status_events: Any) -> None:
        await world.sql("delete from heartbeats")
        await world.sql(
            "insert into heartbeats (process_id, role, host, pid, version, started_at, seen_at,"
            " report) values (gen_random_uuid(), 'worker', 'h', 1, '1', now(), clock_timestamp(),"
            " $1)",
            {"status_events": status_events},
        )

    assert not await late.are_late()
    await report(is_connected=True, lag_s=0.2)
    assert not await late.are_late()
    await report(is_connected=True, lag_s=60.0)
    assert await late.are_late()
    await report(is_connected=False, lag_s=0.0)
    assert await late.are_late()


async def test_a_dead_letter_goes_back_into_its_topic_and_is_no_longer_listed(
    world: World, broker: Broker
) -> None:
    letter = DeadLetter("apollo.call.status", 1, 7, b"key", b"value", "unreadable")
    async with world.db.connection() as connection:
        await bury(connection, [letter, letter])
        await bury(connection, [letter])
    heard: list[tuple[bytes, bytes]] = []

    async def take(messages: Any) -> None:
        heard.extend((message.key(), message.value()) for message in messages)

    async with a_client(broker) as client:
        letters = ReplayDeadLetters(db=world.db, resend=client.resend)
        listed = await letters.browse(also_replayed=False, at_most=10)
        assert [one.letter for one in listed] == [letter]
        await letters.replay(listed[0].id)
        assert await letters.browse(also_replayed=False, at_most=10) == []
        assert len(await letters.browse(also_replayed=True, at_most=10)) == 1
        reader = Subscription(client, Topic.STATUS, clock=SystemClock())
        async with running(reader.run(take)):
            await until(lambda: heard, "the letter")
    assert heard == [(b"key", b"value")]


async def test_letters_are_replayed_only_where_they_exist_and_kafka_is_the_bus(
    world: World,
) -> None:
    with pytest.raises(NotAllowedNow, match="APOLLO_KAFKA_BOOTSTRAP_SERVERS"):
        await ReplayDeadLetters(db=world.db, resend=None).replay(1)

    async def resend(topic: str, key: bytes | None, value: bytes) -> None:
        raise AssertionError((topic, key, value))

    with pytest.raises(NotFound):
        await ReplayDeadLetters(db=world.db, resend=resend).replay(1)
