"""Our own processes (layer pipeline), from what each reported of itself."""

from datetime import timedelta
from typing import Final

from apollo.core.diagnosis.finding import Finding
from apollo.core.diagnosis.reported import (
    Process,
)
from apollo.core.diagnosis.rule import gate, symptom
from apollo.core.diagnosis.rules.database import waits_for_database
from apollo.core.diagnosis.view import View
from apollo.core.reasons import Layer, Reason, Severity
from apollo.core.states import BatchStatus
from apollo.core.words import count, span, stamp

# A turn of the event loop takes milliseconds; heartbeats are due every five seconds.
_LAG_S: Final = 5.0
# While a contact could be taken the sweep asks for it every five seconds.
_IDLE: Final = timedelta(seconds=30)
# `apollo up` takes one that has run for so long for well again.
_RECENTLY: Final = timedelta(minutes=10)
_WELL_AFTER: Final = timedelta(minutes=1)
# The provider's lists of a day are read within seconds.
_COMPARED_WITHIN: Final = timedelta(seconds=10)
# NTP keeps machines within a tenth of a second; beyond this it does not run.
_SKEW_S: Final = 2.0
# Call-detail records are looked for from five seconds before our own request.
_PROVIDER_SKEW_S: Final = 5.0


@gate(
    Reason.NO_WORKER_ALIVE,
    Layer.PIPELINE,
    Severity.CRITICAL,
    meaning="No worker process has sent a heartbeat within 15 seconds, so nobody dials.",
    fix="Start a worker: `apollo worker`, or restart its container. It takes up the work by itself."
    " No worker is running, so no call starts. {last_seen}",
)
def no_worker_alive(view: View) -> Finding | None:
    """No worker has a fresh heartbeat."""
    processes = view.snapshot.processes
    if not view.is_waiting_for_us or processes is None or view.processes("worker"):
        return None
    if view.holds.of(Reason.DB_READONLY, Reason.DB_DISK_FULL):
        return None  # then no heartbeat can be written, whoever is alive
    workers = [process for process in processes if process.role == "worker"]
    last = max(workers, key=lambda process: process.seen_at, default=None)
    if last is None:
        return Finding(
            reason=Reason.NO_WORKER_ALIVE,
            contacts=view.claimable,
            evidence={"last_worker": None},
            words={"last_seen": "No worker has run on this database before."},
            is_holding=True,
        )
    gone_at = last.stopped_at or last.seen_at
    how = "stopped" if last.stopped_at else "last seen"
    return Finding(
        reason=Reason.NO_WORKER_ALIVE,
        contacts=view.claimable,
        since=gone_at,
        evidence={
            "last_worker": {
                "host": last.host,
                "pid": last.pid,
                "version": last.version,
                "seen_at": last.seen_at,
                "stopped_at": last.stopped_at,
            }
        },
        words={
            "last_seen": f"The last one ran on {last.host} as process {last.pid} and was {how}"
            f" {stamp(gone_at)}, {span(view.now - gone_at)} ago."
        },
        is_holding=True,
    )


@gate(
    Reason.WORKER_STUCK,
    Layer.PIPELINE,
    Severity.CRITICAL,
    meaning="A worker sends heartbeats and does not work: its event loop hangs, or it takes no "
    "contacts though some could be dialled and slots are free.",
    fix="Restart {who}: {what}. What it had claimed comes back by itself in 30 s.",
)
def worker_stuck(view: View) -> Finding | None:
    """A worker whose event loop hangs, or that takes nothing while it could."""
    workers = view.processes("worker")
    if not view.is_waiting_for_us or not workers:
        return None
    hit: list[tuple[Process, str]] = [
        (one, f"it hangs again and again, the last time for {one.loop_lag_s:.0f} s")
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
        words={"who": f"the {process.who}", "what": what},
        is_holding=is_holding,
    )


@gate(
    Reason.PROVIDER_FORGOT,
    Layer.PIPELINE,
    Severity.CRITICAL,
    meaning="The database was restored from a dump, or a replica took over, and nothing shows that"
    " the provider's list of calls is complete. A call that the database does not know could be up"
    " and in no list, so workers call nobody until it would be over in any case.",
    fix="Wait until {until}: dialling resumes then by itself. If you are certain that no call is up"
    " from before the restore, resume now, on the server: apollo recover --confirm"
    " --even-if-unsure. The database was restored, and {why}.",
)
def provider_forgot(view: View) -> Finding | None:
    """No worker that is alive may dial, for the provider's silence proves nothing."""
    workers = view.processes("worker")
    waits = [one.waits for one in workers if not one.is_cleared and one.waits is not None]
    if not view.is_waiting_for_us or not waits or any(one.is_cleared for one in workers):
        return None
    last = max(waits, key=lambda wait: wait.until)
    if last.until <= view.now:
        return None
    return Finding(
        reason=Reason.PROVIDER_FORGOT,
        contacts=view.claimable,
        evidence={"until": last.until, "workers": len(waits)},
        words={"why": last.why},
        is_holding=True,
    )


