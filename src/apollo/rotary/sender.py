"""Sends ready-made HTTP requests and reads the status that comes back.

Owns the connections to whoever hears webhooks. Not a general client: no redirects, cookies or
decoding, because jambonz's has none either, and a library that has them costs RotaryRouter more
than everything else it does for a call. Must not know what a request says.
"""

import asyncio
import errno
import ssl
from collections import defaultdict
from socket import gaierror
from typing import cast

import httptools

from apollo.rotary.hooks import Hook

TIMEOUT_S = 10.0  # JAMBONES_HTTP_TIMEOUT: to connect, and again from the request to the answer
CONNECTIONS = 256  # enough to hide a slow receiver, within the usual 1 024 open files
IDLE_S = 2.0  # below uvicorn's 5 s, so that a connection in use again was not just closed there
BODY_READ = 65_536  # a longer answer is cut off, and its connection with it
FIRST_FINAL_STATUS = 200  # below it an answer only announces another

CONNECTION_TROUBLE = frozenset(
    {errno.ECONNREFUSED, errno.ECONNRESET, errno.ECONNABORTED, errno.ETIMEDOUT}
)
Place = tuple[str, str, int]


class NoAnswer(Exception):
    """No status came back; `connection_trouble` if jambonz would file it under `ct`."""

    def __init__(self, what: str, *, connection_trouble: bool = False) -> None:
        super().__init__(what)
        self.connection_trouble = connection_trouble


class Connection(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.usable = False
        self.idle_since = 0.0
        self._loop = loop
        self._parser = httptools.HttpResponseParser(self)
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None
        self._status = 0
        self._body = b""

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """Send a request; the status and the body of its answer, or NoAnswer."""
        self._status, self._body = 0, b""
        self.usable = False  # until the answer has come in whole
        self._answer = self._loop.create_future()
        timer = self._loop.call_later(TIMEOUT_S, self._too_slow)
        self._transport.write(request)
        try:
            return await self._answer
        finally:
            timer.cancel()
            self._answer = None

    def close(self) -> None:
        """Close at once."""
        self.usable = False
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection into use (asyncio)."""
        self._transport = cast("asyncio.Transport", transport)
        self.usable = True

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail what waits, unless its status had come already (asyncio)."""
        self.usable = False
        if self._status >= FIRST_FINAL_STATUS:
            self._done()
        elif isinstance(exc, OSError):
            self._fail(_told(exc), connection_trouble=exc.errno in CONNECTION_TROUBLE)
        else:
            self._fail("the receiver closed the connection without an answer")

    def data_received(self, data: bytes) -> None:
        """Read on (asyncio)."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(f"the answer is not HTTP ({error})")
            self.close()

    def on_headers_complete(self) -> None:
        """The status is known (httptools)."""
        self._status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        """A part of the body came (httptools)."""
        self._body += body
        if len(self._body) > BODY_READ:
            self._done()
            self.close()

    def on_message_complete(self) -> None:
        """The answer is whole (httptools)."""
        if self._status >= FIRST_FINAL_STATUS:
            self.usable = self._parser.should_keep_alive()
            self._done()

    def _too_slow(self) -> None:
        if self._status >= FIRST_FINAL_STATUS:
            self._done()  # the limit is on the headers; jambonz does not read the rest
        else:
            self._fail(f"no answer within {TIMEOUT_S:g} s")
        self.close()

    def _done(self) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result((self._status, self._body))

    def _fail(self, what: str, *, connection_trouble: bool = False) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(NoAnswer(what, connection_trouble=connection_trouble))


class Sender:
    """The connections of the whole router, kept for the next request to the same place."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._room = asyncio.Semaphore(CONNECTIONS)
        self._idle: defaultdict[Place, list[Connection]] = defaultdict(list)
        self._tls: ssl.SSLContext | None = None

    async def send(self, hook: Hook, request: bytes) -> tuple[int, bytes]:
        """The status and body that come back from the hook, or NoAnswer."""
        async with self._room:
            connection = self._take(hook.place) or await self._connect(hook.place)
            try:
                return await connection.ask(request)
            finally:
                if connection.usable:
                    connection.idle_since = self._loop.time()
                    self._idle[hook.place].append(connection)
                else:
                    connection.close()

    def close(self) -> None:
        """Close what is idle; what is in use closes when its request is cancelled."""
        for connections in self._idle.values():
            for connection in connections:
                connection.close()
        self._idle.clear()

    def _take(self, place: Place) -> Connection | None:
        idle = self._idle[place]
        while idle:
            connection = idle.pop()  # the latest one; the others may grow old and go
            if connection.usable and self._loop.time() - connection.idle_since < IDLE_S:
                return connection
            connection.close()
        return None

    async def _connect(self, place: Place) -> Connection:
        scheme, host, port = place
        tls: ssl.SSLContext | None = None
        if scheme == "https":
            tls = self._tls = self._tls or ssl.create_default_context()
        try:
            async with asyncio.timeout(TIMEOUT_S):
                _, connection = await self._loop.create_connection(
                    lambda: Connection(self._loop), host, port, ssl=tls
                )
        except TimeoutError:
            raise NoAnswer(
                f"no connection within {TIMEOUT_S:g} s", connection_trouble=True
            ) from None
        except gaierror as error:
            raise NoAnswer(_told(error)) from error  # jambonz does not retry an unknown name
        except ssl.SSLError as error:
            raise NoAnswer(_told(error)) from error
        except OSError as error:
            raise NoAnswer(_told(error), connection_trouble=True) from error
        return connection


def _told(error: OSError) -> str:
    return error.strerror or str(error)
