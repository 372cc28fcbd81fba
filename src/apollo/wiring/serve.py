"""The API process. Must never import what only a worker runs."""

import asyncio
from dataclasses import asdict

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from starlette.types import ASGIApp

from apollo import __version__
from apollo.bus.line import Line, open_line
from apollo.config import Settings
from apollo.config.parts import default_route, diagnosis_settings
from apollo.core.diagnosis.reported import Restarts
from apollo.ports import Bus, Clock, TelephonyDriver
from apollo.storage.database import Database
from apollo.storage.heartbeats import this_process
from apollo.usecases.authenticate import Authenticate
from apollo.usecases.beat import Heartbeat
from apollo.usecases.change_batches import ChangeBatches
from apollo.usecases.change_contacts import ChangeContacts
from apollo.usecases.change_lifecycle import ChangeLifecycle
from apollo.usecases.check_readiness import CheckReadiness
from apollo.usecases.create_batches import (
    CreateBatches,
)
from apollo.usecases.explain_batch import ExplainBatch
from apollo.usecases.explain_contact import ExplainContact
from apollo.usecases.extend_batches import ExtendBatches
from apollo.usecases.manage_campaigns import ManageCampaigns
from apollo.usecases.preview_campaign import PreviewCampaign
from apollo.usecases.read_agent_call import ReadAgentCall
from apollo.usecases.read_batches import ReadBatches
from apollo.usecases.read_history import ReadHistory
from apollo.usecases.record_call_result import RecordCallResult
from apollo.usecases.record_history import RecordHistory
from apollo.usecases.register_agents import RegisterAgents
from apollo.usecases.remember_answers import RememberAnswers
from apollo.usecases.replay_dead_letters import ReplayDeadLetters
from apollo.usecases.schedule_follow_ups import ScheduleFollowUps
from apollo.usecases.set_contacts_back import SetContactsBack
from apollo.web.app import create_app
from apollo.web.callbacks import Callbacks
from apollo.web.listening import listen
from apollo.web.requests import UseCases
from apollo.wiring import parts
from apollo.wiring.running import run


def run_serve(settings: Settings, restarts: Restarts | None = None) -> None:
    """Run the API until told to stop."""
    run(_serve(settings, restarts))


async def _serve(settings: Settings, restarts: Restarts | None) -> None:
    clock = parts.SystemClock()
    driver = parts.make_driver(settings, clock)
    async with (
        parts.open_database(settings, name="apollo serve") as db,
        open_line(settings.kafka_client(), settings.kafka_topics(), db=db, clock=clock) as line,
    ):
        callbacks = _callbacks(settings, db, driver, clock, line)
        heartbeat = Heartbeat(
            db=db,
            process=this_process("web", __version__, clock.now()),
            bus=line.bus,
            clock=clock,
            figures=[
                lambda: {"restarts": restarts and asdict(restarts)},
                lambda: {"hooks": callbacks.report.as_json()},
                lambda: {"events": callbacks.queue()},
            ],
        )
        explain = ExplainBatch(db=db, settings=diagnosis_settings(settings), own=heartbeat)
        app = make_app(
            settings, db=db, bus=line.bus, clock=clock, callbacks=callbacks, explain=explain
        )
        beating = asyncio.create_task(heartbeat.run())
        recording = asyncio.create_task(RecordHistory(db=db, explain=explain).run())
        try:
            await listen(app, settings.host, settings.port)
        finally:
            beating.cancel()
            recording.cancel()
            await asyncio.gather(beating, recording, return_exceptions=True)
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
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    use_cases = make_use_cases(settings, db=db, bus=bus, clock=clock, explain=explain)
    return create_app(use_cases, registry=registry, routes=callbacks.routes())


def make_use_cases(
    settings: Settings, *, db: Database, bus: Bus, clock: Clock, explain: ExplainBatch
) -> UseCases:
    """Make what the API can be asked for."""
    agents = RegisterAgents(db=db, clock=clock, default_route=default_route(settings))
    campaigns = ManageCampaigns(db=db, bus=bus)
    create = CreateBatches(db=db, bus=bus, route_of=agents.route_of)
    return UseCases(
        authenticate=Authenticate(db=db, clock=clock),
        campaigns=campaigns,
        create_batches=create,
        extend_batches=ExtendBatches(db=db, bus=bus, create=create),
        change_contacts=ChangeContacts(db=db, bus=bus),
        read_batches=ReadBatches(db=db, diagnose=explain.diagnose),
        change_batches=ChangeBatches(db=db, bus=bus),
        follow_ups=ScheduleFollowUps(db=db, bus=bus),
        lifecycle=ChangeLifecycle(db=db, bus=bus, explain=explain),
        set_back=SetContactsBack(db=db, bus=bus),
        explain_batch=explain,
        explain_contact=ExplainContact(db=db, explain=explain),
        history=ReadHistory(db=db),
        preview=PreviewCampaign(
            db=db,
            campaigns=campaigns,
            ring_timeout=explain.settings.ring_timeout,
            calls_per_second=explain.settings.calls_per_second,
        ),
        answers=RememberAnswers(db=db, clock=clock),
        agents=agents,
        agent_calls=ReadAgentCall(db=db),
        readiness=CheckReadiness(db=db),
        dead_letters=ReplayDeadLetters(db=db, resend=None)
        if bus.health().kind == "kafka"
        else None,
    )


def _callbacks(
    settings: Settings, db: Database, driver: TelephonyDriver, clock: Clock, line: Line
) -> Callbacks:
    secret = settings.result_secret
    record = parts.make_record(settings, db, line)
    return Callbacks(
        driver=driver,
        record=record,
        results=RecordCallResult(db=db, record=record, bus=line.told_after_commit),
        status_stream=line.status_stream,
        result_secret=None if secret is None else secret.get_secret_value().encode(),
        clock=clock,
    )
