"""Whether a contact that is held, its call's outcome being unknown, may be called again.

A person decided to let it go; what is left to decide is whether a retry is one the campaign allows.
"""

from datetime import datetime

from msgspec.structs import replace

from apollo.core.model import STATUS_OF, TURN_OF, Call, Contact, Due, RetryPolicy, Turn
from apollo.core.states import CLOSED_BATCH, BatchStatus, CallKind, CallState, ContactStatus
from apollo.errors import NotAllowedNow

OUTCOME_UNKNOWN = "outcome_unknown"


def release_held(
    call: Call, contact: Contact, batch_status: BatchStatus, policy: RetryPolicy, now: datetime
) -> Contact:
    """Have a held contact called again, as a normal retry that is due now. Raises NotAllowedNow."""
    is_held = (
        call.state is CallState.ENDED
        and call.hangup_reason == OUTCOME_UNKNOWN
        and contact.status is ContactStatus.FAILED
        and not contact.is_reached
    )
    if not is_held:
        raise NotAllowedNow(
            f"the contact is {contact.status} and not held: only a contact whose last call has an"
            " unknown outcome can be released (see `apollo calls unresolved`)"
        )
    if batch_status in CLOSED_BATCH:
        raise NotAllowedNow(
            f"the batch is {batch_status} for good; put the contact into a new batch"
        )
    if contact.tries > policy.max_retries:
        raise NotAllowedNow(
            f"its {contact.tries} attempts are used up and the campaign allows no further retry;"
            " raise max_retries, or put the contact into a new batch"
        )
    turn = TURN_OF[call.kind] if call.kind is CallKind.FOLLOW_UP else Turn.RETRY
    return replace(
        contact, status=STATUS_OF[turn], wait_reason=None, due=Due(turn, now), updated_at=now
    )
