"""Clients that do their worst, and a victim that asks meanwhile: for test_hostile_clients."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

import aiohttp
from tests.e2e.machine import Machine

# Between two attempts of one attacker, so that what is measured is not this process's own hunger.
PAUSE_S = 0.2
Ask = Callable[[], Awaitable[int]]
# What somebody waited, and what the answer was.
Waits = list[tuple[float, int]]


async def timed(waits: Waits, ask: Ask) -> None:
    """Ask ten times a second, and note how long each answer took."""
    while True:
        began = time.monotonic()
        status = await ask()
        waits.append((time.monotonic() - began, status))
        await asyncio.sleep(0.1)


class Attack:
    """The other clients."""

    def __init__(self, apollo: Machine, token: str) -> None:
        self._apollo = apollo
        self._token = token
        self._port = int(apollo.url.rpartition(":")[2])
        self.statuses: dict[str, set[int]] = {}

    async def raw(self, sent: bytes) -> None:
        """Send this and keep the connection until the server has enough of it."""
        while True:
            with contextlib.suppress(ConnectionError):
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
                try:
                    writer.write(sent)
                    await writer.drain()
                    await reader.read()
                finally:
                    writer.transport.abort()
            await asyncio.sleep(PAUSE_S)

    async def post(self, path: str, body: bytes | Callable[[], AsyncIterator[bytes]]) -> None:
        """Send this again and again, as an organisation of its own."""
        kind = "text/csv" if "csv" in path else "application/json"
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": kind}
        timeout = aiohttp.ClientTimeout(total=None)
        async with aiohttp.ClientSession(timeout=timeout, headers=headers) as http:
            while True:
                given = body() if callable(body) else _pieces(body)
                with contextlib.suppress(aiohttp.ClientError):
                    async with http.post(f"{self._apollo.url}{path}", data=given) as answer:
                        text = await answer.read()
                        assert len(text) < 64_000
                        self.statuses.setdefault(path, set()).add(answer.status)
                await asyncio.sleep(PAUSE_S)

    def all(self) -> list[Awaitable[None]]:
        head = b"GET /livez HTTP/1.1\r\nHost: a\r\n"
        hook = b"POST /webhooks/call-result HTTP/1.1\r\nHost: a\r\nContent-Length: 900000\r\n\r\n"
        zeros = b'{"campaign_id":"cmp_x","contacts":[' + b"0," * 2_000_000 + b"0]}"
        keys = json.dumps({f"key{n}": 1 for n in range(60_000)}).encode()
        numbers = b'{"name":"a","agent_id":"a","phone_numbers":[' + b"1," * 450_000 + b"1]}"
        return [
            self.raw(head + b"X: " + b"a" * 8_000_000),
            self.raw(head + b"A: b\r\n" * 1_000_000),
            *[self.raw(head + b"X: a") for _ in range(50)],
            *[self.raw(hook + b"a" * 60_000) for _ in range(20)],
            *[self.post("/api/v1/batches", zeros) for _ in range(3)],
            self.post("/api/v1/batches", keys),
            self.post("/api/v1/campaigns", keys),
            self.post("/api/v1/campaigns", numbers),
            *[self.post("/api/v1/batches/csv?campaign_id=cmp_x", _slow_file) for _ in range(20)],
        ]


async def _pieces(body: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(body), 65_536):
        yield body[at : at + 65_536]


async def _slow_file() -> AsyncIterator[bytes]:
    yield b"phone_number\n"
    while True:
        await asyncio.sleep(0.5)
        yield b"+12025550143\n"


async def measure(
    asked: Mapping[str, Ask], beside: list[Awaitable[None]], for_s: float
) -> dict[str, Waits]:
    """Ask for some time, with this beside; gives the waits by name."""
    waits: dict[str, Waits] = {name: [] for name in asked}
    tasks = [asyncio.ensure_future(one) for one in beside]
    tasks += [asyncio.create_task(timed(waits[name], ask)) for name, ask in asked.items()]
    done, left = await asyncio.wait(tasks, timeout=for_s, return_when=asyncio.FIRST_EXCEPTION)
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
    for task in done:
        task.result()
    return waits
