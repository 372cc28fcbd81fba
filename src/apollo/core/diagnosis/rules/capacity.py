"""What limits the calls at a time and the pace, and who holds the slots.

Slots are a reason only where they are what keeps a contact waiting: all are taken, or nothing else
holds the batch and more could be called than there is room for.
"""

from datetime import datetime, timedelta
from typing import Final

from apollo.core import ids
from apollo.core.diagnosis.finding import Finding
from apollo.core.diagnosis.reported import (
    LiveList,
)
from apollo.core.diagnosis.rule import gate, symptom
from apollo.core.diagnosis.rules.provider import in_state
from apollo.core.diagnosis.view import Limit, View
from apollo.core.reasons import Layer, Reason, Severity
from apollo.core.states import BatchStatus
from apollo.core.words import count, span

# The list is read every 15 s; a few missed readings are no news.
_LISTED_WITHIN: Final = timedelta(seconds=30)
# Enough to see who it is; a list of everything is for the contacts endpoint.
_LEAKED_SHARE: Final = 5
_NAMED_MAX: Final = 5
# Slots go to the batch with the fewest calls for its limit, so one of them comes within a call or
# two; two minutes without any is worth a look.
_STARVED_AFTER: Final = timedelta(minutes=2)
# Ten years: a pace of next to nothing must not overflow a length of time.
_NEEDED_MAX_S: Final = 10 * 365 * 86_400.0


@symptom(
    Reason.CONCURRENCY_LEAKED,
    Layer.CAPACITY,
    Severity.WARNING,
    meaning="Slots are held by calls that the provider's list of live calls does not show: they are"
    " over, and nobody told us. Apollo gives such a slot back when it has asked for the "
    "call.",
    fix="Look in the provider's log for why their last status never came. {missing} of"
    " {in_use:open call is|open calls are} not in the provider's list of live calls ({listed} in"
    " it, read at {listed_at}). Their slots come back when Apollo has asked for each, the first at"
    " {next_look_at}.",
)
def concurrency_leaked(view: View) -> Finding | None:
    """Slots that calls hold which the provider does not have."""
    live = _live_list(view)
    if live is None or view.free != 0 or not view.claimable:
        return None
    missing = dict(live.missing)
    rows = view.snapshot.open_calls or ()
    leaked = {row.batch_id: min(missing.get(row.batch_id, 0), row.calls) for row in rows}
    # One is asked for soon enough; a fifth of the slots is what people wait for.
    if sum(leaked.values()) * _LEAKED_SHARE < sum(row.calls for row in rows):
        return None
    if not sum(leaked.values()):
        return None
    looks = [row.next_deadline_at for row in rows if row.next_deadline_at and leaked[row.batch_id]]
    return Finding(
        reason=Reason.CONCURRENCY_LEAKED,
        contacts=leaked.get(view.snapshot.batch.id, 0),
        evidence={
            "missing": sum(leaked.values()),
            "in_use": sum(row.calls for row in rows),
            "listed": live.listed,
            "listed_at": live.listed_at,
            "next_look_at": min(looks, default=None),
        },
    )


@gate(
    Reason.SHARED_LIMIT_STARVED,
    Layer.CAPACITY,
    Severity.WARNING,
    meaning="Other batches of the campaign hold every slot, and this one has waited without a "
    "single one for two minutes.",
    fix="{remedy} Or raise the campaign's metadata.concurrency_limit. This batch has had none of"
    " the campaign's {limit:slot} since {waiting_since}; they are held by {holders}.",
)
def shared_limit_starved(view: View) -> Finding | None:
    """Other batches hold every slot of the campaign, and this one has had none for long."""
    if _over_limit(view) is None or view.free:
        return None
    batch, campaign = view.limits
    since = view.claimable_since
    if batch.in_use or campaign.free or since > view.now - _STARVED_AFTER:
        return None
    others = holders(view)
    return Finding(
        reason=Reason.SHARED_LIMIT_STARVED,
        contacts=view.claimable,
        since=since,
        evidence={"limit": campaign.limit, "waiting_since": since, "held_by": others},
        words={"holders": _named(others), "remedy": _let_go(others)},
    )


@gate(
    Reason.CONCURRENCY_FULL,
    Layer.CAPACITY,
    Severity.INFO,
    meaning="More contacts could be called than the batch has slots. `in_use` calls hold them.",
    fix="If the carrier allows more calls at a time, raise {where}. {state}.",
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
            "state": _taken(batch, view.free or 0, over),
            "where": "the batch's concurrency_limit"
            if has_own
            else "the campaign's metadata.concurrency_limit",
        },
    )


@gate(
    Reason.CAMPAIGN_CONCURRENCY_FULL,
    Layer.CAPACITY,
    Severity.INFO,
    meaning="The campaign's slots are in use, by this batch and the other batches named.",
    fix="{remedy}raise the campaign's metadata.concurrency_limit. {state}, and"
    " {contacts:contact waits|contacts wait} for one.",
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
            "remedy": f"{_let_go(others)} Or " if others else "To call more at a time, ",
            "state": _held(campaign, batch.in_use, others),
        },
    )


