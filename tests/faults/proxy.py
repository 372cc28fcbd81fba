"""A TCP proxy on this machine that cuts connections where it hurts most."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum
from random import Random


class Cut(Enum):
    """Where a connection breaks."""

    BEFORE_REQUEST = "before"  # refused as soon as it is open: nothing was sent on
    AFTER_REQUEST = "after"  # the request went on, its reply never comes back
    MID_REPLY = "mid"  # the reply breaks off after some bytes
    STALL = "stall"  # the request went on, and then there is silence


@dataclass
class FaultProxy:
    """Forwards to one port; a share of the POST requests meets a fault."""

    target: int
    random: Random
    share: float = 0.0
    cuts: tuple[Cut, ...] = tuple(Cut)
    port: int = 0
    done: Counter[Cut] = field(default_factory=Counter)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator["FaultProxy"]:
        server = await asyncio.start_server(self._accepted, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await server.wait_closed()

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._carry(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            upstream, onward = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        try:
            while await self._one_request(reader, writer, upstream, onward):
                pass
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            for one in (writer, onward):
                one.transport.abort()
                with contextlib.suppress(OSError):
                    await one.wait_closed()

    async def _one_request(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        upstream: asyncio.StreamReader,
        onward: asyncio.StreamWriter,
    ) -> bool:
        request = await _message(reader)
        cut = None
        if request.startswith(b"POST") and self.random.random() < self.share:
            cut = self.random.choice(self.cuts)
            self.done[cut] += 1
        if cut is Cut.BEFORE_REQUEST:
            return False
        onward.write(request)
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


async def _message(reader: asyncio.StreamReader) -> bytes:
    """Read one HTTP message with a Content-Length, or none."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = 0
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    return head + (await reader.readexactly(length) if length else b"")
