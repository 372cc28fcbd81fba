"""What a call came to, and what the calls of one contact say together.

Shared by what happens while a call is open and by what is learnt of it afterwards. No clock, no
table.
"""

from collections.abc import Iterable
from datetime import datetime

from apollo.core.events import (
    CallEnded,
    CallEvent,
    CallVanished,
    NumberRefused,
    QuarantineOver,
)
from apollo.core.model import Call, CallSetting, Contact
from apollo.core.outcomes import (
    BAD_NUMBER,
    CARRIERS,
    NEVER_AGAIN,
    OF_SET_UP,
    Blame,
    Ending,
    classify,
)
from apollo.core.sip import Family
from apollo.core.states import ContactStatus, Outcome

STATUS_OF_OUTCOME = {
    Outcome.COMPLETED: ContactStatus.COMPLETED,
    Outcome.BUSY: ContactStatus.BUSY,
    Outcome.NO_ANSWER: ContactStatus.NO_ANSWER,
    Outcome.FAILED: ContactStatus.FAILED,
}


def read_ending(call: Call, event: CallEvent, set_up: Family | None = None) -> Ending:
    """Say how a call ended, from the event that ended it.

    `set_up`: it ended in this family, as one number after the other did, and that is the set-up's.
    """
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
    """Tell whether an earlier call of this budget turned out, late, to forbid another one."""
    calls = sorted((call, *setting.other_calls), key=_requested_at, reverse=True)
    # What the carrier failed used up no try.
    counted = [one for one in calls if one.hangup_reason not in CARRIERS][: contact.tries]
    return any(one.hangup_reason in NEVER_AGAIN for one in counted if one.id != call.id)


def shown_by_last(calls: Iterable[Call]) -> ContactStatus:
    """Give the final status that shows the outcome of the last of these calls, which ended."""
    outcome = max(calls, key=_requested_at).outcome
    return STATUS_OF_OUTCOME[outcome or Outcome.FAILED]


def _requested_at(call: Call) -> datetime:
    return call.requested_at
