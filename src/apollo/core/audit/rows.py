"""I7: every call of the provider has one row of ours, with the outcome that the provider saw.

Only what contradicts us is a violation. That a call-detail record is missing contradicts nothing:
a healthy jambonz loses some, where two calls share a millisecond.
"""

from collections import Counter
from collections.abc import Iterable
from datetime import timedelta
from typing import Final

from apollo.core import ids
from apollo.core.audit.evidence import Evidence, ending, is_set_ups_fault, names
from apollo.core.audit.facts import Finding, ListedCall, OurCall, Violation, WitnessedCall
from apollo.core.events import Evidence as Source
from apollo.core.outcomes import ANSWERED_BY, SET_UP_REASONS, classify
from apollo.core.states import OPEN_CALL, CallState, Outcome

_HELD: Final = "outcome_unknown"
# What a live list says of calls that are not over.
_UP: Final = frozenset({"queued", "trying", "ringing", "early-media", "in-progress"})

# A call may be placed so long after it was asked for, by a provider whose answer was lost.
_PLACED_WITHIN: Final = timedelta(minutes=5)
_CLOCKS: Final = timedelta(seconds=5)

# Why a call is not judged.
_OPEN: Final = "not over on both sides"
_HELD_BACK: Final = "held as outcome_unknown"
_SETTLED: Final = "of a confirmed recovery, which nobody waits for"
_NO_RECORD: Final = "whose record is missing"
_FOREIGN: Final = "of other callers on this account"
_ASSUMED: Final = "whose end was assumed, and which the live list still shows"
_NOT_JUDGED: Final = (_OPEN, _HELD_BACK, _SETTLED, _NO_RECORD, _FOREIGN, _ASSUMED)


def every_call_has_its_row(seen: Evidence) -> Finding:
    """Judge I7 from the witness's calls, and from the live list where there is one."""
    rule = "every provider call has one row of ours, with the outcome that the provider saw"
    finding = Finding("I7", rule, len(seen.placed), "calls")
    left: Counter[str] = Counter()
    said = [_compare(seen, x, seen.row_of.get(x.provider_call_id)) for x in seen.placed]
    if seen.listed is None:
        said += _unknown_to_the_provider(seen)
    else:
        rows = {row.provider_call_id: row for row in seen.books.calls if row.provider_call_id}
        recorded = {call.provider_call_id for call in seen.placed}
        for listed in seen.listed:
            sid = listed.provider_call_id
            said.append(_compare_listed(seen, listed, rows.get(sid), has_record=sid in recorded))
            finding.checked += sid not in recorded
        left[_NO_RECORD] = sum(1 for _ in _without_record(seen))
    for one in said:
        if isinstance(one, Violation):
            finding.violations.append(one)
        elif one is not None:
            left[one] += 1
    finding.left_out = ", ".join(f"{left[why]} calls {why}" for why in _NOT_JUDGED if left[why])
    return finding


def _compare(seen: Evidence, call: WitnessedCall, row: OurCall | None) -> Violation | str | None:
    """Return what is wrong, why the call is not judged, or None when both sides agree."""
    if row is None:
        return _unnamed(seen, call) or _without_row(
            seen, call.provider_call_id, call.from_number, names(call)
        )
    if row.state is CallState.RELEASED:
        return Violation(names(call, row), "recorded as never sent, and the provider placed it")
    if call.ended_at is None or row.state in OPEN_CALL:
        return _OPEN
    if row.hangup_reason == _HELD:
        return _HELD_BACK
    expected = ending(call, row).outcome
    if row.outcome is expected or is_set_ups_fault(call, row):
        return None
    what = f"recorded as {row.outcome}, and the provider saw {expected}"
    return Violation(names(call, row), what)


def _unnamed(seen: Evidence, call: WitnessedCall) -> str | None:
    """Return why a call that carries no tag is not judged: it may be one we have no name for."""
    if call.execution_id is not None:
        return None
    for row in seen.books.calls:
        asked = call.requested_at - row.requested_at
        is_it = row.provider_call_id is None and row.number == call.number
        if is_it and row.state is not CallState.RELEASED and -_CLOCKS <= asked <= _PLACED_WITHIN:
            return _OPEN if row.state in OPEN_CALL else _HELD_BACK
    return None


def _without_row(
    seen: Evidence, sid: str, from_number: str | None, shown: tuple[str, ...]
) -> Violation | str:
    if sid in seen.books.settled:
        return _SETTLED
    # An account may place calls that are none of ours; a ledger is of one that does not.
    if seen.listed is not None and from_number not in seen.books.caller_ids:
        return _FOREIGN
    return Violation(shown, "the database has no such call")


def _compare_listed(
    seen: Evidence, listed: ListedCall, row: OurCall | None, *, has_record: bool
) -> Violation | str | None:
    """Return the same for a call of the live list that has no record."""
    sid = listed.provider_call_id
    if has_record:
        # The record says how it ended; a feature server that died leaves its last word in the list.
        return None
    if row is None:
        return _without_row(seen, sid, listed.from_number, (f"call_sid {sid}",))
    is_up = listed.call_status in _UP
    why: str | None = None
    what = ""
    if row.state is CallState.RELEASED:
        what = f"recorded as never sent, and the live list shows it as {listed.call_status}"
    elif row.state in OPEN_CALL or row.hangup_reason == _HELD:
        why = _OPEN if row.state in OPEN_CALL else _HELD_BACK
    elif is_up and row.evidence is Source.ASSUMED:
        why = _ASSUMED
    elif is_up:
        what = f"recorded as {row.outcome}, and the live list shows it as {listed.call_status}"
    elif row.outcome is not (expected := _listed_outcome(listed, row)):
        what = f"recorded as {row.outcome}, and the live list shows {expected}"
    if what and row.hangup_reason not in SET_UP_REASONS:
        return Violation((ids.execution_id(row.id), f"call_sid {sid}"), what)
    return why


def _listed_outcome(listed: ListedCall, row: OurCall) -> Outcome:
    outcome = classify(
        call_status=listed.call_status,
        sip_status=listed.sip_status,
        was_answered=False,
    ).outcome
    # Who answered only the agent knows: a person, or a machine.
    return ANSWERED_BY[row.reached].outcome if outcome is Outcome.COMPLETED else outcome


def _unknown_to_the_provider(seen: Evidence) -> Iterable[Violation]:
    """Find rows with an id of the provider's that its ledger, which has every call, never gave."""
    for row in _without_record(seen):
        names_ = (ids.execution_id(row.id), f"call_sid {row.provider_call_id}")
        yield Violation(names_, "the provider has no such call")


def _without_record(seen: Evidence) -> Iterable[OurCall]:
    """Find named rows of the time that the witness covers, and that it does not show."""
    if not seen.witnessed:
        return
    known = {call.provider_call_id for call in seen.witnessed}
    known |= {call.provider_call_id for call in seen.listed or ()}
    providers = {row.provider for row in seen.row_of.values()}
    first, last = seen.witnessed[0].requested_at, seen.witnessed[-1].requested_at
    for row in seen.books.calls:
        is_named = row.provider_call_id is not None and row.provider in providers
        # A ledger may begin later than the database, and end earlier.
        if is_named and first <= row.requested_at <= last and row.provider_call_id not in known:
            yield row
