"""What can hold a whole batch though slots are free, and since when a contact could be taken."""

from datetime import datetime
from typing import Final

from apollo.core.diagnosis import intent, pipeline, provider
from apollo.core.diagnosis.finding import Rule
from apollo.core.diagnosis.view import View
from apollo.core.model import Turn
from apollo.core.states import FINAL_CONTACT, ContactStatus

HOLDING: Final[tuple[Rule, ...]] = (
    intent.cancelled,
    intent.batch_expired,
    intent.dialling_stopped,
    intent.recovery_mode,
    intent.campaign_paused,
    intent.batch_paused,
    intent.paused_by_apollo,
    intent.batch_scheduled,
    intent.outside_window,
    intent.window_never_opens,
    pipeline.db_readonly,
    pipeline.db_disk_full,
    provider.rate_limited_by_provider,
    provider.no_worker_alive,
    provider.provider_unauthorised,
    provider.provider_down,
)
# A contact gets here when it is taken, or when its call ends.
_MOVED: Final = (FINAL_CONTACT - {ContactStatus.SKIPPED}) | {
    ContactStatus.DISPATCHED,
    ContactStatus.RETRYING,
    ContactStatus.FOLLOWUP_SCHEDULED,
}


def is_held(view: View) -> bool:
    """Whether something other than slots keeps every contact of the batch."""
    return any((found := rule(view)) and found.is_holding for rule in HOLDING)


def claimable_since(view: View) -> datetime:
    """When the last thing happened after which a contact could have been taken, and was not.

    The latest of: the oldest contact's own turn, the window, the start or resume, the last time
    anything of the batch moved.
    """
    facts = view.snapshot
    waited = [head.updated_at for head in facts.heads or () if head.is_fresh]
    waited += [at for turn in Turn if (at := view.waiting(turn).ready_at) is not None]
    marks = [facts.batch.ready_at, min(waited, default=None), view.opened_at, facts.slot_freed_at]
    marks += [tally.latest_at for tally in facts.tallies if tally.status in _MOVED]
    return max(mark for mark in marks if mark is not None)
