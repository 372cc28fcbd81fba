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
    Evidence,
    NumberRefused,
    QuarantineOver,
)
from apollo.core.model import Call, CallSetting, Contact
from apollo.core.outcomes import CARRIERS, NEVER_AGAIN, Blame, Ending, classify
from apollo.core.states import ContactStatus, Outcome

STATUS_OF_OUTCOME = {
    Outcome.COMPLETED: ContactStatus.COMPLETED,
    Outcome.BUSY: ContactStatus.BUSY,
    Outcome.NO_ANSWER: ContactStatus.NO_ANSWER,
    Outcome.FAILED: ContactStatus.FAILED,
}


def read_ending(call: Call, event: CallEvent, declines_before: int) -> Ending:
    """Say how a call ended, from the event that ended it."""
    match event:
        case CallEnded():
            return classify(
                call_status=event.call_status,
                sip_status=event.sip_status,
                was_answered=call.answered_at is not None,
                # Who looks a call up afterwards is not told that it rang.
                rang=call.ringing_at is not None or event.evidence is not Evidence.WEBHOOK,
                declines_before=declines_before,
            )
        case NumberRefused():
            return Ending(Outcome.FAILED, Blame.NUMBER, "bad_number")
        case QuarantineOver():
            blame = Blame.PERSON if event.may_retry else Blame.NUMBER
            return Ending(Outcome.FAILED, blame, "outcome_unknown")
        case CallVanished() if call.answered_at is not None:
            return Ending(Outcome.COMPLETED, Blame.NOBODY, "no_end_event")
        case CallVanished(may_retry=False):
            return Ending(Outcome.FAILED, Blame.NUMBER, "outcome_unknown")
        case _:
            return Ending(Outcome.NO_ANSWER, Blame.PERSON, "no_end_event")


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
