"""Caller ids (layer provider): one that the carrier refuses, and one that looks like spam."""

from collections.abc import Sequence
from typing import Final

from apollo.core.diagnosis.calls import (
    UNWANTED,
    Call,
    by_carrier,
    failed_with,
    is_calm,
    judged,
    own_calls,
    siblings,
)
from apollo.core.diagnosis.evidence import Claim, Kind, Need, Result, Sample, Scope, weigh
from apollo.core.diagnosis.finding import Finding
from apollo.core.diagnosis.reported import LiveCall
from apollo.core.diagnosis.rule import symptom
from apollo.core.diagnosis.view import View
from apollo.core.outcomes import SET_UP_REASONS
from apollo.core.reasons import Layer, Reason, Severity

MOST: Final = Need(above=0.5)
# People decline one call in twenty or so; this much, of twenty calls, is no accident.
_UNWANTED: Final = Need(above=0.15, quorum=20)
_DECLINED: Final = 603
REFUSED: Final = 403


@symptom(
    Reason.CALLER_ID_INVALID,
    Layer.PROVIDER,
    Severity.WARNING,
    meaning="The carrier refuses calls from one caller id (403) and takes those from another.",
    fix="Have the carrier allow {caller_id} on the trunk, or take the number out of phone_numbers:"
    " PATCH /api/v1/campaigns/{campaign_id}. {refused} of its last {calls:call} ended with 403,"
    " {others} from other numbers.",
    so_far="Have the carrier allow {caller_id} on the trunk, or take the number out of"
    " phone_numbers: PATCH /api/v1/campaigns/{campaign_id}. So far {refused} of its {calls:call}"
    " ended with 403, {others} from other numbers.",
    over="Nothing to do: the carrier refused {caller_id} until {newest_at} ({refused} of"
    " {calls:call}). It has taken its calls since {good_since}.",
)
def caller_id_invalid(view: View) -> Finding | None:
    """The carrier refuses one caller id and takes another."""
    worst = refused_caller_id(view)
    if worst is None or not view.is_waiting_for_us:
        return None
    own, rest, claim = worst
    return Finding(
        reason=Reason.CALLER_ID_INVALID,
        contacts=own.hits,
        since=own.bad_since,
        evidence={
            "caller_id": own.scope.name,
            "refused": own.hits,
            "calls": own.of,
            "newest_at": own.newest_at,
            "good_since": own.good_since,
            "others_refused": rest.hits,
            "others_calls": rest.of,
        },
        words={"others": f"{rest.hits} of {rest.of}"},
        claim=claim,
        is_calm=is_calm(view, own),
    )


@symptom(
    Reason.CALLER_ID_BLOCKED,
    Layer.PROVIDER,
    Severity.WARNING,
    meaning="Networks or people refuse calls from this number as unwanted (603, 607, 608).",
    fix="Let {caller_id} rest: take it out of phone_numbers (PATCH"
    " /api/v1/campaigns/{campaign_id}), and lower the concurrency limit. {share} of its last"
    " {calls:call} ended with 603, 607 or 608, so it looks blocked as spam.",
    so_far="Watch {caller_id}: so far {unwanted} of its {calls:call} were refused as unwanted (607"
    " or 608). If more are, let it rest: PATCH /api/v1/campaigns/{campaign_id} with other"
    " phone_numbers.",
    over="Nothing to do: calls from {caller_id} were refused as unwanted until {newest_at}. They"
    " have been getting through since {good_since}.",
)
def caller_id_blocked(view: View) -> Finding | None:
    """Calls from a caller id are refused as unwanted."""
    found: list[tuple[Sample, Claim]] = []
    calls = own_calls(view)
    for caller_id in _in_use(view, calls):
        mine = [call for call in calls if call.from_number == caller_id]
        own = judged(Scope(Kind.CALLER_ID, caller_id), mine, _by_unwanted)
        claim = weigh(own, _UNWANTED, view.now)
        # A person who declines says nothing about the number; a network that does, does.
        is_told = claim is not Claim.SO_FAR or any(_status(call) in UNWANTED for call in mine)
        if claim is not Claim.CLEAR and is_told:
            found.append((own, claim))
    if not found or not view.is_waiting_for_us:
        return None
    worst, claim = max(found, key=lambda pair: (pair[1] is Claim.HOLDS, pair[0].share.value))
    return Finding(
        reason=Reason.CALLER_ID_BLOCKED,
        contacts=sum(own.hits for own, _ in found),
        since=worst.bad_since,
        evidence={
            "caller_id": worst.scope.name,
            "unwanted": worst.hits,
            "calls": worst.of,
            "newest_at": worst.newest_at,
            "good_since": worst.good_since,
            "caller_ids": [
                {"caller_id": own.scope.name, "unwanted": own.hits, "calls": own.of}
                for own, _ in found
            ],
        },
        words={"share": str(worst.share)},
        claim=claim,
        is_calm=is_calm(view, worst),
    )


def refused_caller_id(view: View) -> tuple[Sample, Sample, Claim] | None:
    """Give the caller id that is refused while others are not, and the calls from the others."""
    calls = own_calls(view)
    found = []
    for caller_id in _in_use(view, calls):
        own = judged(
            Scope(Kind.CALLER_ID, caller_id),
            [call for call in calls if call.from_number == caller_id],
            _by_refusal,
        )
        others = [call for call in (*calls, *siblings(view)) if call.from_number != caller_id]
        rest = judged(Scope(Kind.CAMPAIGN, ""), others, _by_refusal)
        claim = weigh(own, MOST, view.now)
        # Where the others fare no better it is not about the caller id.
        is_narrow = rest.of > 0 and weigh(rest, MOST, view.now) in {Claim.CLEAR, Claim.OVER}
        if claim is not Claim.CLEAR and is_narrow:
            found.append((own, rest, claim))
    return max(found, key=lambda one: (one[2] is Claim.HOLDS, one[0].hits), default=None)


def _in_use(view: View, calls: Sequence[Call]) -> list[str]:
    """Give the caller ids of these calls that the campaign still calls from."""
    kept = view.snapshot.campaign.phone_numbers
    return sorted({call.from_number for call in calls if not kept or call.from_number in kept})


def _by_refusal(call: Call) -> Result | None:
    said = by_carrier(call)
    if said is None or not said.is_hit:
        return said
    return said if failed_with(call) == REFUSED else None


def _by_unwanted(call: Call) -> Result | None:
    if isinstance(call, LiveCall) or call.ended_at is None:
        return None
    # One after the other and without ringing it is the trunk that is missing.
    is_declined = call.sip_status == _DECLINED and call.hangup_reason not in SET_UP_REASONS
    return Result(call.ended_at, is_hit=call.sip_status in UNWANTED or is_declined)


def _status(call: Call) -> int | None:
    return None if isinstance(call, LiveCall) else call.sip_status


RULES: Final = (
    caller_id_invalid,
    caller_id_blocked,
)
