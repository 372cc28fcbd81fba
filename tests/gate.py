"""A way to PostgreSQL that can go silent, as a server that hangs does."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit


class Gate:
    """A way to PostgreSQL that can go silent: nothing is refused, and nothing comes any more."""

    def __init__(self, target: Path, folder: Path) -> None:
        self.target = target
        self.own = folder / target.name
        self._is_open = asyncio.Event()
        self._is_open.set()
        # Lets so many more answers through, if it is to go silent by itself.
        self.answers_left: int | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator["Gate"]:
        server = await asyncio.start_unix_server(self._accepted, self.own)
        try:
            yield self
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def leading(self, url: str) -> str:
        """The address of the same database, through here."""
        return url.replace(str(self.target.parent), str(self.own.parent))

    def silence(self) -> None:
        """Hold back everything from now on."""
        self._is_open.clear()

    def shut(self) -> None:
        """Cut everybody off."""
        for task in self._tasks:
            task.cancel()

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._carry(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream, onward = await asyncio.open_unix_connection(self.target)
        try:
            await asyncio.gather(
                self._pump(reader, onward), self._pump(upstream, writer, counts=True)
            )
        finally:
            writer.transport.abort()
            onward.transport.abort()

    async def _pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, counts: bool = False
    ) -> None:
        with contextlib.suppress(OSError):
            while piece := await source.read(1 << 16):
                if counts and self.answers_left is not None:
                    self.answers_left -= 1
                    if self.answers_left < 0:
                        self._is_open.clear()
                await self._is_open.wait()
                sink.write(piece)
                await sink.drain()
        sink.close()


@asynccontextmanager
async def a_gate(database_url: str) -> AsyncIterator[Gate]:
    """One before the server of this database."""
    where = parse_qs(urlsplit(database_url).query)
    server = Path(where["host"][0]) / f".s.PGSQL.{where['port'][0]}"
    with tempfile.TemporaryDirectory() as folder:
        async with Gate(server, Path(folder)).serving() as opened:
            yield opened
