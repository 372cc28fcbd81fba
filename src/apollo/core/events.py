"""What can happen to a call (past tense), and what must then be done (imperative).

Answers to our own request, status webhooks, polls and call-detail records are all events of one
shape: `lifecycle.step` does not care where the evidence came from, only what it proves.
"""

import enum
import uuid
from dataclasses import dataclass
from datetime import datetime

import msgspec


class Evidence(enum.StrEnum):
    """Where we know it from, strongest first."""

    WEBHOOK = "webhook"  # the provider told us
    REPLY = "reply"  # the answer to our own request
    POLL = "poll"  # we asked for the live call
    RECORD = "cdr"  # the provider's call-detail record
    AGENT = "agent"  # the voice application that was on the call
    OPERATOR = "operator"  # a person decided
    ASSUMED = "assumed"  # nothing proves it; the best guess after every look-up


class Reached(enum.StrEnum):
    """Who picked up a call that was answered."""

    PERSON = "person"  # who was to be called, as far as anybody knows
    MACHINE = "machine"  # a mailbox or another machine: the person was not reached
    WRONG_PERSON = "wrong_person"  # somebody else, whose number it is: not to be called again


class CallEvent(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened to one call, and when we learnt of it."""

    at: datetime
    evidence: Evidence
    provider_call_id: str | None = None
    sip_call_id: str | None = None


class CallAccepted(CallEvent, frozen=True, kw_only=True):
    """The provider answered 201."""


class RequestNotPlaced(CallEvent, frozen=True, kw_only=True):
    """Certainly no call exists and the person is not to blame."""

    reason: str
    # The same request will be refused again: three in a row pause the batch.
    is_permanent: bool = False


class NumberRefused(CallEvent, frozen=True, kw_only=True):
    """Certainly no call exists and the provider names the number as the reason."""

    reason: str


class RequestLost(CallEvent, frozen=True, kw_only=True):
    """The request was written and no usable answer came: there may be a call."""

    reason: str


class LeaseExpired(CallEvent, frozen=True, kw_only=True):
    """The process that was placing the call is gone: there may be a call."""


class CallTrying(CallEvent, frozen=True, kw_only=True):
    """The provider works on it: proof that the call was placed."""


class CallRinging(CallEvent, frozen=True, kw_only=True):
    """The phone rings, or early media plays."""


class CallAnswered(CallEvent, frozen=True, kw_only=True):
    """Somebody, or something, picked up."""


class AnswererKnown(CallEvent, frozen=True, kw_only=True):
    """The agent, or the provider's machine detection, says who picked up."""

    reached: Reached
    # The agent heard it out; a detector listens for seconds, and never contradicts the agent.
    by_agent: bool


class CallEnded(CallEvent, frozen=True, kw_only=True):
    """The provider says it is over."""

    call_status: str
    sip_status: int | None = None
    sip_reason: str | None = None
    duration_s: int | None = None
    hangup_by: str | None = None


class CallVanished(CallEvent, frozen=True, kw_only=True):
    """Past its deadline, and the provider knows nothing of it any more.

    `may_retry`: that is proven, and the person may be called again (see `absence`).
    """

    may_retry: bool


class QuarantineOver(CallEvent, frozen=True, kw_only=True):
    """An unknown call was looked for everywhere, for long enough, and not found."""

    may_retry: bool


# ------------------------------------------------------------------------------------- effects


@dataclass(frozen=True, slots=True)
class HangUp:
    """End this call at the provider: it must not be live. `was_answered`: as far as we know."""

    call_id: uuid.UUID
    provider_call_id: str
    why: str
    was_answered: bool


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something that should be impossible: count it, log it, tell a person."""

    call_id: uuid.UUID
    what: str


Effect = HangUp | Alarm
