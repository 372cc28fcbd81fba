"""Kafka, where it is the bus (layer pipeline): what processes say of it, and what waits for it.

None of these holds a batch: without Kafka the sweep finds the work. They stay silent where
PostgreSQL is the bus.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from apollo.core.diagnosis.finding import Finding
from apollo.core.diagnosis.reported import (
    BusReport,
    Process,
)
from apollo.core.diagnosis.rule import symptom
from apollo.core.diagnosis.view import ALIVE_WITHIN, View
from apollo.core.reasons import Layer, Reason, Severity
from apollo.core.words import span, stamp

# A group that forms, or gives away a dead worker's share, is done within half of this.
_ASSIGNED_WITHIN_S: Final = 20.0
# Messages are taken within milliseconds; this is no busy moment.
_LAG_MAX_S: Final = 15.0
# A worker that comes or goes moves partitions once or twice.
_REBALANCES_MAX: Final = 5
# Events leave within a second, and the next worker takes over within a few.
_OUTBOX_WITHIN: Final = timedelta(seconds=20)


@symptom(
    Reason.WORKERS_OTHER_BUS,
    Layer.PIPELINE,
    Severity.WARNING,
    meaning="The API and a worker use different buses, so wake-ups do not reach it. It still finds "
    "work by the sweep, every few seconds.",
    fix="Give every process the same APOLLO_KAFKA_BOOTSTRAP_SERVERS and restart it. The API wakes"
    " up workers through {api}, and {who} listens to {worker}.",
)
def workers_other_bus(view: View) -> Finding | None:
    """A worker that lives listens to another bus than the one the API speaks on."""
    ours = view.snapshot.settings.bus_kind
    workers = view.processes("worker")
    others = [one for one in workers if one.bus is not None and one.bus.kind != ours]
    if not others or not view.is_waiting_for_us:
        return None
    kind = others[0].bus.kind if others[0].bus else ""
    return Finding(
        reason=Reason.WORKERS_OTHER_BUS,
        contacts=view.claimable,
        since=others[0].started_at,
        evidence={
            "api_bus": ours,
            "worker_bus": kind,
            "workers": len(others),
            "workers_alive": len(workers),
        },
        words={"api": _spoken(ours), "worker": _spoken(kind), "who": _who(others)},
    )


@symptom(
    Reason.KAFKA_UNREACHABLE,
    Layer.PIPELINE,
    Severity.WARNING,
    meaning="A process cannot reach Kafka. Workers find their work by the sweep meanwhile, and "
    "status events go straight to the database: a delay of seconds, no call is lost.",
    fix="Check the brokers, the network to them and APOLLO_KAFKA_…; {who} cannot reach Kafka"
    " ({error}), and reconnects by itself. The last contact was {last_contact}.",
)
def kafka_unreachable(view: View) -> Finding | None:
    """A process that lives is not connected to Kafka."""
    cut_off = [
        (one, bus)
        for one, bus in _on_kafka(view)
        # One that has just started is still connecting.
        if not bus.is_connected
        and (one.started_at is None or one.started_at < view.now - ALIVE_WITHIN)
    ]
    if not cut_off or not view.is_waiting_for_us:
        return None
    last = max((bus.last_contact_at for _, bus in cut_off if bus.last_contact_at), default=None)
    return Finding(
        reason=Reason.KAFKA_UNREACHABLE,
        contacts=view.claimable,
        since=last,
        evidence={
            "processes": [
                {"role": one.role, "host": one.host, "pid": one.pid, "last_contact_at": at}
                for one, at in ((one, bus.last_contact_at) for one, bus in cut_off)
            ],
            "error": cut_off[0][1].last_error,
            "last_contact_at": last,
        },
        words={
            "who": _who([one for one, _ in cut_off]),
            "last_contact": stamp(last) if last else "never",
        },
    )


@symptom(
    Reason.NO_PARTITION_ASSIGNED,
    Layer.PIPELINE,
    Severity.WARNING,
    meaning="A worker is connected to Kafka and has no partition to read, so nothing wakes it. It "
    "still finds work by the sweep.",
    fix="{what} {idle} of {workers:worker} have no partition (the topic has {partitions}).",
)
def no_partition_assigned(view: View) -> Finding | None:
    """A worker is connected and has had nothing to read for long."""
    workers = [(one, bus) for one, bus in _on_kafka(view) if bus.partitions is not None]
    idle = [
        (one, bus)
        for one, bus in workers
        if bus.is_connected and bus.partitions == 0 and bus.unassigned_s > _ASSIGNED_WITHIN_S
    ]
    if not idle or not view.is_waiting_for_us:
        return None
    there_are = next((bus.partitions_total for _, bus in workers if bus.partitions_total), None)
    too_many = there_are is not None and len(workers) > there_are
    return Finding(
        reason=Reason.NO_PARTITION_ASSIGNED,
        contacts=0,
        since=view.now - timedelta(seconds=max(bus.unassigned_s for _, bus in idle)),
        evidence={"idle": len(idle), "workers": len(workers), "partitions": there_are},
        words={
            "what": "There are more workers than partitions: add partitions to the topic, or run"
            " fewer workers."
            if too_many
            else f"Look at the log of {_who([one for one, _ in idle])}: it cannot join the"
            " group, or may not read the topic.",
        },
    )


@symptom(
    Reason.REBALANCE_STORM,
    Layer.PIPELINE,
    Severity.WARNING,
    meaning="Partitions move between the workers again and again, and each move holds up wake-ups.",
    fix="See in the logs which worker comes and goes: one that restarts, hangs, or loses the"
    " network. {who} got other partitions {rebalances} times within two minutes.",
)
def rebalance_storm(view: View) -> Finding | None:
    """A worker's partitions changed again and again."""
    hit = [
        (bus.rebalances, one) for one, bus in _on_kafka(view) if bus.rebalances > _REBALANCES_MAX
    ]
    if not hit or not view.is_waiting_for_us:
        return None
    rebalances, process = max(hit, key=lambda one: one[0])
    return Finding(
        reason=Reason.REBALANCE_STORM,
        contacts=0,
        evidence={"rebalances": rebalances, "host": process.host, "pid": process.pid},
        words={"who": f"The {process.who}"},
    )


