"""Events of one call stay in order, whichever of the two ways to PostgreSQL each of them takes."""

import asyncio
import json
import uuid
from datetime import UTC, datetime

from tests.builders import SetClock

from apollo.errors import Unavailable
from apollo.telephony.jambonz import JambonzDriver
from apollo.usecases.receive_status import ReceiveStatus
from apollo.usecases.record_call_events import Arrival

AT = datetime(2026, 5, 10, 9, tzinfo=UTC)
ONE, OTHER = str(uuid.UUID(int=1)), str(uuid.UUID(int=2))


class AwayStream:
    """Away: the first to ask waits for an answer that never comes, the others know at once."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.gives_up = asyncio.Event()

    async def append(self, key: str, value: bytes) -> None:
        self.asked.append(key)
        if len(self.asked) == 1:
            await self.gives_up.wait()
        raise Unavailable(f"nobody takes {len(value)} bytes")


def body(call_sid: str, call_status: str, sip_status: int) -> bytes:
    return json.dumps(
        {"call_sid": call_sid, "call_status": call_status, "sip_status": sip_status}
    ).encode()


async def test_no_event_of_a_call_overtakes_the_one_before() -> None:
    recorded: list[tuple[str | None, str]] = []

    async def record(arrival: Arrival) -> None:
        assert arrival.webhook is not None
        recorded.append((arrival.provider_call_id, arrival.webhook.call_status))

    driver = JambonzDriver(
        base_url="http://127.0.0.1:9/v1",
        account_sid=str(uuid.UUID(int=7)),
        api_key="example-key",
        webhook_secret="example-secret",
        public_url="http://127.0.0.1:8000",
        clock=SetClock(),
    )
    stream = AwayStream()
    receiver = ReceiveStatus(driver=driver, record=record, stream=stream)
    async with asyncio.TaskGroup() as group:
        group.create_task(receiver.receive(body(ONE, "ringing", 180), AT))
        group.create_task(receiver.receive(body(ONE, "busy", 603), AT))
        await group.create_task(receiver.receive(body(OTHER, "ringing", 180), AT))
        assert recorded == [(OTHER, "ringing")], "another call waits for nobody"
        stream.gives_up.set()
    assert recorded[1:] == [(ONE, "ringing"), (ONE, "busy")]
    await driver.close()
