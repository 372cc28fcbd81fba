"""The tip: one or two sentences with numbers that tell a person what to do next."""

from datetime import datetime, timedelta

from apollo.core import ids
from apollo.core.diagnosis.view import View
from apollo.core.diagnosis.words import count, span, stamp
from apollo.core.states import CLOSED_BATCH


def tip_for(
    view: View,
    *,
    is_healthy: bool,
    stalled_for: timedelta | None,
    first_fix: str | None,
    is_serious: bool,
    dialable_now: int,
    next_dial_at: datetime | None,
) -> str:
    """Say the next step; `stalled_for` is None unless the batch is stuck."""
    if stalled_for is not None:
        return _stuck(view, stalled_for, first_fix if is_serious else None)
    if is_serious and first_fix is not None:
        return first_fix
    if is_healthy:
        return _healthy(view, dialable_now, next_dial_at)
    if first_fix is not None and view.is_live:
        return first_fix
    status = view.snapshot.batch.status
    going = count(view.on_call, "call that is|calls that are")
    ending = f" The {going} still up end by themselves." if view.on_call else ""
    return f"The batch is {status}; nothing is waiting to be dialled.{ending}"


def held_note(view: View) -> str | None:
    """Say how many contacts are held and what an operator does about them; None when none is."""
    held = view.snapshot.held
    if held is None or not held.contacts:
        return None
    many = count(held.contacts, "contact is|contacts are")
    what = (
        f"{'At least ' if held.may_be_more else ''}{many} held as failed: a call may have been"
        " placed, and nobody knows what became of it. On the server, `apollo calls unresolved`"
        " lists such calls"
    )
    if view.snapshot.batch.status in CLOSED_BATCH:
        return f"{what}; the batch is {view.snapshot.batch.status}, so nobody is called again."
    return f"{what}, and `apollo calls release ID --reason …` has a contact called again."


def _stuck(view: View, stalled_for: timedelta, first_fix: str | None) -> str:
    batch_id = ids.batch_id(view.snapshot.batch.id)
    waited = (
        f"{count(view.claimable_pending, 'contact is|contacts are')} pending and could have been"
        f" dialled, but none was for {span(stalled_for)}."
    )
    then = f"Then POST /api/v1/batches/{batch_id}/dispatch if they do not go out by themselves."
    if first_fix is not None:
        return f"{waited} {first_fix} {then}"
    workers = ", ".join(
        f"{worker.host} (process {worker.pid})" for worker in view.processes("worker")
    )
    bus = " or cut off from Kafka" if view.snapshot.settings.bus_kind == "kafka" else ""
    cause = f"A worker is alive ({workers}) and takes none of them: it hangs{bus}. Restart it."
    if not workers:
        cause = "Whether a worker is alive could not be read: see that one runs."
    return f"{waited} {cause} {then}"


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
    return f"{state}; nobody else is waiting."
