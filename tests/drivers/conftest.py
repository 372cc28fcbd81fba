"""What driver tests share: an inbox for webhooks, a clock that stands still, and providers."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from tests.drivers.jambonz_stand_in import StandIn

from apollo.core.ids import execution_id
from apollo.ports import AgentRoute, DialRequest, StatusEvent
from apollo.rotary import RotaryRouter, RotarySettings, Scenario
from apollo.telephony.jambonz import JambonzDriver

NOW = datetime(2026, 5, 10, 9, 5, tzinfo=UTC)
# Nothing here takes a tenth of this, even on a machine that is busy with other things.
DEADLINE_S = 10.0

INLINE = AgentRoute(
    call_hook="https://agent.example.com/call",
    speech_synthesis="google,en-US,en-US-Standard-C",
    speech_recognizer="google,en-US",
)


class StoppedClock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> datetime:
        return NOW

    def monotonic(self) -> float:
        return self.seconds


@dataclass
class Inbox:
    """Receives status webhooks, keeps them raw, and answers 200."""

    url: str = ""
    deliveries: list[tuple[bytes, dict[str, str]]] = field(default_factory=list)
    _news: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def receive(self, request: web.Request) -> web.Response:
        self.deliveries.append((await request.read(), dict(request.headers)))
        async with self._news:
            self._news.notify_all()
        return web.Response()

    def events(self, driver: JambonzDriver) -> list[StatusEvent]:
        assert all(driver.verify_status(body, headers) for body, headers in self.deliveries)
        return [driver.read_status(body, NOW) for body, _ in self.deliveries]

    async def until(self, is_there: Callable[[], bool]) -> None:
        async with asyncio.timeout(DEADLINE_S), self._news:
            await self._news.wait_for(is_there)


@pytest.fixture
async def inbox() -> AsyncIterator[Inbox]:
    inbox = Inbox()
    app = web.Application()
    app.router.add_post("/webhooks/call-status", inbox.receive)
    async with TestServer(app) as server:
        inbox.url = str(server.make_url("")).rstrip("/")
        yield inbox


@pytest.fixture
async def stand_in(inbox: Inbox) -> AsyncIterator[StandIn]:
    hook = {"url": f"{inbox.url}/webhooks/call-status#rc=5&rp=all", "method": "POST"}
    async with StandIn(application_hook=hook).serving() as stand_in:
        yield stand_in


class DriverFor(Protocol):
    """Makes a driver for a provider, by default the stand-in's account; the fixture closes it."""

    def __call__(
        self,
        base_url: str,
        *,
        public_url: str = ...,
        account_sid: str = ...,
        api_key: str = ...,
        webhook_secret: str = ...,
        connect_timeout_s: float = ...,
        total_timeout_s: float = ...,
        connections_max: int = ...,
    ) -> JambonzDriver: ...


@pytest.fixture
def clock() -> StoppedClock:
    return StoppedClock()


@pytest.fixture
async def driver_for(inbox: Inbox, clock: StoppedClock) -> AsyncIterator[DriverFor]:
    drivers: list[JambonzDriver] = []

    def make(
        base_url: str,
        *,
        public_url: str = inbox.url,
        account_sid: str = StandIn.account_sid,
        api_key: str = StandIn.api_key,
        webhook_secret: str = StandIn.webhook_secret,
        connect_timeout_s: float = 3.0,
        total_timeout_s: float = 15.0,
        connections_max: int = 100,
    ) -> JambonzDriver:
        driver = JambonzDriver(
            base_url=base_url,
            account_sid=account_sid,
            api_key=api_key,
            webhook_secret=webhook_secret,
            public_url=public_url,
            clock=clock,
            connections_max=connections_max,
            connect_timeout_s=connect_timeout_s,
            total_timeout_s=total_timeout_s,
        )
        drivers.append(driver)
        return driver

    yield make
    for driver in drivers:
        await driver.close()


@pytest.fixture
def driver(stand_in: StandIn, driver_for: DriverFor) -> JambonzDriver:
    return driver_for(stand_in.base_url)


def request_to(
    number: str = "+919876543210", *, route: AgentRoute = INLINE, call: int = 1
) -> DialRequest:
    return DialRequest(
        execution_id=call_id(call),
        to=number,
        from_number="+447400123456",
        route=route,
        agent_key="agent-key-0123456789",
        ring_timeout_s=30,
        time_limit_s=600,
    )


def call_id(call: int) -> str:
    return execution_id(uuid.UUID(int=call))


class Provider(Protocol):
    """What the suite needs of a provider: everybody rings, only `answering_number` picks up."""

    @property
    def base_url(self) -> str: ...

    @property
    def account_sid(self) -> str: ...

    @property
    def api_key(self) -> str: ...

    @property
    def webhook_secret(self) -> str: ...

    @property
    def application_sid(self) -> str: ...

    @property
    def answering_number(self) -> str: ...

    async def posts_of(self, execution_id: str) -> int:
        """Count the requests for a call that arrived with this tag."""

    def set_away(self, *parts: str) -> None:
        """Have these parts behind the API be away from now on, and no other."""


@dataclass
class Rotary:
    """RotaryRouter as the suite sees it."""

    router: RotaryRouter
    application_sid: str = StandIn.application_sid
    answering_number: str = StandIn.answering_number

    @property
    def base_url(self) -> str:
        return self.router.url

    @property
    def account_sid(self) -> str:
        return self.router.settings.account_sid

    @property
    def api_key(self) -> str:
        return self.router.settings.api_key

    @property
    def webhook_secret(self) -> str:
        return self.router.settings.webhook_secret

    def set_away(self, *parts: str) -> None:
        self.router.plan.clear()
        at_once: dict[str, object] = {"answers_after_s": 0}
        self.router.plan.change(
            {part: at_once if part == "call_store_away" else {} for part in parts}
        )

    async def posts_of(self, execution_id: str) -> int:
        url = self.base_url.removesuffix("v1") + "rotary/ledger"
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            lines = (await answer.text()).splitlines()
        tags = [json.loads(line)["tag"] for line in lines]
        return tags.count({"execution_id": execution_id})


@pytest.fixture(params=["stand-in", "rotary"])
async def provider(request: pytest.FixtureRequest, inbox: Inbox) -> AsyncIterator[Provider]:
    hook = {"url": f"{inbox.url}/webhooks/call-status#rc=5&rp=all", "method": "POST"}
    if request.param == "stand-in":
        async with StandIn(application_hook=hook).serving() as stand_in:
            yield stand_in
        return
    scenario = Scenario.model_validate(
        {
            "people": {
                "mix": {"no_answer": 1},
                "dial_s": [0, 0],
                "unanswered_s": [600, 600],
                "by_number": {
                    StandIn.answering_number: {"does": "answer", "ring_s": 0, "talk_s": 600}
                },
            },
            "applications": {StandIn.application_sid: {"call_status_hook": hook}},
        }
    )
    settings = RotarySettings(
        api_key="rotary-key",
        account_sid="e5d7d4a4-52c5-4f9e-8a4d-0d1c7f3d9b21",
        webhook_secret="wh_secret_of_rotary",
        port=0,
    )
    async with RotaryRouter.started(settings, scenario) as router:
        yield Rotary(router)
