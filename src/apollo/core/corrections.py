"""What late evidence changes: a call that ended may have ended otherwise, and its contact with it.

A correction never schedules a call. It may cancel one that was due, and hang up one that rings.
"""

from datetime import datetime

from msgspec.structs import replace

from apollo.core.endings import STATUS_OF_OUTCOME, read_ending, shown_by_last
from apollo.core.events import (
    CallAnswered,
    CallEnded,
    CallEvent,
    CallRinging,
    Effect,
    Evidence,
    HangUp,
)
from apollo.core.model import STATUS_OF, Call, CallSetting, Contact, Turn
from apollo.core.outcomes import NEVER_AGAIN, SET_UP_REASONS, classify
from apollo.core.states import CallKind, CallState, ContactStatus, Outcome

# What a final contact shows of its last call; the others tell of more than one call, or of none.
_SHOWING_OUTCOME = frozenset(STATUS_OF_OUTCOME.values()) - {ContactStatus.COMPLETED}
_WAITING = frozenset({STATUS_OF[Turn.RETRY], STATUS_OF[Turn.FOLLOW_UP]})

Correction = tuple[Call, Contact, tuple[Effect, ...]]


def correct(
    call: Call, contact: Contact, setting: CallSetting, event: CallEvent
) -> Correction | None:
    """Weigh late evidence against the outcome that stands; None when that stands."""
    answered = isinstance(event, CallAnswered) or (
        isinstance(event, CallEnded) and event.call_status == "completed"
    )
    if answered and call.outcome is not Outcome.COMPLETED:
        return _correct_to_answered(call, contact, setting, event)
    if isinstance(event, CallRinging) and call.hangup_reason in SET_UP_REASONS:
        return _correct_to_its_own(call, contact, setting, event)
    if not isinstance(event, CallEnded) or call.outcome is Outcome.COMPLETED:
        return None
    if call.evidence is not Evidence.ASSUMED:
        return None
    ending = read_ending(call, event)
    corrected = replace(
        call,
        outcome=ending.outcome,
        evidence=event.evidence,
        sip_status=event.sip_status,
        sip_reason=event.sip_reason,
        hangup_reason=ending.reason,
    )
    contact = _follow_correction(corrected, contact, setting, event.at)
    return corrected, contact, ()


def _correct_to_answered(
    call: Call, contact: Contact, setting: CallSetting, event: CallEvent
) -> Correction:
    duration = event.duration_s if isinstance(event, CallEnded) else None
    call = replace(
        call,
        outcome=Outcome.COMPLETED,
        evidence=event.evidence,
        answered_at=call.answered_at or event.at,
        duration_s=duration,
        hangup_reason="answered",
    )
    other = setting.open_call
    if call.kind is not CallKind.FOLLOW_UP and _is_promised_a_call(contact, other):
        # A later call reached the person, who asked for this one: it stands.
        return call, contact, ()
    # Whoever is on a call waits for nothing; a queue entry read beside a claim may be out of date.
    contact = replace(contact, is_reached=True, updated_at=event.at, due=None, wait_reason=None)
    effects: tuple[Effect, ...] = ()
    if other is not None:
        effects = hang_up_unanswered(other)
    else:
        contact = replace(contact, status=ContactStatus.COMPLETED)
    return call, contact, effects


def _correct_to_its_own(
    call: Call, contact: Contact, setting: CallSetting, event: CallEvent
) -> Correction:
    """It rang after all: the set-up worked, and the ending is this number's own."""
    ending = classify(call_status="failed", sip_status=call.sip_status, was_answered=False)
    corrected = replace(
        call,
        outcome=ending.outcome,
        evidence=event.evidence,
        ringing_at=event.at,
        hangup_reason=ending.reason,
    )
    contact = _follow_correction(corrected, contact, setting, event.at)
    return corrected, contact, ()


def _follow_correction(call: Call, contact: Contact, setting: CallSetting, at: datetime) -> Contact:
    """Say what a corrected call changes for its contact: a retry is left out, never added.

    While another call is out, and once somebody was reached, it changes nothing: the end of that
    call looks back at this one.
    """
    if setting.open_call is not None or contact.is_reached:
        return contact
    calls = (call, *setting.other_calls)
    shown = shown_by_last(calls)
    if contact.status in _WAITING and call.hangup_reason in NEVER_AGAIN:
        if any(_was_answered_after(call, other) for other in setting.other_calls):
            return contact  # that conversation led to the call that is waited for
        return replace(contact, status=shown, due=None, wait_reason=None, updated_at=at)
    if contact.status in _SHOWING_OUTCOME and contact.status is not shown:
        return replace(contact, status=shown, updated_at=at)
    return contact


def _was_answered_after(call: Call, other: Call) -> bool:
    return other.outcome is Outcome.COMPLETED and other.requested_at > call.requested_at


def hang_up_unanswered(call: Call) -> tuple[Effect, ...]:
    """End a call to somebody whom an earlier one has reached, once it has a name."""
    if call.provider_call_id is None or call.state is CallState.ANSWERED:
        return ()
    why = "the earlier call was answered"
    return (HangUp(call.id, call.provider_call_id, why, was_answered=False),)


def _is_promised_a_call(contact: Contact, other: Call | None) -> bool:
    is_on_it = other is not None and other.kind is CallKind.FOLLOW_UP
    return is_on_it or contact.status is ContactStatus.FOLLOWUP_SCHEDULED
