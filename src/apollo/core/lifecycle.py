"""What happens on this event? A call, its contact and an event in; both, moved, and effects out.

`step` is the only place that decides about outcomes, retries and follow-ups. It never looks at a
clock or a table; the use-case reads, asks here, writes.
"""

from datetime import datetime, timedelta

import msgspec
from msgspec.structs import replace

from apollo.core.corrections import correct, hang_up_unanswered
from apollo.core.endings import (
    STATUS_OF_OUTCOME,
    is_barred,
    read_ending,
    retry_or_finish,
    shown_by_last,
)
from apollo.core.events import (
    Alarm,
    AnswererKnown,
    CallAccepted,
    CallAnswered,
    CallEnded,
    CallEvent,
    CallRinging,
    CallTrying,
    Effect,
    Evidence,
    HangUp,
    LeaseExpired,
    NumberRefused,
    RequestLost,
    RequestNotPlaced,
)
from apollo.core.model import (
    STATUS_OF,
    TURN_OF,
    WAIT_OF,
    Call,
    CallSetting,
    Contact,
    Deadlines,
    Due,
    Turn,
)
from apollo.core.outcomes import OF_SET_UP, Blame, Ending
from apollo.core.sip import Family
from apollo.core.states import (
    CALL_MOVES,
    CLOSED_BATCH,
    CONTACT_SHOWS,
    OPEN_CALL,
    CallKind,
    CallState,
    ContactStatus,
    Off,
    Outcome,
)

# The first look for an unknown call: webhooks are normally there within milliseconds.
FIRST_LOOK_AFTER = timedelta(seconds=5)


class Step(msgspec.Struct, frozen=True):
    """What an event led to. `off` is set when it moved nothing."""

    call: Call
    contact: Contact
    effects: tuple[Effect, ...] = ()
    off: Off | None = None
    is_correction: bool = False


def step(
    call: Call,
    contact: Contact,
    setting: CallSetting,
    event: CallEvent,
    *,
    set_up: Family | None = None,
) -> Step:
    """Apply one event to a call and its contact.

    `set_up`: a call that ends now ends so for one number after the other; that is no number's
    doing, and the family of endings says what it is.
    """
    if _is_of_another_call(call, event):
        return _of_another_call(call, contact, event)
    if call.provider_call_id is None and event.provider_call_id is not None:
        call = replace(call, provider_call_id=event.provider_call_id, sip_call_id=event.sip_call_id)
    target = _move(call, event)
    if isinstance(target, Off):
        alarm = Alarm(call.id, f"{type(event).__name__} while {call.state}")
        effects = (alarm,) if target is Off.SURPRISE else ()
        return Step(call, contact, effects, off=target)
    if call.state is CallState.ENDED:
        return _weigh(call, contact, setting, event)
    moved = _record(call, event, target, setting.deadlines)
    if target is CallState.RELEASED:
        return Step(moved, _give_back(moved, contact, setting))
    if target is CallState.ENDED:
        moved, ending = _end(moved, event, set_up)
        return Step(moved, _after(moved, contact, setting, ending))
    status = CONTACT_SHOWS[target]
    if status is not contact.status:
        contact = replace(contact, status=status, updated_at=event.at)
    return Step(moved, contact, hang_up_unanswered(moved) if contact.is_reached else ())


def _move(call: Call, event: CallEvent) -> CallState | Off:
    target = CALL_MOVES[call.state][type(event)]
    if isinstance(event, AnswererKnown) and isinstance(target, CallState):
        is_outranked = call.reached_by_agent and not event.by_agent
        is_said = call.reached is event.reached and call.reached_by_agent == event.by_agent
        return Off.REPEAT if is_outranked or is_said else target
    return target


def _weigh(call: Call, contact: Contact, setting: CallSetting, event: CallEvent) -> Step:
    """Take late evidence of a call that ended: a correction, or nothing."""
    corrected = correct(call, contact, setting, event)
    if corrected is None:
        return Step(call, contact, off=Off.REPEAT)
    return Step(*corrected, is_correction=True)


