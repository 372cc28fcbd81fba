"""When a batch is expected to be done, from how its last calls went."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Final

from apollo.core.diagnosis.finding import Finding
from apollo.core.diagnosis.forecast import Group, Measured, Work, forecast, leads_to_retry, measure
from apollo.core.diagnosis.reported import EndedCall, LiveCall
from apollo.core.diagnosis.view import View
from apollo.core.model import Turn
from apollo.core.reasons import Reason
from apollo.core.states import CallKind, ContactStatus

# Calls at a time are measured over the last two calls of a slot, and this long at least.
_AT_A_TIME_OVER_S: Final = 10.0
# They end when a call of somebody else does, or are decided by another batch.
_OF_OTHERS: Final = (Reason.DUPLICATE_NUMBER_BLOCKED, Reason.NUMBER_RESTING)


@dataclass(frozen=True, slots=True)
class Estimate:
    """When everybody is done with; None where nothing honest can be said."""

    finish_at: datetime | None = None
    # It may be later, and is not expected to be sooner.
    is_at_least: bool = False
    # Contacts whom the batch's `ends_at` leaves out; None where that is not known.
    not_reached: int | None = None


def estimate(view: View, holds: Sequence[Finding]) -> Estimate:
    """Estimate it, while nothing holds the batch for no known time and enough calls have ended."""
    facts = view.snapshot
    measured = measure(facts.ended or ())
    if (
        not view.is_waiting_for_us
        or any(hold.until is None for hold in holds)
        or not view.limits
        or measured is None
    ):
        return Estimate()
    waiting = _waiting(view)
    out = _out(view)
    found = forecast(
        Work(
            waiting=waiting,
            out=out,
            measured=measured,
            cooldown=facts.campaign.cooldown,
            hours=facts.campaign.hours,
            ring=facts.settings.ring_timeout,
            slots=_slots(view, measured),
            per_second=facts.settings.calls_per_second or None,
            ends_at=facts.batch.ends_at,
        ),
        max([view.now, *(hold.until for hold in holds if hold.until is not None)]),
    )
    if found is None:
        return Estimate()
    is_at_least = (
        measured.is_outlasted([elapsed_s for elapsed_s, _ in out])
        or any(reason in view.own_waits for reason in _OF_OTHERS)
        or (facts.waiting is None and bool(view.own_waits))
    )
    # At its end the batch is over, whoever is left.
    is_cut = found.not_reached > 0
    return Estimate(found.finish_at, is_at_least and not is_cut, found.not_reached)


def _waiting(view: View) -> list[Group]:
    """Who waits: first calls and what is due now, retries that cool down, follow-ups promised."""
    facts = view.snapshot
    retries_max = facts.batch.max_retries
    groups = [Group(view.counts[ContactStatus.PENDING], retries_max, view.now, view.now)]
    retrying, promised = (
        view.counts[status] for status in (ContactStatus.RETRYING, ContactStatus.FOLLOWUP_SCHEDULED)
    )
    first_at, last_at = _due(view, Turn.RETRY)
    led_to_one = (call for call in facts.ended or () if leads_to_retry(call))
    left = _retries_left(islice(led_to_one, max(retrying, 0)), retries_max - 1)
    groups += [Group(retrying * share, n, first_at, last_at) for n, share in left.items()]
    groups.append(Group(promised, retries_max, *_due(view, Turn.FOLLOW_UP)))
    return groups


def _due(view: View, turn: Turn) -> tuple[datetime, datetime]:
    """From when to when those of a turn are due; now, if they are already."""
    row = view.waiting(turn)
    first_at = view.now if row.ready_at is not None else row.first_due_at or view.now
    return max(first_at, view.now), max(row.last_due_at or view.now, view.now)


def _retries_left(calls: Iterable[EndedCall], at_most: int) -> dict[int, float]:
    """How many retries are left after the next call of those that wait for one, by share.

    The newest calls that led to a retry tell how far they are.
    """
    counted = Counter(max(at_most - _retries_before(call), 0) for call in calls)
    total = sum(counted.values())
    if not total:
        return {max(at_most, 0): 1.0}
    return {left: n / total for left, n in counted.items()}


def _retries_before(call: EndedCall | LiveCall) -> int:
    """How many retries a call is, at the most, with those before it."""
    return call.attempt - 1 if call.kind is CallKind.RETRY else 0


def _out(view: View) -> list[tuple[float, int]]:
    """Give the calls that are out: for how many seconds, and how many retries are left then."""
    facts = view.snapshot
    out = [
        (
            max((view.now - call.requested_at).total_seconds(), 0.0),
            max(facts.batch.max_retries - _retries_before(call), 0),
        )
        for call in facts.live or ()
    ]
    # More than are read, or asked for a moment ago.
    unseen = max(view.on_call - len(out), 0)
    mean_s = sum(elapsed_s for elapsed_s, _ in out) / len(out) if out else 0.0
    return out + [(mean_s, facts.batch.max_retries)] * unseen


def _slots(view: View, measured: Measured) -> float:
    """How many calls are out at a time: what the limits leave, and no more than there were.

    Measured only over a time in which somebody was always ready to be called.
    """
    facts = view.snapshot
    own, whole = view.limits[0], view.limits[-1]
    slots = float(max(min(own.limit, whole.limit - (whole.in_use - own.in_use)), own.in_use, 1))
    since = view.now - timedelta(seconds=max(2 * measured.hold_s, _AT_A_TIME_OVER_S))
    marks = [facts.batch.ready_at, facts.batch.scheduled_start, view.opened_at]
    calls: list[EndedCall | LiveCall] = [*(facts.ended or ()), *(facts.live or ())]
    if (
        not view.claimable_pending
        or any(mark is not None and mark > since for mark in marks)
        or min((call.requested_at for call in calls), default=view.now) > since
        or min((call.ended_at for call in facts.ended or ()), default=view.now) > since
    ):
        return slots
    held_s = sum(
        max((_until(call, view.now) - max(call.requested_at, since)).total_seconds(), 0.0)
        for call in calls
    )
    return max(min(slots, held_s / (view.now - since).total_seconds()), 1.0)


def _until(call: EndedCall | LiveCall, now: datetime) -> datetime:
    return call.ended_at if isinstance(call, EndedCall) else now