@symptom(
    Reason.KAFKA_LAG,
    Layer.PIPELINE,
    Severity.WARNING,
    meaning="Messages wait on Kafka longer than they should: wake-ups come late, or what the "
    "provider reported is not recorded yet.",
    fix="Look at the database first (db_locks, db_slow), which it waits for; otherwise run another"
    " worker. {who} is {lag} behind with {what}.",
)
def kafka_lag(view: View) -> Finding | None:
    """A worker has not taken messages that came long ago."""
    late = [
        (bus.lag_s, "wake-ups", one)
        for one, bus in _on_kafka(view)
        if bus.lag_s is not None and bus.lag_s > _LAG_MAX_S
    ] + [
        (bus.status_lag_s, "status events", one)
        for one, bus in _on_kafka(view)
        if bus.status_lag_s is not None and bus.status_lag_s > _LAG_MAX_S
    ]
    if not late:
        return None
    lag_s, what, process = max(late, key=lambda one: one[0])
    return Finding(
        reason=Reason.KAFKA_LAG,
        contacts=view.on_call if what == "status events" else view.claimable,
        since=view.now - timedelta(seconds=lag_s),
        evidence={"lag_s": lag_s, "what": what, "host": process.host, "pid": process.pid},
        words={"who": f"The {process.who}", "lag": span(timedelta(seconds=lag_s))},
    )


@symptom(
    Reason.OUTBOX_STALLED,
    Layer.PIPELINE,
    Severity.WARNING,
    meaning="Events for other systems wait in the database and are not brought to Kafka. Dialling "
    "does not depend on it.",
    fix="See that a worker runs and reaches Kafka, and that it may write to the topic of events."
    " The oldest event has been waiting for {age}.",
)
def outbox_stalled(view: View) -> Finding | None:
    """Events wait in the outbox for too long."""
    backlog = view.snapshot.backlog
    since = None if backlog is None else backlog.outbox_since
    if since is None or since > view.now - _OUTBOX_WITHIN:
        return None
    return Finding(
        reason=Reason.OUTBOX_STALLED,
        contacts=0,
        since=since,
        evidence={"oldest_at": since},
        words={"age": span(view.now - since)},
    )


@symptom(
    Reason.DEAD_LETTERS,
    Layer.PIPELINE,
    Severity.WARNING,
    meaning="Messages on Kafka could not be read and were set aside. One from the topic of status "
    "events may hold the outcome of a call.",
    fix="List them with `apollo dlq list`; fix the cause, then run `apollo dlq replay --all`."
    " {letters:message} could not be read, the last at {last_at}: {why}.",
)
def dead_letters(view: View) -> Finding | None:
    """Messages were set aside and nobody has seen to them."""
    backlog = view.snapshot.backlog
    if backlog is None or backlog.letters == 0:
        return None
    return Finding(
        reason=Reason.DEAD_LETTERS,
        contacts=0,
        since=backlog.first_letter_at,
        evidence={
            "letters": backlog.letters,
            "last_at": backlog.last_letter_at,
            "why": backlog.last_letter_why,
        },
    )


def _on_kafka(view: View) -> list[tuple[Process, BusReport]]:
    alive = [*view.processes("worker"), *view.processes("web")]
    return [(one, one.bus) for one in alive if one.bus is not None and one.bus.kind == "kafka"]


def _who(processes: Sequence[Process]) -> str:
    first = f"the {processes[0].who}"
    return first if len(processes) == 1 else f"{first} and {len(processes) - 1} more"


def _spoken(kind: str) -> str:
    return {"kafka": "Kafka", "postgres": "PostgreSQL"}.get(kind, kind)


RULES: Final = (
    workers_other_bus,
    kafka_unreachable,
    no_partition_assigned,
    rebalance_storm,
    kafka_lag,
    outbox_stalled,
    dead_letters,
)
