"""A telephony provider in virtual time, and the witness: its ledger says what really happened.

It places calls, lets people ring, answer and hang up, sends status webhooks, keeps live records and
call-detail records, and fails as the weather says. It runs in no process of Apollo: what it was
asked goes on when the asker is dead. Must never look at Apollo's tables.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextvars import copy_context
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import inf
from typing import Final

from tests.simulation.loop import PROCESS, VirtualLoop
from tests.simulation.weather import Weather

from apollo.ports import DialRequest, LiveCall

# Retries of a status webhook, in seconds, as `#rc=5` asks for.
HOOK_WAITS_S: Final = (0.005, 0.5, 1.0, 2.0, 4.0, 6.0)
# What has to meet something that lasts a millisecond is delivered at once.
HURRIED: Final = (0.0, *HOOK_WAITS_S[1:])
# A live record stays this long after a final status, and this long without one.
RECORD_LIVES_S: Final = 3600.0
STALE_LIVES_S: Final = 12 * 3600.0
# How an untrue status is filed.
WRONG: Final = "wrong"
WORDS: Final = {200: "completed", 486: "busy", 603: "busy", 487: "no-answer"}
# How a call ends: final code, does it ring first, how often.
ENDINGS: Final = (
    (200, True, 30),
    (487, True, 12),
    (486, False, 10),
    (480, False, 5),
    (408, False, 3),
    (404, False, 3),
    (603, False, 4),
    (603, True, 3),
    (600, False, 2),
    (503, False, 6),
    (607, True, 1),
)


@dataclass(eq=False)
class Entry:
    """One call in the ledger. Times are virtual seconds."""

    tag: str
    sid: str
    to: str
    from_number: str
    placed_at: float
    ring_timeout_s: int
    time_limit_s: int
    status: str = "trying"
    rang_at: float | None = None
    answered_at: float | None = None
    ended_at: float | None = None
    sip_status: int | None = None
    is_silent: bool = False
    # The provider first said that it rang out, and it was answered.
    is_misled: bool = False
    # In no answer about calls, by itself or since the store was emptied; without a record.
    is_hidden: bool = False
    is_forgotten: bool = False
    is_unrecorded: bool = False
    # Statuses that Apollo said 200 to, and when.
    acknowledged: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Asked:
    """One request to place a call, as it left Apollo."""

    tag: str
    to: str
    sent_at: float
    fault: str | None


Post = Callable[[bytes, bool], Awaitable[int | None]]


class Provider:
    """The provider and its ledger."""

    def __init__(self, loop: VirtualLoop, start: datetime, weather: Weather) -> None:
        self.loop = loop
        self.start = start
        self.weather = weather
        self.dice = weather.dice
        self.ledger: list[Entry] = []
        self.asked: list[Asked] = []
        self.is_away = False
        # Which parts behind the API are away.
        self.has_call_store = self.has_key_store = self.has_feature_server = True
        self.budget = Budget(weather)
        self.late_by_s = 60.0
        self.record_lives_s = self.dice.choice((RECORD_LIVES_S, 600.0, 60.0))
        self.clock_off_s = self.dice.uniform(-2.0, 2.0)
        self.has_records = "no_records" not in weather.rates
        self.post: Post | None = None
        # Told once, when the next request is on the wire.
        self.on_taken: Callable[[], None] | None = None
        self.on_answered_end: Callable[[Entry], None] | None = None
        self.on_acknowledged: Callable[[Entry, str], None] | None = None
        self._context = copy_context()
        self._context.run(PROCESS.set, None)
        self._hooks_under_way = 0
        # Answered calls of which the provider has said something else until now.
        self._untold: dict[str, list[Entry]] = {}

    # ------------------------------------------------------------------------------- placing

    def take(
        self, request: DialRequest, fault: str | None, reply: "asyncio.Future[str | None]"
    ) -> None:
        """Take a request as it arrives, and answer after a while, or never."""
        self.asked.append(Asked(request.execution_id, request.to, self.loop.time(), fault))
        if self.on_taken is not None:
            self.later(self.dice.uniform(0.0, 0.02), self.on_taken)
            self.on_taken = None
        if not self.has_call_store:
            # Its client tries again and again before it gives up.
            self.later(self.weather.stores.uniform(0.5, 42.0), _answer, reply, None)
            return
        if fault is not None and (
            fault.startswith("answer_4") or fault in {"refused_connection", "answer_500_store"}
        ):
            self.later(self.dice.uniform(0.005, 0.05), _answer, reply, None)
            return
        before = self.dice.uniform(0.005, 0.1)
        after = self.dice.uniform(0.001, 0.05)
        if fault == "placed_late":
            before = self.dice.uniform(5.0, self.late_by_s)
            after = 1000.0
        elif fault == "slow_before_placing":
            before = self.dice.uniform(0.5, 14.0)
        elif fault == "answered_in_10_to_40_s":
            after = self.weather.stores.uniform(10.0, 40.0)
        elif fault == "slow_after_placing":
            after = self.dice.uniform(0.5, 14.0)
        sid = f"sid-{len(self.asked)}"
        if fault not in {
            *("reply_lost_not_placed", "answer_500_not_placed", "created_never_placed"),
        }:
            self.later(before, self._place, request, sid)
        if fault not in {"reply_lost_placed", "reply_lost_not_placed"}:
            self.later(before + after, _answer, reply, sid)

    def later(self, seconds: float, what: Callable[..., object], *args: object) -> None:
        """Do something after a while, whoever is dead by then."""
        self.loop.call_later(seconds, what, *args, context=self._context)

    def _place(self, request: DialRequest, sid: str) -> None:
        call = Entry(
            tag=request.execution_id,
            sid=sid,
            to=request.to,
            from_number=request.from_number,
            placed_at=self.loop.time(),
            ring_timeout_s=request.ring_timeout_s,
            time_limit_s=request.time_limit_s,
        )
        # Of what was lost in one place by itself the other still tells.
        call.is_hidden = self.weather.strikes("call_not_listed")
        call.is_unrecorded = not call.is_hidden and self.weather.strikes("record_lost")
        self.ledger.append(call)
        self._tell(call)
        code, rings, _ = self.dice.choices(ENDINGS, [weight for *_, weight in ENDINGS])[0]
        wait = self.dice.choice((0.05, 0.3, self.dice.uniform(0.2, 4.0)))
        if rings:
            self.later(wait, self._ring, call)
            wait += self.dice.choice((0.1, self.dice.uniform(0.5, request.ring_timeout_s)))
        if code == 487:
            wait = request.ring_timeout_s
        wait = min(wait, request.ring_timeout_s)
        if code == 200:
            self.later(wait, self._answer_phone, call)
        else:
            self.later(wait, self.end, call, code)

    def _ring(self, call: Entry) -> None:
        if call.ended_at is None and call.answered_at is None:
            call.rang_at = self.loop.time()
            call.status = self.dice.choice(("ringing", "ringing", "early-media"))
            self._tell(call)

    def _answer_phone(self, call: Entry) -> None:
        if call.ended_at is not None:
            return
        call.answered_at = self.loop.time()
        call.status = "in-progress"
        call.is_misled = self.weather.strikes("hook_contradicts")
        if not call.is_misled:
            self._tell(call)
        talk = self.dice.choice((0.3, self.dice.uniform(1, 40), self.dice.uniform(1, 900)))
        self.later(min(talk, call.time_limit_s), self.end, call, 200)

    def end(self, call: Entry, code: int) -> None:
        """End a call, if it has not ended yet."""
        if call.ended_at is not None:
            return
        call.ended_at = self.loop.time()
        call.sip_status = 200 if call.answered_at is not None else code
        if not call.is_silent:
            call.status = WORDS.get(call.sip_status, "failed")
        if call.is_misled and not call.is_silent:
            wrong = {"call_status": "no-answer", "sip_status": 487}
            self.later(
                self.dice.uniform(0.01, 0.1), self._send, call, WRONG, self._body(call, wrong)
            )
            # Long enough for a retry to be claimed meanwhile, which is when it is told at last.
            wait = self.dice.choice((0.2, self.dice.uniform(1.0, 200.0), 900.0))
            self._untold[call.to] = [*self._untold.get(call.to, []), call]
            self.later(wait, self._tell_truth, call)
        else:
            self._tell(call)
        if call.answered_at is not None and self.on_answered_end is not None:
            self.on_answered_end(call)

    def tell_beside_claim(self, number: str) -> None:
        """Say what is true of earlier calls to a number, in the moment that it is claimed again."""
        for call in self._untold.pop(number, []):
            self.later(0.0, self._send, call, call.status, self._body(call), HURRIED)

    def _tell_truth(self, call: Entry) -> None:
        if call in self._untold.get(call.to, []):
            self._untold[call.to].remove(call)
            self._tell(call)

    def lose_calls(self) -> None:
        """Empty the store of calls: each is there again once something new is written about it."""
        for call in self.ledger:
            call.is_forgotten = True

    def go_silent(self) -> None:
        """Lose every live call without a word about it: the live records stay as they were."""
        for call in self.ledger:
            if call.ended_at is None:
                call.is_silent = True
                self.end(call, 503)

    # ------------------------------------------------------------------------------ webhooks

    def _tell(self, call: Entry) -> None:
        if call.is_silent:
            return
        call.is_forgotten = call.is_forgotten and not self.has_call_store
        weather = self.weather
        delay = self.dice.uniform(0.001, 0.03)
        if weather.strikes("hook_reordered"):
            delay = self.dice.uniform(0.1, 20.0)
        if weather.strikes("hook_late"):
            delay = self.dice.uniform(10.0, 700.0)
        body = self._body(call)
        if weather.strikes("hook_doubled"):
            self.later(delay + self.dice.uniform(0.0, 60.0), self._send, call, call.status, body)
        if not weather.strikes("hook_lost"):
            self.later(delay, self._send, call, call.status, body)

    def _body(self, call: Entry, wrong: dict[str, object] | None = None) -> bytes:
        status: dict[str, object] = {
            "call_sid": call.sid,
            "call_id": f"sip-{call.sid}",
            "call_status": call.status,
            "customerData": {"execution_id": call.tag},
        }
        if call.ended_at is not None:
            status["sip_status"] = call.sip_status
            if call.answered_at is not None:
                status["duration"] = round(call.ended_at - call.answered_at)
        return json.dumps(status | (wrong or {})).encode()

    def _send(
        self, call: Entry, status: str, body: bytes, waits: tuple[float, ...] = HOOK_WAITS_S
    ) -> None:
        self._hooks_under_way += 1
        self.loop.create_task(self._deliver(call, status, body, waits), context=self._context)

    async def _deliver(
        self, call: Entry, status: str, body: bytes, waits: tuple[float, ...]
    ) -> None:
        for wait in waits:
            await self.loop.nap(wait and wait + self.dice.uniform(0.001, 0.01))
            assert self.post is not None
            if await self.post(body, not self.weather.strikes("hook_forged")) == 200:
                call.acknowledged.setdefault(status, self.loop.time())
                if self.on_acknowledged is not None:
                    self.on_acknowledged(call, status)
                break
        self._hooks_under_way -= 1

    # ----------------------------------------------------------------------------- questions

    def live_record(self, call: Entry) -> LiveCall | None:
        """Show a call as the live list does; None when its record is gone, or the list is."""
        if call.is_hidden or call.is_forgotten or not self.has_call_store:
            return None
        # Nobody tidies up after a call that ended without a word.
        lives_s = STALE_LIVES_S if call.is_silent else self.record_lives_s
        if call.ended_at is not None and self.loop.time() > call.ended_at + lives_s:
            return None
        ended = call.ended_at is not None and not call.is_silent
        return LiveCall(
            provider_call_id=call.sid,
            to=call.to,
            from_number=call.from_number,
            call_status=call.status,
            sip_status=call.sip_status if ended else None,
            duration_s=self._duration(call) if ended else None,
        )

    def detail_record(self, call: Entry) -> LiveCall | None:
        """Show a call as its call-detail record does; None while there is none."""
        if call.is_unrecorded or call.ended_at is None:
            return None
        if self.loop.time() < self.recorded_at(call):
            return None
        sip_status = call.sip_status or 0
        return LiveCall(
            provider_call_id=call.sid,
            to=call.to,
            from_number=call.from_number,
            call_status=WORDS.get(sip_status, "failed"),
            sip_status=sip_status,
            duration_s=self._duration(call),
            attempted_at=self._shown(call.placed_at),
            answered_at=None if call.answered_at is None else self._shown(call.answered_at),
            ended_at=self._shown(call.ended_at),
        )

    def recorded_at(self, call: Entry) -> float:
        """Give when a call's record is written, unless it is lost; infinity while it is up."""
        late_s = 50.0 if "record_late" in self.weather.rates else 20.0
        return inf if call.ended_at is None else call.ended_at + late_s

    def _shown(self, seconds: float) -> datetime:
        return self.start + timedelta(seconds=seconds + self.clock_off_s)

    def _duration(self, call: Entry) -> int | None:
        if call.answered_at is None or call.ended_at is None:
            return None
        return round(call.ended_at - call.answered_at)

    def find(self, sid: str) -> Entry | None:
        """Find a call by the provider's own id."""
        return next((call for call in self.ledger if call.sid == sid), None)

    @property
    def is_quiet(self) -> bool:
        """Tell whether no call is live and no webhook under way."""
        return not self._hooks_under_way and all(c.ended_at is not None for c in self.ledger)


class Budget:
    """So many requests in a minute, whatever is asked; without end while the fault is not on."""

    WINDOW_S: Final = 60.0

    def __init__(self, weather: Weather) -> None:
        self._weather = weather
        self._most = weather.stores.choice((10, 25, 60))
        self._used, self._ends_at = 0, 0.0

    def left(self, now_s: float) -> tuple[int, float] | None:
        """How many requests are left, and for how many seconds; None: as many as you like."""
        if "request_budget" not in self._weather.rates or self._weather.is_calm:
            return None
        if now_s >= self._ends_at:
            self._used, self._ends_at = 0, now_s + self.WINDOW_S
        return self._most - self._used, self._ends_at - now_s

    def take(self, now_s: float) -> float | None:
        """Use one request; gives the seconds to wait when there was none."""
        left = self.left(now_s)
        if left is None:
            return None
        if left[0] > 0:
            self._used += 1
            return None
        self._weather.injected["request_budget"] += 1
        return left[1]


def _answer(reply: "asyncio.Future[str | None]", sid: str | None) -> None:
    if not reply.done():
        reply.set_result(sid)
