"""The part of jambonz's REST API that a caller of people needs: /v1/Accounts and /v1/Applications.

Owns the order of checks and the routes. Must not know how a call goes on.
"""

import asyncio
import hmac
import math
import re
from collections.abc import Callable
from datetime import datetime

import msgspec

from apollo.rotary.account_pages import alerts, carriers, gateways_of
from apollo.rotary.answers import (
    ACCEPTED,
    BAD_REQUEST,
    FETCH_FAILED,
    FORBIDDEN,
    NO_FEATURE_SERVER,
    NO_KEY,
    NO_KEY_STORE,
    NO_RECORD_STORE,
    NOT_FOUND,
    TOO_MANY,
    WRONG_KEY,
    Answer,
    Headers,
    message,
    text,
)
from apollo.rotary.call import Call, Hangup
from apollo.rotary.checks import SPEECH, USUAL_SPEECH, read_update
from apollo.rotary.clock import utc_now
from apollo.rotary.exchange import Exchange
from apollo.rotary.faults import FaultPlan, RateLimit
from apollo.rotary.ledger import Ledger
from apollo.rotary.lookups import is_hidden, listed_calls, recent_calls
from apollo.rotary.nonsense import odd_answer
from apollo.rotary.placing import Placing
from apollo.rotary.scenario import Application, HookAddress, Scenario
from apollo.rotary.settings import RotarySettings, is_uuid
from apollo.rotary.wire import Request


class Budget:
    """jambonz's rate limit: a fixed window, one bucket for all clients and methods."""

    def __init__(self) -> None:
        self._limit: RateLimit | None = None
        self._used = 0
        self._ends_at = 0.0

    def take(self, limit: RateLimit | None, now_s: float) -> tuple[bool, Headers]:
        """Use one request: whether there was one left, and the headers that tell the client.

        Another `limit` than before begins a window of its own.
        """
        if limit != self._limit:
            self._limit, self._ends_at = limit, 0.0
        if limit is None:
            return True, ()
        if now_s >= self._ends_at:
            self._used, self._ends_at = 0, now_s + limit.window_s
        allowed = self._used < limit.requests
        self._used += allowed
        # A sum of floats is not taken apart exactly: a whole window must not read a second more.
        reset_s = b"%d" % math.ceil(round(self._ends_at - now_s, 3))
        headers: Headers = (
            (b"ratelimit-policy", b"%d;w=%d" % (limit.requests, limit.window_s)),
            (b"ratelimit-limit", b"%d" % limit.requests),
            (b"ratelimit-remaining", b"%d" % (limit.requests - self._used)),
            (b"ratelimit-reset", reset_s),
        )
        return allowed, headers if allowed else (*headers, (b"retry-after", reset_s))


