"""What happens in one run: things begin, go wrong, calm down, and must come to an end.

`play(seed)` is the whole simulation of one seed, and gives what was found.
"""

import asyncio
import uuid
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from tests.simulation import places
from tests.simulation.checks import CHECKS, FINAL, Acknowledged, Books, FinalStays, QueueIsTrue
from tests.simulation.desk import Desk
from tests.simulation.engine import Commit, Transaction
from tests.simulation.loop import Process, VirtualLoop
from tests.simulation.people import fill
from tests.simulation.provider import Entry
from tests.simulation.weather import EVENTS
from tests.simulation.world import World

from apollo import worker
from apollo.bus import postgres
from apollo.core import ids
from apollo.core.events import Reached
from apollo.usecases import (
    advance_time,
    detect_restore,
    dial_contacts,
    perform_effects,
    prove_absence,
    provider_history,
    reconcile_calls,
    record_call_events,
    recover_calls,
    what_moved,
)
from apollo.usecases.record_call_result import CallResult
from apollo.web import callbacks

# A run that has not ended by itself so long after its last fault never will.
PATIENCE_S: Final = 24 * 3600.0
LOOK_EVERY_S: Final = 20.0
# How long things go wrong: some runs until retries are due, which is when most requests leave.
LASTS_S: Final = (20.0, 60.0, 300.0, 900.0)
# A third of what goes wrong does so beside the first requests, a third soon after.
SOON_S: Final = (1.0, 10.0)
# Hours that stay closed longer than this are changed by the operator, for the sake of time.
CLOSED_S: Final = 2700.0
LOGS: Final = (
    worker,
    postgres,
    advance_time,
    detect_restore,
    dial_contacts,
    perform_effects,
    provider_history,
    prove_absence,
    reconcile_calls,
    record_call_events,
    recover_calls,
    what_moved,
    callbacks,
)
# Loops that only watch; scaled, so that an hour of waiting costs little.
WATCHING: Final = (
    (worker, "_GATE_EVERY_S"),
    (worker, "_RECONCILE_EVERY_S"),
    (worker, "_SWEEP_EVERY_S"),
    (postgres, "_CHECK_EVERY_S"),
)


@dataclass
class Outcome:
    """What a run came to.

    `crashes` are violations, too, but say of a mutant only that it is badly made.
    """

    seed: int
    violations: list[str]
    crashes: list[str]
    virtual_s: float
    injected: Counter[str]
    calls: int
    commits: int
    statements: int
    checks: int = field(default=len(CHECKS) + 3)


class Log:
    """Takes the place of the modules' loggers: silent, or a line with the virtual time."""

    def __init__(self, world: World, *, is_verbose: bool) -> None:
        self._world = world
        self._is_verbose = is_verbose

    def info(self, event: str, **facts: Any) -> None:
        """Log."""
        if self._is_verbose:
            shown = " ".join(f"{name}={value}" for name, value in facts.items())
            print(f"{self._world.loop.time():12.4f}  {event}  {shown}")  # noqa: T201 - on demand

    warning = info

    def log(self, level: int, event: str, **facts: Any) -> None:
        """Log, whatever the level."""
        del level
        self.info(event, **facts)

    def error(self, event: str, **facts: Any) -> None:
        """Log; an error that was raised and not meant to be is a defect."""
        if isinstance(facts.get("exc_info"), BaseException):
            self.exception(event, **facts)
        else:
            self.info(event, **facts)

    def exception(self, event: str, **facts: Any) -> None:
        """Note a defect: nothing unexpected may be raised in any run."""
        import sys  # noqa: PLC0415 - only here

        error = facts.pop("exc_info", None) or sys.exc_info()[1]
        self._world.errors.append(f"{event}: {error!r}")
        self.info(event, error=repr(error), **facts)


def play(seed: int, *, is_verbose: bool = False) -> Outcome:
    """Run one seed to its end."""
    loop = VirtualLoop()
    try:
        world = World(seed, loop)
        log = Log(world, is_verbose=is_verbose)
        with _prepared(world, log):
            watch, queue = FinalStays(world), QueueIsTrue(world)
            thanks = Acknowledged(world)
            try:
                loop.run_until_complete(Story(world, log).run())
            finally:
                world.is_over = True
                world.server.watchers.clear()
                loop.close_tasks()
        books = Books.of(world)
        found = [*watch.violations, *queue.violations, *thanks.violations]
        crashes = [*world.crashes, *loop.failures, *world.errors]
        violations = [*crashes, *found, *(v for check in CHECKS for v in check(books))]
        return Outcome(
            seed=seed,
            violations=violations,
            crashes=crashes,
            virtual_s=loop.time(),
            injected=world.weather.injected,
            calls=len(world.provider.ledger),
            commits=watch.commits,
            statements=world.server.statements_run,
        )
    finally:
        loop.close()


