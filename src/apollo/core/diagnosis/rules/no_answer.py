"""People who do not pick up (layer provider): whether it is unusual, and which group stands out.

The last first calls of the batch are compared with its own past and with the campaign's other
batches; then hours of the callee's day, regions, prefixes and caller ids with the rest. Retries are
left out: who did not answer once answers more seldom. Calls count in the order in which they were
placed: the last to end are no fair sample of them. Must never see a trend in a handful.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from apollo.core.diagnosis.evidence import Share, z_for
from apollo.core.diagnosis.finding import Finding
from apollo.core.diagnosis.reported import (
    DecidedCall,
)
from apollo.core.diagnosis.rule import symptom
from apollo.core.diagnosis.view import View
from apollo.core.numbers import place_of
from apollo.core.reasons import Layer, Reason, Severity
from apollo.core.states import BatchStatus, CallKind, Outcome

# Fewer first calls than this say nothing.
_CALLS_MIN: Final = 50
# One in a million that equal shares differ so much by chance: a batch is looked at again and again
# for days, and each two hundred calls are another chance to be wrong …
_UNUSUAL_Z: Final = z_for(1e-6)
# … and a difference that matters to a person.
_UNUSUAL_BY: Final = 0.10
# Whatever it is compared with: more than this is not in order. Cold lists reach 75 %.
_ALONE_ABOVE: Final = 0.80
_ALONE_Z: Final = z_for(1e-4)
_NOTHING_TO_COMPARE: Final = "and there is nothing yet to compare them with"
# So many of the newest are looked at for whether it is over.
_NEWEST: Final = 25
_NEWEST_Z: Final = z_for(0.01)
# A group and the rest each need this many, and have to differ by this much.
_GROUP_MIN: Final = 20
_GROUP_BY: Final = 0.15
# One in a hundred over all groups together (Bonferroni).
_GROUP_CHANCE: Final = 0.01
_SHOWN_MAX: Final = 6
# Each number is looked up in two tables, at some 50 µs.
_LOOKED_AT_MAX: Final = 400


@dataclass(frozen=True, slots=True)
class _Group:
    """Calls that have something in common, and how many of them rang out."""

    dimension: str
    value: str
    share: Share


@symptom(
    Reason.NO_ANSWER_HIGH,
    Layer.PROVIDER,
    Severity.WARNING,
    meaning="Unusually few people pick up, by a one-sided test of two shares at one in a million, "
    "against the batch's own past or the campaign's other batches, and by at least ten "
    "points (or over 80 %, whatever it is compared with); at least 50 "
    "first calls on either side, in the order in which they were placed. A group stands out"
    " by the same test against the rest, at one in a hundred over all groups tested, with "
    "at least 20 calls on both sides.",
    fix="Review working_hours first. Then dial a number by hand to see whether certain area codes"
    " fail. Lower the concurrency limit so as not to look like spam. {rate} of the last {calls}"
    " first calls rang out, {against}. {stands_out}",
)
def no_answer_high(view: View) -> Finding | None:
    """Unusually few people pick up."""
    share = _share(view.snapshot.decided)
    if not _is_asked_for(view) or share.of < _CALLS_MIN:
        return None
    past, others = _share(view.snapshot.earlier), _share(view.snapshot.elsewhere)
    against = _against(share, past, others)
    newest = _share((view.snapshot.decided or ())[:_NEWEST])
    if against is None or newest.at_most(_NEWEST_Z) < share.value / 2:
        return None  # or it was so, and the newest people pick up
    looked_at = [*(view.snapshot.decided or ()), *(view.snapshot.earlier or ())]
    groups = _groups(view, looked_at[:_LOOKED_AT_MAX])
    found = _stands_out(groups)
    return Finding(
        reason=Reason.NO_ANSWER_HIGH,
        contacts=share.hits,
        evidence={
            "calls": share.of,
            "no_answer": share.hits,
            "rate": round(share.value, 3),
            "before": _shown(past),
            "other_batches": _shown(others),
            "stands_out": None
            if found is None
            else {"by": found.dimension, "value": found.value, **_shown(found.share)},
            "groups": [
                {"by": one.dimension, "value": one.value, **_shown(one.share)}
                for one in _largest(groups)
            ],
        },
        words={
            "rate": str(share),
            "against": against,
            "stands_out": "No hour, region, prefix or caller id stands out."
            if found is None
            else f"{found.dimension.capitalize()} {found.value} stands out: {found.share} of its"
            f" {found.share.of} calls.",
        },
    )


def is_suspicious(view: View) -> bool:
    """Whether it is worth reading who picked up, and what to compare that with."""
    first = [c for c in view.snapshot.ended or () if c.kind is CallKind.FIRST]
    missed = sum(c.outcome is Outcome.NO_ANSWER for c in first)
    return _is_asked_for(view) and missed > _UNUSUAL_BY * len(first)


def _is_asked_for(view: View) -> bool:
    status = view.snapshot.batch.status
    return view.is_waiting_for_us or status is BatchStatus.COMPLETED


def _against(share: Share, past: Share, others: Share) -> str | None:
    """What the share is unusual against; None when it is not."""
    for other, whose in ((past, "earlier ones"), (others, "the campaign's other batches")):
        if other.of < _CALLS_MIN:
            continue
        if share.value - other.value >= _UNUSUAL_BY and share.above(other) > _UNUSUAL_Z:
            return f"against {other} of {other.of} of {whose}"
    # However bad its past was: a batch in which hardly anybody ever picked up is not in order.
    every = Share(share.hits + past.hits, share.of + past.of)
    if every.at_least(_ALONE_Z) > _ALONE_ABOVE:
        return "which is far from usual" if past.of or others.of else _NOTHING_TO_COMPARE
    return None


def _share(calls: Sequence[DecidedCall] | None) -> Share:
    return Share(sum(call.rang_out for call in calls or ()), len(calls or ()))


def _groups(view: View, calls: Sequence[DecidedCall]) -> list[_Group]:
    sorted_calls: dict[tuple[str, str], list[DecidedCall]] = defaultdict(list)
    zone = view.snapshot.campaign.hours.zone
    for call in calls:
        place = place_of(call.phone_number)
        hour = call.requested_at.astimezone(place.zone or zone).hour
        for key in (
            ("hour", f"{hour:02}:00"),
            ("region", place.region),
            ("prefix", place.prefix),
            ("caller id", call.from_number),
        ):
            sorted_calls[key].append(call)
    return [_Group(by, value, _share(own)) for (by, value), own in sorted(sorted_calls.items())]


def _stands_out(groups: Sequence[_Group]) -> _Group | None:
    """The group that differs most from the rest of its dimension, if any does for sure."""
    tests: list[tuple[float, _Group]] = []
    for one in groups:
        same = [g.share for g in groups if g.dimension == one.dimension and g is not one]
        rest = Share(sum(s.hits for s in same), sum(s.of for s in same))
        if one.share.of < _GROUP_MIN or rest.of < _GROUP_MIN:
            continue
        differs = one.share.value - rest.value >= _GROUP_BY
        tests.append((one.share.above(rest) if differs else 0.0, one))
    if not tests:
        return None
    z, found = max(tests, key=lambda test: test[0])
    return found if z > z_for(_GROUP_CHANCE / len(tests)) else None


def _largest(groups: Sequence[_Group]) -> list[_Group]:
    shown: list[_Group] = []
    for dimension in dict.fromkeys(one.dimension for one in groups):
        own = [one for one in groups if one.dimension == dimension]
        shown += sorted(own, key=lambda one: -one.share.of)[:_SHOWN_MAX]
    return shown


def _shown(share: Share) -> dict[str, object]:
    return {"calls": share.of, "no_answer": share.hits, "rate": round(share.value, 3)}


RULES: Final = (no_answer_high,)
