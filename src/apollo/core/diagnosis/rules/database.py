"""The database, and what our processes see of it (layer pipeline).

Must never blame a process for what the database keeps it from.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Final

from apollo.core.diagnosis.finding import Finding
from apollo.core.diagnosis.reported import (
    Process,
    Queue,
    WriteFault,
)
from apollo.core.diagnosis.rule import gate, symptom
from apollo.core.diagnosis.view import View
from apollo.core.reasons import Layer, Reason, Severity

QueueOf = Callable[[Process], Queue | None]
# PostgreSQL's own codes for "no room left" and "no writes here".
DISK_FULL: Final = "53100"
READ_ONLY: Final = "25006"
# A claim waits for a lock a tenth of a second at most: who holds one this long is no claim.
_LOCK_HELD: Final = timedelta(seconds=5)
# A claim takes some five milliseconds, and all readings of this page together about as much.
_SLOW_S: Final = 0.5
# A connection is borrowed for milliseconds; a second's wait means that all of them are held.
_POOL_WAIT_S: Final = 1.0
# An event is stored within milliseconds of its arrival; the provider gives up after ten seconds.
_EVENT_WAIT_S: Final = 5.0


@gate(
    Reason.DB_READONLY,
    Layer.PIPELINE,
    Severity.CRITICAL,
    meaning="The database takes no writes: it is a standby, or set read-only. Nothing can be "
    "claimed or recorded.",
    fix="{remedy} The database takes no writes.",
)
def db_readonly(view: View) -> Finding | None:
    """The database takes no writes."""
    health, fault = view.snapshot.database, _refused(view, READ_ONLY)
    is_standby = health is not None and health.is_standby
    is_readonly = health is not None and health.is_readonly
    if not view.is_waiting_for_us or not (fault or is_standby or is_readonly):
        return None
    return Finding(
        reason=Reason.DB_READONLY,
        contacts=view.claimable,
        since=fault.since if fault is not None else None,
        evidence={
            "is_standby": is_standby,
            "default_transaction_read_only": is_readonly,
            "refused_write": fault.error if fault is not None else None,
        },
        words={"remedy": _make_it_write(is_standby=is_standby)},
        is_holding=True,
    )


@gate(
    Reason.DB_DISK_FULL,
    Layer.PIPELINE,
    Severity.CRITICAL,
    meaning="PostgreSQL says that there is no room left (SQLSTATE 53100). Nothing can be claimed or"
    " recorded.",
    fix="Free space on the disk of the database's machine (df -h); Apollo goes on by itself. The"
    " disk has been full since {since}: {error}.",
)
def db_disk_full(view: View) -> Finding | None:
    """PostgreSQL refused a write for want of room."""
    fault = _refused(view, DISK_FULL)
    if not view.is_waiting_for_us or fault is None:
        return None
    return Finding(
        reason=Reason.DB_DISK_FULL,
        contacts=view.claimable,
        since=fault.since,
        evidence={"sqlstate": fault.sqlstate, "error": fault.error},
        is_holding=True,
    )


@symptom(
    Reason.DB_LOCKS,
    Layer.PIPELINE,
    Severity.WARNING,
    meaning="Somebody holds a lock in the database that our processes wait for.",
    fix="If process {pid} of the database ({application}) is not meant to hold its lock, end it in"
    " psql: select pg_terminate_backend({pid}); It has been {state} for {age}, and"
    " {waiting:statement of ours waits|statements of ours wait} for it.",
)
def db_locks(view: View) -> Finding | None:
    """A session of the database that ours have waited for, for long."""
    health = view.snapshot.database
    if not view.is_waiting_for_us or health is None:
        return None
    old = [one for one in health.blockers if one.since < view.now - _LOCK_HELD]
    worst = max(old, key=lambda one: (one.waiting, -one.since.timestamp()), default=None)
    if worst is None:
        return None
    return Finding(
        reason=Reason.DB_LOCKS,
        contacts=0,
        since=worst.since,
        evidence={
            "pid": worst.pid,
            "application": worst.application or "unnamed",
            "state": worst.state,
            "waiting": worst.waiting,
            "statement": worst.statement,
            "sessions": len(old),
        },
        words={"age": view.now - worst.since},
    )


@symptom(
    Reason.DB_SLOW,
    Layer.PIPELINE,
    Severity.WARNING,
    meaning="The database takes long to answer: three claims within a minute over half a second "
    "each, or the readings of this page together. What a busy process of ours adds to it "
    "does not count.",
    fix="See what the database waits for. On its machine: disk (iostat -x 1), CPU (top). In psql,"
    " what has been running for long: select pid, now() - xact_start, query from pg_stat_activity"
    " order by xact_start; The database is slow: {what}.",
)
def db_slow(view: View) -> Finding | None:
    """Claims, or the readings of this page, take long."""
    if not view.is_waiting_for_us:
        return None
    slow = [
        (one.slowest_claim_s, one)
        for one in view.processes("worker")
        if one.slowest_claim_s is not None and one.slowest_claim_s > _SLOW_S
    ]
    read_s = view.snapshot.read_s
    if not slow and read_s <= _SLOW_S:
        return None
    said = [f"a claim of the {one.who} took {seconds:.1f} s" for seconds, one in slow[:1]]
    if read_s > _SLOW_S:
        said.append(f"reading this page took {read_s:.1f} s")
    return Finding(
        reason=Reason.DB_SLOW,
        contacts=0,
        evidence={
            "slowest_claim_s": max((seconds for seconds, _ in slow), default=None),
            "read_s": round(read_s, 3),
        },
        words={"what": " and ".join(said)},
    )


@symptom(
    Reason.POOL_EXHAUSTED,
    Layer.PIPELINE,
    Severity.WARNING,
    meaning="All connections of one of our processes to the database are in use, and requests wait "
    "for one.",
    fix="If db_locks or db_slow is listed, fix that first; otherwise run another process of that"
    " role. {who} needs more than its {size:connection} to the database: {waiting:request"
    " waits|requests wait} for one, the longest for {longest}.",
)
def pool_exhausted(view: View) -> Finding | None:
    """A process has more to ask the database than it has connections."""
    found = _longest(view, lambda one: one.pool, _POOL_WAIT_S)
    if found is None:
        return None
    process, queue = found
    return Finding(
        reason=Reason.POOL_EXHAUSTED,
        contacts=0,
        evidence={"size": queue.size, "waiting": queue.waiting, "longest_s": queue.longest_s},
        words={"who": f"The {process.who}", "longest": f"{queue.longest_s:.1f} s"},
    )


@symptom(
    Reason.STATUS_EVENTS_LAGGING,
    Layer.PIPELINE,
    Severity.WARNING,
    meaning="Status events arrive and wait in the API to be stored, so calls seem to last longer "
    "than they do.",
    fix="If db_locks or db_slow is listed, fix that first; otherwise run another `apollo serve`."
    " {who} has {waiting:status event} left to store, and the slowest took {longest}.",
)
def status_events_lagging(view: View) -> Finding | None:
    """Events arrived and were not stored for seconds."""
    found = _longest(view, lambda one: one.events, _EVENT_WAIT_S)
    if found is None:
        return None
    process, queue = found
    return Finding(
        reason=Reason.STATUS_EVENTS_LAGGING,
        contacts=0,
        evidence={"waiting": queue.waiting, "longest_s": queue.longest_s},
        words={"who": f"The {process.who}", "longest": f"{queue.longest_s:.1f} s"},
    )


def waits_for_database(view: View) -> bool:
    """Whether the database is what a worker waits for."""
    return any(rule(view) for rule in (db_locks, db_slow, pool_exhausted))


def _make_it_write(*, is_standby: bool) -> str:
    if is_standby:
        return "Point APOLLO_DATABASE_URL of every process at the primary; this is a standby."
    return (
        "Find out who set it read-only and why, then in psql: alter system reset"
        " default_transaction_read_only; select pg_reload_conf();"
    )


def _refused(view: View, sqlstate: str) -> WriteFault | None:
    """The first of the writes that the database refuses for this, to us or to a process."""
    own = view.snapshot.write_fault
    faults = [fault for one in view.alive for fault in one.write_faults]
    faults += [] if own is None else [own]
    hit = [fault for fault in faults if fault.sqlstate == sqlstate]
    return min(hit, key=lambda fault: fault.since, default=None)


def _longest(view: View, of: QueueOf, over_s: float) -> tuple[Process, Queue] | None:
    """The process with the longest wait of this kind in the last minute, if it is over that."""
    if not view.is_waiting_for_us:
        return None
    queues = [(one, queue) for one in view.alive if (queue := of(one)) is not None]
    worst = max(queues, key=lambda pair: pair[1].longest_s, default=None)
    # A wait that is over and that nobody repeats is no trouble of now.
    is_now = worst is not None and worst[1].waiting > 0 and worst[1].longest_s > over_s
    return worst if is_now else None


RULES: Final = (
    db_readonly,
    db_disk_full,
    db_locks,
    db_slow,
    pool_exhausted,
    status_events_lagging,
)
