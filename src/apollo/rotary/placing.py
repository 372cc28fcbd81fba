"""createCall: from a request that is authorised to a call, or to a fault on the way.

Owns the faults that befall the request and its answer. Must not know how a call goes on.
"""

import asyncio
from datetime import datetime

from apollo.rotary.answers import (
    BAD_REQUEST,
    FETCH_FAILED,
    FORBIDDEN,
    NO_FEATURE_SERVER,
    NOT_FOUND,
    REFUSED_BY_FEATURE_SERVER,
    TOO_MANY,
    UNAVAILABLE,
    WRONG_KEY,
    Answer,
    message,
)
from apollo.rotary.call import Call
from apollo.rotary.checks import read_order
from apollo.rotary.exchange import Exchange
from apollo.rotary.faults import FaultPlan, Refusal
from apollo.rotary.ledger import Entry, Ledger
from apollo.rotary.scenario import Application
from apollo.rotary.webhooks import FINAL
from apollo.rotary.wire import Dropped

REFUSALS = {
    answer.status: answer
    for answer in (
        BAD_REQUEST,
        WRONG_KEY,
        FORBIDDEN,
        NOT_FOUND,
        TOO_MANY,
        NO_FEATURE_SERVER,
        REFUSED_BY_FEATURE_SERVER,
        UNAVAILABLE,
    )
}


class Placing:
    """Answers POST /v1/Accounts/{sid}/Calls."""

    def __init__(
        self,
        exchange: Exchange,
        ledger: Ledger,
        plan: FaultPlan,
        applications: dict[str, Application],
        feature_servers: int,
    ) -> None:
        self._exchange = exchange
        self._ledger = ledger
        self._plan = plan
        self._applications = applications
        self._feature_servers = feature_servers
        self._dead_since_s: float | None = None

    async def create(self, body: object, requested_at: datetime) -> Answer:
        """Place the call and answer; raises Dropped if a fault eats the answer."""
        order = read_order(body, self._applications)
        if isinstance(order, Answer):
            return order
        entry = self._exchange.entry_for(order, requested_at)
        plan, rules = self._plan, self._plan.rules
        if refusal := plan.strike(rules.refuse, "refuse", entry):
            entry.reply = str(refusal.status)
            self._ledger.settle(entry)
            return _refused(refusal)
        if (unreached := self._not_forwarded(entry)) is not None:
            entry.reply = str(unreached.status)
            self._ledger.settle(entry)
            return unreached
        if delay := plan.strike(rules.delay_before_placing, "delay_before_placing", entry):
            await self._wait(delay.delay_s, "before", entry)
        answer = Answer(201, {"sid": entry.call_sid, "callId": entry.call_id})
        if plan.strike(rules.never_place, "never_place", entry):
            entry.reply = str(answer.status)
            self._ledger.settle(entry)
            self._ledger.flush()  # no kill may forget what was answered with a name
            return answer
        # Settled before the call exists: a call may be over before its answer is written.
        dropped = plan.strike(rules.drop_reply, "drop_reply", entry)
        failed = plan.strike(rules.place_then_500, "place_then_500", entry)
        first = plan.strike(rules.webhook_before_reply, "webhook_before_reply", entry)
        delay = plan.strike(rules.delay_after_placing, "delay_after_placing", entry)
        answer = FETCH_FAILED if failed else answer
        entry.reply = "dropped" if dropped else str(answer.status)
        call = self._exchange.place(order, entry)
        if first:
            await _delivered(call, first.events)
        if delay:
            await self._wait(delay.delay_s, "after", entry)
        if dropped:
            raise Dropped
        return answer

    async def _wait(self, wait: tuple[float, float], name: str, entry: Entry) -> None:
        words = name, entry.number, entry.nth_request
        await asyncio.sleep(self._plan.drawn_s(wait, *words) * self._exchange.scale)

    def _not_forwarded(self, entry: Entry) -> Answer | None:
        """What a request hears that is sent to a feature server which is dead; None to another."""
        now_s = asyncio.get_running_loop().time()
        rule = self._plan.rules.dead_feature_server
        if rule is None:
            self._dead_since_s = None
        if (dead := self._plan.strike(rule, "dead_feature_server", entry)) is None:
            return None
        if self._dead_since_s is None:
            self._dead_since_s = now_s
        if now_s < self._dead_since_s + dead.registered_s * self._exchange.scale:
            return FETCH_FAILED
        return None if self._feature_servers > 1 else NO_FEATURE_SERVER


def _refused(refusal: Refusal) -> Answer:
    answer = REFUSALS[refusal.status]
    if refusal.says is not None:
        answer = message(refusal.status, refusal.says)
    if answer is not TOO_MANY:
        return answer
    wait_s = b"%d" % refusal.retry_after_s
    return answer._replace(
        headers=(
            (b"ratelimit-policy", b"600;w=300"),
            (b"ratelimit-limit", b"600"),
            (b"ratelimit-remaining", b"0"),
            (b"ratelimit-reset", wait_s),
            (b"retry-after", wait_s),
        )
    )


async def _delivered(call: Call, events: frozenset[str]) -> None:
    """Wait until one of the events, or the last event of the call, was sent or lost."""
    awaited = events | FINAL
    tried = [event.event for event in call.entry.webhooks if event.fate != "pending"]
    if call.line.hook is not None and awaited.isdisjoint(tried):
        done = call.line.tried = (awaited, asyncio.Event())
        await done[1].wait()
