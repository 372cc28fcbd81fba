"""The worker process, which places the calls. Must never import what serves HTTP."""

from dataclasses import asdict
from random import SystemRandom

import structlog

from apollo import __version__
from apollo.bus.line import open_line
from apollo.config import Settings
from apollo.config.parts import default_route, diagnosis_settings
from apollo.core.diagnosis.reported import Restarts
from apollo.ports import Clock, TelephonyDriver
from apollo.storage.database import Database
from apollo.storage.heartbeats import Process, this_process
from apollo.telephony.jambonz import JambonzDriver
from apollo.telephony.reach import reach
from apollo.usecases.advance_time import AdvanceTime
from apollo.usecases.beat import Heartbeat
from apollo.usecases.change_lifecycle import ChangeLifecycle
from apollo.usecases.detect_restore import DetectRestore
from apollo.usecases.dial_contacts import DialContacts, DialSettings
from apollo.usecases.explain_batch import ExplainBatch
from apollo.usecases.read_agent_call import ReadAgentCall
from apollo.usecases.reconcile_calls import ReconcileCalls
from apollo.usecases.record_history import RecordHistory
from apollo.usecases.tidy_up import TidyUp
from apollo.usecases.watch_provider import WatchProvider
from apollo.wiring import parts
from apollo.wiring.running import run
from apollo.worker import Worker

_log = structlog.get_logger("apollo")


def run_worker(settings: Settings, restarts: Restarts | None = None) -> None:
    """Run one worker until told to stop."""
    run(_work(settings, restarts))


async def _work(settings: Settings, restarts: Restarts | None) -> None:
    clock = parts.SystemClock()
    driver = parts.make_driver(settings, clock)
    async with (
        parts.open_database(settings, name="apollo worker") as db,
        open_line(settings.kafka_client(), settings.kafka_topics(), db=db, clock=clock) as line,
    ):
        process = this_process("worker", __version__, clock.now())
        record, deadlines = parts.make_record(settings, db, line), parts.deadlines(settings)
        detect = DetectRestore(db=db, driver=driver, clock=clock, deadlines=deadlines)
        worker = Worker(
            dial=await _dial(settings, db, driver, clock, process),
            record=record,
            reconcile=ReconcileCalls(
                db=db,
                driver=driver,
                clock=clock,
                deadlines=deadlines,
                record=record,
                events_lag=line.events_lag,
            ),
            time=AdvanceTime(db=db, expire=ChangeLifecycle(db=db, bus=line.bus).expire),
            bus=line.bus,
            driver=driver,
            clock=clock,
            before_dialling=detect.run,
        )
        watch = _watch(settings, db, driver, clock, worker)
        explain = ExplainBatch(db=db, settings=diagnosis_settings(settings))
        history = RecordHistory(db=db, explain=explain)
        loops = await line.worker_loops(record=worker.take, driver=driver, db=db, clock=clock)
        heartbeat = Heartbeat(
            db=db,
            process=process,
            bus=line.bus,
            clock=clock,
            figures=[
                lambda: {"restarts": restarts and asdict(restarts)},
                lambda: {"provider_clock_offset_s": driver.clock_offset_s},
                worker.report,
                watch.report,
                line.report,
            ],
        )
        _log.info("worker.started", provider=driver.provider, worker_id=str(process.id))
        try:
            tidy = TidyUp(db=db, clock=clock, events_kept_for=settings.keep_events)
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
    rules = parts.deadlines(settings)
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
            number_gap=settings.number_gap,
        ),
        worker_id=process.id,
        random=SystemRandom(),
    )
