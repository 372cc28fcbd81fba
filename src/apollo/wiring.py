"""The only module that knows every concrete class.

It turns settings into parts, and parts into processes. It must hold no rule: what it does is name
things and put them together.
"""

import asyncio
import contextlib
import gc
import signal
import zoneinfo
from collections.abc import AsyncGenerator, Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import SystemRandom
from time import monotonic
from typing import Any, Final

import structlog
import uvloop
from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from starlette.types import ASGIApp

from apollo import __version__, embedded
from apollo.bus.line import Line, open_line
from apollo.config import Settings
from apollo.config.parts import default_route, diagnosis_settings
from apollo.core.model import Deadlines, OnUnresolved
from apollo.errors import Misconfigured
from apollo.ports import Bus, Clock, TelephonyDriver
from apollo.storage.database import Database, migrate_patiently
from apollo.storage.heartbeats import Process, this_process
from apollo.telephony.jambonz import JambonzDriver
from apollo.telephony.reach import reach
from apollo.usecases.advance_time import AdvanceTime
from apollo.usecases.authenticate import Authenticate
from apollo.usecases.beat import Heartbeat
from apollo.usecases.change_batches import ChangeBatches
from apollo.usecases.change_lifecycle import ChangeLifecycle
from apollo.usecases.check_readiness import CheckReadiness
from apollo.usecases.create_batches import CreateBatches
from apollo.usecases.detect_restore import DetectRestore
from apollo.usecases.dial_contacts import DialContacts, DialSettings
from apollo.usecases.explain_batch import ExplainBatch
from apollo.usecases.manage_campaigns import ManageCampaigns
from apollo.usecases.read_agent_call import ReadAgentCall
from apollo.usecases.read_batches import ReadBatches
from apollo.usecases.reconcile_calls import ReconcileCalls
from apollo.usecases.record_call_events import RecordCallEvents
from apollo.usecases.record_call_result import RecordCallResult
from apollo.usecases.record_history import RecordHistory
from apollo.usecases.register_agents import RegisterAgents
from apollo.usecases.remember_answers import RememberAnswers
from apollo.usecases.replay_dead_letters import ReplayDeadLetters
from apollo.usecases.schedule_follow_ups import ScheduleFollowUps
from apollo.usecases.stop_dialling import StopDialling
from apollo.usecases.stories import stories
from apollo.usecases.tidy_up import TidyUp
from apollo.usecases.watch_provider import WatchProvider
from apollo.web import batches, calls, create_batches
from apollo.web.app import create_app
from apollo.web.batch_requests import BatchUseCases, serving
from apollo.web.callbacks import Callbacks
from apollo.web.debug import debug_router
from apollo.web.listening import listen
from apollo.web.requests import UseCases, principal
from apollo.web.stories import stories_router
from apollo.worker import Worker

_log = structlog.get_logger("apollo")

# Machines that start together come up in any order; after this it is no start but an outage.
_DATABASE_WITHIN_S: Final = 30.0
_STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class SystemClock:
    """The real clock."""

    def now(self) -> datetime:
        """Give the wall time."""
        return datetime.now(UTC)  # noqa: TID251 - this is the clock port

    def monotonic(self) -> float:
        """Give seconds that never jump."""
        return monotonic()


def database_url(settings: Settings) -> str:
    """Name the database: the operator's own, or the embedded one, which is started if need be."""
    if settings.database_url is not None:
        return settings.database_url.get_secret_value()
    return embedded.ensure_running(settings.data_dir)


def make_driver(settings: Settings, clock: Clock) -> JambonzDriver:
    """Make the driver of the configured provider. Raises Misconfigured when none is."""
    url, sid = settings.jambonz_url, settings.jambonz_account_sid
    key, secret = settings.jambonz_api_key, settings.jambonz_webhook_secret
    if url is None or sid is None or key is None or secret is None:
        mend = "set it to a jambonz or a RotaryRouter, or use `apollo up`, which brings one"
        raise Misconfigured([f"APOLLO_JAMBONZ_URL: not set, so no call could be placed; {mend}"])
    return JambonzDriver(
        base_url=url,
        account_sid=sid,
        api_key=key.get_secret_value(),
        webhook_secret=secret.get_secret_value(),
        public_url=settings.public_url,
        clock=clock,
    )


def deadlines(settings: Settings) -> Deadlines:
    """Give how long each state of a call may last."""
    return Deadlines(
        ring_timeout=timedelta(seconds=settings.ring_timeout_s),
        time_limit=timedelta(seconds=settings.time_limit_s),
        quarantine=settings.quarantine,
        on_unresolved=OnUnresolved(settings.on_unresolved),
    )


