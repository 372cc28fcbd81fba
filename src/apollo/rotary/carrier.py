"""What the simulated carrier can carry, and whom it trusts.

Owns channels, calls per second and the reputation of caller ids. Must not know what happens in a
call.
"""

from collections import deque

from apollo.rotary.dice import throws
from apollo.rotary.ledger import Entry
from apollo.rotary.records import reason_of
from apollo.rotary.scenario import Carrier, Spam
from apollo.rotary.schema import plain_number

NO_ROUTE, FULL, NOT_ALLOWED = 603, 503, 403
SECOND = 1.0


class Capacity:
    """Decides whether one more call can leave."""

    def __init__(self, carrier: Carrier, seed: int) -> None:
        self.carried = 0
        self._carrier = carrier
        self._seed = seed
        self._started: deque[float] = deque()  # within the last second
        self._calls_from: dict[str, deque[float]] = {}

    def refusal(self, entry: Entry, now_s: float) -> tuple[int, str] | None:
        """SIP code and phrase if the call cannot leave; `now_s` is any steady clock."""
        carrier = self._carrier
        if not carrier.up:
            return NO_ROUTE, reason_of(NO_ROUTE)
        if plain_number(entry.from_) in carrier.refused_callers:
            return NOT_ALLOWED, reason_of(NOT_ALLOWED)
        if carrier.channels is not None and self.carried >= carrier.channels:
            return FULL, "Maximum Calls In Progress"
        if carrier.calls_per_second is not None:
            _forget(self._started, now_s - SECOND)
            if len(self._started) >= carrier.calls_per_second:
                return FULL, reason_of(FULL)
            self._started.append(now_s)
        return self._distrust(carrier.spam, entry, now_s) if carrier.spam else None

    def carry(self) -> None:
        """One more call is up."""
        self.carried += 1

    def release(self) -> None:
        """One call less."""
        self.carried -= 1

    def _distrust(self, spam: Spam, entry: Entry, now_s: float) -> tuple[int, str] | None:
        seen = self._calls_from.setdefault(entry.from_, deque(maxlen=spam.calls))
        _forget(seen, now_s - spam.window_s)
        worn_out = len(seen) >= spam.calls
        seen.append(now_s)
        luck, which, *_ = throws(self._seed, "spam", entry.from_, entry.number, entry.nth_call)
        if not worn_out or luck >= spam.rate:
            return None
        code = spam.sip[int(which * len(spam.sip))]
        return code, reason_of(code)


def _forget(moments: deque[float], before: float) -> None:
    while moments and moments[0] <= before:
        moments.popleft()
