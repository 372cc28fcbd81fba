"""The store of call-detail records: what was written of which call, and what overwrote what.

Owns how many are kept and the faults of the store itself. Must not know how a record is shown.
"""

from collections import OrderedDict
from collections.abc import Iterator

from apollo.rotary.faults import FaultPlan
from apollo.rotary.ledger import REMEMBERED_CALLS, Entry
from apollo.rotary.records import TRUNK

_Place = tuple[int, str, bool]  # the moment of the attempt, the trunk, whether it was answered


class RecordStore:
    """Records by call, the oldest first, each with the seconds its clock was off."""

    def __init__(self, plan: FaultPlan) -> None:
        self._plan = plan
        self._records: OrderedDict[str, tuple[Entry, float]] = OrderedDict()
        self._places: dict[_Place, str] = {}

    def __iter__(self) -> Iterator[tuple[Entry, float]]:
        """The records as they were written."""
        return iter(self._records.values())

    def __len__(self) -> int:
        """How many records there are."""
        return len(self._records)

    def write(self, entry: Entry, offset_s: float) -> None:
        """Keep the record of a call; a fault may lose it, or let it replace another one."""
        if self._plan.rules.record_store_away:
            return
        place = self._place(entry)
        before = self._places.get(place, entry.call_sid)
        rule = self._plan.rules.cdr_overwritten
        if before != entry.call_sid and self._plan.strike(rule, "cdr_overwritten", entry):
            self._records.pop(before, None)
        self._places[place] = entry.call_sid
        self._records[entry.call_sid] = entry, offset_s
        while len(self._records) > REMEMBERED_CALLS:
            _, (oldest, _) = self._records.popitem(last=False)
            if self._places.get(self._place(oldest)) == oldest.call_sid:
                del self._places[self._place(oldest)]

    def _place(self, entry: Entry) -> _Place:
        rule = self._plan.rules.cdr_overwritten
        within_ms = 1 if rule is None else rule.within_ms
        moment = 0 if entry.placed_at is None else int(entry.placed_at.timestamp() * 1000)
        return moment // within_ms, entry.trunk or TRUNK, entry.answered_at is not None
