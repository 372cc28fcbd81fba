"""When to stop asking a provider that fails, and when to try again. One breaker per connection.

It hears of requests alone: they show whether the connection works, whoever they are for. What
becomes of calls is weighed for each campaign and each batch (`carrier.py`), and stops nobody else.
A value machine: times are the monotonic seconds handed in, so that it can be tested and replayed.
"""

import enum
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from apollo.core.request_budget import RISKED_MAX


class GateState(enum.StrEnum):
    """Whether requests may leave, and if not, why."""

    OK = "ok"  # requests leave
    DOWN = "down"  # failing: one probe now and then
    UNAUTHORISED = "unauthorised"  # our key is refused: nothing leaves until it is accepted
    RATE_LIMITED = "rate_limited"  # told to wait


# A provider's good answer speaks for the next seconds: what broke it may have come since.
_GOOD_FOR_S: Final = 5.0
# So many lately, and it is known to work: a worker never has more requests on the wire.
_GOOD_MAX: Final = 64
# Three in a row is no accident; five and a fifth of a minute's requests is no accident either.
_FAILURES_IN_A_ROW = 3
_FAILURES_A_MINUTE = 5
_FAILURE_SHARE = 0.2
_FIRST_PROBE_AFTER_S = 5.0
_PROBE_EVERY_S = 30.0
# A request that reaches nobody costs nobody anything, and can be tried soon again: there was no
# connection, or the provider could not reach its own store, which it needs before it dials.
_REACHES_NOBODY: Final = frozenset({"connect", "store_down"})
_MINUTE_S = 60.0


@dataclass(slots=True)
class Breaker:
    """The gate in front of one provider connection."""

    state: GateState = GateState.OK
    # Monotonic seconds.
    since: float = 0.0
    retry_at: float = 0.0
    cause: str = ""
    last_error: str = ""
    last_success_at: float | None = None
    _in_a_row: int = 0
    _is_probing: bool = False
    # A question was answered, which proves less than a call that was taken.
    _is_on_trial: bool = False
    # When it gave its last good answers.
    _good: deque[float] = field(default_factory=lambda: deque(maxlen=_GOOD_MAX))
    _recent: deque[tuple[float, str]] = field(default_factory=lambda: deque(maxlen=10_000))

    def may_send(self, now: float, wanted: int) -> int:
        """Say how many requests may leave now; a probe counts as taken once it is allowed."""
        if self.state is GateState.RATE_LIMITED and now >= self.retry_at:
            self._open(GateState.OK, now, "", 0.0)
        if self.state is GateState.OK:
            risk = self.risk(now)
            return wanted if risk is None else min(wanted, risk)
        if now < self.retry_at or self._is_probing:
            return 0
        if self.state is GateState.UNAUTHORISED:
            return 0
        self._is_probing = True
        return min(wanted, 1)

    def risk(self, now: float) -> int | None:
        """Say how many people may be risked at a time; None while the provider is known to work.

        Where nothing good is known of it just now, that is no more than it takes to find out. Each
        good answer lets one more go, so that a crowd of freed slots does not find out an outage
        with one person each.
        """
        if self.state in {GateState.DOWN, GateState.UNAUTHORISED} or self._is_on_trial:
            return 1
        while self._good and self._good[0] < now - _GOOD_FOR_S:
            self._good.popleft()
        if self._in_a_row:
            return RISKED_MAX
        return None if len(self._good) == _GOOD_MAX else RISKED_MAX + len(self._good)

    @property
    def is_shut(self) -> bool:
        """Tell whether even a request that was allowed before must stay."""
        return self.state is not GateState.OK and not self._is_probing

    def give_back(self) -> None:
        """Say that an allowed probe was not used."""
        self._is_probing = False

    def succeeded(self, now: float) -> None:
        """A request was accepted, or a webhook showed that it was."""
        self._note(now, "accepted")
        self._in_a_row = 0
        self._is_on_trial = False
        self._good.append(now)
        self.last_success_at = now
        if self.state is not GateState.OK:
            self._open(GateState.OK, now, "", 0.0)
        self._is_probing = False

    def found_well(self, now: float) -> None:
        """A question was answered while nobody was due: it is not down, as far as that shows.

        The next request goes alone, and a failure opens it again.
        """
        if self.state is GateState.DOWN:
            self._open(GateState.OK, now, "", 0.0)
            self._is_on_trial = True

    def failed(self, now: float, cause: str, error: str) -> None:
        """A request was not placed for the provider's own reasons, or its fate is unknown."""
        self._note(now, cause)
        self._in_a_row += 1
        self.last_error = error
        if self.state is GateState.DOWN:
            # Requests that had left before it opened do not put off a probe that is not due yet.
            if self._is_probing or now >= self.retry_at:
                is_cheap = cause in _REACHES_NOBODY
                self.retry_at = now + (_FIRST_PROBE_AFTER_S if is_cheap else _PROBE_EVERY_S)
            self._is_probing = False
        elif (
            self._in_a_row >= _FAILURES_IN_A_ROW or self._is_on_trial or self._fails_too_often(now)
        ):
            self._open(GateState.DOWN, now, cause, now + _FIRST_PROBE_AFTER_S)

    def refused(self, now: float, error: str) -> None:
        """The provider refuses our key."""
        self._note(now, "unauthorised")
        self._is_probing = False
        self.last_error = error
        if self.state is not GateState.UNAUTHORISED:
            self._open(GateState.UNAUTHORISED, now, "unauthorised", now + _PROBE_EVERY_S)
        self.retry_at = now + _PROBE_EVERY_S

    def told_to_wait(self, now: float, seconds: float, error: str) -> None:
        """The provider's budget is used up for so many seconds."""
        self._note(now, "rate_limited")
        self._is_probing = False
        self.last_error = error
        if self.state in {GateState.OK, GateState.RATE_LIMITED}:
            self._open(GateState.RATE_LIMITED, now, "rate_limited", now + seconds)
        elif self.state is GateState.DOWN:
            # The probe was answered, but not with a call: the next one leaves when it may.
            self.retry_at = now + max(seconds, _FIRST_PROBE_AFTER_S)

    def answered(self, now: float, cause: str) -> None:
        """The provider answered about this one request; that says nothing against it."""
        self._note(now, cause)
        self._in_a_row = 0
        self._is_probing = self._is_on_trial = False
        if self.state is GateState.DOWN:
            self._open(GateState.OK, now, "", 0.0)

    def answers(self, now: float) -> dict[str, int]:
        """Count the answers of the last minute by kind."""
        counts: dict[str, int] = {}
        for at, kind in self._recent:
            if at > now - _MINUTE_S:
                counts[kind] = counts.get(kind, 0) + 1
        return counts

    def _fails_too_often(self, now: float) -> bool:
        recent = [kind for at, kind in self._recent if at > now - _MINUTE_S]
        failures = sum(
            kind not in {"accepted", "rate_limited", "request", "number"} for kind in recent
        )
        return failures >= _FAILURES_A_MINUTE and failures >= _FAILURE_SHARE * len(recent)

    def _open(self, state: GateState, now: float, cause: str, retry_at: float) -> None:
        self.state, self.since, self.cause, self.retry_at = state, now, cause, retry_at
        self._in_a_row = 0
        self._is_probing = self._is_on_trial = False

    def _note(self, now: float, kind: str) -> None:
        self._recent.append((now, kind))
