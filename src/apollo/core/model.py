"""The nouns: what a campaign, a batch, a contact and a call are while we decide about them.

Records carry what decisions need, not every column; storage fills them and writes them back.
"""

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum, StrEnum
from typing import Final

import msgspec

from apollo.core.events import Evidence, Reached
from apollo.core.ids import ContactKey
from apollo.core.reasons import Reason
from apollo.core.states import (
    OPEN_CALL,
    BatchStatus,
    CallKind,
    CallState,
    ContactStatus,
    Outcome,
)

# A person is not pestered for the carrier's faults for ever.
CARRIER_FAILURES_MAX: Final = 10
# Exponential cooldowns stop growing here: a later call has no context for the person.
COOLDOWN_MAX: Final = timedelta(hours=24)


class RetryStrategy(StrEnum):
    """How the wait between attempts grows."""

    FIXED = "fixed"  # the same wait each time
    EXPONENTIAL = "exponential"  # doubles with each retry, up to a day


class NumberStrategy(StrEnum):
    """How a caller id is chosen from a campaign's numbers."""

    ROUND_ROBIN = "round_robin"  # each in turn
    RANDOM = "random"  # any
    LEAST_LOADED = "least_loaded"  # the one with the fewest live calls, then list order


class OnUnresolved(StrEnum):
    """What becomes of a contact whose call was never found."""

    HOLD = "hold"  # failed, until an operator releases it
    RELEASE = "release"  # a normal retry, an hour later at the earliest


class Turn(IntEnum):
    """The order in which due contacts are taken."""

    FOLLOW_UP = 0  # a promised call comes first
    RETRY = 1  # then those already tried
    FRESH = 2  # then upload order


TURN_OF: Final = {
    CallKind.FOLLOW_UP: Turn.FOLLOW_UP,
    CallKind.RETRY: Turn.RETRY,
    CallKind.FIRST: Turn.FRESH,
}
STATUS_OF: Final = {
    Turn.FOLLOW_UP: ContactStatus.FOLLOWUP_SCHEDULED,
    Turn.RETRY: ContactStatus.RETRYING,
    Turn.FRESH: ContactStatus.PENDING,
}
WAIT_OF: Final = {
    Turn.FOLLOW_UP: Reason.FOLLOW_UP_NOT_DUE,
    Turn.RETRY: Reason.RETRY_NOT_DUE,
}


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often, and how soon, a person is called again."""

    max_retries: int
    strategy: RetryStrategy
    cooldown: timedelta

    def wait_before(self, retry: int) -> timedelta:
        """Give the wait before retry `retry` (from 1)."""
        if self.strategy is RetryStrategy.FIXED:
            return min(self.cooldown, COOLDOWN_MAX)
        # 2**11 minutes is over a day already: a larger power only risks an overflow.
        doublings: int = 2 ** min(max(retry - 1, 0), 11)
        return min(self.cooldown * doublings, COOLDOWN_MAX)


@dataclass(frozen=True, slots=True)
class Deadlines:
    """How long each state may last before somebody must look."""

    ring_timeout: timedelta
    time_limit: timedelta
    quarantine: timedelta
    on_unresolved: OnUnresolved
    # Room for the provider's own delays: teardown, webhooks with retries, clocks a little off.
    grace: timedelta = timedelta(seconds=120)


class Call(msgspec.Struct, frozen=True):
    """One attempt to reach one contact."""

    id: uuid.UUID
    state: CallState
    version: int
    kind: CallKind
    provider: str
    phone_number: str
    from_number: str
    requested_at: datetime
    provider_call_id: str | None = None
    sip_call_id: str | None = None
    # When the provider's first status event came.
    heard_at: datetime | None = None
    ringing_at: datetime | None = None
    answered_at: datetime | None = None
    ended_at: datetime | None = None
    deadline_at: datetime | None = None
    outcome: Outcome | None = None
    evidence: Evidence | None = None
    sip_status: int | None = None
    sip_reason: str | None = None
    duration_s: int | None = None
    hangup_by: str | None = None
    hangup_reason: str | None = None
    # Who picked up, if anybody said, and whether it was the agent that said so.
    reached: Reached | None = None
    reached_by_agent: bool = False
    follow_up_at: datetime | None = None
    # What a release gives back to the contact.
    prior_due_at: datetime | None = None
    prior_updated_at: datetime | None = None
    prior_attempted_at: datetime | None = None

    @property
    def was_answered(self) -> bool:
        """Tell whether it ended answered, by whomever."""
        return self.outcome is Outcome.COMPLETED or (
            self.outcome is not None and self.reached is not None
        )


class Due(msgspec.Struct, frozen=True):
    """When, and in which turn, a contact may be taken again."""

    turn: Turn
    due_at: datetime


class Contact(msgspec.Struct, frozen=True):
    """One person of a batch, as far as calling them goes."""

    key: ContactKey
    status: ContactStatus
    updated_at: datetime
    wait_reason: Reason | None = None
    attempts: int = 0
    # Attempts of the present budget: reset when a follow-up opens a new one.
    tries: int = 0
    retry_count: int = 0
    follow_up_count: int = 0
    carrier_failures: int = 0
    # Follow-ups promised so far.
    promises: int = 0
    # Answered, and no follow-up asked for since: never to be called again.
    is_reached: bool = False
    # Somebody took it out while it was on a call: none follows.
    is_withdrawn: bool = False
    last_attempted_at: datetime | None = None
    due: Due | None = None


class CallSetting(msgspec.Struct, frozen=True):
    """What surrounds a call when something happens to it."""

    batch_status: BatchStatus
    retry: RetryPolicy
    deadlines: Deadlines
    # That may be promised to the contact.
    follow_ups_max: int
    # The contact's other calls, released ones aside; read when the event may end or correct a call.
    other_calls: tuple[Call, ...] = ()

    @property
    def open_call(self) -> Call | None:
        """Give the contact's other open call, which late evidence may make superfluous."""
        return next((call for call in self.other_calls if call.state in OPEN_CALL), None)
