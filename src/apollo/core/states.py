"""Every state and every legal move. Nothing moves that is not in these tables.

Every pair of call state and event is named: a late or repeated event is `REPEAT`, one that should
be impossible is `SURPRISE`, and both leave the call as it is. A test asserts that none is missing.
"""

import enum
from collections.abc import Mapping
from typing import Final

from apollo.core.events import (
    AnswererKnown,
    CallAccepted,
    CallAnswered,
    CallEnded,
    CallEvent,
    CallRinging,
    CallTrying,
    CallVanished,
    LeaseExpired,
    NumberRefused,
    QuarantineOver,
    RequestLost,
    RequestNotPlaced,
)


class CampaignStatus(enum.StrEnum):
    """A campaign's status; derived from its flags and its live batches, never stored."""

    DRAFT = "draft"  # no batch yet
    ACTIVE = "active"  # a batch is pending, in progress or paused on its own
    PAUSED = "paused"  # no call starts until it is resumed
    CANCELLED = "cancelled"  # for good
    COMPLETED = "completed"  # has batches, none of them live


class BatchStatus(enum.StrEnum):
    """A batch's status."""

    PENDING = "pending"  # waits for its scheduled start
    IN_PROGRESS = "in_progress"  # its contacts are dialled
    PAUSED = "paused"  # no call starts until it is resumed
    COMPLETED = "completed"  # every contact is final
    CANCELLED = "cancelled"  # for good, by somebody
    EXPIRED = "expired"  # for good, `ends_at` has passed


LIVE_BATCH: Final = frozenset({BatchStatus.PENDING, BatchStatus.IN_PROGRESS, BatchStatus.PAUSED})
CLOSED_BATCH: Final = frozenset({BatchStatus.CANCELLED, BatchStatus.EXPIRED})


class PausedBy(enum.StrEnum):
    """Who paused a batch, and so who may resume it."""

    CAMPAIGN = "campaign"  # paused with its campaign, resumes with it
    BATCH = "batch"  # somebody paused this batch
    APOLLO = "apollo"  # the provider refuses its requests; see `pause_reason`


class ContactStatus(enum.StrEnum):
    """A contact's status."""

    PENDING = "pending"  # not called yet
    DISPATCHED = "dispatched"  # a call is being placed
    IN_PROGRESS = "in_progress"  # the phone rings, or they talk
    RETRYING = "retrying"  # between two attempts
    FOLLOWUP_SCHEDULED = "followup_scheduled"  # answered, and to be called again
    COMPLETED = "completed"  # answered
    FAILED = "failed"  # the number, the network or the provider failed
    BUSY = "busy"  # busy, or declined
    NO_ANSWER = "no_answer"  # rang out
    VOICEMAIL = "voicemail"  # a machine picked up
    SKIPPED = "skipped"  # cancelled or expired before a call
    MAX_RETRIES_REACHED = "max_retries_reached"  # every attempt was used


FINAL_CONTACT: Final = frozenset(
    {
        ContactStatus.COMPLETED,
        ContactStatus.FAILED,
        ContactStatus.BUSY,
        ContactStatus.NO_ANSWER,
        ContactStatus.VOICEMAIL,
        ContactStatus.SKIPPED,
        ContactStatus.MAX_RETRIES_REACHED,
    }
)
UNFINISHED_CONTACT: Final = frozenset(ContactStatus) - FINAL_CONTACT
ON_CALL: Final = frozenset({ContactStatus.DISPATCHED, ContactStatus.IN_PROGRESS})


class CallKind(enum.StrEnum):
    """Why a call is made."""

    FIRST = "first"  # nobody was reached yet and nothing was tried
    RETRY = "retry"  # an earlier attempt did not reach the person
    FOLLOW_UP = "follow_up"  # the person was reached and is to be called again


class CallState(enum.StrEnum):
    """A call's state; the first five are open and hold a slot."""

    PLACING = "placing"  # committed; the request may be on the wire
    ACCEPTED = "accepted"  # the provider said yes
    RINGING = "ringing"  # 180 or 183 seen
    ANSWERED = "answered"  # 200 seen
    UNKNOWN = "unknown"  # it may have been placed; nothing more is known
    ENDED = "ended"  # over, with an outcome
    RELEASED = "released"  # certainly never sent; uses up no attempt


