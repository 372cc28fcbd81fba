"""Gates for what the carrier, or the set-up, does to calls: one for each campaign and each batch.

A gate counts how the calls of its scope end and shuts when they fail without anybody's phone
having rung; then one call at a time tries. Calls that work cost nothing to write: they are counted
only while others fail. Values and no clock; storage keeps them, the claim asks them, and whoever
records a call's end moves them.
"""

import enum
import uuid
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import msgspec
from msgspec.structs import replace

from apollo.core import sip
from apollo.core.events import CallEnded, CallEvent, Evidence, NumberRefused
from apollo.core.model import Call
from apollo.core.outcomes import SET_UP_REASONS
from apollo.core.sip import Family
from apollo.core.states import OPEN_CALL, CallState, Outcome

# So many different numbers in a row that end alike before they ring are not to blame for it.
# Chosen by scripts/wrong_numbers.py: docs/decisions/0016-the-set-ups-fault.md.
ROW_MEANS_SET_UP: Final[dict[Family, int]] = {
    Family.NUMBER: 6,
    Family.CODEC: 6,
    Family.DECLINED: 3,
}
# A row is remembered no further: by then it has said what it can.
ROW_MAX: Final = 200
# Fewer failures are an accident; more are one, too, while others are carried or under way.
_FAILURES: Final = 5
_LATELY: Final = timedelta(minutes=1)
# A probe leaves after this long, then after a quarter of the time it has been shut.
_PROBE_FIRST: Final = timedelta(seconds=5)
_PROBE_LAST: Final = timedelta(minutes=5)
_PROBE_SHARE: Final = 4
# A probe whose call rings for long is waited for.
_PROBE_LASTS: Final = timedelta(seconds=30)
# Whoever was given back twice, and ends so again when others got through meanwhile, is to blame.
_GIVEN_BACK_MAX: Final = 2


class ScopeKind(enum.StrEnum):
    """Whose calls a gate stands for."""

    CAMPAIGN = "campaign"  # one agent and its caller ids
    BATCH = "batch"  # one list


class Scope(NamedTuple):
    """Which calls a gate stands for."""

    provider: str
    kind: ScopeKind
    id: uuid.UUID


class InRow(NamedTuple):
    """One call of a row, and whom it was for."""

    call_id: uuid.UUID
    phone_number: str


class Gate(msgspec.Struct, frozen=True):
    """What a scope's calls came to lately, and whether that has shut it."""

    # Calls to different numbers in a row that ended in the same family before they rang.
    family: Family | None = None
    row: tuple[InRow, ...] = ()
    # Calls that the carrier failed since `since`, and calls that it carried meanwhile.
    failed: int = 0
    carried: int = 0
    since: datetime | None = None
    # Of the last failure.
    failed_at: datetime | None = None
    sip_status: int | None = None
    carried_at: datetime | None = None
    shut_at: datetime | None = None
    # When the next call may try.
    probe_at: datetime | None = None

    @property
    def is_shut(self) -> bool:
        """Tell whether only probes leave."""
        return self.shut_at is not None


OPEN: Final = Gate()


class ShutGate(NamedTuple):
    """A gate that is shut, as a claim asks it."""

    scope: Scope
    shut_at: datetime
    probe_at: datetime
    # What shut it; None: the provider refused the numbers.
    sip_status: int | None


class Passage(NamedTuple):
    """Whom the shut gates of a campaign let through at an instant."""

    # When the first of them may be tried again; None when none is shut.
    again_at: datetime | None = None
    # Only one call of the whole campaign may leave, or none.
    is_one: bool = False
    is_none: bool = False
    # Batches of which no call may leave, and those of which one may.
    held: frozenset[uuid.UUID] = frozenset()
    probed: frozenset[uuid.UUID] = frozenset()

    def most(self, batch_id: uuid.UUID, ready: int) -> int:
        """Say how many of a batch's ready contacts may be taken."""
        if batch_id in self.held:
            return 0
        return min(ready, 1) if batch_id in self.probed else ready


def pass_through(gates: Sequence[ShutGate], now: datetime) -> Passage:
    """Ask the shut gates of a campaign and its batches; the campaign's own decides alone."""
    of_campaign = [gate for gate in gates if gate.scope.kind is ScopeKind.CAMPAIGN]
    asked = of_campaign or list(gates)
    again_at = min((gate.probe_at for gate in asked), default=None)
    if of_campaign:
        is_due = again_at is not None and again_at <= now
        return Passage(again_at, is_one=is_due, is_none=not is_due)
    return Passage(
        again_at,
        held=frozenset(gate.scope.id for gate in asked if gate.probe_at > now),
        probed=frozenset(gate.scope.id for gate in asked if gate.probe_at <= now),
    )


def probes_of(
    gates: Sequence[ShutGate], batch_ids: Collection[uuid.UUID], now: datetime
) -> dict[Scope, datetime]:
    """Say of which shut gates a probe left with calls of these batches, and when the next may."""
    has_own = any(gate.scope.kind is ScopeKind.CAMPAIGN for gate in gates)
    return {
        gate.scope: now + max(_PROBE_LASTS, patience(gate.shut_at, now))
        for gate in gates
        if (gate.scope.kind is ScopeKind.CAMPAIGN if has_own else gate.scope.id in batch_ids)
    }


