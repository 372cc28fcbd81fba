"""One run: Apollo's own processes around one database and one provider, in virtual time.

Workers and the web process are built from the real use-cases, as `wiring` builds them. The world
starts them, kills them, lets operators and agents act, and ends when everything has ended.
"""

import asyncio
import uuid
from collections import Counter
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import Any, Final, cast

from starlette.requests import Request
from tests.simulation import places
from tests.simulation.driver import SimDriver
from tests.simulation.engine import Dump, MemoryDatabase, Server
from tests.simulation.lifecycle_statements import STATEMENTS
from tests.simulation.loop import Process, VirtualLoop
from tests.simulation.provider import Provider
from tests.simulation.weather import Weather

from apollo.bus.postgres import PostgresBus
from apollo.core import ids
from apollo.core.model import Deadlines, OnUnresolved
from apollo.errors import Refused, Stale, Unavailable
from apollo.storage.database import Database
from apollo.usecases.advance_time import AdvanceTime
from apollo.usecases.authenticate import Principal
from apollo.usecases.change_lifecycle import ChangeLifecycle
from apollo.usecases.detect_restore import DetectRestore
from apollo.usecases.dial_contacts import DialContacts, DialSettings
from apollo.usecases.reconcile_calls import ReconcileCalls
from apollo.usecases.record_call_events import RecordCallEvents
from apollo.usecases.record_call_result import CallResult, RecordCallResult
from apollo.web.callbacks import Callbacks
from apollo.worker import Worker

ORGANIZATIONS: Final = ("org_acme", "org_other")
TOLD: Final = 5.0


@dataclass
class Said:
    """What an agent said of a call, when, and when it was first thanked for it."""

    call_id: uuid.UUID
    contact: tuple[uuid.UUID, int]
    result: CallResult
    asked_at: float
    answered_at: float = float("inf")


@dataclass
class Clock:
    """A process's clocks: the wall clock may be hours off, the other never jumps."""

    loop: VirtualLoop
    start: datetime
    off: timedelta = timedelta()

    def now(self) -> datetime:
        """Give the wall time as this process believes it."""
        return self.start + timedelta(seconds=self.loop.time()) + self.off

    def monotonic(self) -> float:
        """Give seconds that never jump."""
        return 1000.0 + self.loop.time()


@dataclass
class Command:
    """What an operator was answered: from then on it must hold."""

    kind: str
    # A campaign or a batch; an organisation, or everybody.
    target: uuid.UUID | str
    answered_at: float
    in_progress: int
    # Calls that were open then: their requests may still be on the way.
    open_calls: frozenset[uuid.UUID]
    until: float = float("inf")


