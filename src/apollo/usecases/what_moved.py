"""What a set of events changed, read from the calls before and after: counters, timers, the log.

Must never decide anything, nor read or write a table.
"""

import uuid
from collections import Counter
from collections.abc import Sequence
from datetime import datetime

import structlog

from apollo.core import ids
from apollo.core.states import FINAL_CONTACT, CallKind, CallState, Outcome
from apollo.storage.calls import LockedCall

_log = structlog.get_logger("apollo.calls")


def rescheduled(changed: Sequence[tuple[LockedCall, LockedCall]]) -> list[LockedCall]:
    """Give the calls whose contacts have another due time: the workers' timers must hear of it."""
    return [
        after
        for before, after in changed
        if after.contact.due is not None and after.contact.due != before.contact.due
    ]


def unfinished_again(changed: Sequence[tuple[LockedCall, LockedCall]]) -> dict[uuid.UUID, datetime]:
    """Give the batches of people who were final and are to be called again, and when that was."""
    return {
        after.contact.key.batch_id: after.read_at
        for before, after in changed
        if before.contact.status in FINAL_CONTACT and after.contact.status not in FINAL_CONTACT
    }


def count(
    changed: Sequence[tuple[LockedCall, LockedCall]],
) -> dict[tuple[uuid.UUID, str], int]:
    """Say by how much the call counters of each campaign change."""
    counts: Counter[tuple[uuid.UUID, str]] = Counter()
    for before, after in changed:
        campaign, is_follow_up = after.campaign_id, after.call.kind is CallKind.FOLLOW_UP
        if before.call.outcome is not after.call.outcome:
            for outcome, by in ((before.call.outcome, -1), (after.call.outcome, 1)):
                if outcome is not None:
                    counts[campaign, Outcome(outcome).value] += by
        if before.call.outcome is None and after.call.outcome is not None and is_follow_up:
            counts[campaign, "follow_up"] += 1
        is_released = after.call.state is CallState.RELEASED
        if is_released and before.call.state is not CallState.RELEASED:
            counts[campaign, "attempts"] -= 1
            if is_follow_up:
                counts[campaign, "follow_up_attempts"] -= 1
    return {key: by for key, by in counts.items() if by}


def log_move(level: int, before: LockedCall, after: LockedCall) -> None:
    """Write one line about a call that moved."""
    _log.log(
        level,
        f"call.{after.call.state}",
        execution_id=ids.execution_id(after.call.id),
        contact_id=ids.contact_id(after.contact.key),
        batch_id=ids.batch_id(after.contact.key.batch_id),
        was=before.call.state.value,
        outcome=after.call.outcome and after.call.outcome.value,
        contact_status=after.contact.status.value,
        reason=after.call.hangup_reason,
        due_at=after.contact.due and after.contact.due.due_at.isoformat(),
    )
