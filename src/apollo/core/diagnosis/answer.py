"""What the diagnosis answers: the values that the API, the command line and the story show."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from apollo.core.diagnosis.estimate import Estimate
from apollo.core.diagnosis.snapshot import Snapshot
from apollo.core.diagnosis.view import Limit, opening
from apollo.core.reasons import Layer, Reason, Severity
from apollo.core.states import ContactStatus


class Verdict(StrEnum):
    """How things are, in one word."""

    HEALTHY = "healthy"  # calls go out as fast as they may
    WAITING = "waiting"  # nothing is wrong, and nothing is to be dialled now
    BLOCKED = "blocked"  # nothing is dialled until somebody does something
    DEGRADED = "degraded"  # it moves, and something is wrong
    FINISHED = "finished"  # nothing is left to do


@dataclass(frozen=True, slots=True)
class StatusLine:
    """Contacts of one status, and when the one waiting longest got there."""

    status: ContactStatus
    count: int
    oldest_updated_at: datetime | None


@dataclass(frozen=True, slots=True)
class ReasonShown:
    """A reason that holds, with its evidence and what to do."""

    code: Reason
    layer: Layer
    severity: Severity
    contacts: int
    since: datetime | None
    until: datetime | None
    evidence: Mapping[str, object]
    fix: str
    help: str


@dataclass(frozen=True, slots=True)
class Accounting:
    """`unfinished == on_call + dialable_now + sum(by_reason.values())`, always."""

    unfinished: int
    on_call: int
    dialable_now: int
    by_reason: Mapping[Reason, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """The whole answer."""

    snapshot: Snapshot
    as_of: datetime
    breakdown: tuple[StatusLine, ...]
    pending_sample: tuple[str, ...]
    stuck_pending: bool
    tip: str
    verdict: Verdict
    reasons: tuple[ReasonShown, ...]
    accounting: Accounting
    limits: tuple[Limit, ...]
    next_dial_at: datetime | None
    estimate: Estimate
    # Final contacts that an operator may have called again; no reason, for nothing waits for them.
    held: int | None
    held_note: str | None
    # What keeps the next contact from being dialled now, and until when; None when nothing does.
    binding: Reason | None
    binding_until: datetime | None
    # Whether that is what people wanted, or calling hours: then it holds every contact that waits.
    is_wished: bool

    def holds_back(
        self, own_wait: Reason | None, due_at: datetime | None
    ) -> tuple[Reason | None, datetime | None]:
        """Say what holds one waiting contact back, and when it can be called if a clock tells.

        `own_wait` and `due_at` are its stored verdict. The outermost is named, and there is one
        time: when its own turn has come and calling hours are open.
        """
        if own_wait is Reason.DUPLICATE_NUMBER_BLOCKED:
            due_at = None  # when the other call ends; what is stored is only when to look again
        is_waiting = own_wait is not None and (due_at is None or due_at > self.as_of)
        if self.is_wished:
            until = self.binding_until
            if until is not None and is_waiting and due_at is not None:
                until = self._opening(max(until, due_at))
            return self.binding, until
        if is_waiting:
            return own_wait, None if due_at is None else self._opening(due_at)
        return self.binding, self.binding_until

    def _opening(self, at: datetime) -> datetime | None:
        """Give the first instant from `at` on at which a call may start."""
        hours, ring = self.snapshot.campaign.hours, self.snapshot.settings.ring_timeout
        opened_at, opens_at = opening(hours, ring, at)
        return at if opened_at is not None else opens_at