# ------------------------------------------------------------------------------------ the worker


def run_worker(settings: Settings) -> None:
    """Run one worker until told to stop."""
    _run(_work(settings))


async def _work(settings: Settings) -> None:
    clock = SystemClock()
    driver = make_driver(settings, clock)
    async with (
        _database(settings, name="apollo worker") as db,
        open_line(settings.kafka_client(), settings.kafka_topics(), db=db, clock=clock) as line,
    ):
        process = this_process("worker", __version__, clock.now())
        record = _record(settings, db, line)
        worker = Worker(
            dial=await _dial(settings, db, driver, clock, process),
            record=record,
            reconcile=ReconcileCalls(
                db=db,
                driver=driver,
                clock=clock,
                deadlines=deadlines(settings),
                record=record,
                events_lag=line.events_lag,
            ),
            time=AdvanceTime(db=db, expire=ChangeLifecycle(db=db, bus=line.bus).expire),
            bus=line.bus,
            driver=driver,
            clock=clock,
            before_dialling=DetectRestore(db=db, driver=driver, clock=clock).run,
        )
        watch = _watch(settings, db, driver, clock, worker)
        explain = ExplainBatch(db=db, clock=clock, settings=diagnosis_settings(settings))
        history = RecordHistory(db=db, clock=clock, explain=explain)
        loops = await line.worker_loops(record=worker.take, driver=driver, db=db, clock=clock)
        heartbeat = Heartbeat(
            db=db,
            process=process,
            bus=line.bus,
            clock=clock,
            report=lambda: {
                "provider_clock_offset_s": driver.clock_offset_s,
                **worker.report(),
                **watch.report(),
                **line.report(),
            },
        )
        _log.info("worker.started", provider=driver.provider, worker_id=str(process.id))
        try:
            tidy = TidyUp(db=db, clock=clock)
            await worker.run(heartbeat.run, watch.run, history.run, tidy.run, *loops)
        finally:
            await driver.close()


def _watch(
    settings: Settings, db: Database, driver: JambonzDriver, clock: Clock, worker: Worker
) -> WatchProvider:
    return WatchProvider(
        db=db,
        driver=driver,
        clock=clock,
        default_route=default_route(settings),
        application_hook=driver.application_hook,
        reach=reach,
        take=worker.take,
    )


async def _dial(
    settings: Settings, db: Database, driver: TelephonyDriver, clock: Clock, process: Process
) -> DialContacts:
    rules = deadlines(settings)
    return DialContacts(
        db=db,
        driver=driver,
        clock=clock,
        settings=DialSettings(
            ring_timeout=rules.ring_timeout,
            time_limit=rules.time_limit,
            calls_per_second=settings.calls_per_second,
            default_route=default_route(settings),
            agent_key_secret=await ReadAgentCall(db=db).secret(),
        ),
        worker_id=process.id,
        random=SystemRandom(),
    )


# --------------------------------------------------------------------------------------- the API


def run_serve(settings: Settings) -> None:
    """Run the API until told to stop."""
    _run(_serve(settings))


async def _serve(settings: Settings) -> None:
    clock = SystemClock()
    driver = make_driver(settings, clock)
    async with (
        _database(settings, name="apollo serve") as db,
        open_line(settings.kafka_client(), settings.kafka_topics(), db=db, clock=clock) as line,
    ):
        callbacks = _callbacks(settings, db, driver, clock, line)
        heartbeat = Heartbeat(
            db=db,
            process=this_process("web", __version__, clock.now()),
            bus=line.bus,
            clock=clock,
            report=lambda: {"hooks": callbacks.report.as_json(), "events": callbacks.queue()},
        )
        explain = ExplainBatch(
            db=db, clock=clock, settings=diagnosis_settings(settings), own=heartbeat
        )
        app = make_app(
            settings, db=db, bus=line.bus, clock=clock, callbacks=callbacks, explain=explain
        )
        beating = asyncio.create_task(heartbeat.run())
        try:
            await listen(app, settings.host, settings.port)
        finally:
            beating.cancel()
            await asyncio.gather(beating, return_exceptions=True)
            await callbacks.drain()
            await driver.close()


