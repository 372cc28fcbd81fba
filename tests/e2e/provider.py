"""A jambonz that is not RotaryRouter: scripted people, the recorded contract, a ledger of its own.

It answers as the recordings do, tells nobody what a call is going to do, and repeats, reorders and
loses webhooks as the real one may. It shares no code with what it judges.
"""

import asyncio
import contextlib
import hashlib
import hmac
import json
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import aiohttp
from aiohttp import web
from tests.e2e.people import Person, Reaction

ACCOUNT = "1c0de0a4-27b5-4d5f-9a53-6c3c5a2f6c11"
APPLICATION = "5a9d43a8-9c1c-4f0e-8d0f-0a4bb4a6f7d2"
API_KEY = "key-for-tests"
SECRET = "wh_secret_for_tests"
RESULT_SECRET = "results-for-tests"
# What jambonz waits before it repeats a webhook that failed.
WAITS_S = (0.5, 1.0, 2.0, 4.0, 6.0)
# Five times a second: longer than anything stays away in a test.
ASKS_AGAIN_AT_MOST = 300
INLINE_FIELDS = {
    "from", "to", "tag", "timeout", "timeLimit", "call_hook", "call_status_hook",
    "speech_synthesis_vendor", "speech_synthesis_language", "speech_synthesis_voice",
    "speech_recognizer_vendor", "speech_recognizer_language",
}  # fmt: skip
APPLICATION_FIELDS = {"from", "to", "tag", "timeout", "timeLimit", "application_sid"}


def now() -> str:
    return datetime.now(UTC).isoformat()


@dataclass
class Quirks:
    """Shares of webhooks or requests that something happens to."""

    doubled: float = 0.0
    swapped: float = 0.0
    before_reply: float = 0.0
    lost: float = 0.0
    # The call is placed, and the answer says 500 or never comes.
    placed_then_500: float = 0.0
    # Nothing is placed, and the answer says 500 all the same.
    lost_then_500: float = 0.0


@dataclass
class Line:
    """One call as it really was; also a line of the ledger."""

    sid: str
    call_id: str
    to: str
    from_number: str
    tag: dict[str, str]
    hook: str
    requested_at: str
    reaction: Reaction
    call_hook: str = ""
    placed_at: str | None = None
    rang_at: str | None = None
    answered_at: str | None = None
    ended_at: str | None = None
    call_status: str = "trying"
    sip_status: int = 100
    duration: int | None = None
    live_at_placing: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    hung_up: str | None = None

    def ledger(self) -> dict[str, object]:
        """As RotaryRouter's ledger writes it, so that one audit reads both."""
        return {
            "call_sid": self.sid, "call_id": self.call_id, "account_sid": ACCOUNT,
            "tag": self.tag, "to": self.to, "from": self.from_number,
            "requested_at": self.requested_at, "placed_at": self.placed_at,
            "rang_at": self.rang_at, "answered_at": self.answered_at, "ended_at": self.ended_at,
            "sip_status": self.sip_status if self.ended_at else None,
            "call_status": self.call_status if self.ended_at else None,
            "live_at_placing": self.live_at_placing,
        }  # fmt: skip

    def shown(self) -> dict[str, object]:
        """As the list of calls and the webhooks show it."""
        row: dict[str, object] = {
            "call_sid": self.sid, "direction": "outbound", "from": self.from_number,
            "to": self.to, "call_id": self.call_id, "sip_status": self.sip_status,
            "sip_reason": "OK" if self.sip_status == 200 else "Trying",
            "call_status": self.call_status, "account_sid": ACCOUNT,
            "trace_id": uuid.uuid4().hex, "fs_sip_address": "10.0.0.5:5060",
        }  # fmt: skip
        if self.duration is not None:
            row |= {"duration": self.duration, "call_termination_by": "caller"}
        return row