@contextmanager
def _prepared(world: World, log: Log) -> Iterator[None]:
    # At full pace these loops are half of all work; one run in sixty has them so.
    scale = world.dice.choices((1.0, 5.0, 20.0), (1, 4, 55))[0]
    before: list[tuple[Any, str, Any]] = []
    for module, name in WATCHING:
        before.append((module, name, getattr(module, name)))
        setattr(module, name, getattr(module, name) * scale)
    for module in LOGS:
        before.append((module, "_log", vars(module)["_log"]))
        vars(module)["_log"] = log
    try:
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)


# What an agent says of an answered call; mostly nothing.
VERDICTS: Final = (
    *("", "", "", "", "", "", "", "", ""),
    *("machine", "machine", "machine", "wrong_person", "person"),
    *("machine person", "machine wrong_person", "wrong_person person"),
)


class Story:
    """The course of one run."""

    def __init__(self, world: World, log: Log) -> None:
        self.world = world
        self.log = log
        self.dice = world.dice
        self.desk = Desk(world)
        self._commands: list[asyncio.Task[None]] = []

    async def run(self) -> None:
        """Begin, fail, calm down, end."""
        world, dice = self.world, self.dice
        fill(world)
        world.provider.on_answered_end = self._agent
        world.start_web()
        for _ in range(dice.choice((1, 2, 2, 3))):
            world.start_worker()
        lasts_s = dice.choice(LASTS_S)
        moments = sorted(
            (dice.uniform(0, dice.choice((*SOON_S, lasts_s))), dice.choice(EVENTS))
            for _ in range(dice.choice((0, 1, 3, 6)))
        )
        self._plan_store_events()
        for at, event in moments:
            await asyncio.sleep(at - world.loop.time())
            self._happen(event)
        await asyncio.sleep(max(lasts_s - world.loop.time(), 0.0))
        await self._calm_down()

    def _plan_store_events(self) -> None:
        """Have parts of the provider away for a while, each once, soon or later."""
        world = self.world
        for event in world.weather.store_events:
            stores = world.weather.stores
            at = stores.uniform(0.0, stores.choice((3.0, 30.0, 200.0)))
            world.provider.later(at, self._lose_store, event, stores.choice((5.0, 60.0, 400.0)))

    def _lose_store(self, event: str, seconds: float) -> None:
        provider, weather = self.world.provider, self.world.weather
        if weather.is_calm:
            return
        weather.injected[event] += 1
        self.log.info("story", what=event)
        part = {
            "key_store_away": "has_key_store",
            "feature_server_dead": "has_feature_server",
        }.get(event, "has_call_store")
        if event == "call_store_emptied":
            provider.lose_calls()
        if event == "feature_server_dead":
            seconds = min(seconds, 60.0)
        setattr(provider, part, False)
        provider.later(seconds, setattr, provider, part, True)

    # -------------------------------------------------------------------------- what goes wrong

    def _happen(self, event: str) -> None:
        world, dice = self.world, self.dice
        world.weather.injected[event] += 1
        self.log.info("story", what=event)
        workers = [p for p in world.workers if p.is_alive]
        match event:
            case "worker_killed" if workers:
                dice.choice(workers).kill()
                self._soon(self._restart_worker)
            case "worker_killed_at_step" if workers:
                _at_step(dice.choice(workers), dice.randint(0, 12), Process.kill)
                self._soon(self._restart_worker)
            case "worker_stopped" if workers:
                self._stop(dice.choice(workers))
            case "worker_stopped_at_step" if workers:
                _at_step(dice.choice(workers), dice.randint(0, 12), self._stop_and_order)
            case "web_killed":
                world.web.kill()
                self._soon(world.start_web)
            case "web_killed_at_step":
                _at_step(world.web, dice.randint(0, 12), Process.kill)
                self._soon(world.start_web)
            case "worker_stopped_after_claim":
                self._stop_after_claim()
            case "host_lost":
                world.provider.on_taken = self._lose_host
            case _:
                self._break(event)

    def _break(self, event: str) -> None:
        """What fails around our processes."""
        world, dice = self.world, self.dice
        match event:
            case "database_away":
                world.database_away = True
                world.database_epoch += 1
                world.server.abort()
                world.provider.later(
                    dice.uniform(0.1, 45.0), setattr, world, "database_away", False
                )
            case "database_restarted":
                world.restart_database()
            case "provider_away":
                world.provider.is_away = True
                world.provider.later(
                    dice.uniform(0.5, 45.0), setattr, world.provider, "is_away", False
                )
            case "calls_go_silent":
                world.provider.go_silent()
            case "database_restored":
                cursors = world.server.tables["batch_cursors"].values()
                if world.may_restore and any(k["last_claimed_at"] for k in cursors):
                    self._do(self._restore())
            case "listeners_lost":
                world.server.listeners.clear()
            case _:
                self._operate(event)

    async def _restore(self) -> None:
        """Restore the database as it was before the next calls, and confirm after a while."""
        world, dice = self.world, self.dice
        dump, dumped_at, known = world.server.dump(), world.loop.time(), len(world.provider.ledger)
        while len(world.provider.ledger) == known:
            if world.weather.is_calm:
                return
            await asyncio.sleep(0.5)
        await asyncio.sleep(dice.choice((0.0, 1.0, dice.uniform(0.0, 60.0))))
        if world.weather.is_calm or world.is_restored:
            return
        world.restore(dump, dumped_at)
        await asyncio.sleep(dice.choice((5.0, dice.uniform(5.0, 120.0))))
        world.weather.injected["calls_forgotten"] += len(world.forgotten)
        await self.desk.recover()

    def _operate(self, event: str) -> None:
        """What people do."""
        dice = self.dice
        match event:
            case "pause" | "resume" | "cancel":
                self._order(event)
            case "stop_all":
                self._stop_all()
            case "settings":
                self._do(self._set_something())
            case "stranger":
                kind = dice.choice(("pause", "resume", "cancel"))
                self._do(self.desk.pry(kind, self._something()))

    def _soon(self, what: Any) -> None:
        self.world.provider.later(self.dice.uniform(0.1, 40.0), what)

    def _restart_worker(self) -> None:
        # Sometimes an operator is slow; the end of the story starts one in any case.
        if self.dice.random() < 0.8:
            self.world.start_worker()

    def _stop(self, process: Process, seconds: float | None = None) -> None:
        seconds = seconds or self.dice.choice((0.5, 3.0, 20.0, 90.0))
        process.stopped_until = self.world.loop.time() + seconds
        if seconds > 10.0:
            # idle_in_transaction_session_timeout
            self.world.provider.later(10.0, self.world.server.abort, process)

    def _stop_and_order(self, process: Process) -> None:
        """Stop a process, and let an operator change something while it is stopped."""
        self._stop(process)
        kind = self.dice.choice(("pause", "cancel", "resume"))
        self.world.provider.later(self.dice.uniform(0.0, 0.5), self._order, kind)

    def _stop_after_claim(self) -> None:
        """Stop the next worker that has claimed, while the world moves on without it."""
        world, dice = self.world, self.dice

        def watch(transaction: Transaction, commit: Commit) -> None:
            claimed = [
                after
                for (table, _), after in commit.after.items()
                if table == "calls" and after is not None and after["version"] == 1
            ]
            process = transaction.process
            if not claimed or process is None or world.weather.is_calm:
                return
            world.server.watchers.remove(watch)
            self._stop(process, self._long_enough())
            what = dice.choice(("pause", "cancel", "stop_all", "nothing"))
            if what == "stop_all":
                world.provider.later(dice.uniform(0.0, 0.5), self._stop_all)
            elif what != "nothing":
                target = dice.choice((claimed[0]["campaign_id"], claimed[0]["batch_id"]))
                world.provider.later(dice.uniform(0.0, 0.5), self._order, what, target)

        world.server.watchers.append(watch)

    def _lose_host(self) -> None:
        """Lose every process of ours at once: nobody hears what became of the last request."""
        world, dice = self.world, self.dice
        for process in [world.web, *world.workers]:
            process.kill()
        # Back while the claim is leased, or when it no longer is and many a call is over.
        away_s = dice.choice((dice.uniform(1.0, 25.0), dice.uniform(30.0, 120.0)))
        world.provider.later(away_s, world.start_worker)
        world.provider.later(away_s, world.start_web)

    def _long_enough(self) -> float:
        """How long a process must sleep for what it knows to be out of date when it wakes."""
        world, dice = self.world, self.dice
        now = world.loop.time()
        seconds = [dice.uniform(1.0, 5.0), 40.0]
        # Until others have given the call up, and its number is free.
        quarantine_s = world.rules.quarantine.total_seconds()
        seconds.append(quarantine_s + dice.uniform(60.0, 120.0))
        closing = [closes - now for _, closes in places.stretches(world.place) if closes > now]
        if world.place.is_enforced and closing and closing[0] < CLOSED_S:
            ring_s = world.rules.ring_timeout.total_seconds()
            seconds += [closing[0] + dice.uniform(-ring_s, 60.0)] * 3
        return max(dice.choice(seconds), 0.5)

    def _stop_all(self) -> None:
        whom = self.dice.choice((None, *self.world.server.tables["organizations"]))
        self._do(self.desk.stop(whom))
        self.world.provider.later(
            self.dice.uniform(1.0, 60.0), lambda: self._do(self.desk.resume(whom))
        )

    async def _set_something(self) -> None:
        dice, tables = self.dice, self.world.server.tables
        campaign_id = dice.choice([*tables["campaigns"]])
        match dice.choice(("campaign's limit", "batch's limit", "retries")):
            case "campaign's limit":
                limit = dice.choice((1, 2, 5))
                await self.desk.set("campaigns", campaign_id, concurrency_limit=limit)
            case "batch's limit":
                batch_id = dice.choice([*tables["batches"]])
                await self.desk.set("batches", batch_id, concurrency_limit=dice.choice((1, 2)))
            case _:
                policy = tables["campaigns"][campaign_id]["retry_policy"]
                changed = {**policy, "max_retries": dice.choice((0, 1, 3))}
                await self.desk.set("campaigns", campaign_id, retry_policy=changed)

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        self._commands.append(asyncio.ensure_future(work))

    def _something(self) -> uuid.UUID:
        tables = self.world.server.tables
        targets: list[uuid.UUID] = [*tables["campaigns"], *tables["batches"]]
        return self.dice.choice(targets)

    def _order(self, kind: str, target: uuid.UUID | None = None) -> None:
        self._do(self.world.command(kind, target or self._something()))

    def _agent(self, call: Entry) -> None:
        """An agent asks for a follow-up after some answered calls, and tells who picked up."""
        row = self.world.server.tables["calls"].get(ids.parse_id("exec", call.tag))
        if row is None or self.world.weather.is_calm:
            return
        contact = row["batch_id"], row["position"]
        if self.dice.random() <= 0.1:
            self.world.weather.injected["follow_up"] += 1
            at = self.world.clock_now() + timedelta(seconds=self.dice.uniform(-10, 900))
            self._do(self.world.result(row["id"], contact, CallResult(follow_up_at=at)))
        dice = self.world.agents
        verdicts = dice.choice(VERDICTS)
        if verdicts:
            self.world.weather.injected["answerer_known"] += 1
            self._do(self._tell(row["id"], contact, verdicts, dice.choice((0.0, 2.0, 90.0))))

    async def _tell(
        self, call_id: uuid.UUID, contact: tuple[uuid.UUID, int], verdicts: str, after_s: float
    ) -> None:
        """Say who picked up, and sometimes another thing later: the first was a mistake."""
        for word in verdicts.split():
            await asyncio.sleep(after_s)
            await self.world.result(call_id, contact, CallResult(reached=Reached(word)))
            after_s = self.world.agents.uniform(1, 300)

    # -------------------------------------------------------------------------------- the end

    async def _calm_down(self) -> None:
        world = self.world
        world.weather.is_calm = True
        world.provider.on_taken = None
        for process in [world.web, *world.workers]:
            process.at_step = None
        began = world.loop.time()
        while world.loop.time() - began < PATIENCE_S:
            if not world.web.is_alive:
                world.start_web()
            if not any(p.is_alive for p in world.workers):
                world.start_worker()
            if self._has_ended():
                return
            await self._help()
            await asyncio.sleep(LOOK_EVERY_S)

    def _has_ended(self) -> bool:
        world = self.world
        tables = world.server.tables
        if world.errors:
            return True
        if world.held_since() is not None:
            return not world.is_restored  # else the operator has to confirm
        if not world.provider.is_quiet or any(not task.done() for task in self._commands):
            return False
        if any(c["ended_at"] is None for c in tables["calls"].values()):
            return False
        if any(c["status"] not in FINAL for c in tables["contacts"].values()):
            return False
        live = {"pending", "in_progress", "paused"}
        return not any(b["status"] in live for b in tables["batches"].values())

    async def _help(self) -> None:
        """Do what only a person can: resume what is stopped, and widen hours that stay closed."""
        world = self.world
        tables = world.server.tables
        await self.desk.recover()
        for whom in self.desk.has_stopped():
            await self.desk.resume(whom)
        for campaign in list(tables["campaigns"].values()):
            if campaign["paused_at"] is not None:
                await world.command("resume", campaign["id"])
        for batch in list(tables["batches"].values()):
            if batch["status"] == "paused":
                await world.command("resume", batch["id"])
        if world.place.is_enforced and world.hours_changed_at is None and self._stays_closed():
            for campaign_id in list(tables["campaigns"]):
                await self.desk.set("campaigns", campaign_id, working_hours_enforced=False)
                world.hours_changed_at = world.hours_changed_at or world.loop.time()

    def _stays_closed(self) -> bool:
        now = self.world.loop.time()
        coming = [opens for opens, closes in places.stretches(self.world.place) if closes > now]
        return not coming or min(coming) > now + CLOSED_S


def _at_step(process: Process, steps: int, what: Callable[[Process], None]) -> None:
    process.steps_left, process.at_step = steps, what
