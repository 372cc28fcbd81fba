"""RotaryRouter as a server: its ASGI application, its own pages below /rotary, start and stop.

Owns the sockets and the order in which the parts come up and go down. Must not know how calls go.
"""

import asyncio
import logging
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager

import uvicorn
import uvloop

from apollo.errors import Misconfigured
from apollo.rotary.accounts import Accounts
from apollo.rotary.answers import TOO_LARGE, Headers
from apollo.rotary.clock import utc_now
from apollo.rotary.exchange import Exchange
from apollo.rotary.faults import FaultPlan
from apollo.rotary.hooks import read_hook
from apollo.rotary.ledger import Ledger
from apollo.rotary.pages import Pages
from apollo.rotary.scenario import Scenario, read_scenario
from apollo.rotary.settings import RotarySettings
from apollo.rotary.wire import (
    BreakableProtocol,
    Dropped,
    Message,
    Receive,
    Request,
    Send,
    TooLong,
    read_body,
    write_answer,
)

log = logging.getLogger(__name__)

BACKLOG = 2048  # connections that wait while the loop is busy; a worker opens hundreds at once
KEEP_ALIVE_S = 5  # what uvicorn does by itself; clients keep theirs shorter
STOP_S = 1.0  # requests still open after this are cut, so that Ctrl-C is prompt


class RotaryRouter:
    """The router: an ASGI application over the exchange."""

    def __init__(self, settings: RotarySettings, scenario: Scenario | None = None) -> None:
        settings.check()
        if scenario is None:
            scenario = read_scenario(settings.scenario) if settings.scenario else Scenario()
        self.settings = settings
        self.url = ""
        self.ledger = Ledger(settings.ledger_path)
        self.plan = FaultPlan(scenario.faults, settings.seed)
        self.exchange = Exchange(
            scenario=scenario,
            seed=settings.seed,
            account_sid=settings.account_sid,
            webhook=read_hook(settings.webhook_url) if settings.webhook_url else None,
            secret=settings.webhook_secret,
            ledger=self.ledger,
            plan=self.plan,
        )
        self._accounts = Accounts(
            settings=settings,
            scenario=scenario,
            exchange=self.exchange,
            ledger=self.ledger,
            plan=self.plan,
        )
        self._pages = Pages(self._accounts, self.exchange, self.ledger, self.plan)

    @classmethod
    @asynccontextmanager
    async def started(
        cls, settings: RotarySettings, scenario: Scenario | None = None
    ) -> AsyncIterator["RotaryRouter"]:
        """A router that listens; `url` is its base with /v1. Stops cleanly at the end."""
        router = cls(settings, scenario)
        listener = _listen(settings)
        host, port = listener.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        router.url = f"http://{shown}:{port}/v1"
        async with AsyncExitStack() as parts:
            parts.callback(listener.close)
            router.ledger.open(asyncio.get_running_loop(), utc_now())
            parts.callback(lambda: router.ledger.close(utc_now()))
            await router.exchange.open()
            parts.push_async_callback(router.exchange.close)
            await parts.enter_async_context(_serving(router, listener))
            yield router

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return None
        requested_at = utc_now()
        request = Request(scope)
        headers: Headers = ()
        try:
            body = await read_body(receive)
            if request.parts[0] == "v1":
                answer, headers = await self._accounts.answer(request, body, requested_at)
            else:
                answer = self._pages.answer(request, body)
        except TooLong:
            answer = TOO_LARGE
        except Dropped:
            self._pages.count(None)
            return await request.break_connection(receive)
        self._pages.count(answer.status)
        return await write_answer(send, answer, headers)


class _Server(uvicorn.Server):
    """uvicorn without its hold on signals: whoever runs the loop decides about those."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _listen(settings: RotarySettings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((settings.host, settings.port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        where = f"{settings.host}:{settings.port}"
        cure = "set APOLLO_ROTARY_PORT to a free port, or stop what listens there"
        raise Misconfigured(
            [f"port: RotaryRouter cannot listen on {where} ({error.strerror}); {cure}"]
        ) from error
    return listener


@asynccontextmanager
async def _serving(router: RotaryRouter, listener: socket.socket) -> AsyncIterator[None]:
    config = uvicorn.Config(
        router,
        http=BreakableProtocol,
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        log_level=logging.WARNING,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=int(STOP_S),
    )
    server = _Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    await server.ready.wait()
    try:
        yield
    finally:
        server.should_exit = True
        await task


async def _until_stopped(settings: RotarySettings) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for wish in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(wish, stopped.set)
    async with RotaryRouter.started(settings) as router:
        log.info("RotaryRouter answers at %s", router.url)
        await stopped.wait()


def serve(settings: RotarySettings) -> None:
    """Run a router until Ctrl-C or SIGTERM, then stop cleanly; Misconfigured if it cannot start."""
    uvloop.run(_until_stopped(settings))