OPEN_CALL: Final = frozenset(CallState) - {CallState.ENDED, CallState.RELEASED}


class Outcome(enum.StrEnum):
    """How a call ended."""

    COMPLETED = "completed"  # it was answered
    BUSY = "busy"  # busy or declined
    NO_ANSWER = "no_answer"  # rang out, or was out of reach
    VOICEMAIL = "voicemail"  # a machine picked up
    FAILED = "failed"  # number, network, provider, or nobody knows; or the wrong person


class Off(enum.Enum):
    """What to do with an event that moves nothing."""

    REPEAT = "repeat"  # late or duplicate; keep the record, change nothing
    SURPRISE = "surprise"  # should be impossible; keep the record and alarm


_S = CallState
_REPEAT = Off.REPEAT
_SURPRISE = Off.SURPRISE

_WHILE_ASKING: Final[Mapping[type[CallEvent], CallState | Off]] = {
    CallAccepted: _S.ACCEPTED,
    RequestNotPlaced: _S.RELEASED,
    NumberRefused: _S.ENDED,
    RequestLost: _S.UNKNOWN,
    LeaseExpired: _S.UNKNOWN,
    CallTrying: _S.ACCEPTED,
    CallRinging: _S.RINGING,
    CallAnswered: _S.ANSWERED,
    AnswererKnown: _S.ANSWERED,
    CallEnded: _S.ENDED,
    CallVanished: _SURPRISE,
    QuarantineOver: _SURPRISE,
}
_ONCE_PLACED: Final[Mapping[type[CallEvent], CallState | Off]] = {
    CallAccepted: _REPEAT,
    RequestNotPlaced: _SURPRISE,
    NumberRefused: _SURPRISE,
    RequestLost: _REPEAT,
    LeaseExpired: _REPEAT,
    CallTrying: _REPEAT,
    CallRinging: _S.RINGING,
    CallAnswered: _S.ANSWERED,
    AnswererKnown: _S.ANSWERED,
    CallEnded: _S.ENDED,
    CallVanished: _S.ENDED,
    QuarantineOver: _REPEAT,
}

CALL_MOVES: Final[Mapping[CallState, Mapping[type[CallEvent], CallState | Off]]] = {
    _S.PLACING: _WHILE_ASKING,
    _S.UNKNOWN: {
        **_WHILE_ASKING,
        RequestLost: _REPEAT,
        LeaseExpired: _REPEAT,
        QuarantineOver: _S.ENDED,
    },
    _S.ACCEPTED: _ONCE_PLACED,
    _S.RINGING: {**_ONCE_PLACED, CallRinging: _REPEAT},
    _S.ANSWERED: {**_ONCE_PLACED, CallRinging: _REPEAT, CallAnswered: _REPEAT},
    # An ended call stays ended; late evidence that it rang or was answered, or by whom, may correct
    # its outcome.
    _S.ENDED: {
        **_ONCE_PLACED,
        RequestNotPlaced: _REPEAT,
        NumberRefused: _REPEAT,
        CallRinging: _S.ENDED,
        CallAnswered: _S.ENDED,
        AnswererKnown: _S.ENDED,
        CallEnded: _S.ENDED,
        CallVanished: _REPEAT,
    },
    # Nothing was sent, so nothing may be heard of it.
    _S.RELEASED: {
        CallAccepted: _SURPRISE,
        RequestNotPlaced: _REPEAT,
        NumberRefused: _REPEAT,
        RequestLost: _REPEAT,
        LeaseExpired: _REPEAT,
        CallTrying: _SURPRISE,
        CallRinging: _SURPRISE,
        CallAnswered: _SURPRISE,
        AnswererKnown: _SURPRISE,
        CallEnded: _SURPRISE,
        CallVanished: _REPEAT,
        QuarantineOver: _REPEAT,
    },
}

CONTACT_SHOWS: Final[Mapping[CallState, ContactStatus]] = {
    _S.PLACING: ContactStatus.DISPATCHED,
    _S.ACCEPTED: ContactStatus.DISPATCHED,
    _S.UNKNOWN: ContactStatus.DISPATCHED,
    _S.RINGING: ContactStatus.IN_PROGRESS,
    _S.ANSWERED: ContactStatus.IN_PROGRESS,
}
