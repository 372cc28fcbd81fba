"""The rule about workers that live and do not work."""

from datetime import timedelta
from typing import Final

from apollo.core.diagnosis import pipeline
from apollo.core.diagnosis.evidence import Process
from apollo.core.diagnosis.finding import Finding
from apollo.core.diagnosis.holding import claimable_since, is_held
from apollo.core.diagnosis.view import View
from apollo.core.diagnosis.words import span
from apollo.core.reasons import Reason
from apollo.core.states import BatchStatus

# A turn of the event loop takes milliseconds; heartbeats are due every five seconds.
_LAG_S: Final = 5.0
# While a contact could be taken the sweep asks for it every five seconds.
_IDLE: Final = timedelta(seconds=30)
# A worker that waits for the database, or for its turn in the pace, is not stuck.
_WAITS_FOR: Final = (
    pipeline.db_readonly,
    pipeline.db_disk_full,
    pipeline.db_locks,
    pipeline.db_slow,
    pipeline.pool_exhausted,
)


def worker_stuck(view: View) -> Finding | None:
    """A worker whose event loop hangs, or that takes nothing while it could."""
    workers = view.processes("worker")
    if not view.is_waiting_for_us or not workers:
        return None
    hit: list[tuple[Process, str]] = [
        (one, f"its event loop stood still for {one.loop_lag_s:.0f} s")
        for one in workers
        if one.loop_lag_s > _LAG_S
    ]
    hangs = len(hit) == len(workers)
    if not hit and _could_take(view):
        hit = [(one, _idleness(view, one)) for one in workers if _is_idle(view, one)]
        hangs = len(hit) == len(workers)
        if not hangs:
            return None  # another one takes them
    if not hit:
        return None
    process, what = hit[0]
    is_holding = hangs and _could_take(view)
    return Finding(
        reason=Reason.WORKER_STUCK,
        contacts=view.claimable if is_holding else 0,
        since=process.last_claim_at,
        evidence={
            "host": process.host,
            "pid": process.pid,
            "loop_lag_s": process.loop_lag_s,
            "last_claim_at": process.last_claim_at,
            "workers": len(hit),
            "workers_alive": len(workers),
        },
        words={"who": f"The {process.who}", "what": what},
        is_holding=is_holding,
    )


def _could_take(view: View) -> bool:
    """Whether a contact could have been taken for so long that a worker at work had."""
    if view.snapshot.batch.status is not BatchStatus.IN_PROGRESS:
        return False
    if not view.claimable or not view.free or is_held(view):
        return False
    if claimable_since(view) > view.now - _IDLE:
        return False
    health = view.snapshot.database
    paced = health is not None and any(seconds > 0 for _, seconds in health.booked_ahead_s)
    return not paced and not any(rule(view) for rule in _WAITS_FOR)


def _is_idle(view: View, worker: Process) -> bool:
    if worker.provider is not None and worker.provider.state != "ok":
        return False
    last = worker.last_claim_at
    return last is not None and last < view.now - _IDLE


def _idleness(view: View, worker: Process) -> str:
    ago = view.now - (worker.last_claim_at or view.now)
    return f"it last asked for contacts {span(ago)} ago, and {view.claimable} could be dialled"
