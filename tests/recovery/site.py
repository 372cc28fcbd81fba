"""One Apollo in this process, in front of a RotaryRouter: worker, webhooks, database.

RotaryRouter's ledger is the witness of what was dialled. A worker runs as long as its block does.
"""

import asyncio
import contextlib
import os
import socket
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from random import Random
from typing import Any

import aiohttp
import msgspec
import uvicorn
from starlette.applications import Starlette
from tests.builders import DEADLINES, World, a_world

from apollo import __version__
from apollo.bus.postgres import PostgresBus
from apollo.ports import AgentRoute
from apollo.rotary import RotaryRouter, RotarySettings, Scenario
from apollo.storage.database import Database
from apollo.storage.heartbeats import Process
from apollo.telephony.jambonz import JambonzDriver
from apollo.usecases.advance_time import AdvanceTime
from apollo.usecases.beat import Heartbeat
from apollo.usecases.change_lifecycle import ChangeLifecycle
from apollo.usecases.detect_restore import DetectRestore
from apollo.usecases.dial_contacts import DialContacts, DialSettings
from apollo.usecases.hang_up_calls import HangUpCalls
from apollo.usecases.read_agent_call import ReadAgentCall
from apollo.usecases.reconcile_calls import ReconcileCalls
from apollo.usecases.record_call_events import RecordCallEvents
from apollo.usecases.record_call_result import RecordCallResult
from apollo.usecases.recover_calls import RecoverCalls
from apollo.web.callbacks import Callbacks
from apollo.wiring.parts import SystemClock
from apollo.worker import Worker

ACCOUNT = "00000000-0000-0000-0000-000000000007"
KEY, SECRET = "rotary-test-key", "wh_secret_for_tests"
ROUTE = AgentRoute(
    call_hook="https://agent.example.com/call",
    speech_synthesis="google,en-US,en-US-Standard-C",
    speech_recognizer="google,en-US",
)
# Nothing here takes a fifth of this, even on a machine that is busy with other things.
DEADLINE_S = 60.0


async def until(is_so: Callable[[], Awaitable[bool]], what: str) -> None:
    """Wait for a condition."""
    try:
        async with asyncio.timeout(DEADLINE_S):
            while not await is_so():  # noqa: ASYNC110 - the condition is at a server
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"after {DEADLINE_S} s: not {what}") from None


@contextlib.asynccontextmanager
async def a_router(**people: Any) -> AsyncIterator[RotaryRouter]:
    """A RotaryRouter with such people; everybody rings for long unless told otherwise."""
    scenario = Scenario.model_validate(
        {
            "people": {
                "mix": {"no_answer": 1},
                "dial_s": [0, 0],
                "unanswered_s": [600, 600],
                **people,
            }
        }
    )
    settings = RotarySettings(api_key=KEY, account_sid=ACCOUNT, webhook_secret=SECRET, port=0)
    async with RotaryRouter.started(settings, scenario) as router:
        yield router


def a_driver(router: RotaryRouter, *, port: int) -> JambonzDriver:
    """A way to the router, which tells this port what becomes of a call."""
    return JambonzDriver(
        base_url=router.url,
        account_sid=ACCOUNT,
        api_key=KEY,
        webhook_secret=SECRET,
        public_url=f"http://127.0.0.1:{port}",
        clock=SystemClock(),
    )


async def dialled(router: RotaryRouter) -> Counter[str]:
    """How often each number was called, as the ledger has it."""
    url = router.url.removesuffix("v1") + "rotary/ledger"
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        lines = (await answer.read()).splitlines()
    entries = [msgspec.json.decode(line) for line in lines]
    return Counter(entry["to"] for entry in entries if entry["placed_at"] is not None)


@dataclass
class Site:
    """A database and what works on it, in front of the router."""

    world: World
    router: RotaryRouter
    driver: JambonzDriver
    callbacks: Callbacks
    record: RecordCallEvents

    @property
    def clock(self) -> SystemClock:
        return SystemClock()

    def reconcile(self) -> ReconcileCalls:
        return ReconcileCalls(
            db=self.world.db,
            driver=self.driver,
            clock=self.clock,
            deadlines=DEADLINES,
            record=self.record,
        )

    def detect(self) -> DetectRestore:
        return DetectRestore(
            db=self.world.db, driver=self.driver, clock=self.clock, deadlines=DEADLINES
        )

    def recover(self) -> RecoverCalls:
        return RecoverCalls(
            db=self.world.db,
            driver=self.driver,
            clock=self.clock,
            record=self.record,
            deadlines=DEADLINES,
        )

    def hang_up(self, *, patience_s: float = 60.0) -> HangUpCalls:
        return HangUpCalls(
            db=self.world.db, driver=self.driver, clock=self.clock, patience_s=patience_s
        )

    @contextlib.asynccontextmanager
    async def working(self) -> AsyncIterator[Worker]:
        """A worker with its heartbeat, as wiring makes it; killed at the end of the block."""
        db, bus, worker_id = self.world.db, PostgresBus(self.world.db, self.clock), uuid.uuid4()
        dial = DialContacts(
            db=db,
            driver=self.driver,
            clock=self.clock,
            settings=DialSettings(
                ring_timeout=DEADLINES.ring_timeout,
                time_limit=DEADLINES.time_limit,
                calls_per_second=None,
                default_route=ROUTE,
                agent_key_secret=b"example",
                number_gap=timedelta(),
            ),
            worker_id=worker_id,
            random=Random(1),
        )
        worker = Worker(
            dial=dial,
            record=self.record,
            reconcile=self.reconcile(),
            time=AdvanceTime(db=db, expire=ChangeLifecycle(db=db, bus=bus).expire),
            bus=bus,
            driver=self.driver,
            clock=self.clock,
            before_dialling=self.detect().run,
        )
        now = self.clock.now()
        process = Process(worker_id, "worker", "here", os.getpid(), __version__, now)
        heartbeat = Heartbeat(
            db=db, process=process, bus=bus, clock=self.clock, figures=[worker.report]
        )
        running = asyncio.create_task(worker.run(heartbeat.run))
        try:
            yield worker
        finally:
            running.cancel()
            await asyncio.wait([running])


@contextlib.asynccontextmanager
async def a_site(
    database_url: str, router: RotaryRouter, *, is_new: bool = True
) -> AsyncIterator[Site]:
    """An Apollo on this database; its webhooks are served until the block ends."""
    listener = socket.create_server(("127.0.0.1", 0))
    async with a_world(database_url) if is_new else _an_old_world(database_url) as world:
        await ReadAgentCall(db=world.db).secret()
        driver = a_driver(router, port=listener.getsockname()[1])
        record = RecordCallEvents(db=world.db, deadlines=DEADLINES, wakes_by_notify=True)
        callbacks = Callbacks(
            driver=driver,
            record=record,
            results=RecordCallResult(db=world.db, record=record),
            result_secret=None,
            clock=SystemClock(),
        )
        app = Starlette(routes=callbacks.routes())
        config = uvicorn.Config(app, log_config=None, lifespan="off")
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield Site(world, router, driver, callbacks, record)
        finally:
            server.should_exit = True
            await serving
            await callbacks.drain()
            await driver.close()


@contextlib.asynccontextmanager
async def _an_old_world(database_url: str) -> AsyncIterator[World]:
    db = await Database.connect(database_url, connections_max=8)
    try:
        yield World(db)
    finally:
        await db.close()
