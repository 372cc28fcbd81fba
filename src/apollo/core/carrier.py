"""What the carrier behind a provider did with calls lately, whoever heard of it.

Outcomes arrive at the web processes and breakers live in the workers, so this travels through the
provider's row. A carrier that works costs no write: good calls are counted only while others fail.
"""

from datetime import datetime, timedelta
from typing import Final

import msgspec
from msgspec.structs import replace

from apollo.core.events import CallEnded, CallEvent, Evidence
from apollo.core.model import Call, Contact
from apollo.core.outcomes import is_silent_decline

# Failures are weighed against what was carried in the same minute.
_LATELY: Final = timedelta(minutes=1)


class CarrierTally(msgspec.Struct, frozen=True):
    """Calls that the carrier failed, and calls that it carried meanwhile; both only ever grow."""

    failures: int = 0
    carried: int = 0
    failures_in_a_row: int = 0
    # Of the last failure.
    failed_at: datetime | None = None
    sip_status: int | None = None
    # Numbers in a row that ended 603 without ringing: three mean "no carrier".
    declines_in_a_row: int = 0


def tally(
    so_far: CarrierTally, event: CallEvent, was: tuple[Call, Contact], now: tuple[Call, Contact]
) -> CarrierTally:
    """Add what an event showed that moved a call and its contact; `event.at` is the true time."""
    (call_before, contact_before), (call, contact) = was, now
    if contact.carrier_failures > contact_before.carrier_failures:
        so_far = replace(
            so_far,
            failures=so_far.failures + 1,
            failures_in_a_row=so_far.failures_in_a_row + 1,
            failed_at=event.at,
            sip_status=call.sip_status,
        )
    elif _fails_lately(so_far, event.at) and _is_first_sign(call_before, call, event):
        so_far = replace(so_far, carried=so_far.carried + 1, failures_in_a_row=0)
    if isinstance(event, CallEnded):
        # Who looks a call up afterwards is not told that it rang: that adds nothing to the row.
        more = so_far.declines_in_a_row + (event.evidence is Evidence.WEBHOOK)
        so_far = replace(so_far, declines_in_a_row=more if _is_declined(call, event) else 0)
    return so_far


def _fails_lately(so_far: CarrierTally, at: datetime) -> bool:
    failed_at = so_far.failed_at
    return failed_at is not None and (so_far.failures_in_a_row > 0 or at - failed_at < _LATELY)


def _is_first_sign(before: Call, call: Call, event: CallEvent) -> bool:
    """Tell whether this is the first to show that the carrier brought the call somewhere."""
    if _rang(before):
        return False
    return _rang(call) or (isinstance(event, CallEnded) and not _is_declined(call, event))


def _is_declined(call: Call, event: CallEnded) -> bool:
    return is_silent_decline(sip_status=event.sip_status, rang=_rang(call))


def _rang(call: Call) -> bool:
    return call.ringing_at is not None or call.answered_at is not None
