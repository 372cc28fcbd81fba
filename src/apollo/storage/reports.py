"""Reads what a process reported of itself with its heartbeat.

A process of another version may report otherwise: what cannot be read is not there. Must never
judge what it reads.
"""

import uuid
from datetime import UTC, datetime

import msgspec

from apollo.core.diagnosis.reported import (
    ApplicationHook,
    BusReport,
    CallHook,
    HookCounts,
    LiveList,
    Process,
    ProviderHealth,
    Queue,
    Restarts,
    WriteFault,
)
from apollo.core.diagnosis.snapshot import Recovering
from apollo.storage.database import Record


class _Provider(msgspec.Struct):
    provider: str = ""
    state: str = ""
    since: datetime | None = None
    cause: str | None = ""
    last_error: str | None = ""
    retry_at: datetime | None = None
    answers: dict[str, int] = {}


class _Hooks(msgspec.Struct):
    received: int = 0
    last_received_at: datetime | None = None
    refused_signature: int = 0
    last_refused_at: datetime | None = None


class _Queue(msgspec.Struct):
    waiting: int = 0
    longest_s: float = 0.0
    size: int = 0


class _Live(msgspec.Struct):
    listed_at: datetime
    listed: int = 0
    missing: dict[uuid.UUID, int] = {}


class _Application(msgspec.Struct):
    application_sid: str
    checked_at: datetime
    url: str = ""


class _CallHook(msgspec.Struct):
    call_hook: str
    checked_at: datetime
    error: str = ""


class _Bus(msgspec.Struct):
    kind: str = ""
    is_connected: bool = False
    last_contact_at: datetime | None = None
    last_error: str = ""
    partitions: int | None = None
    partitions_total: int | None = None
    unassigned_s: float = 0.0
    lag_s: float | None = None
    rebalances: int = 0


class _StatusEvents(msgspec.Struct):
    lag_s: float = 0.0
    rebalances: int = 0


class _Fault(msgspec.Struct):
    since: datetime
    sqlstate: str = ""
    error: str = ""


class _Restarts(msgspec.Struct):
    count: int = 0
    ending: str = ""


class _Report(msgspec.Struct):
    """The part of a heartbeat's report that the diagnosis reads."""

    status_hook_url: str | None = ""
    provider_clock_offset_s: float | None = None
    provider: _Provider | None = None
    hooks: _Hooks | None = None
    loop_lag_s: float = 0.0
    last_claim_at: datetime | None = None
    slowest_claim_s: float | None = None
    schema_version: int | None = None
    clock_skew_s: float | None = None
    pool: _Queue | None = None
    events: _Queue | None = None
    live: _Live | None = None
    bus: _Bus | None = None
    status_events: _StatusEvents | None = None
    applications: list[_Application] = []
    call_hooks: list[_CallHook] = []
    database_faults: list[_Fault] = []
    restarts: _Restarts | None = None


def read_process(row: Record) -> Process:
    """Read a heartbeat."""
    try:
        report = msgspec.convert(row["report"], _Report)
    except msgspec.ValidationError:
        report = _Report()
    return Process(
        role=row["role"],
        host=row["host"],
        pid=row["pid"],
        version=row["version"],
        started_at=row["started_at"],
        seen_at=row["seen_at"],
        stopped_at=row["stopped_at"],
        status_hook_url=report.status_hook_url or "",
        provider=_provider(report.provider, report.provider_clock_offset_s),
        hooks=_hooks(report.hooks),
        loop_lag_s=report.loop_lag_s,
        last_claim_at=_aware(report.last_claim_at),
        slowest_claim_s=report.slowest_claim_s,
        schema_version=report.schema_version,
        clock_skew_s=report.clock_skew_s,
        pool=_queue(report.pool),
        events=_queue(report.events),
        live=_live(report.live),
        bus=_bus(report),
        applications=tuple(
            ApplicationHook(
                application_sid=one.application_sid,
                checked_at=_dated(one.checked_at),
                url=one.url,
            )
            for one in report.applications
        ),
        call_hooks=tuple(
            CallHook(call_hook=one.call_hook, checked_at=_dated(one.checked_at), error=one.error)
            for one in report.call_hooks
        ),
        write_faults=tuple(
            WriteFault(sqlstate=one.sqlstate, error=one.error, since=_dated(one.since))
            for one in report.database_faults
        ),
        restarts=None
        if report.restarts is None
        else Restarts(count=report.restarts.count, ending=report.restarts.ending),
    )


def _provider(health: _Provider | None, clock_offset_s: float | None) -> ProviderHealth | None:
    if health is None:
        return None
    return ProviderHealth(
        provider=health.provider,
        state=health.state,
        since=_aware(health.since),
        cause=health.cause or "",
        last_error=health.last_error or "",
        retry_at=_aware(health.retry_at),
        answers=tuple(sorted(health.answers.items())),
        clock_offset_s=clock_offset_s,
    )


def _bus(report: _Report) -> BusReport | None:
    bus, events = report.bus, report.status_events
    if bus is None:
        return None
    return BusReport(
        kind=bus.kind,
        is_connected=bus.is_connected,
        last_contact_at=_aware(bus.last_contact_at),
        last_error=bus.last_error,
        partitions=bus.partitions,
        partitions_total=bus.partitions_total,
        unassigned_s=bus.unassigned_s,
        lag_s=bus.lag_s,
        status_lag_s=None if events is None else events.lag_s,
        rebalances=max(bus.rebalances, 0 if events is None else events.rebalances),
    )


def _hooks(hooks: _Hooks | None) -> HookCounts | None:
    if hooks is None:
        return None
    return HookCounts(
        received=hooks.received,
        last_received_at=_aware(hooks.last_received_at),
        refused_signature=hooks.refused_signature,
        last_refused_at=_aware(hooks.last_refused_at),
    )


def _queue(queue: _Queue | None) -> Queue | None:
    if queue is None:
        return None
    return Queue(waiting=queue.waiting, longest_s=queue.longest_s, size=queue.size)


def _live(live: _Live | None) -> LiveList | None:
    if live is None:
        return None
    missing = tuple(sorted(live.missing.items()))
    return LiveList(listed_at=_dated(live.listed_at), listed=live.listed, missing=missing)


def _aware(at: datetime | None) -> datetime | None:
    return None if at is None else _dated(at)


def _dated(at: datetime) -> datetime:
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)


def read_recovering(row: Record) -> Recovering | None:
    """Read what holds all dialling since a restore; None when nothing does."""
    if row["recovery_since"] is None:
        return None
    found = row["recovery_evidence"]
    read_in = found.get("read_in")
    return Recovering(
        since=row["recovery_since"],
        compared_from=datetime.fromisoformat(found["compared_from"]),
        unknown_calls=found["unknown_calls"],
        read_in_at=None if read_in is None else datetime.fromisoformat(read_in["at"]),
    )
