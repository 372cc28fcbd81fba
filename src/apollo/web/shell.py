"""What surrounds every request: its path, its id, its token, the size of its body, its figures.

Owns everything that must hold before a route is even chosen, so that no route can forget it.
Must never read a body.
"""

import asyncio
import os
import re
import time
from collections import Counter as Counts
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from apollo.errors import ApolloError, TooLarge, Unauthorised
from apollo.usecases.authenticate import Authenticate
from apollo.web.faults import INTERNAL, METHODS, answer_to

API: Final = "/api/v1"
_MIB: Final = 1024 * 1024
# A batch of some 400,000 contacts; decoding more at once would stall everybody else.
BATCH_BODY_MAX: Final = 64 * _MIB
# Everything else is a campaign or less.
BODY_MAX: Final = _MIB
_BATCH_PATHS: Final = frozenset({f"{API}/batches", f"{API}/batches/upload"})
# Streams into the database row by row and counts its rows itself.
_UPLOAD_PATH: Final = f"{API}/batches/csv"
# Ten million rows of 400 bytes: as many as a batch may have, and no disk is filled by one file.
UPLOAD_BODY_MAX: Final = 4096 * _MIB
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
# Why nothing moves is asked when nothing moves: that the database is silent is said in a second.
_DEBUG_TOKEN_WITHIN_S: Final = 0.7
# What proxies count a request as whose client has gone; it is sent to nobody.
_CLIENT_LEFT: Final = 499
# Of one organisation at a time; what is over waits, unread. Two would do for any client of ours.
_LARGE_AT_ONCE: Final = 4
# Answers hold numbers and names, and none of them is to be taken for anything but what it says.
_SAFE: Final = ((b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store"))
_log = structlog.get_logger("apollo.web")


class Figures:
    """Counts and times of requests, by route template: a path with ids would never end."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "apollo_http_requests_total",
            "Requests answered.",
            ["method", "route", "status"],
            registry=registry,
        )
        # The figures of what was answered before: finding them by their labels costs more than
        # counting. As few as there are routes and statuses.
        self._known: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self._seconds = Histogram(
            "apollo_http_request_duration_seconds",
            "Time from a request's headers to the end of its answer.",
            ["method", "route"],
            # From a cached read to an upload of millions of rows.
            buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60, 600),
            registry=registry,
        )

    def count(self, scope: Scope, status: int, seconds: float) -> None:
        """Count one answered request."""
        method = scope["method"] if scope["method"] in METHODS else "other"
        route = getattr(scope.get("route"), "path", "unmatched")
        # FastAPI names a route as its router does, without the prefix it is served under.
        if "principal" in scope.get("state", {}) and route.startswith("/"):
            route = API + route.removeprefix(API)
        known = self._known.get((method, route, status))
        if known is None:
            known = (
                self._requests.labels(method, route, str(status)),
                self._seconds.labels(method, route),
            )
            self._known[method, route, status] = known
        known[0].inc()
        known[1].observe(seconds)


class Shell:
    """The outermost ASGI application."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        authenticate: Authenticate,
        figures: Figures,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._app = app
        self._authenticate = authenticate
        self._figures = figures
        self._monotonic = monotonic
        self._turns = _Turns()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; never raises."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope = _without_trailing_slash(scope)
        headers = Headers(scope=scope)
        answer = _Answer(send, _request_id(headers))
        began = self._monotonic()
        with structlog.contextvars.bound_contextvars(request_id=answer.request_id):
            try:
                await self._guarded(scope, headers, receive, answer)
            except ClientDisconnect:
                # Nobody is there to be answered, and whoever breaks off may not fill our log.
                answer.status = answer.status or _CLIENT_LEFT
            except Exception:  # noqa: BLE001 - the outermost frame of a request: log and answer
                _log.exception("request_broke")
                if answer.status == 0:
                    await JSONResponse({"detail": INTERNAL}, 500)(scope, receive, answer.send)
        self._figures.count(scope, answer.status, self._monotonic() - began)

    async def _guarded(
        self, scope: Scope, headers: Headers, receive: Receive, answer: "_Answer"
    ) -> None:
        try:
            if scope["path"] == API or scope["path"].startswith(f"{API}/"):
                token = _bearer(headers)
                state = scope.setdefault("state", {})
                within_s = _DEBUG_TOKEN_WITHIN_S if scope["path"].endswith("/debug") else None
                state["principal"] = await self._authenticate.principal_of(token, within_s=within_s)
                receive = _limited(scope["path"], headers, receive)
                async with self._turns.of(state["principal"].organization_id, scope, headers):
                    await self._app(scope, receive, answer.send)
            else:
                await self._app(scope, receive, answer.send)
        except ApolloError as error:
            if answer.status:
                raise
            await answer_to(error)(scope, receive, answer.send)


class _Turns:
    """Lets each organisation send a few large bodies at a time; the rest wait behind their own."""

    def __init__(self) -> None:
        self._taken: dict[str, asyncio.Semaphore] = {}
        self._here: Counts[str] = Counts()

    @asynccontextmanager
    async def of(self, organization: str, scope: Scope, headers: Headers) -> AsyncGenerator[None]:
        """Wait for a turn, if this request needs one."""
        if scope["method"] != "POST" or not _may_be_large(scope["path"], headers):
            yield
            return
        turn = self._taken.setdefault(organization, asyncio.Semaphore(_LARGE_AT_ONCE))
        self._here[organization] += 1
        try:
            async with turn:
                yield
        finally:
            self._here[organization] -= 1
            if not self._here[organization]:
                del self._here[organization], self._taken[organization]


def _may_be_large(path: str, headers: Headers) -> bool:
    if path not in _BATCH_PATHS and path != _UPLOAD_PATH:
        return False
    said = headers.get("content-length", "")
    return not (said.isascii() and said.isdigit() and int(said) <= BODY_MAX)


class _Answer:
    """The way back: every answer carries the request's id."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self.request_id = request_id
        self.status = 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            named = (b"x-request-id", self.request_id.encode())
            given = message.get("headers", ())
            is_set = {name.lower() for name, _ in given}
            safe = (one for one in _SAFE if one[0] not in is_set)
            message["headers"] = [*given, named, *safe]
        await self._send(message)


def _without_trailing_slash(scope: Scope) -> Scope:
    # No redirect: a client may drop its Authorization header on the way.
    path = scope["path"]
    if len(path) > 1 and path.endswith("/"):
        return {**scope, "path": path[:-1], "raw_path": path[:-1].encode()}
    return {**scope}


def _request_id(headers: Headers) -> str:
    given = headers.get("x-request-id", "")
    return given if _REQUEST_ID.fullmatch(given) else os.urandom(16).hex()


def _bearer(headers: Headers) -> str:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthorised("send the header Authorization: Bearer gat_…")
    return token.strip()


def _limited(path: str, headers: Headers, receive: Receive) -> Receive:
    """Let no more of a body through than its path allows, whatever its length was said to be."""
    most = _most(path)
    said = headers.get("content-length", "0")
    if said.isascii() and said.isdigit() and int(said) > most:
        raise _too_large(path, most)
    seen = 0

    async def receive_limited() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > most:
            raise _too_large(path, most)
        return message

    return receive_limited


def _most(path: str) -> int:
    if path == _UPLOAD_PATH:
        return UPLOAD_BODY_MAX
    return BATCH_BODY_MAX if path in _BATCH_PATHS else BODY_MAX


def _too_large(path: str, most: int) -> TooLarge:
    text = f"The body is over {most // _MIB} MiB"
    if path in _BATCH_PATHS:
        text += f": upload the contacts as CSV to POST {_UPLOAD_PATH}, which takes 10 million"
    elif path == _UPLOAD_PATH:
        text += ": split the file into several batches"
    return TooLarge(text)
