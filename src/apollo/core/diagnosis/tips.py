"""The tip: one or two sentences with numbers that tell a person what to do next."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from apollo.core import ids
from apollo.core.diagnosis.answer import ReasonShown
from apollo.core.diagnosis.view import View
from apollo.core.reasons import Severity
from apollo.core.states import CLOSED_BATCH
from apollo.core.words import count, span, stamp


def tip_for(
    view: View,
    reasons: Sequence[ReasonShown],
    *,
    is_healthy: bool,
    stalled_for: timedelta | None,
    dialable_now: int,
    next_dial_at: datetime | None,
    then: ReasonShown | None,
) -> str:
    """Say the next step; `stalled_for` is None unless the batch is stuck."""
    first = reasons[0] if reasons else None
    is_serious = first is not None and first.severity is not Severity.INFO
    if stalled_for is not None:
        return _stuck(view, stalled_for, first.fix if first is not None and is_serious else None)
    if first is not None and then is not None:
        return f"{first.fix} After that: {then.fix}"
    if first is not None and is_serious:
        return first.fix
    if is_healthy:
        return _healthy(view, dialable_now, next_dial_at)
    if first is not None and view.is_live:
        return first.fix
    return _finished(view, first)


def _finished(view: View, first: ReasonShown | None) -> str:
    if view.is_live and view.snapshot.stale_inputs:
        unread = ", ".join(view.snapshot.stale_inputs)
        return f"Ask again in a few seconds: {unread} could not be read, so the cause is not known."
    status = view.snapshot.batch.status
    going = count(view.on_call, "call that is|calls that are")
    ending = f" The {going} still up end by themselves." if view.on_call else ""
    how = f" {first.fix}" if first is not None else ""
    return f"The batch is {status}; nothing is waiting to be dialled.{ending}{how}"


def held_note(view: View) -> str | None:
    """Say how many contacts are held and what an operator does about them; None when none is."""
    held = view.snapshot.held
    if held is None or not held.contacts:
        return None
    many = count(held.contacts, "contact is|contacts are")
    what = (
        f"{'At least ' if held.may_be_more else ''}{many} held as failed: a call may have been"
        " placed, and it is unknown what became of it. On the server, `apollo calls unresolved`"
        " lists such calls"
    )
    if view.snapshot.batch.status in CLOSED_BATCH:
        return f"{what}; the batch is {view.snapshot.batch.status}, so no one is called again."
    return f"{what}, and `apollo calls release ID --reason …` makes a contact callable again."


def _stuck(view: View, stalled_for: timedelta, first_fix: str | None) -> str:
    batch_id = ids.batch_id(view.snapshot.batch.id)
    waited = (
        f"{count(view.claimable_pending, 'contact has|contacts have')} been pending for"
        f" {span(stalled_for)} and could have been dialled. They go out by themselves then, else"
        f" POST /api/v1/batches/{batch_id}/dispatch."
    )
    if first_fix is not None:
        return f"{first_fix} {waited}"
    workers = ", ".join(
        f"{worker.host} (process {worker.pid})" for worker in view.processes("worker")
    )
    bus = " or is cut off from Kafka" if view.snapshot.settings.bus_kind == "kafka" else ""
    cause = f"Restart the worker on {workers}: it is alive and takes nobody, so it hangs{bus}."
    if not workers:
        cause = "See that a worker runs: whether one is alive could not be read."
    return f"{cause} {waited}"


def _healthy(view: View, dialable_now: int, next_dial_at: datetime | None) -> str:
    calls = count(view.on_call, "contact is|contacts are")
    state = f"Batch is healthy: {calls} on a call" if view.on_call else "Batch is healthy"
    if dialable_now:
        return f"{state}, {count(dialable_now, 'more is|more are')} dialled right now."
    if view.claimable:
        waiting = count(view.claimable, "waits|wait")
        return f"{state}, {waiting}; the next goes out as soon as a call ends."
    if next_dial_at is not None:
        wait = span(next_dial_at - view.now)
        return f"{state}; the next call goes out at {stamp(next_dial_at)}, in {wait}."
    return f"{state}; no one else is waiting."
