"""What late evidence changes: a call that ended may have ended otherwise, and its contact with it.

A correction never schedules a call, with one exception: who turns out to be a machine was not
reached, and gets the retry that the call would have led to. It may cancel one that was due, and
hang up one that rings.
"""

from datetime import datetime

from msgspec.structs import replace

from apollo.core.endings import (
    STATUS_OF_OUTCOME,
    is_barred,
    is_reached_after,
    of_this_budget,
    read_ending,
    retry_or_finish,
    shown_by_last,
)
from apollo.core.events import (
    AnswererKnown,
    CallAnswered,
    CallEnded,
    CallEvent,
    CallRinging,
    Effect,
    Evidence,
    HangUp,
    Reached,
)
from apollo.core.model import COOLDOWN_MAX, STATUS_OF, Call, CallSetting, Contact, Turn
from apollo.core.outcomes import ANSWERED_BY, NEVER_AGAIN, SET_UP_REASONS, classify
from apollo.core.states import CLOSED_BATCH, CallKind, CallState, ContactStatus, Outcome

# What a final contact shows of its last call; the others tell of more than one call, or of none.
_SHOWING_OUTCOME = frozenset(STATUS_OF_OUTCOME.values()) - {ContactStatus.COMPLETED}
_WAITING = frozenset({STATUS_OF[Turn.RETRY], STATUS_OF[Turn.FOLLOW_UP]})

Correction = tuple[Call, Contact, tuple[Effect, ...]]


def correct(
    call: Call, contact: Contact, setting: CallSetting, event: CallEvent
) -> Correction | None:
    """Weigh late evidence against the outcome that stands; None when that stands."""
    if isinstance(event, AnswererKnown):
        return _correct_answerer(call, contact, setting, event)
    answered = isinstance(event, CallAnswered) or (
        isinstance(event, CallEnded) and event.call_status == "completed"
    )
    if answered and not call.was_answered:
        return _correct_to_answered(call, contact, setting, event)
    if isinstance(event, CallRinging) and call.hangup_reason in SET_UP_REASONS:
        return _correct_to_its_own(call, contact, setting, event)
    if not isinstance(event, CallEnded) or call.was_answered:
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
    return _reached_after_all(call, contact, setting, event.at)


def _reached_after_all(
    call: Call, contact: Contact, setting: CallSetting, at: datetime
) -> Correction:
    other = setting.open_call
    if call.kind is not CallKind.FOLLOW_UP and _is_promised_a_call(contact, other):
        # A later call reached the person, who asked for this one: it stands.
        return call, contact, ()
    # Whoever is on a call waits for nothing; a queue entry read beside a claim may be out of date.
    contact = replace(contact, is_reached=True, updated_at=at, due=None, wait_reason=None)
    effects: tuple[Effect, ...] = ()
    if other is not None:
        effects = hang_up_unanswered(other)
    else:
        contact = replace(contact, status=ContactStatus.COMPLETED)
    return call, contact, effects


def _correct_answerer(
    call: Call, contact: Contact, setting: CallSetting, event: AnswererKnown
) -> Correction:
    """Somebody says who picked up, after the end; that they did is proof of an answer as well."""
    before, ending = call, ANSWERED_BY[event.reached]
    is_other = before.outcome is not ending.outcome or not before.was_answered
    call = replace(
        call,
        outcome=ending.outcome,
        evidence=call.evidence if call.was_answered else event.evidence,
        answered_at=call.answered_at or event.at,
        # What the agent said about a conversation stays, while it was one.
        hangup_reason=ending.reason if is_other else call.hangup_reason,
        reached=event.reached,
        reached_by_agent=event.by_agent,
    )
    if not is_other:
        return call, contact, ()
    if event.reached is Reached.PERSON:
        return _reached_after_all(call, contact, setting, event.at)
    if is_reached_after(call, setting):
        return call, contact, ()  # that conversation decided what follows
    if not any(one.outcome is Outcome.COMPLETED for one in of_this_budget(call, contact, setting)):
        contact = replace(contact, is_reached=False)
    if event.reached is Reached.WRONG_PERSON:
        return _wrong_person_after_all(call, contact, setting, event.at)
    if before.outcome is Outcome.COMPLETED:
        return call, _missed_after_all(call, contact, setting, event.at), ()
    return call, _follow_correction(call, contact, setting, event.at), ()


def _wrong_person_after_all(
    call: Call, contact: Contact, setting: CallSetting, at: datetime
) -> Correction:
    """The number is somebody else's: what waits is left out, what rings there is hung up."""
    if setting.open_call is not None:
        return call, contact, hang_up_unanswered(setting.open_call)
    if contact.status is ContactStatus.COMPLETED and not contact.is_reached:
        shown = shown_by_last((call, *setting.other_calls))
        return call, replace(contact, status=shown, updated_at=at), ()
    return call, _follow_correction(call, contact, setting, at), ()


def _missed_after_all(call: Call, contact: Contact, setting: CallSetting, at: datetime) -> Contact:
    """A machine had picked up: the person is called again as if that had been known at the end."""
    rests_on_it = contact.status is ContactStatus.COMPLETED and not contact.is_reached
    if not rests_on_it or setting.open_call is not None:
        return contact
    contact = replace(contact, updated_at=at)
    is_late = call.ended_at is not None and at - call.ended_at > COOLDOWN_MAX
    is_closed = contact.is_withdrawn or setting.batch_status in CLOSED_BATCH
    if is_late or is_closed or is_barred(call, contact, setting):
        return replace(contact, status=shown_by_last((call, *setting.other_calls)))
    return retry_or_finish(call, contact, setting, ANSWERED_BY[call.reached], at)


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
        if is_reached_after(call, setting):
            return contact  # that conversation led to the call that is waited for
        return replace(contact, status=shown, due=None, wait_reason=None, updated_at=at)
    if contact.status in _SHOWING_OUTCOME and contact.status is not shown:
        return replace(contact, status=shown, updated_at=at)
    return contact


def hang_up_unanswered(call: Call) -> tuple[Effect, ...]:
    """End a call to somebody whom an earlier one has reached, once it has a name."""
    if call.provider_call_id is None or call.state is CallState.ANSWERED:
        return ()
    why = "the earlier call was answered"
    return (HangUp(call.id, call.provider_call_id, why, was_answered=False),)


def _is_promised_a_call(contact: Contact, other: Call | None) -> bool:
    is_on_it = other is not None and other.kind is CallKind.FOLLOW_UP
    return is_on_it or contact.status is ContactStatus.FOLLOWUP_SCHEDULED
