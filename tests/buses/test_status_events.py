"""Status events over Kafka: safe before the 200, applied once PostgreSQL is there, never lost."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest
from scripts.brokers import Broker
from starlette.applications import Starlette
from starlette.testclient import TestClient
from tests.buses.lines import a_client, rows_of, send_raw, until
from tests.builders import World

from apollo.bus.kafka import KafkaClient, StatusReader, Topic
from apollo.core import ids
from apollo.core.signatures import sign
from apollo.errors import NotAllowedNow, NotFound, Unavailable
from apollo.storage.dead_letters import DeadLetter, bury
from apollo.telephony.jambonz import JambonzDriver
from apollo.usecases.check_status_events import CheckStatusEvents
from apollo.usecases.record_call_events import Arrival, RecordCallEvents
from apollo.usecases.record_call_result import RecordCallResult
from apollo.usecases.replay_dead_letters import ReplayDeadLetters
from apollo.web.callbacks import Callbacks
from apollo.wiring import SystemClock

SECRET = "example-secret"
NOW = datetime(2026, 5, 10, 9, tzinfo=UTC)


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
    from tests.builders import DEADLINES  # noqa: PLC0415 - beside its only use

    return Callbacks(
        driver=driver,
        record=RecordCallEvents(db=world.db, deadlines=DEADLINES, wakes_by_notify=True),
        results=RecordCallResult(db=world.db, clock=SystemClock(), wakes_by_notify=True),
        result_secret=None,
        clock=SystemClock(),
        status_stream=stream,
    )