def make_app(
    settings: Settings,
    *,
    db: Database,
    bus: Bus,
    clock: Clock,
    callbacks: Callbacks,
    explain: ExplainBatch,
) -> ASGIApp:
    """Put the API together."""
    agents = RegisterAgents(db=db, clock=clock, default_route=default_route(settings))
    use_cases = UseCases(
        authenticate=Authenticate(db=db, clock=clock),
        campaigns=ManageCampaigns(db=db, clock=clock, bus=bus),
        lifecycle=ChangeLifecycle(db=db, bus=bus, explain=explain),
        answers=RememberAnswers(db=db, clock=clock),
        agents=agents,
        agent_calls=ReadAgentCall(db=db),
        readiness=CheckReadiness(db=db),
        dead_letters=ReplayDeadLetters(db=db, resend=None)
        if bus.health().kind == "kafka"
        else None,
    )
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    batch_uses = BatchUseCases(
        create=CreateBatches(db=db, clock=clock, bus=bus, route_of=agents.route_of),
        read=ReadBatches(db=db, binding_reason=explain.binding_reason),
        change=ChangeBatches(db=db, clock=clock, bus=bus),
        follow_ups=ScheduleFollowUps(db=db, clock=clock, bus=bus),
    )
    routers = [
        serving(batch_uses, create_batches.router, batches.router, calls.router),
        debug_router(explain, principal),
        stories_router(stories(db, clock, explain, use_cases.campaigns)),
    ]
    return create_app(use_cases, registry=registry, routers=routers, routes=callbacks.routes())


def _callbacks(
    settings: Settings, db: Database, driver: TelephonyDriver, clock: Clock, line: Line
) -> Callbacks:
    secret = settings.result_secret
    return Callbacks(
        driver=driver,
        record=_record(settings, db, line),
        results=RecordCallResult(
            db=db,
            clock=clock,
            wakes_by_notify=line.told_after_commit is None,
            bus=line.told_after_commit,
        ),
        status_stream=line.status_stream,
        result_secret=None if secret is None else secret.get_secret_value().encode(),
        clock=clock,
    )


def _record(settings: Settings, db: Database, line: Line) -> RecordCallEvents:
    return RecordCallEvents(
        db=db,
        deadlines=deadlines(settings),
        wakes_by_notify=line.told_after_commit is None,
        bus=line.told_after_commit,
    )


# ------------------------------------------------------------------------------------- the office


@dataclass(frozen=True, slots=True)
class Office:
    """What commands need that work on the database itself."""

    db: Database
    authenticate: Authenticate
    agents: RegisterAgents
    stop_dialling: StopDialling
    dead_letters: ReplayDeadLetters


@contextlib.asynccontextmanager
async def open_office(settings: Settings) -> AsyncGenerator[Office]:
    """Open the use-cases of the command line; the schema is brought up to date first."""
    clock = SystemClock()
    # A person waits in front of this one, and wants to hear at once that it is away.
    async with (
        _database(settings, name="apollo cli", within_s=0.0) as db,
        open_line(settings.kafka_client(), settings.kafka_topics(), db=db, clock=clock) as line,
    ):
        yield Office(
            db=db,
            authenticate=Authenticate(db=db, clock=clock),
            agents=RegisterAgents(db=db, clock=clock, default_route=default_route(settings)),
            stop_dialling=StopDialling(db=db, clock=clock, bus=line.bus),
            dead_letters=ReplayDeadLetters(
                db=db, resend=None if line.kafka is None else line.kafka.resend
            ),
        )


@contextlib.asynccontextmanager
async def _database(
    settings: Settings, *, name: str, within_s: float = _DATABASE_WITHIN_S
) -> AsyncGenerator[Database]:
    url = database_url(settings)
    await migrate_patiently(
        url, within_s=within_s, on_wait=lambda e: _log.warning("database.awaited", error=str(e))
    )
    db = await Database.connect(url, connections_max=20, name=name)
    try:
        yield db
    finally:
        await db.close()


def _run(main: Coroutine[Any, Any, None]) -> None:
    """Run until done, or until SIGINT or SIGTERM asks to stop, which is a clean end."""

    async def guarded() -> None:
        task = asyncio.ensure_future(main)
        loop = asyncio.get_running_loop()

        def stop() -> None:
            # Once: a second Ctrl-C must not cut short what the first one began.
            for number in _STOP_SIGNALS:
                loop.add_signal_handler(number, lambda: None)
            task.cancel()

        for number in _STOP_SIGNALS:
            loop.add_signal_handler(number, stop)
        with contextlib.suppress(asyncio.CancelledError):
            await task

    # The zones that were tested are those of the pinned package, not the machine's.
    zoneinfo.reset_tzpath(to=())
    # What lives as long as we do, and what an event makes and drops, need no search for cycles.
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    uvloop.run(guarded())
