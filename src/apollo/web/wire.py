"""HTTP on the wire: uvicorn's protocol, with an end to what a client may send and how slowly.

uvicorn limits heads only with its slower parser, and no request's time with either. Owns how long
and how large a head may be, and how long a body may stall. Must not know what a request means: how
large its body may be is the shell's to say.
"""

import asyncio
import logging
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

# uvicorn warns of every request that it cannot read: a stranger may not fill our log.
_log: Final = logging.getLogger("apollo.wire")
_log.setLevel(logging.ERROR)
# Four times what browsers and proxies allow themselves: a long query and a few cookies.
HEAD_BYTES_MAX: Final = 64 * 1024
# A head is one packet or a few; only an attack takes longer.
HEAD_WITHIN_S: Final = 10.0
# A lost packet is sent again within seconds, and a radio cell is changed in less.
BODY_SILENT_S: Final = 30.0
# Slower than any line that people still have; 64 MiB take over an hour at it.
BODY_BYTES_PER_S_MIN: Final = 16 * 1024
# How often each connection is looked at. It costs less than a timer for each request.
LOOK_EVERY_S: Final = 2.0
# As the shell gives them with every other answer.
_HEADERS: Final = (
    b"content-type: application/json\r\nx-content-type-options: nosniff\r\n"
    b"cache-control: no-store\r\nconnection: close\r\ncontent-length: %d\r\n\r\n"
)
# Until a client that is still sending has read why it was refused.
_LINGER_S: Final = 2.0


class GuardedProtocol(HttpToolsProtocol):
    """One connection, refused with 431 for a long head, and with 408 for a slow head or body."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.logger = _log
        self._is_in_head = True
        self._has_begun = False
        self._is_refused = False
        # Of the head or the body that is being received.
        self._received = 0
        self._received_before = 0
        # While we read, in seconds: since it began, and since its last byte.
        self._takes_s = self._silent_s = 0.0
        self._looking: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Begin to watch the connection."""
        super().connection_made(transport)
        self._looking = self.loop.call_later(LOOK_EVERY_S, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop watching."""
        if self._looking is not None:
            self._looking.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Pass on what came, but no more of a head than it may have."""
        if self._is_refused:
            return
        if not self._is_in_head:
            self._received += len(data)
            super().data_received(data)
            return
        room = HEAD_BYTES_MAX - self._received
        first, rest = data[:room], data[room:]
        self._received += len(first)
        super().data_received(first)
        # The end of a head sets the count back.
        if self._received >= HEAD_BYTES_MAX:
            self._refuse(431, f"the request line and headers are over {HEAD_BYTES_MAX // 1024} KiB")
        elif rest and not self.transport.is_closing():
            self.data_received(rest)

    def on_message_begin(self) -> None:
        """Note that a head has begun."""
        super().on_message_begin()
        self._has_begun = True

    def on_headers_complete(self) -> None:
        """Go on with the body."""
        super().on_headers_complete()
        self._begin(is_in_head=False)

    def on_message_complete(self) -> None:
        """Wait for the next head."""
        super().on_message_complete()
        self._begin(is_in_head=True)
        self._has_begun = False

    def _begin(self, *, is_in_head: bool) -> None:
        self._is_in_head = is_in_head
        self._received = self._received_before = 0
        self._takes_s = self._silent_s = 0.0

    @property
    def _current(self) -> RequestResponseCycle | None:
        """The request that is served, or was last; before the first one there is none."""
        return self.cycle

    def _look(self) -> None:
        if self._is_refused or self.transport.is_closing():
            return
        self._looking = self.loop.call_later(LOOK_EVERY_S, self._look)
        # Between two requests uvicorn's own keep-alive holds; where we do not read, we are slow.
        is_idle = not self._has_begun and self._current is not None
        if is_idle or self.flow.read_paused:
            return
        self._takes_s += LOOK_EVERY_S
        is_silent = self._received == self._received_before
        self._silent_s = self._silent_s + LOOK_EVERY_S if is_silent else 0.0
        self._received_before = self._received
        if self._is_in_head:
            if self._takes_s >= HEAD_WITHIN_S:
                self._refuse(408, f"the headers took over {HEAD_WITHIN_S:g} s")
        elif self._silent_s >= BODY_SILENT_S:
            self._refuse(408, f"nothing of the body came for {BODY_SILENT_S:g} s")
        elif self._takes_s >= BODY_SILENT_S and (
            self._received < self._takes_s * BODY_BYTES_PER_S_MIN
        ):
            self._refuse(408, f"the body comes slower than {BODY_BYTES_PER_S_MIN} bytes a second")

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, in the form of every other answer, and close."""
        self._answer(400, msg.rstrip("."))
        self.transport.close()

    def _answer(self, status: int, why: str) -> None:
        body = f'{{"detail":"{why}"}}'.encode()
        self.transport.write(STATUS_LINE[status] + _HEADERS % len(body) + body)

    def _refuse(self, status: int, why: str) -> None:
        """Answer, unless another answer is on its way, and let go of the connection."""
        self._is_refused = True
        cycle = self._current
        is_answering = cycle is not None and (
            not cycle.response_complete if self._is_in_head else cycle.response_started
        )
        if self._has_begun and not is_answering:
            self._answer(status, why)
        if cycle is not None and not self._is_in_head:
            # What reads this body need not wait for the rest of it.
            cycle.disconnected = True
            cycle.message_event.set()
        if not self._has_begun or is_answering:
            self.transport.close()
            return
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(_LINGER_S, self.transport.close)
