"""Sends signed status webhooks as fast as they are answered, in a process of its own.

It speaks just enough HTTP for that: a client library would cost more than the server it measures.
Every request is made and signed before the clock starts.
"""

import asyncio
import time
import uuid
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection as Pipe
from typing import cast

import msgspec
import uvloop

from apollo.core import ids
from apollo.core.signatures import sign

EVENTS = (("ringing", 180), ("in-progress", 200), ("completed", 200))
_HEAD_END = b"\r\n\r\n"
_OK = b"HTTP/1.1 200 "


@dataclass(frozen=True, slots=True)
class Load:
    """What to send: every event of every call, in its order, over so many connections."""

    port: int
    secret: bytes
    connections: int
    call_ids: Sequence[uuid.UUID]


@dataclass(frozen=True, slots=True)
class Answers:
    """What came back; `other` are the first lines of answers that were not 200."""

    took_s: float
    latencies_ms: list[float]
    other: list[bytes] = field(default_factory=list)


def provider_call_id(call_id: uuid.UUID) -> str:
    """The id that the simulated provider gave to a call of ours."""
    return str(uuid.uuid5(call_id, "provider"))


def send_all(load: Load, answers: Pipe) -> None:
    """Send the whole load and report; runs in a process of its own."""
    answers.send(uvloop.run(_send(load)))


async def _send(load: Load) -> Answers:
    lanes = [
        deque(_requests(load.call_ids[lane :: load.connections], load.secret))
        for lane in range(load.connections)
    ]
    loop = asyncio.get_running_loop()
    connections: list[_Connection] = []
    for requests in lanes:
        _, one = await loop.create_connection(
            partial(_Connection, requests),
            "127.0.0.1",
            load.port,
        )
        connections.append(one)
    began = time.perf_counter()
    for one in connections:
        one.send_next()
    await asyncio.gather(*(one.done for one in connections))
    took_s = time.perf_counter() - began
    return Answers(
        took_s,
        [latency for one in connections for latency in one.latencies_ms],
        [line for one in connections for line in one.other],
    )


class _Connection(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self, requests: deque[bytes]) -> None:
        self._requests = requests
        self._answer = b""
        self._sent_at = 0.0
        self.latencies_ms: list[float] = []
        self.other: list[bytes] = []
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def send_next(self) -> None:
        if not self._requests:
            self._transport.close()
            self.done.set_result(None)
            return
        self._sent_at = time.perf_counter()
        self._transport.write(self._requests.popleft())

    def data_received(self, data: bytes) -> None:
        self._answer += data
        # A 200 has no body; whatever else comes ends the measurement anyway.
        if self._answer.endswith(_HEAD_END) or not self._answer.startswith(
            _OK[: len(self._answer)]
        ):
            self.latencies_ms.append((time.perf_counter() - self._sent_at) * 1e3)
            if not self._answer.startswith(_OK):
                self.other.append(self._answer.partition(b"\r\n")[0])
                self._requests.clear()
            self._answer = b""
            self.send_next()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.other.append(f"the connection was lost: {exc}".encode())
            self.done.set_result(None)


def _requests(call_ids: Sequence[uuid.UUID], secret: bytes) -> Iterator[bytes]:
    at = int(time.time())
    for call_id in call_ids:
        for event, sip_status in EVENTS:
            body = _body(call_id, event, sip_status)
            yield (
                "POST /webhooks/call-status HTTP/1.1\r\n"
                "Host: 127.0.0.1\r\n"
                "User-Agent: jambonz\r\n"
                "Content-Type: application/json\r\n"
                f"Jambonz-Signature: {sign(body, secret, at)}\r\n"
                f"Content-Length: {len(body)}\r\n\r\n"
            ).encode() + body


def _body(call_id: uuid.UUID, event: str, sip_status: int) -> bytes:
    """A status event in the form and size of jambonz's."""
    fields = {
        "call_sid": provider_call_id(call_id),
        "direction": "outbound",
        "from": "+14155550100",
        "to": "+919876500000",
        "call_id": str(uuid.uuid5(call_id, "sip")),
        "sbc_callid": str(uuid.uuid5(call_id, "border")),
        "sip_status": sip_status,
        "sip_reason": "OK" if sip_status == 200 else "Trying",
        "call_status": event,
        "account_sid": "9351f46a-678c-43f5-b8a6-d4eb58d131af",
        "trace_id": call_id.hex,
        "fs_sip_address": "10.0.0.5:5060",
        "customerData": {"execution_id": ids.execution_id(call_id)},
    }
    if event == "completed":
        fields |= {"call_termination_by": "caller", "duration": 30}
    return msgspec.json.encode(fields)
