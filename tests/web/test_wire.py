"""What a client may send on the wire, how much of it and how slowly; tried with bare sockets."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from apollo.web import wire
from apollo.web.listening import config_of

# Nothing here takes a tenth of this, even on a machine that is busy with other things.
PATIENCE_S = 20.0


@dataclass
class Served:
    """An application that reads the whole body, and remembers how requests ended."""

    port: int = 0
    read: list[int] = field(default_factory=list)
    broken_off: int = 0
    may_read: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/slow":
            await self.may_read.wait()
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.broken_off += 1
                return
            size += len(message["body"])
            if not message["more_body"]:
                break
        self.read.append(size)
        headers = [(b"content-length", b"2")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"ok"})

    async def say(self, *pieces: bytes) -> bytes:
        """Send pieces, and give everything that comes back until the other side is done."""
        async with asyncio.timeout(PATIENCE_S), self.connected() as (reader, writer):
            with contextlib.suppress(ConnectionError):
                for piece in pieces:
                    writer.write(piece)
                    await writer.drain()
            with contextlib.suppress(ConnectionError):
                return await reader.read()
        return b""

    @contextlib.asynccontextmanager
    async def connected(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            yield reader, writer
        finally:
            writer.transport.abort()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    app = Served()
    server = uvicorn.Server(config_of(app, "127.0.0.1", 0))
    running = asyncio.create_task(server._serve())
    async with asyncio.timeout(PATIENCE_S):
        while not server.started:  # noqa: ASYNC110 - uvicorn offers nothing to wait for
            await asyncio.sleep(0)
    app.port = server.servers[0].sockets[0].getsockname()[1]
    yield app
    server.should_exit = True
    await running


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every patience a twentieth of what it is."""
    for name in ("HEAD_WITHIN_S", "BODY_SILENT_S", "LOOK_EVERY_S"):
        monkeypatch.setattr(wire, name, getattr(wire, name) / 20)


GET = b"GET / HTTP/1.1\r\nHost: a\r\n"
CLOSE = GET + b"Connection: close\r\n\r\n"


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(GET + b"X: " + b"a" * 80_000 + b"\r\n\r\n", id="one header"),
        pytest.param(GET + b"A: b\r\n" * 20_000 + b"\r\n", id="many headers"),
        pytest.param(GET + b"X: " + b"a" * 80_000, id="an unfinished header"),
        pytest.param(b"GET /" + b"a" * 80_000 + b" HTTP/1.1\r\n\r\n", id="a path"),
        pytest.param(b"GET /?" + b"a=b&" * 20_000, id="a query"),
    ],
)
async def test_a_head_of_more_than_64_kib_is_refused(served: Served, head: bytes) -> None:
    answer = await served.say(head)
    assert answer.startswith(b"HTTP/1.1 431 ")
    assert b"64 KiB" in answer
    assert b"\r\nx-content-type-options: nosniff\r\ncache-control: no-store\r\n" in answer
    assert served.read == []


async def test_what_is_no_http_is_answered_like_any_other_fault(served: Served) -> None:
    for sent in (b"\x16\x03\x01\x02\x00" * 20, GET + b"Content-Length: -1\r\n\r\n"):
        answer = await served.say(sent)
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert answer.count(b"HTTP/1.1 ") == 1
        assert b"\r\nx-content-type-options: nosniff\r\ncache-control: no-store\r\n" in answer
        assert answer.endswith(b'{"detail":"Invalid HTTP request received"}')


async def test_a_head_of_60_kib_in_many_pieces_is_served(served: Served) -> None:
    lines = [b"X-%d: %s\r\n" % (n, b"a" * 990) for n in range(60)]
    assert (await served.say(GET, *lines, b"Connection: close\r\n\r\n")).endswith(b"ok")


async def test_what_is_counted_for_one_head_is_not_counted_for_the_next(served: Served) -> None:
    big = b"X: " + b"a" * 40_000 + b"\r\n"
    body = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\n\r\n" + b"z" * 300_000
    answer = await served.say(GET + big + b"\r\n" + body + GET + big + b"\r\n" + CLOSE)
    assert answer.count(b"HTTP/1.1 200 ") == 4
    assert served.read == [0, 300_000, 0, 0]


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize("sent", [b"G", GET, GET + b"X: a", GET + b"\r\n" + GET])
async def test_a_head_that_is_not_finished_is_refused_in_time(served: Served, sent: bytes) -> None:
    assert (await served.say(sent)).count(b"HTTP/1.1 408 ") == 1


@pytest.mark.usefixtures("hurried")
async def test_a_connection_on_which_nothing_is_asked_is_closed_without_a_word(
    served: Served,
) -> None:
    assert await served.say() == b""


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize("begun", [b"", b"half of it"])
async def test_a_body_that_stalls_is_refused_and_forgotten(served: Served, begun: bytes) -> None:
    head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n"
    assert (await served.say(head + begun)).startswith(b"HTTP/1.1 408 ")
    assert served.broken_off == 1


@pytest.mark.usefixtures("hurried")
async def test_a_body_that_drips_is_refused(served: Served) -> None:
    async with asyncio.timeout(PATIENCE_S), served.connected() as (reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        answer = asyncio.create_task(reader.read(4096))
        while not answer.done():
            writer.write(b"1\r\nx\r\n")
            await asyncio.sleep(0.01)
    assert answer.result().startswith(b"HTTP/1.1 408 ")
    assert b"slower than" in answer.result()


@pytest.mark.usefixtures("hurried")
async def test_a_client_is_not_slow_where_it_is_we_who_do_not_read(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = 0
    look = wire.GuardedProtocol._look

    def counted(self: wire.GuardedProtocol) -> None:
        nonlocal looked
        looked += 1
        look(self)

    monkeypatch.setattr(wire.GuardedProtocol, "_look", counted)
    body = b"z" * 400_000
    head = b"POST /slow HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 400000\r\n\r\n"
    asking = asyncio.create_task(served.say(head + body))
    async with asyncio.timeout(PATIENCE_S):
        while looked < 25:  # more than twice as often as a silent body would be given  # noqa: ASYNC110 - nothing else tells
            await asyncio.sleep(0.01)
    served.may_read.set()
    assert (await asking).endswith(b"ok")


async def test_a_kept_connection_serves_one_request_after_the_other(served: Served) -> None:
    assert (await served.say(*[GET + b"\r\n"] * 200, CLOSE)).count(b"ok") == 201
