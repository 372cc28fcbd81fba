"""RotaryRouter's own pages below /rotary: ledger, deliveries, stats, faults, a call hook.

Owns what is shown of the router to people and to audits; jambonz has none of it. Must not decide
anything about calls, except to pass on a wish for faults.
"""

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime

import msgspec

from apollo.errors import Misconfigured
from apollo.rotary.accounts import Accounts
from apollo.rotary.answers import NOT_FOUND, Answer, message
from apollo.rotary.exchange import Exchange
from apollo.rotary.faults import FaultPlan
from apollo.rotary.ledger import Ledger
from apollo.rotary.wire import Request

LINES = "application/x-ndjson; charset=utf-8"
OPEN_PAGES = frozenset({"hook", "health"})  # nothing about anybody is in them

Page = Callable[[Request, bytes], Answer]


class Pages:
    """Answers the requests below /rotary."""

    def __init__(
        self, accounts: Accounts, exchange: Exchange, ledger: Ledger, plan: FaultPlan
    ) -> None:
        self._accounts = accounts
        self._exchange = exchange
        self._ledger = ledger
        self._plan = plan
        self._answers: dict[int | None, int] = {}
        self._pages: dict[tuple[str, str], Page] = {
            ("GET", "hook"): _nothing_to_say,
            ("POST", "hook"): _nothing_to_say,
            ("GET", "health"): self._health,
            ("GET", "ledger"): self._lines,
            ("GET", "deliveries"): self._deliveries,
            ("GET", "stats"): self._stats,
            ("GET", "faults"): self._faults,
            ("POST", "faults"): self._change_faults,
            ("DELETE", "faults"): self._lift_faults,
            ("POST", "crash"): self._crash,
        }

    def answer(self, request: Request, body: bytes) -> Answer:
        """Reading is free on this machine; changing, or reading from elsewhere, takes the key."""
        if len(request.parts) != len(("rotary", "page")) or request.parts[0] != "rotary":
            return NOT_FOUND
        name = request.parts[1]
        page = self._pages.get((request.method, name))
        if page is None:
            return NOT_FOUND
        is_free = request.method == "GET" and request.is_local and request.is_local_name
        if name not in OPEN_PAGES and not is_free:
            refusal = self._accounts.unauthorised(request)
            if refusal is not None:
                return refusal
        return page(request, body)

    def count(self, status: int | None) -> None:
        """Note what a client was answered; None if its connection was broken."""
        self._answers[status] = self._answers.get(status, 0) + 1

    def _health(self, _request: Request, _body: bytes) -> Answer:
        return Answer(200, {"status": "ok", "calls_live_now": self._ledger.live_now})

    def _lines(self, request: Request, _body: bytes) -> Answer:
        since: datetime | None = None
        if "since" in request.query:
            # A plus in a query is a blank, and it is easily left so in a zone.
            with suppress(ValueError):
                since = datetime.fromisoformat(request.query["since"].replace(" ", "+"))
            if since is None:
                return message(400, "since: should be a time such as 2026-11-23T11:54:01Z")
            if since.tzinfo is None:
                since = since.replace(tzinfo=UTC)
        return Answer(200, self._ledger.chunks(since), LINES)

    def _deliveries(self, _request: Request, _body: bytes) -> Answer:
        return Answer(200, list(self._exchange.post.deliveries))

    def _stats(self, _request: Request, _body: bytes) -> Answer:
        ledger, post = self._ledger, self._exchange.post
        answers = {str(status or "dropped"): count for status, count in self._answers.items()}
        return Answer(
            200,
            {
                "calls_placed": ledger.calls_placed,
                "calls_live_now": ledger.live_now,
                "calls_live_max": ledger.live_max,
                "calls_live_max_per_number": ledger.live_max_per_number,
                "numbers_called_twice_at_once": ledger.overlapping,
                "webhooks_delivered": post.delivered,
                "webhooks_failed": post.failed,
                "answers": answers,
            },
        )

    def _faults(self, _request: Request, _body: bytes) -> Answer:
        return Answer(200, self._plan.in_force())

    def _change_faults(self, request: Request, body: bytes) -> Answer:
        try:
            self._plan.change(msgspec.json.decode(body, type=dict[str, object]))
            if (away := self._plan.rules.call_store_away) and away.forgets:
                self._exchange.forget_all()
        except msgspec.DecodeError as error:
            return Answer(422, {"faults": [f"body: should be a JSON object ({error})"]})
        except Misconfigured as error:
            return Answer(422, {"faults": error.faults})
        return self._faults(request, body)

    def _lift_faults(self, request: Request, body: bytes) -> Answer:
        self._plan.clear()
        return self._faults(request, body)

    def _crash(self, _request: Request, _body: bytes) -> Answer:
        return Answer(200, {"calls_silenced": self._exchange.crash()})


def _nothing_to_say(_request: Request, _body: bytes) -> Answer:
    return Answer(200, [])  # a call hook whose application has no verbs