class World:
    """Everything there is in one run."""

    def __init__(self, seed: int, loop: VirtualLoop) -> None:
        self.seed = seed
        self.loop = loop
        self.dice = Random(seed)
        self.weather = Weather.of(self.dice, Random(f"{seed} stores"))
        self.place = places.choose(self.dice)
        self.server = Server(self.clock_now, Random(self.dice.getrandbits(64)))
        self.provider = Provider(loop, self.place.start, self.weather)
        self.provider.post = self.post_hook
        self.server.on_claim = self.provider.tell_beside_claim
        self.database_away = False
        self.database_epoch = 0
        quarantine_s = self.dice.choice((120, 120, 300))
        self.provider.late_by_s = quarantine_s * 0.4
        self.rules = Deadlines(
            ring_timeout=timedelta(seconds=self.dice.choice((10, 20, 30))),
            time_limit=timedelta(seconds=self.dice.choice((60, 300))),
            quarantine=timedelta(seconds=quarantine_s),
            on_unresolved=self.dice.choice((OnUnresolved.HOLD, OnUnresolved.RELEASE)),
            grace=timedelta(seconds=self.dice.choice((60, 120))),
        )
        self.per_second = self.dice.choice((None, None, 2.0))
        # Between calls to one number, where a campaign has no gap of its own.
        self.number_gap = timedelta(minutes=self.dice.choice((0, 0, 2)))
        self.workers: list[Process] = []
        self.web = Process("web")
        self.callbacks: Callbacks | None = None
        self.changes: ChangeLifecycle | None = None
        self.commands: list[Command] = []
        self.resuming: Counter[uuid.UUID] = Counter()
        self.resumed_at: dict[uuid.UUID, float] = {}
        self.hours_changed_at: float | None = None
        # When a stop was last lifted; what a stranger was answered; limits as they were, by time.
        self.lifted_at: dict[str, float] = {}
        self.intrusions: list[str] = []
        self.limits: dict[uuid.UUID, list[tuple[float, int | None]]] = {}
        self.retries_max: dict[uuid.UUID, int] = {}
        # Which contact a follow-up was asked for, and when.
        self.follow_ups: list[tuple[tuple[uuid.UUID, int], float]] = []
        self.asked_of: set[uuid.UUID] = set()
        # What agents said, in the order in which they said it, and dice of their own.
        self.said: list[Said] = []
        self.agents = Random(f"agents of {self.seed}")
        self.crashes: list[str] = []
        self.errors: list[str] = []
        self.is_over = False
        # A call that the provider places after it was asked for what it knows is beyond anybody,
        # and without records it soon forgets itself what is over.
        self.may_restore = (
            self.provider.has_records
            and not {"placed_late", "slow_before_placing"} & self.weather.rates.keys()
        )
        self.restored_at = float("inf")
        # Calls that the restored database lacked, as they were; when dialling waited for somebody.
        self.forgotten: dict[Any, Mapping[str, Any]] = {}
        self.held: list[tuple[float, float]] = []
        self.dead: Counter[str] = Counter()

    # ---------------------------------------------------------------------------------- time

    def clock_now(self) -> datetime:
        """Give the database's clock, which is the true one."""
        return self.place.start + timedelta(seconds=self.loop.time())

    # ----------------------------------------------------------------------------- processes

    def start_worker(self) -> Process:
        """Start one more worker."""
        process = Process(f"worker-{len(self.workers) + 1}", on_death=self._bury)
        self.workers.append(process)
        off = timedelta()
        if self.weather.strikes("worker_clock_wrong"):
            off = timedelta(hours=self.dice.choice((-5, -1, 1, 11)))
        clock = Clock(self.loop, self.place.start, off)
        db = cast("Database", MemoryDatabase(self.server, STATEMENTS, ProcessWire(self, process)))
        driver = SimDriver(self.provider, process)
        record = RecordCallEvents(db=db, deadlines=self.rules, wakes_by_notify=True)
        bus = PostgresBus(db, clock)
        detect = DetectRestore(db=db, driver=driver, clock=clock, deadlines=self.rules)
        worker = Worker(
            dial=DialContacts(
                db=db,
                driver=driver,
                clock=clock,
                settings=DialSettings(
                    ring_timeout=self.rules.ring_timeout,
                    time_limit=self.rules.time_limit,
                    calls_per_second=self.per_second,
                    default_route=None,
                    agent_key_secret=b"example",
                    number_gap=self.number_gap,
                ),
                worker_id=uuid.UUID(int=self.dice.getrandbits(128)),
                random=Random(self.dice.getrandbits(64)),
            ),
            record=record,
            reconcile=ReconcileCalls(
                db=db, driver=driver, clock=clock, deadlines=self.rules, record=record
            ),
            time=AdvanceTime(db=db, expire=ChangeLifecycle(db=db, bus=bus).expire),
            bus=bus,
            driver=driver,
            clock=clock,
            # Not by all: who cannot read the live list would never begin.
            before_dialling=detect.run if self.dice.random() < 0.5 or self.may_restore else None,
        )
        process.start(self._survive(process, worker.run()))
        return process

    def start_web(self) -> Process:
        """Start the web process."""
        process = Process("web", on_death=self._bury)
        self.web = process
        clock = Clock(self.loop, self.place.start)
        db = cast("Database", MemoryDatabase(self.server, STATEMENTS, ProcessWire(self, process)))
        driver = SimDriver(self.provider, process)
        record = RecordCallEvents(db=db, deadlines=self.rules, wakes_by_notify=True)
        self.callbacks = Callbacks(
            driver=driver,
            record=record,
            results=RecordCallResult(db=db, record=record),
            result_secret=None,
            clock=clock,
        )
        self.changes = ChangeLifecycle(db=db, bus=PostgresBus(db, clock))
        return process

    async def _survive(self, process: Process, work: Awaitable[None]) -> None:
        try:
            await work
        except Exception as e:  # noqa: BLE001 - a worker must never end by itself
            if process.is_alive and not self.is_over:
                self.crashes.append(f"{process.name} ended: {e!r}")

    def _bury(self, process: Process) -> None:
        """What the server does when a client's connections break."""
        self.server.abort(process)
        self.dead[process.name] += 1

    # -------------------------------------------------------------------------- what reaches us

    async def post_hook(self, body: bytes, is_signed: bool) -> int | None:
        """Deliver a status webhook to the web process; None when nobody answers."""
        process, callbacks = self.web, self.callbacks
        if not process.is_alive or callbacks is None:
            return None
        reply: asyncio.Future[int | None] = self.loop.create_future()

        async def serve() -> None:
            await process.step()
            try:
                answer = await callbacks.call_status(_request(body, is_signed))
            except Exception as e:  # noqa: BLE001 - the server would answer 500, and log it
                if not self.is_over:
                    self.errors.append(f"webhook: {e!r}")
                return
            await process.step()
            if not reply.done():
                reply.set_result(answer.status_code)

        process.start(serve())
        timer = self.loop.call_later(10.0, _settle, reply)
        status = await reply
        timer.cancel()
        return status

    async def command(self, kind: str, target: uuid.UUID) -> None:
        """Let an operator pause, resume or cancel a campaign or a batch, until it is answered."""
        is_campaign = target in self.server.tables["campaigns"]
        if kind == "resume":
            self._lift(target)
            self.resuming[target] += 1
            self.resumed_at[target] = self.loop.time()
        public = ids.campaign_id(target) if is_campaign else ids.batch_id(target)
        for _ in range(40):
            process, changes = self.web, self.changes
            began = self.loop.time()
            if process.is_alive and changes is not None:
                name = f"{kind}_{'campaign' if is_campaign else 'batch'}"
                operator = self._operator_of(target)
                done = await self.in_process(process, getattr(changes, name)(operator, public))
                if isinstance(done, Refused):
                    break
                if done is not None:
                    # A pause that met a resume on its way promises nothing.
                    if not self.resuming[target] and self.resumed_at.get(target, -1.0) < began:
                        self._note(kind, target, done.calls_in_progress)
                    break
            await asyncio.sleep(TOLD)
        if kind == "resume":
            self.resuming[target] -= 1

    async def result(
        self, call_id: uuid.UUID, contact: tuple[uuid.UUID, int], result: CallResult
    ) -> None:
        """Let the agent say something of a call, until it is answered; sometimes it repeats it."""
        said = Said(call_id, contact, result, self.loop.time())
        sent_at = self.clock_now()
        self.said.append(said)
        # Counted when it is asked: a lost answer may hide that it was heard.
        if result.follow_up_at is not None and call_id not in self.asked_of:
            self.asked_of.add(call_id)
            self.follow_ups.append((contact, said.asked_at))
        repeats_after = self.agents.choice((None, None, 1.0, 200.0))
        await self._deliver(said, sent_at)
        if repeats_after is not None:
            await asyncio.sleep(repeats_after)
            await self._deliver(said, sent_at)

    async def _deliver(self, said: "Said", sent_at: datetime) -> None:
        for _ in range(40):
            process, callbacks = self.web, self.callbacks
            if process.is_alive and callbacks is not None:
                taken = callbacks.take_result(
                    said.call_id, said.result, sent_at=sent_at, by_call_key=False
                )
                if await self.in_process(process, taken) is not None:
                    said.answered_at = min(said.answered_at, self.loop.time())
                    return
            await asyncio.sleep(TOLD)

    def _operator_of(self, target: uuid.UUID) -> Principal:
        tables = self.server.tables
        owned = tables["campaigns"].get(target) or tables["batches"][target]
        return Principal(owned["organization_id"], "operator")

    async def in_process(self, process: Process, work: Awaitable[Any]) -> Any:
        """Run a request in a process; None when it fails or dies on the way."""
        reply: asyncio.Future[Any] = self.loop.create_future()

        async def serve() -> None:
            answer: Any = None
            try:
                answer = await work
            except Refused as e:
                answer = e
            except (Unavailable, Stale):
                answer = None
            except Exception as e:  # noqa: BLE001 - as above
                if not self.is_over:
                    self.errors.append(f"command: {e!r}")
            if not reply.done():
                reply.set_result(answer)

        process.start(serve())
        timer = self.loop.call_later(60.0, _settle, reply)
        answer = await reply
        timer.cancel()
        return answer

    def _note(self, kind: str, target: uuid.UUID, in_progress: int) -> None:
        tables = self.server.tables
        open_calls = frozenset(
            c["id"]
            for c in tables["calls"].values()
            if c["ended_at"] is None and target in {c["campaign_id"], c["batch_id"]}
        )
        self.commands.append(Command(kind, target, self.loop.time(), in_progress, open_calls))

    def note_limits(self, table: str, key: uuid.UUID, columns: Mapping[str, Any]) -> None:
        """Remember what held until now and what holds from now on."""
        if "concurrency_limit" in columns:
            before = self.server.tables[table][key]["concurrency_limit"]
            history = self.limits.setdefault(key, [(0.0, before)])
            history.append((self.loop.time(), columns["concurrency_limit"]))
        if "retry_policy" in columns:
            before = self.server.tables[table][key]["retry_policy"]["max_retries"]
            most = max(before, columns["retry_policy"]["max_retries"])
            self.retries_max[key] = max(most, self.retries_max.get(key, 0))

    @property
    def is_restored(self) -> bool:
        """Tell whether the database has been restored from a dump."""
        return self.restored_at < float("inf")

    def restart_database(self) -> None:
        """Break every connection, and let the database be another one for who compares."""
        self.database_epoch += 1
        self.server.identity = f"server {self.database_epoch + 1}"
        self.server.abort()

    def restore(self, dump: Dump, dumped_at: float) -> None:
        """Restore a dump: what was answered since then is forgotten, orders as well as calls."""
        at = self.loop.time()
        calls = self.server.tables["calls"]
        self.restart_database()
        self.server.restore(dump)
        self.server.lineage = f"history {self.database_epoch + 1}"
        self.restored_at = at
        self.forgotten = {i: c for i, c in calls.items() if i not in dump.tables["calls"]}
        for command in self.commands:
            if command.answered_at > dumped_at:
                command.until = min(command.until, at)
        for key, history in self.limits.items():
            owner = self.server.tables["campaigns"].get(key) or self.server.tables["batches"][key]
            history.append((at, owner["concurrency_limit"]))

    def held_since(self) -> float | None:
        """Give since when dialling waits for an operator, as after a restore."""
        (since,) = (i["recovery_since"] for i in self.server.tables["installation"].values())
        return None if since is None else float((since - self.place.start).total_seconds())

    def _lift(self, target: uuid.UUID) -> None:
        for command in self.commands:
            if command.target == target and command.kind == "pause":
                command.until = min(command.until, self.loop.time())


