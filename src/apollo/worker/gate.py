"""The worker's gate towards the provider: how many requests may leave, and how it stands.

Owns what is asked of the breaker and told to it outside of calls. Must never place a call.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from apollo.core.breaker import GateState
from apollo.errors import DriverError, NotPlaced
from apollo.ports import Clock, TelephonyDriver
from apollo.usecases.dial_contacts import DialContacts


@dataclass(frozen=True, slots=True)
class Gate:
    """The gate of one worker."""

    dial: DialContacts
    driver: TelephonyDriver
    clock: Clock

    def allowed(self, slots: int, *, under_way: int) -> int:
        """Say how many requests may leave now, beside those under way."""
        breaker, now = self.dial.breaker, self.clock.monotonic()
        risk = breaker.risk(now)
        free = (slots if risk is None else min(slots, risk)) - under_way
        return breaker.may_send(now, free) if free > 0 else 0

    async def ask(self) -> None:
        """Ask the provider something harmless, where no call could find out whether it works."""
        breaker = self.dial.breaker
        try:
            await self.driver.probe()
        except DriverError as error:
            self.failed(error)
            return
        now = self.clock.monotonic()
        if breaker.state is GateState.UNAUTHORISED:
            breaker.succeeded(now)
        else:
            breaker.found_well(now)

    def failed(self, error: DriverError) -> None:
        """Tell the breaker of a question that failed."""
        breaker, now = self.dial.breaker, self.clock.monotonic()
        match error:
            case NotPlaced(cause="unauthorised"):
                breaker.refused(now, str(error))
            case NotPlaced(cause="rate_limited"):
                breaker.told_to_wait(now, error.retry_after_s, str(error))
            case _:
                breaker.failed(now, error.cause, str(error))

    def report(self) -> dict[str, Any]:
        """Give how the provider stands, for the heartbeat."""
        breaker, now = self.dial.breaker, self.clock.monotonic()
        return {
            "provider": self.driver.provider,
            "state": breaker.state.value,
            "since": self._wall(breaker.since),
            "cause": breaker.cause,
            "last_error": breaker.last_error,
            "last_success_at": self._wall(breaker.last_success_at),
            # What was due a moment ago is due now.
            "retry_at": self._wall(breaker.retry_at and max(breaker.retry_at, now)),
            "answers": breaker.answers(now),
            **self._budget(),
        }

    def _budget(self) -> dict[str, Any]:
        """The provider's request budget, which may hold dialling back before it says so itself."""
        budget = self.dial.budget
        if budget is None:
            return {}
        report: dict[str, Any] = {"budget": budget.as_json()}
        if budget.held_since is not None and self.dial.breaker.state is GateState.OK:
            report |= {
                "state": GateState.RATE_LIMITED.value,
                "since": budget.held_since.isoformat(),
                "cause": "budget_kept",
                "last_error": budget.text,
                "retry_at": budget.resets_at.isoformat(),
            }
        return report

    def _wall(self, monotonic: float | None) -> str | None:
        if not monotonic:
            return None
        ago = timedelta(seconds=self.clock.monotonic() - monotonic)
        return (self.clock.now() - ago).isoformat()
