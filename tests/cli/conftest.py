"""A small API for the command line to talk to, on a thread of its own."""

import asyncio
import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import structlog
from aiohttp import web

BROKEN = 0  # instead of a status: the connection breaks without an answer
TOKEN = "gat_0123456789abcdefghijABCDEFGHIJ012345"


@dataclass
class StandIn:
    """Answers each path with its next answer, the last of them for ever; keeps every request."""

    url: str = ""
    answers: dict[str, list[tuple[int, Any]]] = field(default_factory=dict)
    requests: list[tuple[str, str, dict[str, str], dict[str, str], bytes]] = field(
        default_factory=list
    )
    breaks_uploads: bool = False

    def answer(self, path: str, *answers: tuple[int, Any]) -> None:
        self.answers[path] = list(answers)

    async def serve(self, request: web.Request) -> web.StreamResponse:
        if self.breaks_uploads and request.method == "POST":
            await request.content.readany()
            return _broken(request)
        body = await request.read()
        seen = (request.method, request.path, dict(request.query), dict(request.headers), body)
        self.requests.append(seen)
        answers = self.answers.get(request.path, [(404, {"detail": "Not Found"})])
        status, content = answers.pop(0) if len(answers) > 1 else answers[0]
        return _broken(request) if status == BROKEN else web.json_response(content, status=status)


def _broken(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def _run(stand_in: StandIn, ready: threading.Event, stop: asyncio.Event) -> None:
    app = web.Application(client_max_size=64 << 20)
    app.router.add_route("*", "/{path:.*}", stand_in.serve)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    stand_in.url = f"http://{host}:{port}"
    ready.set()
    await stop.wait()
    await runner.cleanup()


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """A command sets up the log of its process, which here is the tests' process."""
    handlers, level = logging.root.handlers[:], logging.root.level
    yield
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)
    structlog.reset_defaults()


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """The stand-in, which APOLLO_URL and APOLLO_TOKEN lead to."""
    stand_in, ready = StandIn(), threading.Event()
    loop, stop = asyncio.new_event_loop(), asyncio.Event()
    thread = threading.Thread(target=loop.run_until_complete, args=(_run(stand_in, ready, stop),))
    thread.start()
    assert ready.wait(10)
    monkeypatch.setenv("APOLLO_URL", stand_in.url)
    monkeypatch.setenv("APOLLO_TOKEN", TOKEN)
    yield stand_in
    loop.call_soon_threadsafe(stop.set)
    thread.join(10)
    loop.close()
