"""Decides, within a claim, how many requests may leave for the provider, and when.

Three things limit them, each for the whole provider connection and over all workers: the pace that
is set, the provider's own request budget, and how many people are risked on a provider of which
nothing good is known just now. The lock on the provider's row makes one claim count after the
other. It never sends anything.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from apollo.core.eligibility import grant_pace
from apollo.core.request_budget import RISKED_MAX, Allowance, Budget, Load, allow
from apollo.ports import Clock, RateLimit, TelephonyDriver
from apollo.storage import dialling as storage
from apollo.storage.database import Connection

# A second is booked ahead, so nothing is lost while a few requests gather for the next claim.
_GATHER_S: Final = 0.05
# Calls that end give back what was kept for them, long before the budget is full again.
_BUDGET_AGAIN_S: Final = 5.0
# An answer that settles what is at risk comes within milliseconds, to whichever worker asked.
_RISK_AGAIN_S: Final = 0.25
# A request without an answer puts a person at risk for so long: as long as a failing provider is
# left alone between two probes. A second worker must not risk three more meanwhile.
_AT_RISK_FOR: Final = timedelta(seconds=30)

# How many contacts of each batch.
Shares = list[tuple[UUID, int]]


@dataclass(frozen=True, slots=True)
class Granted:
    """What may be taken, when its first request may leave, and when to ask for more. Seconds."""

    shares: Shares
    delay_s: float = 0.0
    step_s: float = 0.0
    again_s: float | None = None


@dataclass(frozen=True, slots=True)
class BudgetSeen:
    """The provider's request budget as it was at the last claim, for the heartbeat."""

    at: datetime
    remaining: int
    kept: int
    open_calls: int
    resets_at: datetime
    per_second: float
    # Since when nothing may be dialled because the rest is kept; None while dialling goes on.
    held_since: datetime | None

    @property
    def text(self) -> str:
        """Say what is kept, for whom."""
        return (
            f"{self.remaining} requests are left, and {self.kept} are kept for hanging up and"
            f" looking up {self.open_calls} open calls"
        )

    def as_json(self) -> dict[str, Any]:
        """Give it as the heartbeat carries it."""
        return {
            "remaining": self.remaining,
            "kept": self.kept,
            "open_calls": self.open_calls,
            "resets_at": self.resets_at.isoformat(),
            "per_second": round(self.per_second, 3),
            "held_since": None if self.held_since is None else self.held_since.isoformat(),
        }


@dataclass(slots=True)
class GrantRequests:
    """Grants requests of one provider connection; keeps only what it last saw."""

    driver: TelephonyDriver
    clock: Clock
    calls_per_second: float | None
    _seen: BudgetSeen | None = field(default=None, init=False)

    @property
    def budget(self) -> BudgetSeen | None:
        """Give the budget as it was last seen; None without one, or when it is full again."""
        seen = self._seen
        return None if seen is None or seen.resets_at <= self.clock.now() else seen

    async def grant(self, connection: Connection, shares: Shares, *, risk: int | None) -> Granted:
        """Cut the shares down to what may leave now, and book it.

        `risk`: how many people may be risked at a time; None while the provider is known to work.
        With good answers of late each worker keeps to it by itself. Where nothing else limits the
        requests, no lock is taken and nothing is read.
        """
        if risk is not None and risk > RISKED_MAX:
            risk = None
        said, per_second = self.driver.rate_limit, self.calls_per_second
        wanted = sum(take for _, take in shares)
        if not wanted or (said is None and per_second is None and risk is None):
            return Granted(shares)
        provider = self.driver.provider
        ahead_s = await storage.lock_pace(connection, provider)
        load = await storage.read_load(connection, provider, risky_for=_AT_RISK_FOR)
        most = wanted if risk is None else min(wanted, risk - load.at_risk)
        if most <= 0:
            return Granted([], again_s=_RISK_AGAIN_S)
        if said is not None:
            allowance = allow(_budget(said), load)
            self._note(said, allowance, load)
            if allowance.most == 0:
                return Granted([], again_s=min(said.reset_s, _BUDGET_AGAIN_S) + _GATHER_S)
            most = min(most, allowance.most)
            per_second = min(per_second or allowance.per_second, allowance.per_second)
        if per_second is None:
            return Granted(_trim(shares, most), again_s=None if most == wanted else _RISK_AGAIN_S)
        granted = grant_pace(most, booked_ahead_s=ahead_s, per_second=per_second)
        if granted == 0:
            return Granted([], again_s=_again_s(ahead_s))
        # What the rest of a budget allows says nothing about the time after it is full again.
        booked_s = min(granted / per_second, said.reset_s if said else granted / per_second)
        await storage.book_requests(connection, provider, booked_s)
        again_s = None if granted == wanted else _again_s(ahead_s + booked_s)
        return Granted(_trim(shares, granted), ahead_s, 1.0 / per_second, again_s)

    def _note(self, said: RateLimit, allowance: Allowance, load: Load) -> None:
        now, before = self.clock.now(), self.budget
        held_since = None
        if allowance.most == 0:
            held_since = (before.held_since if before else None) or now
        self._seen = BudgetSeen(
            at=now,
            remaining=said.remaining,
            kept=allowance.kept,
            open_calls=load.open_calls,
            resets_at=now + timedelta(seconds=said.reset_s),
            per_second=allowance.per_second,
            held_since=held_since,
        )


def _budget(said: RateLimit) -> Budget:
    return Budget(said.remaining, said.reset_s, said.limit, said.said_s_ago)


def _trim(shares: Sequence[tuple[UUID, int]], most: int) -> Shares:
    trimmed, left = [], most
    for batch_id, take in shares:
        if left > 0:
            trimmed.append((batch_id, min(take, left)))
            left -= min(take, left)
    return trimmed


def _again_s(booked_ahead_s: float) -> float:
    """Say in how many seconds requests may be booked again."""
    return max(booked_ahead_s - 1.0, 0.0) + _GATHER_S