class Accounts:
    """Answers the requests below /v1."""

    def __init__(
        self,
        *,
        settings: RotarySettings,
        scenario: Scenario,
        exchange: Exchange,
        ledger: Ledger,
        plan: FaultPlan,
    ) -> None:
        self._settings = settings
        self._exchange = exchange
        self._ledger = ledger
        self._feature_servers = scenario.api.feature_servers
        self._applications = {str(sid): one for sid, one in scenario.applications.items()}
        self._placing = Placing(exchange, ledger, plan, self._applications, self._feature_servers)
        self._plan = plan
        self._waits = self._answered = 0
        self._rate_limit = scenario.api.rate_limit
        self._budget = Budget()

    async def answer(
        self, request: Request, body: bytes, requested_at: datetime
    ) -> tuple[Answer, Headers]:
        """The answer and the rate-limit headers. Dropped if a fault breaks the connection."""
        limit = self._plan.rules.request_budget or self._rate_limit
        allowed, headers = self._budget.take(limit, asyncio.get_running_loop().time())
        if not allowed:
            return TOO_MANY, headers
        content = self._content(request, body)
        if isinstance(content, Answer):
            return content, headers
        if request.bearer is not None and self._plan.rules.key_store_away:
            return NO_KEY_STORE, headers
        if (refusal := self.unauthorised(request)) is not None:
            return refusal, headers
        if slow := self._plan.rules.lookups_slow:
            await self._late(request, slow.answers_after_s)
        answer = await self._route(request, content[0], requested_at)
        self._answered += 1
        if self._plan.speaks_nonsense("answer", self._answered):
            return odd_answer(answer, self._plan.seed, self._answered)
        return answer, headers

    def unauthorised(self, request: Request) -> Answer | None:
        """The 401 for a request without our key, None with it."""
        token = request.bearer
        if token is None:
            return NO_KEY
        known = hmac.compare_digest(token.encode(), self._settings.api_key.encode())
        return None if known else WRONG_KEY

    async def _late(self, request: Request, wait: tuple[float, float]) -> None:
        """Wait before any answer but the one to a request for a call."""
        if request.method != "POST" or request.parts[-1] != "Calls":
            await self._wait(wait)

    async def _wait(self, wait: tuple[float, float]) -> None:
        self._waits += 1
        seconds = self._plan.drawn_s(wait, "request", self._waits)
        await asyncio.sleep(seconds * self._exchange.scale)

    def _content(self, request: Request, body: bytes) -> tuple[object] | Answer:
        if not body or not request.is_json:
            return ({},)
        try:
            content = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            ended = "truncated" in str(error)
            return message(400, "Unexpected end of JSON input" if ended else _unexpected(error))
        if not isinstance(content, dict | list):
            return message(400, "Unexpected token in JSON at position 0")
        return (content,)

    async def _route(self, request: Request, body: object, requested_at: datetime) -> Answer:
        match request.parts[1:]:
            case ["Applications", _] | ["SipGateways"] if request.method == "GET":
                return self._shared(request)
            case ["Accounts", account, *rest]:
                if request.method == "POST" and rest == ["Calls"]:
                    if away := self._plan.rules.call_store_away:
                        await self._wait(away.answers_after_s)
                    if away or not self._feature_servers:
                        return NO_FEATURE_SERVER
                if not is_uuid(account):
                    return BAD_REQUEST
                if account != self._settings.account_sid:
                    return FORBIDDEN
                return await self._account(request, rest, body, requested_at)
        return NOT_FOUND

    async def _account(
        self, request: Request, rest: list[str], body: object, requested_at: datetime
    ) -> Answer:
        exchange = self._exchange
        match request.method, rest:
            case "POST", ["Calls"]:
                return await self._placing.create(body, requested_at)
            case "GET", ["Calls"]:
                return Answer(200, listed_calls(exchange, request.query, self._plan))
            case "GET", [page]:
                return self._page(page, request.query)
            case method, ["Calls", sid]:
                return self._one_call(method, sid, body)
        return NOT_FOUND

    def _page(self, page: str, query: dict[str, str]) -> Answer:
        """What can be read of the account besides single calls."""
        account_sid = self._settings.account_sid
        if page in {"RecentCalls", "Alerts"} and self._plan.rules.record_store_away:
            return NO_RECORD_STORE
        pages: dict[str, Callable[[], Answer]] = {
            "CallCount": lambda: Answer(200, {"inbound": 0, "outbound": self._ledger.live_now}),
            "RecentCalls": lambda: recent_calls(self._exchange.detail_records, query, utc_now()),
            "WebhookSecret": lambda: Answer(200, {"webhook_secret": self._settings.webhook_secret}),
            "VoipCarriers": lambda: Answer(200, carriers(account_sid)),
            "Alerts": lambda: alerts(self._exchange.post.deliveries, account_sid, query),
        }
        return pages[page]() if page in pages else NOT_FOUND

    def _shared(self, request: Request) -> Answer:
        """What belongs to no account in its path: an application, the gateways of a carrier."""
        if request.parts[1] == "SipGateways":
            return Answer(200, gateways_of(request.query))
        return self._application(request.parts[2])

    def _application(self, sid: str) -> Answer:
        application = self._applications.get(sid)
        if application is None:
            return NOT_FOUND if is_uuid(sid) else BAD_REQUEST
        return Answer(200, _shown(sid, self._settings.account_sid, application))

    def _one_call(self, method: str, sid: str, body: object) -> Answer:
        if not is_uuid(sid):
            return BAD_REQUEST
        update = read_update(body) if method in {"PUT", "POST"} else None
        if isinstance(update, Answer):
            return update
        call = self._visible(sid)
        if call is None or method not in {"GET", "PUT", "POST", "DELETE"}:
            return NOT_FOUND
        if update is not None:
            return self._update(call, *update)
        if method == "GET":
            return Answer(200, call.record())
        self._exchange.forget(call)
        return Answer(204)

    def _visible(self, sid: str) -> Call | None:
        call = self._exchange.calls.get(sid)
        if call is None or not self._exchange.visible(call) or is_hidden(call, self._plan):
            return None
        return call

    def _update(self, call: Call, name: str, value: object) -> Answer:
        if call.recreated:
            return FETCH_FAILED  # such a record does not say which feature server to ask
        sid = call.entry.call_sid
        steps: dict[tuple[str, object], Callable[[Call], Hangup]] = {
            ("call_status", "completed"): self._exchange.hang_up,
            ("call_status", "no-answer"): self._exchange.cancel,
        }
        if name == "tag":
            result = self._exchange.retag(call, value)
        elif name == "call_status":
            result = steps[name, value](call)
        else:
            result = Hangup.GONE if call.session_gone() else Hangup.DONE  # changes nothing here
        if result is Hangup.DONE:
            return ACCEPTED
        why = (
            f"call session is gone for call_sid {sid}"
            if result is Hangup.GONE
            else f"current call state is incompatible with requested action for call_sid {sid}"
        )
        return text(422, why, "text/html; charset=utf-8")


def _unexpected(error: Exception) -> str:
    found = re.search(r"byte (\d+)", str(error))
    return f"Unexpected token in JSON at position {found[1] if found else 0}"


def _shown(sid: str, account_sid: str, application: Application) -> dict[str, object]:
    def hook(address: HookAddress | None) -> dict[str, object] | None:
        if address is None:
            return None
        return {
            "url": address.url,
            "method": address.method,
            "username": address.username or None,
            "password": address.password or None,
        }

    return {
        "application_sid": sid,
        "name": application.name,
        "account_sid": account_sid,
        "call_hook": hook(application.call_hook),
        "call_status_hook": hook(application.call_status_hook),
        "messaging_hook": None,
        "app_json": None,
        **dict(zip(SPEECH, USUAL_SPEECH, strict=True)),
    }
