"""HTTP as RotaryRouter needs it: reading a body, writing an answer, breaking a connection.

Owns the bytes on the wire. Must not know what any request means.
"""

import re
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from apollo.rotary.answers import Answer, Headers

NO_CONTENT = 204  # has no length either
BODY_MAX = 65_536  # a request for a call has some 2 kB; more is a mistake or an attack
BREAKABLE = "apollo.rotary.connection"  # the ASGI extension that lets an answer be dropped

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_encode = msgspec.json.Encoder().encode


class TooLong(Exception):
    """The body is longer than BODY_MAX."""


class Dropped(Exception):
    """The connection is to be broken instead of answered."""


class BreakableProtocol(HttpToolsProtocol):
    """uvicorn's protocol, with a handle on the connection for faults that break it."""

    def on_message_begin(self) -> None:
        """Start a request; the handle travels in its scope."""
        super().on_message_begin()
        self.scope["extensions"] = {BREAKABLE: {"transport": self.transport}}


class Request:
    """One HTTP request, as far as the routes look at it."""

    __slots__ = ("_scope", "headers", "method", "parts", "query")

    def __init__(self, scope: Message) -> None:
        self._scope = scope
        self.method: str = scope["method"]
        self.parts: list[str] = scope["path"].strip("/").split("/")
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        raw: bytes = scope["query_string"]
        self.query: dict[str, str] = dict(parse_qsl(raw.decode("latin-1"))) if raw else {}

    @property
    def bearer(self) -> str | None:
        """The token of the Authorization header, None without one."""
        scheme, _, token = self.headers.get(b"authorization", b"").partition(b" ")
        return token.decode("latin-1").strip() if scheme.lower() == b"bearer" else None

    @property
    def is_json(self) -> bool:
        """Whether the body is said to be JSON; jambonz ignores any other."""
        return self.headers.get(b"content-type", b"").lower().startswith(b"application/json")

    @property
    def is_local(self) -> bool:
        """Whether the client is on this machine."""
        client = self._scope.get("client")
        return client is not None and (client[0].startswith("127.") or client[0] == "::1")

    @property
    def is_local_name(self) -> bool:
        """Whether the page is asked for under a name of this machine's own.

        A page of a foreign site can have the browser here ask us, but only under that site's name.
        """
        host = self.headers.get(b"host", b"localhost").decode("latin-1").lower()
        name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
        return name in {"localhost", "::1"} or re.fullmatch(r"127(\.\d+){3}", name) is not None

    async def break_connection(self, receive: Receive) -> None:
        """Reset the connection without an answer; returns when the server has noticed."""
        self._scope["extensions"][BREAKABLE]["transport"].abort()
        while (await receive())["type"] != "http.disconnect":
            pass


async def read_body(receive: Receive) -> bytes:
    """The whole body; TooLong above BODY_MAX, once the rest of it was thrown away."""
    body = b""
    size = 0
    while True:
        message = await receive()
        part = message.get("body", b"")
        size += len(part)
        if size <= BODY_MAX:
            body += part
        if not message.get("more_body", False):
            break
    if size > BODY_MAX:
        raise TooLong
    return body


async def write_answer(send: Send, answer: Answer, more: Headers) -> None:
    """Send a whole answer; `more` are headers besides its own, an iterator is sent bit by bit."""
    body = answer.body
    content_type = answer.content_type
    chunks = body if isinstance(body, Iterator) else iter(())
    headers = [*more, *answer.headers]
    if isinstance(body, Iterator):
        body = b""
    elif not isinstance(body, bytes):
        body = _encode(body)
        content_type = content_type or "application/json; charset=utf-8"
    if content_type is not None:
        headers.append((b"content-type", content_type.encode()))
    if chunks is not answer.body and answer.status != NO_CONTENT:
        headers.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    for chunk in chunks:  # each send lets the calls go on, however long the ledger is
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": body})
