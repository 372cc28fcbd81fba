"""When a batch is expected to be done, from how its last calls went."""

from collections.abc import Sequence
from datetime import datetime

from apollo.core.diagnosis.finding import Finding
from apollo.core.diagnosis.view import View
from apollo.core.forecast import calls_needed, finish_at, measure
from apollo.core.model import Turn
from apollo.core.states import ContactStatus


def estimated_finish_at(
    view: View, holds: Sequence[Finding], next_dial_at: datetime | None
) -> datetime | None:
    """Estimate it; None while something holds the batch for no known time, or too few calls ended.

    The pace is that of the last ten minutes, else what the slots allow at the mean length of a
    call, and never above APOLLO_CALLS_PER_SECOND.
    """
    facts = view.snapshot
    if not view.is_waiting_for_us or any(hold.until is None for hold in holds) or not view.limits:
        return None
    measured = measure(facts.ended or (), view.now)
    if measured is None:
        return None
    slots = min(limit.limit for limit in view.limits)
    per_second = measured.per_second or slots / measured.hold_s
    if facts.settings.calls_per_second:
        per_second = min(per_second, facts.settings.calls_per_second)
    promised = view.counts[ContactStatus.FOLLOWUP_SCHEDULED]
    calls = promised + calls_needed(
        max(view.unfinished - view.on_call - promised, 0),
        max_retries=facts.batch.max_retries,
        retry_share=measured.retry_share,
    )
    ring = facts.settings.ring_timeout
    done = finish_at(
        facts.campaign.hours, next_dial_at or view.now, calls, per_second=per_second, ring=ring
    )
    # Nobody is called before the last one's time has come.
    due = [at for turn in Turn if (at := view.waiting(turn).last_due_at) is not None]
    return None if done is None else max([done, *due])