@gate(
    Reason.RATE_LIMITED_BY_PROVIDER,
    Layer.CAPACITY,
    Severity.WARNING,
    meaning="The provider answers 429: its request budget is used up. Apollo waits as long as it is"
    " told to and goes on by itself.",
    fix="Ask the provider for a larger budget of requests, or set a lower"
    " APOLLO_CALLS_PER_SECOND. It has answered 429 since {since} ({last_error}). {again}",
)
def rate_limited_by_provider(view: View) -> Finding | None:
    """The provider told every worker to wait."""
    return in_state(view, "rate_limited", Reason.RATE_LIMITED_BY_PROVIDER)


@symptom(
    Reason.PACING_LOW,
    Layer.CAPACITY,
    Severity.INFO,
    meaning="Calls leave as fast as APOLLO_CALLS_PER_SECOND allows, and at that pace not everybody "
    "is called before the calling hours or the batch end.",
    fix="Raise APOLLO_CALLS_PER_SECOND if the carrier allows it. At {calls_per_second} calls a"
    " second the {waiting:contact} that can be called take {needed}, and {ends} in {time_left}: not"
    " everybody will be called.",
)
def pacing_low(view: View) -> Finding | None:
    """The pace limits, and at that pace the window or the batch ends before the contacts do."""
    per_second, health = view.snapshot.settings.calls_per_second, view.snapshot.database
    if not per_second or health is None or not view.free or view.holds.is_held:
        return None
    booked_s = max((seconds for _, seconds in health.booked_ahead_s), default=0.0)
    window = view.snapshot.campaign.hours.window_at(view.now)
    batch_ends_at = view.snapshot.batch.ends_at
    if booked_s <= 0 or not view.is_waiting_for_us or window is None:
        return None
    ends_at = min(window.closes_at, batch_ends_at or window.closes_at)
    # Retries and follow-ups that are due only after the end are no matter of pace.
    waiting = view.claimable
    needed = timedelta(seconds=min(waiting / per_second, _NEEDED_MAX_S))
    if needed <= ends_at - view.now:
        return None
    return Finding(
        reason=Reason.PACING_LOW,
        contacts=waiting,
        until=ends_at,
        evidence={
            "calls_per_second": per_second,
            "waiting": waiting,
            "needed_s": int(needed.total_seconds()),
            "ends_at": ends_at,
        },
        words={
            "needed": span(needed),
            "time_left": span(ends_at - view.now),
            "ends": "the batch ends" if ends_at == batch_ends_at else "the calling hours end",
        },
    )


def _taken(limit: Limit, free: int, waiting: int) -> str:
    wait = count(waiting, "contact waits|contacts wait")
    if not free:
        return f"All {count(limit.limit, 'slot')} are in use, so {wait} for a call to end"
    return f"{free} of {count(limit.limit, 'slot')} are free, too few for all, and {wait} for one"


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
            "status": row.status.value,
        }
        for row in others[:_NAMED_MAX]
    ]


def _named(others: list[dict[str, object]]) -> str:
    return ", ".join(f"{row['batch_id']} ({row['calls']})" for row in others)


def _held(campaign: Limit, mine: int, others: list[dict[str, object]]) -> str:
    """Say who holds the campaign's slots."""
    elsewhere = campaign.in_use - mine
    if not others:
        return f"{campaign.in_use} of the campaign's {count(campaign.limit, 'slot')} are in use"
    if elsewhere == campaign.limit:
        every = f"all {count(campaign.limit, 'slot')} of the campaign"
        if len(others) == 1:
            return f"Batch {others[0]['batch_id']} holds {every}"
        return f"Other batches hold {every}: {_named(others)}"
    return (
        f"{campaign.in_use} of the campaign's {count(campaign.limit, 'slot')} are in use,"
        f" {elsewhere} of them by other batches: {_named(others)}"
    )


def _let_go(others: list[dict[str, object]]) -> str:
    """Say how others give back slots: those that are paused already do so as their calls end."""
    if all(row["status"] == BatchStatus.PAUSED for row in others):
        return "Wait for the calls of the paused batches to end; nothing more is dialled there."
    return "Pause one of the other batches, or give it a lower concurrency_limit."


def _over_limit(view: View) -> int | None:
    """Contacts beyond the free slots; None where slots are not what keeps them."""
    free = view.free
    if free is None or not view.is_live or view.claimable <= free:
        return None
    if free > 0 and (view.holds.is_held):
        return None
    return view.claimable - free


def _oldest(view: View) -> datetime | None:
    rows = view.snapshot.open_calls or ()
    return min(
        (row.oldest_at for row in rows if row.batch_id == view.snapshot.batch.id), default=None
    )


def _live_list(view: View) -> LiveList | None:
    lists = [one.live for one in view.processes("worker") if one.live is not None]
    newest = max(lists, key=lambda one: one.listed_at, default=None)
    if newest is None or newest.listed_at < view.now - _LISTED_WITHIN:
        return None
    return newest


RULES: Final = (
    rate_limited_by_provider,
    concurrency_leaked,
    shared_limit_starved,
    concurrency_full,
    campaign_concurrency_full,
    pacing_low,
)
