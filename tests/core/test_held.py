"""Who may be released from a hold, and as what."""

import uuid
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from apollo.core.held import OUTCOME_UNKNOWN, release_held
from apollo.core.ids import ContactKey
from apollo.core.model import Call, Contact, Due, RetryPolicy, RetryStrategy, Turn
from apollo.core.states import BatchStatus, CallKind, CallState, ContactStatus, Outcome
from apollo.errors import NotAllowedNow

NOW = datetime(2026, 5, 11, 12, 0, tzinfo=UTC)
POLICY = RetryPolicy(2, RetryStrategy.FIXED, timedelta(minutes=30))
CALL = Call(
    id=uuid.UUID(int=1),
    state=CallState.ENDED,
    version=3,
    kind=CallKind.FIRST,
    provider="jambonz:test",
    phone_number="+919876543210",
    from_number="+912261234567",
    requested_at=NOW - timedelta(hours=1),
    outcome=Outcome.FAILED,
    hangup_reason=OUTCOME_UNKNOWN,
)
CONTACT = Contact(
    key=ContactKey(uuid.UUID(int=2), 1),
    status=ContactStatus.FAILED,
    updated_at=NOW - timedelta(minutes=50),
    attempts=1,
    tries=1,
)


@pytest.mark.parametrize(
    ("kind", "status", "turn"),
    [
        (CallKind.FIRST, ContactStatus.RETRYING, Turn.RETRY),
        (CallKind.RETRY, ContactStatus.RETRYING, Turn.RETRY),
        (CallKind.FOLLOW_UP, ContactStatus.FOLLOWUP_SCHEDULED, Turn.FOLLOW_UP),
    ],
)
def test_a_held_contact_is_retried_at_once_in_its_turn(
    kind: CallKind, status: ContactStatus, turn: Turn
) -> None:
    released = release_held(replace(CALL, kind=kind), CONTACT, BatchStatus.COMPLETED, POLICY, NOW)
    assert (released.status, released.due) == (status, Due(turn, NOW))
    assert (released.wait_reason, released.tries) == (None, 1)


@pytest.mark.parametrize(
    ("call", "contact", "batch", "words"),
    [
        (replace(CALL, hangup_reason="bad_number"), CONTACT, BatchStatus.COMPLETED, "not held"),
        (replace(CALL, state=CallState.UNKNOWN), CONTACT, BatchStatus.IN_PROGRESS, "not held"),
        (
            CALL,
            replace(CONTACT, status=ContactStatus.COMPLETED, is_reached=True),
            BatchStatus.COMPLETED,
            "not held",
        ),
        (CALL, CONTACT, BatchStatus.CANCELLED, "for good"),
        (CALL, CONTACT, BatchStatus.EXPIRED, "for good"),
        (CALL, replace(CONTACT, tries=3), BatchStatus.COMPLETED, "used up"),
    ],
)
def test_nobody_else_is_released(
    call: Call, contact: Contact, batch: BatchStatus, words: str
) -> None:
    with pytest.raises(NotAllowedNow, match=words):
        release_held(call, contact, batch, POLICY, NOW)
