"""Calls as evidence: what each says about the carrier, the agent and the webhooks, and whose it is.

A call that goes on says something too: a phone that rings proves that the carrier takes calls, long
before that call ends. Must never add up calls of two scopes.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final, TypeAlias

from apollo.core import ids
from apollo.core.diagnosis.evidence import Kind, Result, Sample, Scope, sample
from apollo.core.diagnosis.reported import EndedCall, LiveCall, Neighbour
from apollo.core.diagnosis.view import View
from apollo.core.held import OUTCOME_UNKNOWN
from apollo.core.states import Outcome

Call: TypeAlias = EndedCall | LiveCall | Neighbour
# What a call says about something, if anything.
Judge: TypeAlias = Callable[[Call], Result | None]

# Calls that ended longer ago say nothing about now, where newer ones exist.
_FRESH: Final = timedelta(minutes=15)
# While contacts could be called, something is found out within a minute.
_TESTED_WITHIN: Final = timedelta(minutes=1)
# jambonz ends an answered call at once when the application's hook fails.
DROPPED_S: Final = 2
# Networks and people that refuse a caller id: that is no fault of the carrier's.
UNWANTED: Final = frozenset({607, 608})


def failed_with(call: Call) -> int | None:
    """Give the SIP code with which the carrier failed a call; None when it did not."""
    if isinstance(call, LiveCall) or call.outcome is not Outcome.FAILED:
        return None
    is_known = call.sip_status not in UNWANTED and call.hangup_reason != OUTCOME_UNKNOWN
    return call.sip_status if is_known else None


def by_carrier(call: Call) -> Result | None:
    """Say whether the carrier failed a call, as soon as that is known."""
    if not isinstance(call, LiveCall) and call.ended_at is not None:
        if failed_with(call) is not None:
            return Result(call.ended_at, is_hit=True)
        if call.outcome is not Outcome.FAILED:
            return Result(call.ringing_at or call.answered_at or call.ended_at, is_hit=False)
        return None
    rang_at = call.ringing_at or call.answered_at
    return None if rang_at is None else Result(rang_at, is_hit=False)


def is_dropped(call: Call) -> bool:
    """Tell whether our side hung up on somebody who had just answered."""
    if isinstance(call, LiveCall) or call.outcome is not Outcome.COMPLETED:
        return False
    is_short = call.duration_s is not None and call.duration_s < DROPPED_S
    return is_short and call.hangup_by == "agent"


def by_agent(now: datetime) -> Judge:
    """Say whether somebody who answered was hung up on at once, or spoken to."""

    def judge(call: Call) -> Result | None:
        if not isinstance(call, LiveCall) and call.ended_at is not None:
            if call.outcome is not Outcome.COMPLETED:
                return None
            if is_dropped(call):
                return Result(call.ended_at, is_hit=True)
            return Result(call.answered_at or call.ended_at, is_hit=False)
        if call.answered_at is None or call.answered_at > now - timedelta(seconds=DROPPED_S):
            return None
        return Result(call.answered_at, is_hit=False)

    return judge


def own_calls(view: View) -> list[Call]:
    """Give the calls of this batch, open and over: those of late, or the last there were."""
    ended = list(view.snapshot.ended or ())
    fresh = [call for call in ended if call.ended_at > view.now - _FRESH]
    return [*(view.snapshot.live or ()), *(fresh or ended)]


def siblings(view: View) -> list[Call]:
    """Give calls of the campaign's other batches."""
    mine = view.snapshot.campaign.id
    return [call for call in view.snapshot.neighbours or () if call.campaign_id == mine]


def strangers(view: View) -> list[Call]:
    """Give calls of other campaigns on the connection."""
    mine = view.snapshot.campaign.id
    return [call for call in view.snapshot.neighbours or () if call.campaign_id != mine]


def judged(scope: Scope, calls: Iterable[Call], judge: Judge) -> Sample:
    """Make a sample of what these calls say."""
    return sample(scope, (said for call in calls if (said := judge(call)) is not None))


def nested(view: View, judge: Judge) -> list[tuple[Sample, Sample]]:
    """Give the batch, its campaign and the connection, each with the calls outside of it."""
    own, near, far = own_calls(view), siblings(view), strangers(view)
    batch = Scope(Kind.BATCH, ids.batch_id(view.snapshot.batch.id))
    campaign = Scope(Kind.CAMPAIGN, ids.campaign_id(view.snapshot.campaign.id))
    connection = Scope(Kind.CONNECTION, "")
    return [
        (judged(batch, own, judge), judged(campaign, near, judge)),
        (judged(campaign, [*own, *near], judge), judged(connection, far, judge)),
        (judged(connection, [*own, *near, *far], judge), judged(connection, (), judge)),
    ]


def untested_since(view: View, found: Sample) -> datetime | None:
    """Say since when nothing was found out though time has passed; None while calls go on."""
    is_old = found.tested_at is not None and found.tested_at < view.now - _TESTED_WITHIN
    return found.tested_at if is_old and not view.snapshot.live else None


def is_calm(view: View, found: Sample) -> bool:
    """Tell whether nothing waits on what a sample proves: nobody could test it, and nobody will."""
    since = untested_since(view, found)
    if since is None or not view.is_live:
        return False
    return view.is_wished or (not view.claimable and since < view.now - _FRESH)


def newest_failures(calls: Sequence[Call], since: datetime | None) -> list[Call]:
    """Give the calls that the carrier failed after an instant, newest first."""
    failed = [
        call
        for call in calls
        if not isinstance(call, LiveCall)
        and call.ended_at is not None
        and failed_with(call) is not None
        and (since is None or call.ended_at >= since)
    ]
    return sorted(failed, key=_ended_at, reverse=True)


def _ended_at(call: Call) -> datetime:
    return call.requested_at if isinstance(call, LiveCall) else call.ended_at or call.requested_at