def silent_family(call: Call, event: CallEvent) -> Family | None:
    """Say in which family of endings a call ended before it rang; None when it did not."""
    if _rang(call):
        return None
    match event:
        case NumberRefused():
            return Family.NUMBER
        case CallEnded() if event.call_status != "completed":
            family = sip.read(event.sip_status).family
            # Who looks a call up afterwards is not told whether it rang: people decline by ringing.
            is_blind = event.evidence is not Evidence.WEBHOOK
            return None if is_blind and family is Family.DECLINED else family
        case _:
            return None


def is_set_ups_fault(
    gate: Gate, call: Call, family: Family, others: tuple[Call, ...], under_way: int
) -> bool:
    """Tell whether a call that ended before it rang says nothing about its number.

    `others` are earlier calls of its contact. `under_way` counts the scope's calls of which nothing
    is known yet: a number that does not exist is told at once and a phone rings later, so a row
    means something only when it is as long as what may still break it.
    """
    if gate.is_shut and gate.family is family:
        return True
    if _had_its_benefit(gate, others):
        return False
    row = _extended(gate, call, family)
    return len(row) >= ROW_MEANS_SET_UP[family] and len(row) >= min(under_way, ROW_MAX)


def note_silent_end(gate: Gate, call: Call, family: Family, at: datetime, *, shuts: bool) -> Gate:
    """Note a call that ended before it rang; `shuts`: its row is no accident."""
    gate = replace(gate, family=family, row=_extended(gate, call, family))
    if not shuts:
        return gate
    gate = replace(gate, failed=max(gate.failed + 1, len(gate.row)), since=gate.since or at)
    return _shut(replace(gate, failed_at=at, sip_status=call.sip_status), at)


def note_failure(gate: Gate, sip_status: int | None, at: datetime, under_way: int) -> Gate:
    """Note a call that the carrier failed."""
    if gate.since is None or (gate.carried and at - gate.since > _LATELY):
        gate = replace(gate, since=at, failed=0, carried=0)
    gate = replace(gate, failed=gate.failed + 1, failed_at=at, sip_status=sip_status)
    # Failures come at once and ringing comes late: what is under way may still be carried.
    if gate.is_shut or gate.failed >= max(_FAILURES, gate.carried + under_way):
        return _shut(gate, at)
    return gate


def note_carried(gate: Gate, at: datetime) -> Gate:
    """Note a call that the carrier brought somewhere: it opens the gate."""
    if gate.is_shut:
        return Gate(carried_at=at)
    is_over = gate.since is None or at - gate.since > _LATELY
    if is_over and not gate.row and not gate.failed:
        return gate
    if is_over:
        return Gate(carried_at=at)
    return replace(gate, family=None, row=(), carried=gate.carried + 1, carried_at=at)


def is_first_sign(before: Call, call: Call) -> bool:
    """Tell whether a move is the first to show that the carrier brought the call somewhere."""
    if _rang(before) or before.state not in OPEN_CALL:
        return False
    reached = call.outcome in {Outcome.BUSY, Outcome.NO_ANSWER, Outcome.COMPLETED}
    return _rang(call) or (
        call.state is CallState.ENDED and reached and call.sip_status is not None
    )


def is_silent_so_far(call: Call) -> bool:
    """Tell whether a call is under way and may still end in any way."""
    return call.state in OPEN_CALL and call.state is not CallState.UNKNOWN and not _rang(call)


def patience(shut_at: datetime, now: datetime) -> timedelta:
    """Say how long to wait for the next probe of a gate that has been shut since then."""
    return min(max((now - shut_at) / _PROBE_SHARE, _PROBE_FIRST), _PROBE_LAST)


def _shut(gate: Gate, at: datetime) -> Gate:
    if gate.shut_at is None:
        return replace(gate, shut_at=at, probe_at=at + _PROBE_FIRST)
    # What had left before does not put off a probe; a probe that failed costs nobody anything.
    soon = at + patience(gate.shut_at, at)
    return replace(gate, probe_at=min(gate.probe_at or soon, soon))


def _extended(gate: Gate, call: Call, family: Family) -> tuple[InRow, ...]:
    row = gate.row if gate.family is family else ()
    if len(row) >= ROW_MAX or any(one.phone_number == call.phone_number for one in row):
        return row
    return (*row, InRow(call.id, call.phone_number))


def _had_its_benefit(gate: Gate, others: tuple[Call, ...]) -> bool:
    given_back = [o for o in others if o.hangup_reason in SET_UP_REASONS]
    if len(given_back) < _GIVEN_BACK_MAX or gate.carried_at is None:
        return False
    return all(other.requested_at < gate.carried_at for other in given_back)


def _rang(call: Call) -> bool:
    return call.ringing_at is not None or call.answered_at is not None
