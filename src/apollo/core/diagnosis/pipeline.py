"""Rules about our own processes and the database, from what each process saw of itself.

`no_worker_alive` and `completed_not_closed` stand beside the provider's rules, which ask for the
same workers. Must never blame a process for what the database keeps it from.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Final

from apollo.core.diagnosis.evidence import Process, Queue, WriteFault
from apollo.core.diagnosis.finding import Finding
from apollo.core.diagnosis.view import View
from apollo.core.diagnosis.words import span
from apollo.core.reasons import Reason

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
# NTP keeps machines within a tenth of a second; beyond this it does not run.
_SKEW_S: Final = 2.0
# Call-detail records are looked for from five seconds before our own request.
_PROVIDER_SKEW_S: Final = 5.0
# An event is stored within milliseconds of its arrival; the provider gives up after ten seconds.
_EVENT_WAIT_S: Final = 5.0


def cannot_write(view: View) -> bool:
    """Whether heartbeats cannot be written, so that their silence proves nothing."""
    return db_readonly(view) is not None or db_disk_full(view) is not None


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
        words={"why": _why_readonly(is_standby=is_standby)},
        is_holding=True,
    )


def _why_readonly(*, is_standby: bool) -> str:
    if is_standby:
        return "it is a standby. Point APOLLO_DATABASE_URL of every process at the primary"
    return (
        "it is set read-only. Find out who did that and why, then in psql: alter system reset"
        " default_transaction_read_only; select pg_reload_conf();"
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


def clock_skew(view: View) -> Finding | None:
    """A clock of ours, or the provider's, differs from the database's."""
    if not view.is_waiting_for_us:
        return None
    # Whose clock, as the evidence names it and as the text does, and by how much it is off.
    off: dict[str, tuple[str, float]] = {}
    for one in _alive(view):
        skew_s = one.clock_skew_s or 0.0
        if abs(skew_s) > _SKEW_S:
            off[one.who] = (f"the {one.who}", skew_s)
        if one.provider is None or one.provider.clock_offset_s is None:
            continue
        provider_s = skew_s + one.provider.clock_offset_s
        if abs(provider_s) > _PROVIDER_SKEW_S:
            off[one.provider.provider] = ("the provider", provider_s)
    if not off:
        return None
    said = (
        f"The clock of {who} is {span(timedelta(seconds=abs(seconds)))}"
        f" {'ahead of' if seconds > 0 else 'behind'} the database's"
        for who, seconds in off.values()
    )
    return Finding(
        reason=Reason.CLOCK_SKEW,
        contacts=0,
        evidence={"seconds": {who: round(seconds, 1) for who, (_, seconds) in off.items()}},
        words={"what": ". ".join(said)},
    )


def version_mismatch(view: View) -> Finding | None:
    """Programs that differ from each other, or from the schema of the database."""
    own, health = view.snapshot.settings, view.snapshot.database
    if not view.is_waiting_for_us:
        return None
    alive = _alive(view)
    versions = {one.version for one in alive} | ({own.version} - {""})
    schema = health.schema_version if health is not None else 0
    strange = [
        one
        for one in alive
        if schema and one.schema_version is not None and one.schema_version != schema
    ]
    if len(versions) <= 1 and not strange:
        return None
    said = [f"the {one.who} runs {one.version}" for one in alive if one.version != own.version]
    said += [
        f"the {one.who} knows schema {one.schema_version} and the database has {schema}"
        for one in strange
    ]
    if own.version and len(versions) > 1:
        said.append(f"this API runs {own.version}")
    return Finding(
        reason=Reason.VERSION_MISMATCH,
        contacts=0,
        evidence={
            "versions": sorted(versions),
            "schema_of_database": schema or None,
            "processes": [
                {"who": one.who, "version": one.version, "schema": one.schema_version}
                for one in alive
                if one in strange or one.version != own.version
            ],
        },
        words={"what": _sentence(said)},
    )


def _refused(view: View, sqlstate: str) -> WriteFault | None:
    """The first of the writes that the database refuses for this, to us or to a process."""
    own = view.snapshot.write_fault
    faults = [fault for one in _alive(view) for fault in one.write_faults]
    faults += [] if own is None else [own]
    hit = [fault for fault in faults if fault.sqlstate == sqlstate]
    return min(hit, key=lambda fault: fault.since, default=None)


def _sentence(parts: list[str]) -> str:
    text = ", ".join(parts)
    return text[:1].upper() + text[1:]


def _alive(view: View) -> list[Process]:
    return [*view.processes("web"), *view.processes("worker")]


def _longest(view: View, of: QueueOf, over_s: float) -> tuple[Process, Queue] | None:
    """The process with the longest wait of this kind in the last minute, if it is over that."""
    if not view.is_waiting_for_us:
        return None
    queues = [(one, queue) for one in _alive(view) if (queue := of(one)) is not None]
    worst = max(queues, key=lambda pair: pair[1].longest_s, default=None)
    return worst if worst is not None and worst[1].longest_s > over_s else None
