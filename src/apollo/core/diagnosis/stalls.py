"""`stuck_pending`: contacts that could have been dialled for too long, while nothing was.

Age alone never makes a batch stuck. The clock runs from the latest instant at which something still
had to happen first, and stands still while there is a good reason to wait.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from apollo.core.diagnosis.finding import Finding
from apollo.core.diagnosis.view import View
from apollo.core.model import Turn
from apollo.core.reasons import FACTS, Layer
from apollo.core.states import FINAL_CONTACT, BatchStatus, ContactStatus

# Somebody's wish, closed hours and slots in use are good reasons; a dead worker, a refused key or
# an open breaker are not.
_GOOD: Final = frozenset({Layer.INTENT, Layer.CLOCK})
# A contact gets here when its call ends, which frees a slot.
_AFTER_A_CALL: Final = (FINAL_CONTACT - {ContactStatus.SKIPPED}) | {
    ContactStatus.RETRYING,
    ContactStatus.FOLLOWUP_SCHEDULED,
}


def is_stuck(view: View, holds: Sequence[Finding]) -> bool:
    """Whether pending contacts could have been dialled for too long and none was."""
    if view.snapshot.batch.status is not BatchStatus.IN_PROGRESS or view.claimable_pending <= 0:
        return False
    if view.free == 0 or any(FACTS[hold.reason].layer in _GOOD for hold in holds):
        return False
    return view.now - stuck_since(view) > view.snapshot.settings.stuck_after


def stuck_since(view: View) -> datetime:
    """The latest of: their update, the window, the start or resume, a free slot, a dispatch."""
    facts = view.snapshot
    fresh = [head.updated_at for head in facts.heads or () if head.is_fresh]
    given_back = view.waiting(Turn.FRESH).ready_at
    waited = [*fresh, given_back] if given_back else fresh
    marks = [facts.batch.ready_at, min(waited, default=None), view.opened_at, facts.slot_freed_at]
    moved = {ContactStatus.DISPATCHED, *_AFTER_A_CALL}
    marks += [tally.latest_at for tally in facts.tallies if tally.status in moved]
    return max(mark for mark in marks if mark is not None)
