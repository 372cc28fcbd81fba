"""Both sides of an audit, matched, and what every rule asks of a single call.

It must never decide whether an invariant holds.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from apollo.core import ids
from apollo.core.audit.facts import Books, ListedCall, OurCall, WitnessedCall
from apollo.core.outcomes import ANSWERED_BY, SET_UP_REASONS, Blame, Ending, classify


@dataclass(frozen=True, slots=True)
class Evidence:
    """Both sides, matched: by tag first, by the provider's id second."""

    witnessed: Sequence[WitnessedCall]
    placed: Sequence[WitnessedCall]
    books: Books
    # The row of each witnessed call, by the provider's id.
    row_of: Mapping[str, OurCall]
    # The provider's live list; None: the witness is a ledger.
    listed: Sequence[ListedCall] | None

    @classmethod
    def of(
        cls,
        witnessed: Sequence[WitnessedCall],
        books: Books,
        listed: Sequence[ListedCall] | None,
    ) -> "Evidence":
        """Match both sides."""
        by_id = {row.id: row for row in books.calls}
        by_sid = {row.provider_call_id: row for row in books.calls if row.provider_call_id}
        rows: dict[str, OurCall] = {}
        for call in witnessed:
            tagged = by_id.get(call.execution_id) if call.execution_id else None
            row = tagged or by_sid.get(call.provider_call_id)
            if row is not None:
                rows[call.provider_call_id] = row
        ordered = sorted(witnessed, key=lambda call: call.requested_at)
        placed = [x for x in ordered if x.placed_at is not None]
        return cls(ordered, placed, books, rows, listed)

    def rows(self) -> Iterable[tuple[WitnessedCall, OurCall]]:
        """Give the placed calls that have a row, in the order of their requests."""
        return (
            (call, self.row_of[call.provider_call_id])
            for call in self.placed
            if call.provider_call_id in self.row_of
        )


def names(call: WitnessedCall, row: OurCall | None = None) -> tuple[str, ...]:
    """Return the ids to look for, ours first."""
    found = [f"call_sid {call.provider_call_id}"]
    if row is not None:
        found = [
            ids.execution_id(row.id),
            ids.contact_id(row.contact),
            ids.batch_id(row.contact.batch_id),
            *found,
        ]
    elif call.execution_id is not None:
        found = [ids.execution_id(call.execution_id), *found]
    return tuple(found)


def ending(call: WitnessedCall, row: OurCall | None = None) -> Ending:
    """Return how a call ended, from what the witness saw, and from who is known to have answered.

    A machine and a wrong person are answers to the provider; only the agent knows better.
    """
    seen = classify(
        call_status=call.call_status or "",
        sip_status=call.sip_status,
        was_answered=call.answered_at is not None,
    )
    is_told_who = row is not None and seen.blame is Blame.NOBODY
    return ANSWERED_BY[row.reached] if row is not None and is_told_who else seen


def is_set_ups_fault(call: WitnessedCall, row: OurCall) -> bool:
    """Tell whether the numbers called before made this the set-up's doing, and it may be."""
    is_silent = call.rang_at is None and call.answered_at is None
    return is_silent and row.hangup_reason in SET_UP_REASONS
