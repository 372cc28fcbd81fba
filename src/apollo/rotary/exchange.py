"""All simulated calls, from INVITE to the end.

Owns the life of every call: whether it may leave, who rings, who answers, when it is over, and what
the feature server remembers of it. Must not know about HTTP requests.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from datetime import datetime
from math import inf
from uuid import uuid4

import msgspec

from apollo.rotary.call import CANCELLED, EARLY_MEDIA, OK, RINGING, TRYING, Call, Hangup
from apollo.rotary.carrier import NO_ROUTE, Capacity
from apollo.rotary.checks import Order, reshaped_tag
from apollo.rotary.clock import utc_now
from apollo.rotary.faults import FaultPlan
from apollo.rotary.hooks import Hook
from apollo.rotary.ledger import REMEMBERED_CALLS, Entry, Ledger
from apollo.rotary.people import PICKS_UP, Does, People
from apollo.rotary.record_store import RecordStore
from apollo.rotary.records import STATUS_OF, reason_of
from apollo.rotary.scenario import Scenario
from apollo.rotary.schema import plain_number
from apollo.rotary.webhooks import Line, PostOffice

RING_LIFETIME_S = 12 * 3600.0  # a record of a call that nobody answered yet
PURGE_S = 600.0  # jambonz clears the list of expired calls this often
TEARDOWN_S = 0.05  # jambonz tears a cancelled call down this fast, and its HTTP client with it

encode = msgspec.json.Encoder().encode


class Exchange:
    """All calls of the router."""

    def __init__(
        self,
        *,
        scenario: Scenario,
        seed: int,
        account_sid: str,
        webhook: Hook | None,
        secret: str,
        ledger: Ledger,
        plan: FaultPlan,
    ) -> None:
        self.calls: dict[str, Call] = {}
        self.calls_to: dict[str, list[Call]] = {}
        self.unsettled: dict[str, Call] = {}  # something may still happen to these
        self.detail_records = RecordStore(plan)
        self.scale = scenario.time_scale
        self.post = PostOffice(
            secret=secret,
            plan=plan,
            ledger=ledger,
            time_scale=self.scale,
            http_pool=scenario.api.http_pool,
            settled=self._settle,
        )
        self._account_sid = account_sid
        self._webhook = webhook
        self._ledger = ledger
        self._plan = plan
        self._people = People(scenario.people, seed)
        self._capacity = Capacity(scenario.carrier, seed)
        self._cancel_s = scenario.carrier.cancel_s
        self._lifetime_s = scenario.api.record_lifetime_s
        self._fetches = scenario.fetch_call_hook
        self._finished: deque[Call] = deque()

    async def open(self) -> None:
        """Take up work; the ledger is open already."""
        self._loop = asyncio.get_running_loop()
        await self.post.open()
        for entry in self._ledger.recent:
            if entry.reached_carrier and "cdr_lost" not in entry.faults:
                self.detail_records.write(entry, 0.0)

    async def close(self) -> None:
        """Hang up everything at once, without a word to anybody."""
        for call in self.unsettled.values():
            call.stop_timer()
        await self.post.close()

    def entry_for(self, order: Order, requested_at: datetime) -> Entry:
        """A new entry for a request; no call is placed yet."""
        return Entry(
            call_sid=str(uuid4()),
            call_id=str(uuid4()),
            trace_id=uuid4().hex,
            account_sid=self._account_sid,
            application_sid=order.application_sid,
            tag=order.tag,
            to=order.to,
            from_=order.caller_id,
            trunk=order.trunk,
            nth_request=self._ledger.next_request_for(plain_number(order.to)),
            requested_at=requested_at,
        )

    def place(self, order: Order, entry: Entry) -> Call:
        """Send the INVITE: from here on there is a call, whatever the client will hear."""
        hook = self._webhook or order.status_hook
        entry.placed_at = utc_now()
        self._ledger.placed(entry)
        conduct = self._people.meet(entry.number, entry.nth_call)
        call = Call(entry, order, conduct, Line(entry, hook), order.tag)
        entry.does = conduct.does
        entry.webhook_url = hook.shown if hook is not None else None
        self.calls[entry.call_sid] = call
        self.calls_to.setdefault(entry.number, []).append(call)
        self.unsettled[entry.call_sid] = call
        refusal = self._capacity.refusal(entry, self._loop.time())
        if self._plan.strike(self._plan.rules.no_carrier, "no_carrier", entry):
            refusal = NO_ROUTE, reason_of(NO_ROUTE)
        self._tell(call, "trying", TRYING, "Trying")
        if refusal is not None:
            self._in(0, self._refused, call, *refusal)
        else:
            entry.reached_carrier = True
            self._capacity.carry()
            self._dial(call)
        return call

    def hang_up(self, call: Call) -> Hangup:
        """End an answered call from our side."""
        if call.session_gone():
            return Hangup.GONE
        if call.entry.answered_at is None:
            return Hangup.INCOMPATIBLE
        self._in(0, self._completed, call, "jambonz")
        return Hangup.DONE

    def cancel(self, call: Call) -> Hangup:
        """Stop a call that still rings; jambonz usually loses the final webhook of it."""
        if call.session_gone():
            return Hangup.GONE
        if call.entry.answered_at is not None:
            return Hangup.INCOMPATIBLE
        call.cancelling = True
        lost = "client torn down" if self._cancel_s * self.scale >= TEARDOWN_S else ""
        reason = reason_of(CANCELLED)
        self._in(self._cancel_s, self._refused, call, CANCELLED, reason, lost)
        return Hangup.DONE

    def retag(self, call: Call, tag: object) -> Hangup:
        """Replace what later webhooks carry as customerData."""
        if call.session_gone():
            return Hangup.GONE
        call.customer = reshaped_tag(tag)
        return Hangup.DONE

    def visible(self, call: Call) -> bool:
        """Whether the record of the call is still there."""
        return self._loop.time() < call.expires_at

    def haunting(self, call: Call) -> bool:
        """Whether an expired record still leaves an empty place in the list."""
        return self._loop.time() < call.expires_at + PURGE_S * self.scale

    def forget(self, call: Call) -> None:
        """Delete the record. The call itself goes on, as in jambonz."""
        call.expires_at = -inf
        call.indexed = False

    def forget_all(self) -> None:
        """Delete every record: the store of calls was restarted and had kept nothing."""
        for call in self.calls.values():
            self.forget(call)

    def crash(self) -> int:
        """Every feature server dies: all live calls go silent. Answers how many did."""
        calls = list(self.unsettled.values())
        live = sum(call.entry.ended_at is None for call in calls)
        for call in calls:
            self.post.silence(call.line)
        return live

    def _in(self, seconds: float, step: Callable[..., None], call: Call, *details: object) -> None:
        """The one thing that happens next to a call, unless something else comes first."""
        call.stop_timer()
        if delay_s := seconds * self.scale:
            call.timer = self._loop.call_later(delay_s, step, call, *details)
        else:
            call.timer = self._loop.call_soon(step, call, *details)

    def _dial(self, call: Call) -> None:
        conduct, timeout_s = call.conduct, call.order.timeout_s
        if conduct.dial_s >= timeout_s:
            self._in(timeout_s, self._no_answer, call)
        elif conduct.ring_s is None:
            refused = (conduct.sip_status, reason_of(conduct.sip_status))
            self._in(conduct.dial_s, self._refused, call, *refused)
        else:
            self._in(conduct.dial_s, self._ring, call)

    def _ring(self, call: Call) -> None:
        conduct = call.conduct
        call.entry.rang_at = utc_now()
        call.sbc_callid = str(uuid4())
        self._tell(call, "ringing", RINGING, "Trying")
        if conduct.early_media:
            self._tell(call, "early-media", EARLY_MEDIA, "Trying")
        ring_s = conduct.ring_s or 0.0
        patience_s = call.order.timeout_s - conduct.dial_s
        if ring_s > patience_s:
            self._in(patience_s, self._no_answer, call)
        elif conduct.does in PICKS_UP:
            self._in(ring_s, self._answered, call)
        else:
            refused = (conduct.sip_status, reason_of(conduct.sip_status))
            self._in(ring_s, self._refused, call, *refused)

    def _answered(self, call: Call) -> None:
        call.entry.answered_at = utc_now()
        self._tell(call, "in-progress", OK, "OK")
        if call.order.detection_hook is not None:
            self._detect(call, call.order.detection_hook)
        talk_s, limit_s = call.conduct.talk_s, call.order.time_limit_s
        if limit_s is not None and talk_s > limit_s:
            self._in(limit_s, self._completed, call, "jambonz", limit_s)
        else:
            self._in(talk_s, self._completed, call, "caller", talk_s)
        if self._fetches and call.order.call_hook is not None and not call.line.silent:
            self.post.run(self._loop.create_task(self._ask(call, call.order.call_hook)))

    def _detect(self, call: Call, hook: Hook) -> None:
        """Report who picked up, as machine detection does; here it is never wrong."""
        is_machine = call.conduct.does is Does.VOICEMAIL
        event = "amd_machine_detected" if is_machine else "amd_human_detected"
        why = {"reason": "hint", "hint": "leave a message", "language": "en-US"}
        said = call.payload() | {"type": event} | (why if is_machine else {})
        self.post.post(call.line, event, OK, encode(said), hook=hook)
        self._ledger.note(call.entry)

    async def _ask(self, call: Call, hook: Hook) -> None:
        speech = call.order.speech
        question = call.payload() | {
            "defaults": {
                "synthesizer": dict(zip(("vendor", "language", "voice"), speech[:3], strict=True)),
                "recognizer": dict(zip(("vendor", "language"), speech[3:], strict=True)),
            }
        }
        verbs = await self.post.fetch(call.line, hook, encode(question))
        if not _has_verbs(verbs) and not call.session_gone():
            self._in(0, self._completed, call, "jambonz")

    def _completed(self, call: Call, by: str, talked_s: float | None = None) -> None:
        entry = call.entry
        entry.ended_at = utc_now()
        if talked_s is None and entry.answered_at is not None:
            talked_s = (entry.ended_at - entry.answered_at).total_seconds() / self.scale
        entry.duration = int(talked_s or 0.0)
        entry.terminated_by = by
        if not call.line.silent:
            call.duration, call.terminated_by = entry.duration, by
        self._over(call, "completed", OK, "OK")

    def _no_answer(self, call: Call) -> None:
        self._refused(call, CANCELLED, reason_of(CANCELLED))

    def _refused(self, call: Call, sip_status: int, reason: str, lost: str = "") -> None:
        call.entry.ended_at = utc_now()
        self._over(call, STATUS_OF.get(sip_status, "failed"), sip_status, reason, lost)

    def _over(self, call: Call, status: str, sip_status: int, reason: str, lost: str = "") -> None:
        entry, rules = call.entry, self._plan.rules
        call.timer = None
        entry.sip_status, entry.call_status = sip_status, status
        self._ledger.ended(entry)
        if entry.reached_carrier:
            self._capacity.release()
            if not self._plan.strike(rules.cdr_lost, "cdr_lost", entry):
                late = self._plan.strike(rules.cdr_late, "cdr_late", entry)
                wrong = self._plan.strike(rules.wrong_clock, "wrong_clock", entry)
                offset_s = wrong.offset_s if wrong else 0.0
                if late:
                    delay_s = late.delay_s * self.scale
                    self._loop.call_later(delay_s, self.detail_records.write, entry, offset_s)
                else:
                    self.detail_records.write(entry, offset_s)
        self._tell(call, status, sip_status, reason, lost)
        self.post.call_over(call.line)
        self._settle(call.line)
        self._finished.append(call)
        while len(self._finished) > REMEMBERED_CALLS:
            self._drop(self._finished.popleft())

    def _tell(self, call: Call, event: str, sip_status: int, reason: str, lost: str = "") -> None:
        entry, rules = call.entry, self._plan.rules
        if self._plan.strike(rules.call_silent, "call_silent", entry, event):
            self.post.silence(call.line)
        if self._plan.strike(rules.crash, "crash", entry, event):
            self.crash()
        if not call.line.silent:
            if not self.visible(call):
                call.recreated, call.indexed = True, False
            call.sip_status, call.sip_reason, call.call_status = sip_status, reason, event
            self._keep_record(call, entry)
        self.post.post(call.line, event, sip_status, encode(call.payload()), lost=lost)
        self._ledger.note(entry)

    def _keep_record(self, call: Call, entry: Entry) -> None:
        lifetime_s = RING_LIFETIME_S
        if call.sip_status >= OK:
            lifetime_s = self._lifetime_s
            rule = self._plan.rules.record_expires
            if expiry := self._plan.strike(rule, "record_expires", entry):
                lifetime_s = expiry.delay_s
        call.expires_at = self._loop.time() + lifetime_s * self.scale

    def _settle(self, line: Line) -> None:
        entry = line.entry
        if entry.ended_at is None or entry.call_status is None or line.unsettled:
            self._ledger.note(entry)
        elif self.unsettled.pop(entry.call_sid, None) is not None:
            self._ledger.settle(entry)
            entry.webhooks = []  # the file has them now

    def _drop(self, call: Call) -> None:
        self.calls.pop(call.entry.call_sid, None)
        mates = self.calls_to.get(call.entry.number, [])
        if len(mates) > 1:
            mates.remove(call)
        else:
            self.calls_to.pop(call.entry.number, None)


def _has_verbs(answer: bytes | None) -> bool:
    try:
        return bool(msgspec.json.decode(answer or b"[]", type=list[dict[str, object]]))
    except msgspec.DecodeError:
        return False
