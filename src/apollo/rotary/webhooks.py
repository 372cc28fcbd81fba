"""Status webhooks: their order, retries and fate.

Owns every request RotaryRouter makes to somebody else. Like jambonz it keeps nothing over a restart
and gives up easily. Must never decide what happens to a call.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from os import urandom
from time import perf_counter

from apollo.rotary.clock import utc_now
from apollo.rotary.faults import FaultPlan
from apollo.rotary.hooks import WAITS_S, Hook, signature
from apollo.rotary.ledger import Attempt, Entry, Ledger, Webhook
from apollo.rotary.nonsense import odd_body
from apollo.rotary.sender import NoAnswer, Sender

log = logging.getLogger(__name__)

DELIVERED = frozenset({200, 202, 204})  # jambonz takes nothing else for a yes, not even 201
CLIENT_CLOSES_S = 5.0  # after the final event of an unanswered call its retries end
LOG_LENGTH = 1_000  # deliveries kept for GET /rotary/deliveries
LOG_EVERY_S = 1.0  # one line a second per trouble and address: an absent receiver is one trouble

FINAL = frozenset({"completed", "failed", "busy", "no-answer"})


@dataclass(slots=True)
class Letter:
    """One webhook on its way; a retry repeats its bytes exactly."""

    webhook: Webhook
    hook: Hook
    request: bytes
    copies: int = 1
    tries: int = 0
    late_s: float = 0.0


@dataclass(slots=True)
class Line:
    """The webhooks of one call, one at a time: jambonz holds one connection per call."""

    entry: Entry
    hook: Hook | None
    queue: list[Letter] = field(default_factory=list)  # a few at most
    held: Letter | None = None  # waits for its successor (fault webhook_reordered)
    unsettled: int = 0
    sending: bool = False
    silent: bool = False  # its feature server died: nothing is sent any more
    client_closed: bool = False  # the call's HTTP client is gone, and the retries with it
    tried: tuple[frozenset[str], asyncio.Event] | None = None  # somebody waits for one of these


class PostOffice:
    """Delivers webhooks for all calls over one pool of connections."""

    def __init__(
        self,
        *,
        secret: str,
        plan: FaultPlan,
        ledger: Ledger,
        time_scale: float,
        http_pool: bool,
        settled: Callable[[Line], None],
    ) -> None:
        self.deliveries: deque[dict[str, object]] = deque(maxlen=LOG_LENGTH)
        self.delivered = 0
        self.failed = 0
        self._secret = secret.encode()
        self._plan = plan
        self._ledger = ledger
        self._time_scale = time_scale
        self._http_pool = http_pool
        self._settled = settled
        self._tasks: set[asyncio.Task[None]] = set()
        self._logged: dict[str, float] = {}
        self._closed = False

    async def open(self) -> None:
        """Take up work in the running loop."""
        self._loop = asyncio.get_running_loop()
        self._sender = Sender()

    async def close(self) -> None:
        """Stop delivering at once; what is on its way stays undelivered."""
        self._closed = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._sender.close()

    def post(
        self,
        line: Line,
        event: str,
        sip_status: int,
        body: bytes,
        *,
        lost: str = "",
        hook: Hook | None = None,
    ) -> None:
        """Send one event of a call, after those before it; `lost` says why it cannot leave.

        To the status hook, unless another `hook` is named.
        """
        entry = line.entry
        hook = hook or line.hook
        if hook is None:
            return
        webhook = Webhook(event=event, sip_status=sip_status, at=utc_now())
        entry.webhooks.append(webhook)
        plan, rules = self._plan, self._plan.rules
        if not lost and plan.strike(rules.webhook_lost, "webhook_lost", entry, event):
            lost = "lost"
        if lost:
            webhook.fate = lost
            self._mark_tried(line, event)
            return
        letter = Letter(webhook, hook, self._request(line, hook, event, body))
        line.unsettled += 1
        if plan.strike(rules.webhook_doubled, "webhook_doubled", entry, event):
            letter.copies = 2
        if late := plan.strike(rules.webhook_late, "webhook_late", entry, event):
            letter.late_s = late.delay_s * self._time_scale
        self._queue(line, letter)

    async def fetch(self, line: Line, hook: Hook, body: bytes) -> bytes | None:
        """Ask an application what to do in a call; None if it does not say."""
        request = self._request(line, hook, "session:new", body)
        try:
            status, verbs = await self._sender.send(hook, request)
        except NoAnswer:
            return None
        return verbs if status in DELIVERED else None

    def silence(self, line: Line) -> None:
        """The feature server of this call died: what waits is never sent."""
        line.silent = True
        for letter in (*line.queue, *([line.held] if line.held else [])):
            self._finish(line, letter, "feature server crashed")
        line.queue.clear()
        line.held = None

    def call_over(self, line: Line) -> None:
        """The call has sent its last event: a letter held back has no successor any more."""
        if line.held is not None:
            line.queue.append(line.held)
            line.held = None
            self._start(line)

    def run(self, work: asyncio.Task[None]) -> None:
        """Keep a task until it is done, so that stopping can end it."""
        self._tasks.add(work)
        work.add_done_callback(self._tasks.discard)

    def _request(self, line: Line, hook: Hook, event: str, body: bytes) -> bytes:
        plan, rules, entry = self._plan, self._plan.rules, line.entry
        at, secret = utc_now(), self._secret
        named = entry.number, entry.nth_request, event
        if plan.speaks_nonsense(*named):
            body = odd_body(body, plan.seed, *named)
        if wrong := plan.strike(rules.wrong_clock, "wrong_clock", entry):
            at += timedelta(seconds=wrong.offset_s)
        if plan.strike(rules.webhook_badly_signed, "webhook_badly_signed", entry, event):
            secret = b"not the secret: " + secret
        trace = urandom(24).hex()
        return hook.request(body, signature(secret, body, at), f"{trace[:32]}-{trace[32:]}-1")

    def _queue(self, line: Line, letter: Letter) -> None:
        entry, event = line.entry, letter.webhook.event
        rules = self._plan.rules
        held, line.held = line.held, None
        if (
            held is None
            and event not in FINAL
            and self._plan.strike(rules.webhook_reordered, "webhook_reordered", entry, event)
        ):
            line.held = letter
            return
        line.queue.append(letter)
        if held is not None:
            line.queue.append(held)
        self._start(line)

    def _start(self, line: Line) -> None:
        if not line.sending and not self._closed:
            line.sending = True
            self.run(self._loop.create_task(self._drain(line)))

    async def _drain(self, line: Line) -> None:
        while line.queue:
            letter = line.queue.pop(0)
            if letter.late_s:
                late_s, letter.late_s = letter.late_s, 0.0
                await asyncio.sleep(late_s)
            await self._attempt(line, letter)
        line.sending = False

    async def _attempt(self, line: Line, letter: Letter) -> None:
        if line.silent:
            self._finish(line, letter, "feature server crashed")
            return
        attempt = Attempt(at=utc_now(), took_ms=0.0)
        letter.webhook.attempts.append(attempt)
        begun = perf_counter()
        kind = ""
        try:
            attempt.status, _ = await self._sender.send(letter.hook, letter.request)
        except NoAnswer as error:
            attempt.error = str(error)
            kind = "ct" if error.connection_trouble else "other"
        attempt.took_ms = round((perf_counter() - begun) * 1000, 3)
        if attempt.status is not None and attempt.status not in DELIVERED:
            kind = f"{attempt.status // 100}xx"
        self._after(line, letter, attempt, kind)

    def _after(self, line: Line, letter: Letter, attempt: Attempt, kind: str) -> None:
        hook, event = letter.hook, letter.webhook.event
        self._mark_tried(line, event)
        self._log(line, letter, attempt)
        letter.copies -= 1
        if letter.copies > 0:
            line.queue.insert(0, letter)  # the double, straight after the first
            return
        letter.tries += 1
        if event in FINAL and not self._http_pool:
            self._close_client(line, event)
        if not kind:
            self._finish(line, letter, "delivered")
        elif letter.tries > hook.retries or not ({kind, "all"} & hook.retry_on):
            self._finish(line, letter, "failed")
        else:
            self._ledger.note(line.entry)
            self._loop.call_later(WAITS_S[letter.tries - 1], self._again, line, letter)

    def _again(self, line: Line, letter: Letter) -> None:
        if self._closed:
            return  # the ledger has been told already
        if line.silent:
            self._finish(line, letter, "feature server crashed")
        elif line.client_closed:
            self._finish(line, letter, "failed")  # jambonz logs ClientDestroyedError here
        else:
            line.queue.append(letter)
            self._start(line)

    def _close_client(self, line: Line, event: str) -> None:
        def close() -> None:
            line.client_closed = True

        if event == "completed":
            close()
        else:
            self._loop.call_later(CLIENT_CLOSES_S, close)

    def _finish(self, line: Line, letter: Letter, fate: str) -> None:
        letter.webhook.fate = fate
        if fate == "delivered":
            self.delivered += 1
        else:
            self.failed += 1
            self._mark_tried(line, letter.webhook.event)
        line.unsettled -= 1
        self._settled(line)

    def _mark_tried(self, line: Line, event: str) -> None:
        if line.tried is not None and event in line.tried[0]:
            line.tried[1].set()

    def _log(self, line: Line, letter: Letter, attempt: Attempt) -> None:
        url = letter.hook.shown
        number = len(letter.webhook.attempts)
        self.deliveries.append(
            {
                "at": attempt.at,
                "call_sid": line.entry.call_sid,
                "event": letter.webhook.event,
                "url": url,
                "attempt": number,
                "status": attempt.status,
                "error": attempt.error,
                "took_ms": attempt.took_ms,
            }
        )
        trouble = attempt.error or f"answered {attempt.status}"
        if attempt.status in DELIVERED or not self._worth_a_line(f"{url} {trouble}"):
            return
        log.warning(
            "status webhook not delivered: url=%s event=%s call_sid=%s attempt=%d %s",
            url.partition("?")[0],
            letter.webhook.event,
            line.entry.call_sid,
            number,
            trouble,
        )

    def _worth_a_line(self, trouble: str) -> bool:
        now = self._loop.time()
        if now - self._logged.get(trouble, -LOG_EVERY_S) < LOG_EVERY_S:
            return False
        if len(self._logged) > LOG_LENGTH:
            self._logged.clear()
        self._logged[trouble] = now
        return True
