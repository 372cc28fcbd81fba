"""Rules about slots: what limits the calls at a time, and who holds them.

Slots are a reason only where they are what keeps a contact waiting: all are taken, or nothing else
holds the batch and more could be called than there is room for.
"""

from datetime import datetime
from typing import Final

from apollo.core import ids
from apollo.core.diagnosis.finding import Finding, Rule
from apollo.core.diagnosis.intent import (
    batch_expired,
    batch_paused,
    batch_scheduled,
    campaign_paused,
    cancelled,
    dialling_stopped,
    outside_window,
    paused_by_apollo,
    window_never_opens,
)
from apollo.core.diagnosis.provider import (
    no_worker_alive,
    provider_down,
    provider_unauthorised,
    rate_limited_by_provider,
)
from apollo.core.diagnosis.view import View
from apollo.core.reasons import Reason

# Enough to see who it is; a list of everything is for the contacts endpoint.
_NAMED_MAX: Final = 5
# What can hold a whole batch though slots are free.
_HOLDING: Final[tuple[Rule, ...]] = (
    cancelled,
    batch_expired,
    dialling_stopped,
    campaign_paused,
    batch_paused,
    paused_by_apollo,
    batch_scheduled,
    outside_window,
    window_never_opens,
    rate_limited_by_provider,
    no_worker_alive,
    provider_unauthorised,
    provider_down,
)


def concurrency_full(view: View) -> Finding | None:
    """The batch's own slots are what limits."""
    over = _over_limit(view)
    if over is None:
        return None
    batch, campaign = view.limits
    if batch.free > campaign.free:
        return None
    has_own = view.snapshot.batch.concurrency_limit is not None
    return Finding(
        reason=Reason.CONCURRENCY_FULL,
        contacts=over,
        evidence={"limit": batch.limit, "in_use": batch.in_use, "oldest_call_at": _oldest(view)},
        words={
            "where": "the batch's concurrency_limit"
            if has_own
            else "the campaign's metadata.concurrency_limit"
        },
    )


def campaign_concurrency_full(view: View) -> Finding | None:
    """The campaign's slots are what limits, and other batches hold some of them."""
    over = _over_limit(view)
    if over is None:
        return None
    batch, campaign = view.limits
    if campaign.free > batch.free:
        return None
    # Where both are used up, raising one alone would not help, so both are named; unless nobody
    # else is there and they are one and the same limit.
    if campaign.free == batch.free and campaign.in_use == batch.in_use:
        return None
    others = holders(view)
    return Finding(
        reason=Reason.CAMPAIGN_CONCURRENCY_FULL,
        contacts=over,
        evidence={
            "limit": campaign.limit,
            "in_use": campaign.in_use,
            "elsewhere": campaign.in_use - batch.in_use,
            "held_by": others,
        },
        words={
            "holders": ", ".join(f"{row['batch_id']}: {row['calls']}" for row in others) or "none"
        },
    )


def holders(view: View) -> list[dict[str, object]]:
    """Other batches of the campaign that hold its slots, the largest first."""
    others = [
        row for row in view.snapshot.open_calls or () if row.batch_id != view.snapshot.batch.id
    ]
    others.sort(key=lambda row: (-row.calls, row.oldest_at, row.batch_id))
    return [
        {
            "batch_id": ids.batch_id(row.batch_id),
            "calls": row.calls,
            "oldest_call_at": row.oldest_at,
        }
        for row in others[:_NAMED_MAX]
    ]


def _over_limit(view: View) -> int | None:
    """Contacts beyond the free slots; None where slots are not what keeps them."""
    free = view.free
    if free is None or not view.is_live or view.claimable <= free:
        return None
    if free > 0 and any((found := rule(view)) and found.is_holding for rule in _HOLDING):
        return None
    return view.claimable - free


def _oldest(view: View) -> datetime | None:
    rows = view.snapshot.open_calls or ()
    return min(
        (row.oldest_at for row in rows if row.batch_id == view.snapshot.batch.id), default=None
    )