@dataclass
class ProcessWire:
    """A process's way to the database."""

    world: World
    process: Process

    async def to_server(self, *, is_alone: bool = False) -> None:
        """Carry a statement there."""
        world = self.world
        if world.database_away:
            await world.loop.nap(0.05)
            raise Unavailable("the database is not available")
        # Most statements that stand alone only look: some of them in no time, for speed.
        if not is_alone or world.dice.random() < 0.3:
            await world.loop.nap(self._latency())
            if world.database_away:
                raise Unavailable("the database is not available")

    async def from_server(self) -> None:
        """Carry the answer to a commit back."""
        world = self.world
        await self.process.step()
        epoch = world.database_epoch
        await world.loop.nap(self._latency())
        if world.database_epoch != epoch or world.weather.strikes("commit_reply_lost"):
            raise Unavailable("the connection broke after the commit was sent")

    def _latency(self) -> float:
        dice = self.world.dice
        if self.world.weather.strikes("database_slow"):
            return dice.uniform(0.05, 3.0)
        return dice.uniform(0.0002, 0.003)


def _settle(reply: asyncio.Future[Any]) -> None:
    """Nobody answered in time."""
    if not reply.done():
        reply.set_result(None)


def _request(body: bytes, is_signed: bool) -> Request:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    signature = b"good" if is_signed else b"bad"
    scope = {"type": "http", "method": "POST", "headers": [(b"jambonz-signature", signature)]}
    return Request(scope, receive)
