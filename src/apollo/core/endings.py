"""What a call came to, and what the calls of one contact say together.

Shared by what happens while a call is open and by what is learnt of it afterwards. No clock, no
table.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta

from msgspec.structs import replace

from apollo.core.events import (
    CallEnded,
    CallEvent,
    CallVanished,
    NumberRefused,
    QuarantineOver,
)
from apollo.core.model import (
    CARRIER_FAILURES_MAX,
    STATUS_OF,
    WAIT_OF,
    Call,
    CallSetting,
    Contact,
    Due,
    Turn,
)
from apollo.core.outcomes import (
    ANSWERED_BY,
    BAD_NUMBER,
    CARRIERS,
    NEVER_AGAIN,
    OF_SET_UP,
    WRONG_PERSON,
    Blame,
    Ending,
    classify,
)
from apollo.core.sip import Family
from apollo.core.states import CallKind, ContactStatus, Outcome

# A hold that is released by policy waits at least this long: a delayed request may still be placed.
RELEASE_GAP_MIN = timedelta(hours=1)

STATUS_OF_OUTCOME = {
    Outcome.COMPLETED: ContactStatus.COMPLETED,
    Outcome.BUSY: ContactStatus.BUSY,
    Outcome.NO_ANSWER: ContactStatus.NO_ANSWER,
    Outcome.VOICEMAIL: ContactStatus.VOICEMAIL,
    Outcome.FAILED: ContactStatus.FAILED,
}


def read_ending(call: Call, event: CallEvent, set_up: Family | None = None) -> Ending:
    """Say how a call ended, from the event that ended it and from who is known to have answered.

    `set_up`: it ended in this family, as one number after the other did, and that is the set-up's.
    """
    ending = _told_ending(call, event, set_up)
    is_told_who = ending.blame is Blame.NOBODY and call.reached is not None
    return ANSWERED_BY[call.reached] if is_told_who else ending


def _told_ending(call: Call, event: CallEvent, set_up: Family | None) -> Ending:
    match event:
        case CallEnded() | NumberRefused() if set_up is not None:
            ending = OF_SET_UP[set_up]
        case CallEnded():
            ending = classify(
                call_status=event.call_status,
                sip_status=event.sip_status,
                was_answered=call.answered_at is not None,
            )
        case NumberRefused():
            ending = BAD_NUMBER
        case QuarantineOver():
            blame = Blame.PERSON if event.may_retry else Blame.NUMBER
            ending = Ending(Outcome.FAILED, blame, "outcome_unknown")
        case CallVanished() if call.answered_at is not None:
            ending = Ending(Outcome.COMPLETED, Blame.NOBODY, "no_end_event")
        case CallVanished(may_retry=False):
            ending = Ending(Outcome.FAILED, Blame.NUMBER, "outcome_unknown")
        case _:
            ending = Ending(Outcome.NO_ANSWER, Blame.PERSON, "no_end_event")
    return ending


def is_barred(call: Call, contact: Contact, setting: CallSetting) -> bool:
    """Tell whether an earlier call turned out, late, to forbid another one.

    What a budget forbids ends with it; a number that is somebody else's stays theirs, until the
    person is reached there after all.
    """
    counted = of_this_budget(call, contact, setting)
    return any(one.hangup_reason in NEVER_AGAIN for one in counted if one.id != call.id) or any(
        is_wrong_person(one) and not is_reached_after(one, setting) for one in setting.other_calls
    )


def of_this_budget(call: Call, contact: Contact, setting: CallSetting) -> list[Call]:
    """Give the calls that used up the tries so far, the newest first."""
    calls = sorted((call, *setting.other_calls), key=_requested_at, reverse=True)
    # What the carrier failed used up no try.
    return [one for one in calls if one.hangup_reason not in CARRIERS][: contact.tries]


def is_wrong_person(call: Call) -> bool:
    """Tell whether somebody else picked up; what an agent writes about a good call is no proof."""
    return call.outcome is Outcome.FAILED and call.hangup_reason == WRONG_PERSON


def is_reached_after(call: Call, setting: CallSetting) -> bool:
    """Tell whether a later call reached the person."""
    return any(
        other.outcome is Outcome.COMPLETED and other.requested_at > call.requested_at
        for other in setting.other_calls
    )


def retry_or_finish(
    call: Call, contact: Contact, setting: CallSetting, ending: Ending, now: datetime
) -> Contact:
    """Say when somebody who was not reached is called again, or that they are not."""
    policy = setting.retry
    if ending.blame is Blame.CARRIER:
        if contact.carrier_failures > CARRIER_FAILURES_MAX:
            return replace(contact, status=ContactStatus.FAILED)
    elif contact.tries > policy.max_retries:
        used_up = policy.max_retries > 0
        status = STATUS_OF_OUTCOME[ending.outcome]
        return replace(contact, status=ContactStatus.MAX_RETRIES_REACHED if used_up else status)
    turn = Turn.FOLLOW_UP if call.kind is CallKind.FOLLOW_UP else Turn.RETRY
    wait = policy.wait_before(max(contact.tries, 1))
    if ending.reason == "outcome_unknown":
        wait = max(wait, RELEASE_GAP_MIN)
    wait_reason = WAIT_OF[turn] if wait else None
    return replace(
        contact, status=STATUS_OF[turn], wait_reason=wait_reason, due=Due(turn, now + wait)
    )


def shown_by_last(calls: Iterable[Call]) -> ContactStatus:
    """Give the final status that shows the outcome of the last of these calls, which ended."""
    outcome = max(calls, key=_requested_at).outcome
    return STATUS_OF_OUTCOME[outcome or Outcome.FAILED]


def _requested_at(call: Call) -> datetime:
    return call.requested_at
