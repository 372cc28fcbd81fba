"""What a run of the cluster is to be, and what came of it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

# What a rebalance may take, with a slow machine's share on top.
_SILENCE_MAX_S: Final = 15.0


@dataclass(frozen=True)
class Plan:
    """What is run, and what is done to it."""

    # Enough to be called for as long as there is fire.
    contacts: int = 9_500
    limit: int = 50
    workers: int = 3
    serves: int = 2
    kill_every_s: float = 10.0
    fire_s: float = 300.0
    broker_restarts: int = 2
    # For all of it. A call of the last second of fire is missed after its lease (30 s), looked for
    # (120 s), with a minute between the last two looks, and may be made again.
    within_s: float = 600.0
    bus: str = "kafka"
    # Pointers to the campaign, sent to any partition, by the hundred.
    floods: bool = False
    seed: int = 1


@dataclass(frozen=True)
class Fault:
    """What was done to it, and how long no call was placed around that."""

    at: datetime
    what: str
    silence_s: float = 0.0


@dataclass
class Result:
    """What came of it."""

    seconds: float
    completed: bool
    contacts: dict[str, int]
    calls: int
    # The longest time without a new call, before there was nobody left to call.
    silence_s: float
    faults: list[Fault]
    violations: list[str]
    # By invariant: how much the audit looked at, and what it found.
    invariants: dict[str, str]
    reasons: list[str]

    def wrongs(self) -> list[str]:
        """Why this run does not count as held; empty when it does."""
        found = list(self.violations)
        if not self.completed:
            found.append(f"not completed after {self.seconds} s: {self.contacts}")
        if self.silence_s > _SILENCE_MAX_S:
            found.append(f"no call for {self.silence_s} s; {_SILENCE_MAX_S} s are allowed")
        return found
