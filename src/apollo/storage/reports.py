"""Reads what a process reported of itself with its heartbeat.

A process of another version may report otherwise: what cannot be read is not there. Must never
judge what it reads.
"""

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

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
    Wait,
    WriteFault,
)


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
    refused_at: list[datetime] = []


class _Queue(msgspec.Struct):
    waiting: int = 0
    longest_s: float = 0.0
    size: int = 0


class _Live(msgspec.Struct):
    listed_at: datetime
    listed: int = 0
    missing: dict[uuid.UUID, int] = {}
    never_seen: dict[uuid.UUID, int] = {}


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


class _Wait(msgspec.Struct):
    until: datetime
    why: str


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
    is_cleared: bool = True
    waits: _Wait | None = None


class _Heartbeat(msgspec.Struct):
    role: str
    host: str
    pid: int
    version: str
    started_at: datetime
    seen_at: datetime
    stopped_at: datetime | None
    report: dict[str, Any]


def read_process(row: Mapping[str, Any]) -> Process:
    """Read a heartbeat. What its process dated by its own clock is dated by the database's here."""
    beat = msgspec.convert(row, _Heartbeat)
    try:
        report = msgspec.convert(beat.report, _Report)
    except msgspec.ValidationError:
        report = _Report()
    ours = _Dated(timedelta(seconds=report.clock_skew_s or 0.0))
    return Process(
        role=beat.role,
        host=beat.host,
        pid=beat.pid,
        version=beat.version,
        started_at=ours.at(beat.started_at),
        seen_at=beat.seen_at,
        stopped_at=beat.stopped_at,
        status_hook_url=report.status_hook_url or "",
        provider=ours.provider(report.provider, report.provider_clock_offset_s),
        hooks=ours.hooks(report.hooks),
        loop_lag_s=report.loop_lag_s,
        last_claim_at=ours.maybe(report.last_claim_at),
        slowest_claim_s=report.slowest_claim_s,
        is_cleared=report.is_cleared,
        waits=ours.wait(report.waits),
        schema_version=report.schema_version,
        clock_skew_s=report.clock_skew_s,
        pool=_queue(report.pool),
        events=_queue(report.events),
        live=ours.live(report.live),
        bus=ours.bus(report),
        applications=tuple(
            ApplicationHook(
                application_sid=one.application_sid,
                checked_at=ours.at(one.checked_at),
                url=one.url,
            )
            for one in report.applications
        ),
        call_hooks=tuple(
            CallHook(call_hook=one.call_hook, checked_at=ours.at(one.checked_at), error=one.error)
            for one in report.call_hooks
        ),
        write_faults=tuple(
            WriteFault(sqlstate=one.sqlstate, error=one.error, since=ours.at(one.since))
            for one in report.database_faults
        ),
        restarts=None
        if report.restarts is None
        else Restarts(count=report.restarts.count, ending=report.restarts.ending),
    )


def _queue(queue: _Queue | None) -> Queue | None:
    if queue is None:
        return None
    return Queue(waiting=queue.waiting, longest_s=queue.longest_s, size=queue.size)


class _Dated(NamedTuple):
    """What a process says, dated by the database: `skew` is its clock minus the database's."""

    skew: timedelta

    def at(self, at: datetime) -> datetime:
        return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)) - self.skew

    def maybe(self, at: datetime | None) -> datetime | None:
        return None if at is None else self.at(at)

    def wait(self, wait: _Wait | None) -> Wait | None:
        return None if wait is None else Wait(until=self.at(wait.until), why=wait.why)

    def provider(
        self, health: _Provider | None, clock_offset_s: float | None
    ) -> ProviderHealth | None:
        if health is None:
            return None
        return ProviderHealth(
            provider=health.provider,
            state=health.state,
            since=self.maybe(health.since),
            cause=health.cause or "",
            last_error=health.last_error or "",
            retry_at=self.maybe(health.retry_at),
            answers=tuple(sorted(health.answers.items())),
            clock_offset_s=clock_offset_s,
        )

    def bus(self, report: _Report) -> BusReport | None:
        bus, events = report.bus, report.status_events
        if bus is None:
            return None
        return BusReport(
            kind=bus.kind,
            is_connected=bus.is_connected,
            last_contact_at=self.maybe(bus.last_contact_at),
            last_error=bus.last_error,
            partitions=bus.partitions,
            partitions_total=bus.partitions_total,
            unassigned_s=bus.unassigned_s,
            lag_s=bus.lag_s,
            status_lag_s=None if events is None else events.lag_s,
            rebalances=max(bus.rebalances, 0 if events is None else events.rebalances),
        )

    def hooks(self, hooks: _Hooks | None) -> HookCounts | None:
        if hooks is None:
            return None
        return HookCounts(
            received=hooks.received,
            last_received_at=self.maybe(hooks.last_received_at),
            refused_signature=hooks.refused_signature,
            last_refused_at=self.maybe(hooks.last_refused_at),
            refused_at=tuple(self.at(at) for at in hooks.refused_at),
        )

    def live(self, live: _Live | None) -> LiveList | None:
        if live is None:
            return None
        return LiveList(
            listed_at=self.at(live.listed_at),
            listed=live.listed,
            missing=tuple(sorted(live.missing.items())),
            never_seen=tuple(sorted(live.never_seen.items())),
        )
