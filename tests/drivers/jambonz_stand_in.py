"""A small jambonz for tests: answers as recorded, counts what it gets, and breaks on command."""

import asyncio
import hashlib
import hmac
import json
import uuid
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import partial
from typing import Any

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer

ACCOUNT = "1c0de0a4-27b5-4d5f-9a53-6c3c5a2f6c11"
APPLICATION = "5a9d43a8-9c1c-4f0e-8d0f-0a4bb4a6f7d2"
API_KEY = "key-for-tests"
SECRET = "wh_secret_for_tests"
# Everybody rings until hung up, except this one, who answers.
ANSWERS = "+14155550123"

LIMIT_HEADERS = {
    "RateLimit-Policy": "600;w=300",
    "RateLimit-Limit": "600",
    "RateLimit-Remaining": "596",
    "RateLimit-Reset": "300",
}


class Cut(Enum):
    NOWHERE = auto()  # the answer is sent whole
    BEFORE = auto()  # the connection is reset before a byte of the answer
    MIDWAY = auto()  # … or with half of the body sent
    SILENT = auto()  # nothing is ever answered
    SILENT_MIDWAY = auto()  # half of the body is sent, and then nothing


@dataclass(frozen=True)
class Reply:
    """One scripted answer; the request is read and counted, but nothing is placed."""

    status: int = 500
    body: bytes | object = b""
    headers: dict[str, str] = field(default_factory=dict)
    cut: Cut = Cut.NOWHERE

    @property
    def payload(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


@dataclass
class StandIn:
    base_url: str = ""
    application_hook: object = None
    script: deque[Reply] = field(default_factory=deque)
    # What is away behind the API: `key_store_away` and the like, as RotaryRouter names it.
    away: set[str] = field(default_factory=set)
    # Requests by method and last part of the path, the bodies of those that place calls, and the
    # words of those that hang up.
    seen: Counter[str] = field(default_factory=Counter)
    posts: list[dict[str, Any]] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    queries: list[dict[str, str]] = field(default_factory=list)
    cookies: list[str | None] = field(default_factory=list)
    calls: dict[str, dict[str, Any]] = field(default_factory=dict)
    hooks: dict[str, tuple[str, object]] = field(default_factory=dict)
    records: list[dict[str, Any]] = field(default_factory=list)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    account_sid = ACCOUNT
    api_key = API_KEY
    webhook_secret = SECRET
    application_sid = APPLICATION
    answering_number = ANSWERS

    async def posts_of(self, execution_id: str) -> int:
        return sum(post.get("tag") == {"execution_id": execution_id} for post in self.posts)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator["StandIn"]:
        app = web.Application(middlewares=[self._front])
        account = f"/v1/Accounts/{ACCOUNT}"
        app.router.add_post(f"{account}/Calls", self._place)
        app.router.add_get(f"{account}/Calls", self._list)
        app.router.add_get(f"{account}/Calls/{{sid}}", self._show)
        app.router.add_put(f"{account}/Calls/{{sid}}", self._update)
        app.router.add_get(f"{account}/RecentCalls", self._recent)
        app.router.add_get("/v1/Applications/{sid}", self._application)
        for path, shown in (
            (f"{account}/WebhookSecret", {"webhook_secret": SECRET}),
            (f"{account}/VoipCarriers", [{"voip_carrier_sid": "c-1", "name": "carrier-1"}]),
            (f"{account}/Alerts", {"total": 0, "page_size": "25", "page": "1", "data": []}),
            ("/v1/SipGateways", [{"outbound": 1, "is_active": 1}]),
        ):
            app.router.add_get(path, partial(_shown, shown))
        async with TestServer(app) as server:
            self.base_url = str(server.make_url("/v1"))
            yield self
            for task in self.tasks:
                task.cancel()
            await asyncio.gather(*self.tasks, return_exceptions=True)

    @web.middleware
    async def _front(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        body = await request.read()
        self.seen[f"{request.method} {request.path.rsplit('/', 1)[-1]}"] += 1
        self.queries.append(dict(request.query))
        self.cookies.append(request.headers.get("Cookie"))
        if request.method == "POST":
            self.posts.append(json.loads(body))
        if request.method == "PUT":
            self.words.append(json.loads(body)["call_status"])
        if self.script:
            return await self._say(request, self.script.popleft())
        if (outage := self._outage(request)) is not None:
            return outage
        if request.headers.get("Authorization") != f"Bearer {API_KEY}":
            return web.Response(status=401, text="Unauthorized", headers=LIMIT_HEADERS)
        answer = await handler(request)
        answer.headers.update(LIMIT_HEADERS)
        return answer

    def set_away(self, *parts: str) -> None:
        """Have these parts be away from now on, and no other."""
        self.away = set(parts)

    def _outage(self, request: web.Request) -> web.Response | None:
        """Answer as the real server does while a part behind it is away."""
        last = request.path.rsplit("/", 1)[-1]
        if "key_store_away" in self.away:
            return web.json_response({"msg": "connect ECONNREFUSED 127.0.0.1:3306"}, status=500)
        if "record_store_away" in self.away and last == "RecentCalls":
            return web.json_response({"msg": "connect ECONNREFUSED 127.0.0.1:8086"}, status=500)
        is_placing = request.method == "POST" and last == "Calls"
        if "dead_feature_server" in self.away and is_placing:
            return web.json_response({"msg": "fetch failed"}, status=500)
        if "call_store_away" not in self.away or last == "RecentCalls":
            return None
        if is_placing:
            msg = "no available feature servers at this time"
            return web.json_response({"msg": msg}, status=480)
        if last == "Calls":
            return web.json_response([])
        return web.Response(status=404, text="Not Found")

    async def _say(self, request: web.Request, reply: Reply) -> web.StreamResponse:
        assert request.transport is not None
        if reply.cut is Cut.NOWHERE:
            return web.Response(status=reply.status, body=reply.payload, headers=reply.headers)
        if reply.cut in {Cut.MIDWAY, Cut.SILENT_MIDWAY}:
            response = web.StreamResponse(status=reply.status, headers=reply.headers)
            response.content_length = len(reply.payload)
            await response.prepare(request)
            await response.write(reply.payload[: len(reply.payload) // 2])
        if reply.cut in {Cut.SILENT, Cut.SILENT_MIDWAY}:
            await asyncio.Event().wait()  # until the client goes away or the test ends
        request.transport.abort()
        raise asyncio.CancelledError

    async def _place(self, request: web.Request) -> web.Response:
        asked = await request.json()
        if "from" not in asked:
            return web.json_response({"msg": "missing from parameter"}, status=400)
        sid, sip_id = str(uuid.uuid4()), str(uuid.uuid4())
        self.calls[sid] = {
            "call_sid": sid,
            "call_id": sip_id,
            "account_sid": ACCOUNT,
            "direction": "outbound",
            "from": asked["from"],
            "to": asked["to"]["number"],
            "call_status": "trying",
            "sip_status": 100,
            "sip_reason": "Trying",
        }
        # In application mode the hooks of the body are thrown away.
        hook = self.application_hook if "application_sid" in asked else asked["call_status_hook"]
        if isinstance(hook, dict):
            self.hooks[sid] = (hook["url"], asked["tag"])
        task = asyncio.create_task(self._ring(sid))
        self.tasks.add(task)
        return web.json_response({"sid": sid, "callId": sip_id}, status=201)

    async def _ring(self, sid: str) -> None:
        await self.move(sid, "trying", 100)
        await self.move(sid, "ringing", 180)
        if self.calls[sid]["to"] == ANSWERS:
            await self.move(sid, "in-progress", 200, sip_reason="OK")

    async def move(self, sid: str, call_status: str, sip_status: int, **more: object) -> None:
        """Move a call on and report it, as the feature server would."""
        row = self.calls[sid]
        row.update({"call_status": call_status, "sip_status": sip_status, **more})
        if sid not in self.hooks:
            return
        url, tag = self.hooks[sid]
        body = json.dumps({**row, "customerData": tag}).encode()
        async with (
            aiohttp.ClientSession() as session,
            session.post(url.partition("#")[0], data=body, headers=signed(body)) as answer,
        ):
            assert answer.status == 200

    async def _list(self, request: web.Request) -> web.Response:
        wanted = {key: request.query[key] for key in ("direction", "to") if key in request.query}
        rows = [
            row
            for row in self.calls.values()
            if all(row[key] == value for key, value in wanted.items())
        ]
        return web.json_response(rows)

    async def _show(self, request: web.Request) -> web.Response:
        row = self.calls.get(request.match_info["sid"])
        return web.json_response(row) if row else web.Response(status=404, text="Not Found")

    async def _update(self, request: web.Request) -> web.Response:
        sid, wanted = request.match_info["sid"], (await request.json())["call_status"]
        row = self.calls.get(sid)
        if row is None:
            return web.Response(status=404, text="Not Found")
        status = row["call_status"]
        if status not in {"trying", "ringing", "in-progress"}:
            return web.Response(status=422, text=f"call session is gone for call_sid {sid}")
        is_answered = status == "in-progress"
        if wanted != ("completed" if is_answered else "no-answer"):
            text = "current call state is incompatible with requested action for call_sid"
            return web.Response(status=422, text=f"{text} {sid}")
        if is_answered:
            await self.move(sid, "completed", 200, duration=7, call_termination_by="jambonz")
        else:
            await self.move(sid, "no-answer", 487, sip_reason="Request Terminated")
        self.records.append(record_of(row))
        return web.Response(status=202, text="Accepted")

    async def _recent(self, request: web.Request) -> web.Response:
        page, count = int(request.query["page"]), int(request.query["count"])
        if page < 1 or not 1 <= count <= 500:
            return web.json_response({"msg": 'missing or invalid "count" query arg'}, status=400)
        wanted = request.query.get("filter", "")
        found = [
            r for r in self.records if wanted in r["from"] + " " + r["to"] + " " + r["call_sid"]
        ]
        rows = found[(page - 1) * count : page * count]
        return web.json_response(
            {"total": len(found), "page_size": str(count), "page": str(page), "data": rows}
        )

    async def _application(self, request: web.Request) -> web.Response:
        if request.match_info["sid"] != APPLICATION:
            return web.Response(status=404, text="Not Found")
        return web.json_response(
            {
                "application_sid": APPLICATION,
                "name": "agent",
                "call_hook": {"url": "https://agent.example.com/call", "method": "POST"},
                "call_status_hook": self.application_hook,
            }
        )


async def _shown(what: object, _: web.Request) -> web.Response:
    return web.json_response(what)


def signed(body: bytes, secret: str = SECRET, at: str = "1795434001") -> dict[str, str]:
    """Sign a webhook as jambonz does."""
    text = hmac.new(secret.encode(), at.encode() + b"." + body, hashlib.sha256).hexdigest()
    return {"Content-Type": "application/json", "Jambonz-Signature": f"t={at},v1={text}"}


def record_of(row: dict[str, Any]) -> dict[str, Any]:
    """Write the call-detail record of a call that is over: numbers lose their plus there."""
    answered = row["call_status"] == "completed"
    return {
        "attempted_at": "2026-05-10T09:05:00.000Z",
        "answered": answered,
        "answered_at": "2026-05-10T09:05:10.000Z" if answered else "1970-01-01T00:00:00.000Z",
        "terminated_at": "2026-05-10T09:05:17.000Z",
        "termination_reason": "caller hungup" if answered else "caller abandoned",
        "sip_status": row["sip_status"],
        "duration": row.get("duration", 0),
        "call_sid": row["call_sid"],
        "sip_callid": row["call_id"],
        "from": row["from"].removeprefix("+"),
        "to": row["to"].removeprefix("+"),
        "direction": "outbound",
        "trunk": "carrier-1",
    }