def may_follow_up(contact: Contact, follow_ups_max: int) -> bool:
    """Tell whether another follow-up may be promised, or the one that is promised be moved."""
    if contact.is_withdrawn:
        return False
    is_promised = contact.status is ContactStatus.FOLLOWUP_SCHEDULED
    return is_promised or contact.promises < follow_ups_max


def schedule_follow_up(contact: Contact, at: datetime, now: datetime) -> Contact:
    """Promise another call to somebody who was reached; it has a budget of its own.

    Whether it may be promised says `may_follow_up`. A promise that is only moved is the same one.
    """
    is_moved = contact.status is ContactStatus.FOLLOWUP_SCHEDULED
    return replace(
        contact,
        promises=contact.promises + (not is_moved),
        status=ContactStatus.FOLLOWUP_SCHEDULED,
        wait_reason=WAIT_OF[Turn.FOLLOW_UP],
        due=Due(Turn.FOLLOW_UP, at),
        tries=0,
        is_reached=False,
        updated_at=now,
    )


def _is_of_another_call(call: Call, event: CallEvent) -> bool:
    if event.provider_call_id in {None, call.provider_call_id}:
        return False
    # Who looks up a call without a name takes the one to its number: the next one, when this one
    # is over by now.
    is_next = _is_looked_up(event) and call.state not in OPEN_CALL
    return call.provider_call_id is not None or is_next


def _is_looked_up(event: CallEvent) -> bool:
    return event.evidence in {Evidence.POLL, Evidence.RECORD}


def _of_another_call(call: Call, contact: Contact, event: CallEvent) -> Step:
    if _is_looked_up(event):
        return Step(call, contact, off=Off.REPEAT)  # its number proves nothing any more
    return Step(call, contact, _refuse_second_call(call, event), off=Off.SURPRISE)


def _refuse_second_call(call: Call, event: CallEvent) -> tuple[Effect, ...]:
    """Two provider calls for one tag: the second must not exist, and says nothing of the first."""
    why = "a second provider call for one execution id"
    alarm = Alarm(call.id, why)
    if isinstance(event, CallEnded) or event.provider_call_id is None:
        return (alarm,)
    was_answered = isinstance(event, CallAnswered)
    return (HangUp(call.id, event.provider_call_id, why, was_answered), alarm)


def _record(call: Call, event: CallEvent, target: CallState, deadlines: Deadlines) -> Call:
    at = event.at
    call = replace(call, state=target)
    match event:
        case CallAccepted() | CallTrying():
            return replace(call, deadline_at=_unanswered_deadline(call, deadlines))
        case CallRinging():
            return replace(
                call,
                ringing_at=call.ringing_at or at,
                deadline_at=_unanswered_deadline(call, deadlines),
            )
        case CallAnswered() | AnswererKnown():
            if isinstance(event, AnswererKnown):
                by_agent = event.by_agent
                call = replace(call, reached=event.reached, reached_by_agent=by_agent)
            answered_at = call.answered_at or at
            return replace(
                call,
                answered_at=answered_at,
                deadline_at=answered_at + deadlines.time_limit + deadlines.grace,
            )
        case RequestLost() | LeaseExpired():
            return replace(call, deadline_at=at + FIRST_LOOK_AFTER)
        case RequestNotPlaced() | NumberRefused():
            return replace(call, hangup_reason=event.reason, ended_at=at, evidence=event.evidence)
        case _:
            return replace(call, ended_at=at, evidence=event.evidence)


def _unanswered_deadline(call: Call, deadlines: Deadlines) -> datetime:
    return call.requested_at + deadlines.ring_timeout + deadlines.grace


def _end(call: Call, event: CallEvent, set_up: Family | None) -> tuple[Call, Ending]:
    ending = read_ending(call, event, set_up)
    call = replace(call, outcome=ending.outcome, deadline_at=None)
    if isinstance(event, CallEnded):
        call = replace(
            call,
            sip_status=event.sip_status,
            sip_reason=event.sip_reason,
            duration_s=event.duration_s,
            hangup_by=call.hangup_by or event.hangup_by,
            answered_at=call.answered_at or _answered_at(event),
        )
    # What the agent said about a conversation is better than our reading of a code.
    said = call.hangup_reason if ending.outcome is Outcome.COMPLETED else None
    return replace(call, hangup_reason=said or ending.reason), ending


