"""Proxies on this machine that cut connections where it hurts most, and remember what passed."""

import asyncio
import contextlib
import json
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum
from random import Random
from typing import Any

_MESSAGE_MAX = 64 << 20


class Cut(Enum):
    """Where a connection breaks."""

    BEFORE_REQUEST = "before the request"  # closed as soon as it is open: nothing was sent on
    AFTER_REQUEST = "after the request"  # the request went on, its reply never comes back
    MID_REPLY = "in the reply"  # the reply breaks off after some bytes
    STALL = "stall"  # the request went on, and then there is silence


@dataclass
class _Listener:
    """What both proxies share: a port that takes connections, or refuses them for a while."""

    port: int = 0
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Any]:
        await self.open()
        try:
            yield self
        finally:
            await self.refuse()

    async def open(self) -> None:
        """Take connections; again on the same port after a refusal."""
        if self._server is None:
            self._server = await asyncio.start_server(
                self._accepted, "127.0.0.1", self.port, limit=_MESSAGE_MAX
            )
            self.port = self._server.sockets[0].getsockname()[1]

    async def refuse(self) -> None:
        """Cut every connection and refuse new ones, as a port does that nobody listens on."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if server is not None:
            await server.wait_closed()

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._carry(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> Coroutine[Any, Any, None]:
        raise NotImplementedError


@dataclass(frozen=True)
class Asked:
    """A request for a call that was passed on."""

    at: float
    execution_id: str


@dataclass
class FaultProxy(_Listener):
    """Forwards HTTP to one port; a share of the POST requests meets a fault."""

    target: int = 0
    random: Random = field(default_factory=Random)
    share: float = 0.0
    cuts: tuple[Cut, ...] = tuple(Cut)
    done: Counter[Cut] = field(default_factory=Counter)
    # Every request for a call, in the order in which it went on: a witness of its own.
    asked: list[Asked] = field(default_factory=list)
    # Called when one has been passed on, before any answer.
    on_asked: Callable[[], None] | None = None

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            upstream, onward = await asyncio.open_connection(
                "127.0.0.1", self.target, limit=_MESSAGE_MAX
            )
        except OSError:
            writer.transport.abort()
            return
        try:
            while await self._one_request(reader, writer, upstream, onward):
                pass
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            await _drop(writer, onward)

    async def _one_request(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        upstream: asyncio.StreamReader,
        onward: asyncio.StreamWriter,
    ) -> bool:
        request = await _unless_closed(_message(reader), upstream)
        if request is None:
            return False
        cut = None
        if request.startswith(b"POST") and self.random.random() < self.share:
            cut = self.random.choice(self.cuts)
            self.done[cut] += 1
        if cut is Cut.BEFORE_REQUEST:
            return False
        onward.write(request)
        self._remember(request)
        if cut is Cut.AFTER_REQUEST:
            writer.transport.abort()  # at once: the other side may not even have begun with it
        reply = await _message(upstream)
        if cut is Cut.STALL:
            await asyncio.Event().wait()
        if cut is Cut.AFTER_REQUEST:
            return False
        if cut is Cut.MID_REPLY:
            writer.write(reply[: len(reply) // 2])
            await writer.drain()
            return False
        writer.write(reply)
        await writer.drain()
        return True

    def _remember(self, request: bytes) -> None:
        head, _, body = request.partition(b"\r\n\r\n")
        if re.match(rb"POST /v1/Accounts/[^/]+/Calls ", head):
            tag = json.loads(body)["tag"]
            self.asked.append(Asked(time.time(), tag["execution_id"]))
            if self.on_asked is not None:
                self.on_asked()


@dataclass
class DatabaseProxy(_Listener):
    """Forwards bytes to the Unix socket of PostgreSQL, until it is told to cut."""

    socket: str = ""
    cuts: int = 0
    # How many requests are still to be cut off from their answer.
    _armed: int = 0
    _last_cut: asyncio.Event = field(default_factory=asyncio.Event)

    async def cut_after_request(self, times: int) -> None:
        """Let requests reach the server and their answers nobody, so many times; wait for it.

        A commit among them has then happened, and its client cannot know.
        """
        self._last_cut.clear()
        self._armed = times
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(3):
                await self._last_cut.wait()
        self._armed = 0

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            upstream, onward = await asyncio.open_unix_connection(self.socket)
        except OSError:
            writer.transport.abort()
            return
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._requests(reader, onward))
                both.create_task(_pump(upstream, writer))
        except* (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            await _drop(writer, onward)

    async def _requests(self, reader: asyncio.StreamReader, onward: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(1 << 16):
            onward.write(chunk)
            await onward.drain()
            if self._armed:
                self._armed -= 1
                self.cuts += 1
                if not self._armed:
                    self._last_cut.set()
                # The server has it; whether it is done before it notices is left to chance.
                raise ConnectionResetError
        raise ConnectionResetError


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(1 << 16):
        writer.write(chunk)
        await writer.drain()
    raise ConnectionResetError


async def _unless_closed(
    message: Coroutine[Any, Any, bytes], upstream: asyncio.StreamReader
) -> bytes | None:
    """Wait for a message; None once the other side has gone, which the client has to see."""
    coming, closing = asyncio.create_task(message), asyncio.create_task(upstream.read(1))
    try:
        await asyncio.wait({coming, closing}, return_when=asyncio.FIRST_COMPLETED)
        return None if closing.done() else await coming
    finally:
        for task in (coming, closing):
            task.cancel()
        await asyncio.gather(coming, closing, return_exceptions=True)


async def _drop(*writers: asyncio.StreamWriter) -> None:
    for one in writers:
        one.transport.abort()
        with contextlib.suppress(OSError):
            await one.wait_closed()


async def _message(reader: asyncio.StreamReader) -> bytes:
    """Read one HTTP message with a Content-Length, or none."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = 0
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    return head + (await reader.readexactly(length) if length else b"")