class Jambonz:
    """The provider. `people` by number; `groups_of` names the limits a number counts towards."""

    def __init__(
        self,
        people: dict[str, Person],
        *,
        seed: int,
        groups_of: Callable[[str], set[str]] = lambda _number: set(),
        quirks: Quirks | None = None,
    ) -> None:
        self.people = people
        self.quirks = quirks or Quirks()
        self.random = Random(seed)
        self.groups_of = groups_of
        self.lines: dict[str, Line] = {}
        self.calls_to: Counter[str] = Counter()
        self.posts: Counter[str] = Counter()
        self.live: Counter[str] = Counter()
        self.live_max: Counter[str] = Counter()
        self.live_to: Counter[str] = Counter()
        self.overlaps: list[str] = []
        self.answers: Counter[int] = Counter()
        self.undelivered: list[str] = []
        self.complaints: list[str] = []
        # Answered calls whose voice application asked whom it speaks to, one in ten.
        self.spoken_to = 0
        self.spoken_to_wrong: list[str] = []
        self.api_url = ""
        self.application_hook = ""
        # Called with the number of the request before anything else is done with it.
        self.on_request: Callable[[int], Awaitable[None]] | None = None
        self.requests = 0
        # While it is not set, whoever is called lets it ring.
        self._may_go_on = asyncio.Event()
        self._may_go_on.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._http: aiohttp.ClientSession | None = None
        self.port = 0

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @asynccontextmanager
    async def serving(self) -> AsyncIterator["Jambonz"]:
        app = web.Application()
        account = f"/v1/Accounts/{ACCOUNT}"
        app.router.add_post(f"{account}/Calls", self._place)
        app.router.add_get(f"{account}/Calls", self._list)
        app.router.add_get(f"{account}/Calls/{{sid}}", self._show)
        app.router.add_put(f"{account}/Calls/{{sid}}", self._update)
        app.router.add_get(f"{account}/RecentCalls", self._recent)
        app.router.add_get("/v1/Applications/{sid}", self._application)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.port = runner.addresses[0][1]
        connector = aiohttp.TCPConnector(limit=200)
        try:
            async with aiohttp.ClientSession(connector=connector) as self._http:
                yield self
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await runner.cleanup()

    def hold(self) -> None:
        """From now on calls go on until `release`."""
        self._may_go_on.clear()

    def release(self) -> None:
        self._may_go_on.set()

    def write_ledger(self, path: Path) -> None:
        path.write_text("".join(json.dumps(x.ledger()) + "\n" for x in self.lines.values()))

    # --------------------------------------------------------------------------- requests

    async def _place(self, request: web.Request) -> web.StreamResponse:
        self.requests += 1
        requested_at = now()
        if self.on_request is not None:
            await self.on_request(self.requests)
        if request.headers.get("Authorization") != f"Bearer {API_KEY}":
            return web.Response(status=401, text="Unauthorized")
        asked = await request.json()
        wanted = APPLICATION_FIELDS if "application_sid" in asked else INLINE_FIELDS
        if set(asked) != wanted or type(asked["timeout"]) is not int:
            self.complaints.append(f"fields {sorted(set(asked) ^ wanted)}")
            return web.Response(status=500, text="Internal Server Error")
        number = asked["to"]["number"]
        self.posts[asked["tag"]["execution_id"]] += 1
        if self.random.random() < self.quirks.lost_then_500:
            return web.Response(status=500, text="Internal Server Error")
        line = self._new_line(asked, number, requested_at)
        answers_500 = self.random.random() < self.quirks.placed_then_500
        if self.random.random() < self.quirks.before_reply:
            first = await self._tell(line, "trying", 100)
            self._go(self._live_through(line, first))
            await asyncio.sleep(0.02)
        else:
            self._go(self._live_through(line, None))
        if answers_500:
            return web.Response(status=500, text="Internal Server Error")
        return web.json_response({"sid": line.sid, "callId": line.call_id}, status=201)

    def _new_line(self, asked: dict[str, Any], number: str, requested_at: str) -> Line:
        self.calls_to[number] += 1
        hook = self.application_hook
        if "application_sid" not in asked:
            hook = asked["call_status_hook"]["url"]
        line = Line(
            sid=str(uuid.uuid4()),
            call_id=str(uuid.uuid4()),
            to=number,
            from_number=asked["from"],
            tag=asked["tag"],
            hook=hook,
            requested_at=requested_at,
            reaction=self.people[number].meets(self.calls_to[number]),
            call_hook=asked.get("call_hook", {}).get("url", ""),
            placed_at=now(),
        )
        self.lines[line.sid] = line
        for group in {"all", *self.groups_of(number)}:
            self.live[group] += 1
            self.live_max[group] = max(self.live_max[group], self.live[group])
        line.live_at_placing = self.live["all"]
        self.live_to[number] += 1
        if self.live_to[number] > 1:
            self.overlaps.append(number)
        return line

    async def _list(self, request: web.Request) -> web.Response:
        wanted = {key: request.query[key] for key in ("direction", "to") if key in request.query}
        rows = [line.shown() for line in self.lines.values()]
        return web.json_response(
            [row for row in rows if all(row[key] == value for key, value in wanted.items())]
        )

    async def _show(self, request: web.Request) -> web.Response:
        line = self.lines.get(request.match_info["sid"])
        return (
            web.json_response(line.shown()) if line else web.Response(status=404, text="Not Found")
        )

    async def _update(self, request: web.Request) -> web.Response:
        line = self.lines.get(request.match_info["sid"])
        if line is None:
            return web.Response(status=404, text="Not Found")
        if line.ended_at is not None:
            return web.Response(status=422, text=f"call session is gone for call_sid {line.sid}")
        wanted = (await request.json())["call_status"]
        if wanted != ("completed" if line.answered_at else "no-answer"):
            text = "current call state is incompatible with requested action for call_sid"
            return web.Response(status=422, text=f"{text} {line.sid}")
        line.hung_up = wanted
        line.changed.set()
        return web.Response(status=202, text="Accepted")

    async def _recent(self, request: web.Request) -> web.Response:
        page, count = int(request.query["page"]), int(request.query["count"])
        wanted = request.query.get("filter", "")
        rows = [
            _record(line)
            for line in reversed(self.lines.values())
            if line.ended_at and wanted in line.to + " " + line.sid
        ]
        part = rows[(page - 1) * count : page * count]
        answer = {"total": len(rows), "page_size": str(count), "page": str(page), "data": part}
        return web.json_response(answer)

    async def _application(self, request: web.Request) -> web.Response:
        if request.match_info["sid"] != APPLICATION:
            return web.Response(status=404, text="Not Found")
        return web.json_response(
            {
                "application_sid": APPLICATION,
                "name": "agent",
                "call_hook": {"url": "https://agent.example.com/call", "method": "POST"},
                "call_status_hook": {"url": self.application_hook, "method": "POST"},
            }
        )

    # ------------------------------------------------------------------------------ calls

    def _go(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _live_through(self, line: Line, told: Awaitable[None] | None) -> None:
        """The life of one call; events wait for the one before, except when they are swapped."""
        reaction, person = line.reaction, self.people[line.to]
        told = told or await self._tell(line, "trying", 100)
        if reaction.rings:
            line.rang_at = now()
            swapped = self.random.random() < self.quirks.swapped
            earlier, told = told, await self._tell(line, "ringing", 180, after=None)
            if not swapped:
                await earlier
            if reaction.early_media:
                told = await self._tell(line, "early-media", 183, after=told)
        await self._may_go_on.wait()
        await self._wait(line, reaction.ring_s)
        if line.hung_up is None and reaction.sip == 200:
            line.answered_at = now()
            told = await self._tell(line, "in-progress", 200, after=told)
            if line.call_hook and self.random.random() < 0.1:
                self._go(self._ask_who(line))
            await self._wait(line, reaction.talk_s)
            if person.asks_again and self.calls_to[line.to] == 1:
                await self._ask_again(line)
        sip = 200 if line.answered_at else 487 if line.hung_up else reaction.sip
        word = "completed" if line.answered_at else "no-answer" if line.hung_up else reaction.word
        line.ended_at, line.duration = now(), 0 if line.answered_at else None
        for group in {"all", *self.groups_of(line.to)}:
            self.live[group] -= 1
        self.live_to[line.to] -= 1
        await (await self._tell(line, word, sip, after=told))

    async def _wait(self, line: Line, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await line.changed.wait()
        except TimeoutError:
            return

    async def _tell(
        self, line: Line, word: str, sip: int, after: Awaitable[None] | None = None
    ) -> Awaitable[None]:
        """Start to tell of an event; the answer ends when the webhook was taken or given up."""
        line.call_status, line.sip_status = word, sip
        body = json.dumps({**line.shown(), "customerData": line.tag}).encode()
        copies = 2 if self.random.random() < self.quirks.doubled else 1
        if self.random.random() < self.quirks.lost:
            copies = 0
        # The final event of an answered call is not tried again: its client is torn down.
        waits = () if word == "completed" else WAITS_S

        async def send() -> None:
            if after is not None:
                await after
            for _ in range(copies):
                await self._deliver(line.hook, body, waits)

        task = asyncio.create_task(send())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _deliver(self, url: str, body: bytes, waits: tuple[float, ...]) -> None:
        assert self._http is not None
        headers = signed(body, SECRET)
        for wait_s in (*waits, None):
            try:
                async with self._http.post(
                    url.partition("#")[0],
                    data=body,
                    headers=headers,
                    timeout=aiohttp.ClientTimeout(total=10),
                ) as answer:
                    self.answers[answer.status] += 1
                    if answer.status in {200, 202, 204}:
                        return
            except (aiohttp.ClientError, TimeoutError, OSError):
                self.answers[0] += 1
            if wait_s is not None:
                await asyncio.sleep(wait_s)
        self.undelivered.append(json.loads(body)["call_status"])

    async def _ask_who(self, line: Line) -> None:
        """The voice application reads whom it speaks to, with what is in its hook's query."""
        assert self._http is not None
        query = dict(parse_qsl(urlsplit(line.call_hook).query))
        url = f"{self.api_url}/agent/calls/{query['execution_id']}?k={query['k']}"
        async with self._http.get(url) as answer:
            told = await answer.json()
        self.spoken_to += 1
        if (answer.status, told.get("to"), told.get("variables")) != (
            200,
            line.to,
            {"name": f"Person {line.to}"},
        ):
            self.spoken_to_wrong.append(f"{answer.status} {told}")

    async def _ask_again(self, line: Line) -> None:
        """The voice application wants this person called again, and says so until it is heard."""
        assert self._http is not None
        result = {"execution_id": line.tag["execution_id"], "follow_up_at": now(), "summary": "ok"}
        body = json.dumps(result).encode()
        url = f"{self.api_url}/webhooks/call-result"
        for _ in range(ASKS_AGAIN_AT_MOST):
            headers = signed(body, RESULT_SECRET)
            # The call must come to its end whatever happens to this request.
            with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError):
                async with self._http.post(url, data=body, headers=headers) as answer:
                    if answer.status == 200:
                        return
                    if answer.status < 500:
                        break
            await asyncio.sleep(0.2)
        self.complaints.append(f"call result of {line.sid} not taken")


def signed(body: bytes, secret: str) -> dict[str, str]:
    """Sign as jambonz does."""
    at = str(int(datetime.now(UTC).timestamp()))
    text = hmac.new(secret.encode(), at.encode() + b"." + body, hashlib.sha256).hexdigest()
    return {"Content-Type": "application/json", "Jambonz-Signature": f"t={at},v1={text}"}


def _record(line: Line) -> dict[str, object]:
    """The call-detail record: numbers have lost their plus there."""
    answered = line.answered_at is not None
    return {
        "attempted_at": line.placed_at, "answered": answered,
        "answered_at": line.answered_at or "1970-01-01T00:00:00.000Z",
        "terminated_at": line.ended_at, "sip_status": line.sip_status,
        "termination_reason": "caller hungup" if answered else "caller abandoned",
        "duration": line.duration or 0, "call_sid": line.sid, "sip_callid": line.call_id,
        "from": line.from_number.removeprefix("+"), "to": line.to.removeprefix("+"),
        "direction": "outbound", "trunk": "carrier-1",
    }  # fmt: skip