def _answered_at(event: CallEnded) -> datetime | None:
    if event.call_status != "completed":
        return None
    return event.at - timedelta(seconds=event.duration_s or 0)


def _after(call: Call, contact: Contact, setting: CallSetting, ending: Ending) -> Contact:
    """Say what becomes of a contact whose call has ended."""
    now = call.ended_at or contact.updated_at
    is_reached = contact.is_reached or ending.blame is Blame.NOBODY
    contact = replace(contact, is_reached=is_reached, updated_at=now, due=None, wait_reason=None)
    is_closed = contact.is_withdrawn or setting.batch_status in CLOSED_BATCH
    if is_reached:
        is_wanted = call.follow_up_at is not None and may_follow_up(contact, setting.follow_ups_max)
        if is_wanted and call.follow_up_at is not None and not is_closed:
            return schedule_follow_up(contact, call.follow_up_at, now)
        return replace(contact, status=ContactStatus.COMPLETED)
    if ending.blame is Blame.CARRIER:
        contact = refund(contact, call)
    if is_closed or ending.blame is Blame.NUMBER or is_barred(call, contact, setting):
        return replace(contact, status=STATUS_OF_OUTCOME[ending.outcome])
    return retry_or_finish(call, contact, setting, ending, now)


def refund(contact: Contact, call: Call) -> Contact:
    """Give back the attempt that the carrier, not the person, used up."""
    return replace(
        contact,
        carrier_failures=contact.carrier_failures + 1,
        tries=max(contact.tries - 1, 0),
        retry_count=contact.retry_count - _is_counted_retry(call, contact),
    )


def _is_counted_retry(call: Call, contact: Contact) -> bool:
    # After a carrier failure the next call is the person's first try again, whatever its kind.
    return call.kind is CallKind.RETRY and contact.tries > 1


def set_back(
    call: Call, contact: Contact, setting: CallSetting, family: Family, now: datetime
) -> tuple[Call, Contact] | None:
    """Take the blame for an ended call from its number: it was the set-up's, as seen since.

    None when there is nothing to take back: the contact was reached, or called again.
    """
    reason = OF_SET_UP[family].reason
    is_last = all(other.requested_at < call.requested_at for other in setting.other_calls)
    is_judged = call.state is CallState.ENDED and call.hangup_reason not in {reason, "answered"}
    if not is_judged or call.was_answered or not is_last or contact.is_reached:
        return None
    call = replace(call, outcome=OF_SET_UP[family].outcome, hangup_reason=reason)
    is_waiting = contact.due is not None
    contact = refund(contact, call)
    if is_waiting:
        return call, contact
    contact = replace(contact, updated_at=now)
    if setting.batch_status in CLOSED_BATCH or is_barred(call, contact, setting):
        return call, replace(contact, status=STATUS_OF_OUTCOME[OF_SET_UP[family].outcome])
    return call, retry_or_finish(call, contact, setting, OF_SET_UP[family], now)


def _give_back(call: Call, contact: Contact, setting: CallSetting) -> Contact:
    """Put a contact whose call was never sent exactly where it was."""
    turn = TURN_OF[call.kind]
    forbidden = is_barred(call, contact, setting)
    contact = replace(
        contact,
        attempts=contact.attempts - 1,
        tries=contact.tries - 1,
        retry_count=contact.retry_count - _is_counted_retry(call, contact),
        follow_up_count=contact.follow_up_count - (call.kind is CallKind.FOLLOW_UP),
        last_attempted_at=call.prior_attempted_at,
    )
    now = call.ended_at or contact.updated_at
    if contact.is_reached:
        # An earlier call turned out to be answered while this one was about to be placed.
        return replace(contact, status=ContactStatus.COMPLETED)
    if contact.is_withdrawn or setting.batch_status in CLOSED_BATCH:
        return replace(contact, status=ContactStatus.SKIPPED, updated_at=now)
    if forbidden:
        return replace(contact, status=shown_by_last(setting.other_calls), updated_at=now)
    updated_at = call.prior_updated_at or contact.updated_at
    due = Due(turn, call.prior_due_at or updated_at)
    return replace(contact, status=STATUS_OF[turn], updated_at=updated_at, due=due)
