"""What the RotaryRouter tests share: a router, somebody who hears its webhooks, and a caller."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from aiohttp import web

from apollo.rotary import RotaryRouter, RotarySettings, Scenario

ACCOUNT = "9351f46a-678c-43f5-b8a6-d4eb58d131af"
OTHER_ACCOUNT = "0b3f6a3e-1111-4a4a-8a8a-2b2b2b2b2b2b"
APPLICATION = "cccccccc-0000-4000-8000-000000000001"
KEY = "rotary-test-key"
SECRET = "wh_secret_for_tests"
CALLER_ID = "+14155550123"
PERSON = "+919876543210"
PATIENCE_S = 30.0  # a condition that has not come true by then never will

Json = Any
INSTANT = {"preset": "instant"}
SPEECH = {
    "speech_synthesis_vendor": "google",
    "speech_synthesis_language": "en-US",
    "speech_synthesis_voice": "en-US-Standard-C",
    "speech_recognizer_vendor": "google",
    "speech_recognizer_language": "en-US",
}


def person(number: int) -> str:
    """One of a hundred thousand valid Indian mobile numbers."""
    return f"+9198765{number:05d}"


async def until(condition: Callable[[], object], what: str = "the condition") -> None:
    """Wait until it holds."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():  # noqa: ASYNC110 - the state of another task has no event
                await asyncio.sleep(0.002)
    except TimeoutError:
        raise AssertionError(f"{what} did not come true within {PATIENCE_S} s") from None


@dataclass
class Heard:
    """One request as it came in."""

    method: str
    path: str
    headers: dict[str, str]
    raw: bytes
    at: float

    @property
    def body(self) -> Json:
        return json.loads(self.raw)

    @property
    def event(self) -> str:
        return str(self.body["call_status"])


@dataclass
class Receiver:
    """Hears webhooks. `answers` holds statuses to give, in order; then 200. 0 breaks off."""

    url: str = ""
    heard: list[Heard] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    held: asyncio.Event | None = None
    at_once: int = 0
    at_once_max: int = 0

    async def hear(self, request: web.Request) -> web.Response:
        raw = await request.read()
        now = asyncio.get_running_loop().time()
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.heard.append(Heard(request.method, request.path_qs, headers, raw, now))
        self.at_once += 1
        self.at_once_max = max(self.at_once_max, self.at_once)
        status = self.answers.pop(0) if self.answers else 200
        if self.held is not None:
            await self.held.wait()
        self.at_once -= 1
        if status == 0:
            assert request.transport is not None
            request.transport.close()
        return web.Response(status=status or 200)

    def events(self, call_sid: str | None = None) -> list[str]:
        return [
            heard.event
            for heard in self.heard
            if call_sid is None or heard.body["call_sid"] == call_sid
        ]


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", receiver.hear)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/status"
    try:
        yield receiver
    finally:
        if receiver.held is not None:
            receiver.held.set()
        await runner.cleanup()


@dataclass
class Reply:
    """What the router answered."""

    status: int
    body: Json
    text: str
    headers: dict[str, str]


@dataclass
class World:
    """A running router and a client of it."""

    router: RotaryRouter
    receiver: Receiver
    session: aiohttp.ClientSession
    account: str = ACCOUNT

    async def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        key: str | None = KEY,
        raw: bytes | None = None,
        content_type: str = "application/json",
    ) -> Reply:
        """Send a request; a path without a leading slash is below the account."""
        headers = {"Content-Type": content_type} if body is not None or raw is not None else {}
        if key is not None:
            headers["Authorization"] = f"Bearer {key}"
        base = self.router.url.removesuffix("/v1")
        url = f"{base}{path}" if path.startswith("/") else f"{self.router.url}/{self._below(path)}"
        content = raw if raw is not None else json.dumps(body).encode() if headers else None
        async with self.session.request(
            method,
            url,
            data=content if body is not None or raw is not None else None,
            headers=headers,
        ) as answer:
            text = await answer.text()
            is_json = answer.content_type == "application/json"
            told = {name.lower(): value for name, value in answer.headers.items()}
            return Reply(answer.status, json.loads(text) if is_json else text, text, told)

    def _below(self, path: str) -> str:
        return f"Accounts/{self.account}/{path}"

    def order(self, number: str = PERSON, /, **changes: object) -> dict[str, Any]:
        """A request for a call; None takes a field out."""
        body: dict[str, Any] = {
            "from": CALLER_ID,
            "to": {"type": "phone", "number": number},
            "call_hook": "https://example.com/call",
            "call_status_hook": self.receiver.url,
            **SPEECH,
            "tag": {"execution_id": "e-1"},
            "timeout": 30,
            "timeLimit": 600,
        } | changes
        return {name: value for name, value in body.items() if value is not None}

    async def call(self, number: str = PERSON, /, **changes: object) -> str:
        """Place a call and answer its sid."""
        reply = await self.ask("POST", "Calls", self.order(number, **changes))
        assert reply.status == 201, reply
        return str(reply.body["sid"])

    async def called(self, number: str = PERSON, /, **changes: object) -> dict[str, Any]:
        """Place a call, wait until nothing more happens to it, and answer its ledger line."""
        sid = await self.call(number, **changes)
        return await self.settled(sid)

    async def ledger(self, query: str = "") -> list[dict[str, Any]]:
        reply = await self.ask("GET", f"/rotary/ledger{query}")
        assert reply.status == 200, reply
        return [json.loads(line) for line in reply.text.splitlines()]

    async def settled(self, sid: str) -> dict[str, Any]:
        """The ledger line of a call, once it has ended and its webhooks have met their fate."""
        await until(lambda: sid not in self.router.exchange.unsettled, f"the end of {sid}")
        return next(line for line in await self.ledger() if line["call_sid"] == sid)

    async def set_faults(self, **faults: object) -> None:
        reply = await self.ask("POST", "/rotary/faults", faults)
        assert reply.status == 200, reply


@asynccontextmanager
async def running(
    scenario: dict[str, Any] | None = None,
    *,
    receiver: Receiver | None = None,
    ledger_path: Path | None = None,
    webhook_url: str | None = None,
    seed: int = 1,
) -> AsyncIterator[World]:
    """A router with this scenario; everybody answers and hangs up at once unless it says more."""
    settings = RotarySettings(
        port=0,
        api_key=KEY,
        account_sid=ACCOUNT,
        webhook_secret=SECRET,
        webhook_url=webhook_url,
        seed=seed,
        ledger_path=ledger_path,
    )
    rules = Scenario.model_validate({"people": INSTANT} | (scenario or {}))
    async with (
        RotaryRouter.started(settings, rules) as router,
        aiohttp.ClientSession() as session,
    ):
        assert urlsplit(router.url).path == "/v1"
        yield World(router, receiver or Receiver(url="http://127.0.0.1:9/unused"), session)