@gate(
    Reason.WORKER_COMPARING,
    Layer.PIPELINE,
    Severity.WARNING,
    meaning="Before its first call a worker asks the provider whether the database lacks calls that"
    " were made, as after a restore. It dials nobody until the provider has answered.",
    fix="Wait: {who} has just started and first asks the provider for its calls of late. It dials"
    " as soon as the provider has answered; a restart would only begin that anew. If it lasts, the"
    " provider's lists are slow: look there.",
)
def worker_comparing(view: View) -> Finding | None:
    """No worker that is alive may dial yet."""
    workers = view.processes("worker")
    waiting = [one for one in workers if not one.is_cleared]
    if not view.is_waiting_for_us or not workers or len(waiting) < len(workers):
        return None
    # What keeps it from asking is the reason then.
    if view.holds.of(Reason.PROVIDER_DOWN, Reason.PROVIDER_UNAUTHORISED, Reason.PROVIDER_FORGOT):
        return None
    since = min((one.started_at for one in waiting if one.started_at), default=None)
    return Finding(
        reason=Reason.WORKER_COMPARING,
        contacts=view.claimable,
        since=since,
        evidence={"workers": len(waiting), "host": waiting[0].host, "pid": waiting[0].pid},
        words={"who": f"the {waiting[0].who}"},
        is_holding=True,
        # It takes a second or two.
        is_calm=since is not None and since > view.now - _COMPARED_WITHIN,
    )


@symptom(
    Reason.PROCESS_RESTARTED,
    Layer.PIPELINE,
    Severity.WARNING,
    meaning="A process ended unexpectedly within the last ten minutes, and `apollo up` has started "
    "it again.",
    fix="{what}. Read what it said before it ended, in the log of `apollo up` above"
    " `process.ended`; if it was killed, see whether the machine has run out of memory.",
)
def process_restarted(view: View) -> Finding | None:
    """A process was started in place of one that ended."""
    if not view.is_waiting_for_us:
        return None
    # One that has run well for longer did not end of what ended the one before.
    again = [
        (one, one.restarts, one.started_at)
        for one in view.alive
        if one.restarts is not None
        and one.started_at is not None
        and view.now - one.started_at < _RECENTLY
    ]
    if not again:
        return None
    said = [
        f"the {one.role} process on {one.host} {restarts.ending} and was started again"
        f" {stamp(at)}" + (f", {restarts.count} times in a row" if restarts.count > 1 else "")
        for one, restarts, at in again
    ]
    newest = max(at for _, _, at in again)
    return Finding(
        reason=Reason.PROCESS_RESTARTED,
        contacts=0,
        # One that has run for a minute is well, and what it was is past.
        is_calm=newest < view.now - _WELL_AFTER,
        since=min(at for _, _, at in again),
        evidence={
            "processes": [
                {
                    "who": one.who,
                    "restarts": restarts.count,
                    "ending": restarts.ending,
                    "started_at": at,
                }
                for one, restarts, at in again
            ]
        },
        words={"what": _sentence(said)},
    )


@symptom(
    Reason.VERSION_MISMATCH,
    Layer.PIPELINE,
    Severity.WARNING,
    meaning="Processes of different versions work on one database, or one was made for another "
    "schema than the database has.",
    fix="Bring every process to one version and restart it. {what}.",
)
def version_mismatch(view: View) -> Finding | None:
    """Programs that differ from each other, or from the schema of the database."""
    own, health = view.snapshot.settings, view.snapshot.database
    if not view.is_waiting_for_us:
        return None
    alive = view.alive
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


@symptom(
    Reason.CLOCK_SKEW,
    Layer.PIPELINE,
    Severity.WARNING,
    meaning="The clock of a process or of the provider differs from the database's. Apollo decides "
    "by the database's clock; what is dated by another one looks too old or too new.",
    fix="Run NTP (chrony, systemd-timesyncd) on every machine. {what}.",
)
def clock_skew(view: View) -> Finding | None:
    """A clock of ours, or the provider's, differs from the database's."""
    if not view.is_waiting_for_us:
        return None
    # Whose clock, as the evidence names it and as the text does, and by how much it is off.
    off: dict[str, tuple[str, float]] = {}
    for one in view.alive:
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


@symptom(
    Reason.COMPLETED_NOT_CLOSED,
    Layer.PIPELINE,
    Severity.WARNING,
    meaning="Every contact is final and the batch is still open.",
    fix="If it stays like this, start a worker: `apollo worker`. All {total:contact is|contacts"
    " are} final, and a running worker closes the batch within seconds.",
)
def completed_not_closed(view: View) -> Finding | None:
    """Every contact is final and the batch is still open."""
    batch = view.snapshot.batch
    is_open = batch.status in {BatchStatus.IN_PROGRESS, BatchStatus.PAUSED}
    if not is_open or view.unfinished != 0:
        return None
    return Finding(
        reason=Reason.COMPLETED_NOT_CLOSED,
        contacts=batch.total_contacts,
        evidence={"total": batch.total_contacts},
    )


def _could_take(view: View) -> bool:
    """Whether a contact could have been taken for so long that a worker at work had."""
    if view.snapshot.batch.status is not BatchStatus.IN_PROGRESS:
        return False
    if not view.claimable or not view.free or view.holds.is_held:
        return False
    if view.claimable_since > view.now - _IDLE:
        return False
    health = view.snapshot.database
    paced = health is not None and any(seconds > 0 for _, seconds in health.booked_ahead_s)
    return not paced and not waits_for_database(view)


def _is_idle(view: View, worker: Process) -> bool:
    if worker.provider is not None and worker.provider.state != "ok":
        return False
    # One that has never asked has had the time since it started.
    last = worker.last_claim_at or worker.started_at
    return last is not None and last < view.now - _IDLE


def _idleness(view: View, worker: Process) -> str:
    could = f"while {count(view.claimable, 'contact')} could be dialled"
    if worker.last_claim_at is None:
        return f"it is running and has never asked for contacts, {could}"
    ago = span(view.now - worker.last_claim_at)
    return f"it is running and last asked for contacts {ago} ago, {could}"


def _sentence(parts: list[str]) -> str:
    text = ", ".join(parts)
    return text[:1].upper() + text[1:]


RULES: Final = (
    no_worker_alive,
    provider_forgot,
    worker_comparing,
    worker_stuck,
    process_restarted,
    version_mismatch,
    clock_skew,
    completed_not_closed,
)
