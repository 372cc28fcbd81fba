"""The worker's loops. Each runs one use-case, on a wake-up or a timer, and stops cleanly.

A freed slot, a due time, a new batch all arrive as a woken campaign; the dial loop claims for one
campaign after the other, and never polls. The sweep only catches what a lost wake-up missed.
"""

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from datetime import datetime
from typing import Any, Final

import structlog

from apollo.core import ids
from apollo.core.breaker import GateState
from apollo.core.events import CallEvent, Evidence, RequestNotPlaced
from apollo.core.states import Off
from apollo.core.turns import Turns
from apollo.errors import DriverError, ProviderForgot, Stale, Unavailable
from apollo.ports import Bus, Clock, TelephonyDriver
from apollo.usecases.advance_time import AdvanceTime
from apollo.usecases.collector import Collector
from apollo.usecases.detect_restore import Compared, OtherDatabase
from apollo.usecases.dial_contacts import SEND_WITHIN_S, Claimed, DialContacts, ToPlace
from apollo.usecases.perform_effects import PerformEffects
from apollo.usecases.reconcile_calls import ReconcileCalls
from apollo.usecases.record_call_events import Arrival, RecordCallEvents, Recorded
from apollo.worker.gate import Gate
from apollo.worker.timers import Timers

_log = structlog.get_logger("apollo.worker")

# Requests on the wire at once. A provider answers in tens of milliseconds, so this many carry over
# a thousand calls a second, and no more are unknown when the process dies.
REQUEST_SLOTS: Final = 64
_SWEEP_EVERY_S: Final = 5.0
# Campaigns that wait for a known instant are looked at this often all the same: an edit of the
# window whose wake-up was lost must not hold them until tomorrow.
_LOOK_AGAIN_EVERY_S: Final = 60.0
_RECONCILE_EVERY_S: Final = 2.0
_GATE_EVERY_S: Final = 0.5
# New due times come with every ended call; they are read together, a few times a second.
_GATHER_S: Final = 0.05
# A lock that is held is free again within milliseconds.
_LOCKED_AGAIN_S: Final = 0.01
_AWAY_AGAIN_S: Final = 0.5
# A provider that does not answer before the first claim is asked again this often.
_CLEAR_AGAIN_S: Final = 2.0
# A provider that has forgotten calls: it may be a long list that is read for nothing.
_FORGOT_AGAIN_S: Final = 15.0
# When the database turns out to be another one, what was claimed before is sent within two seconds.
_SETTLED_AFTER_S: Final = SEND_WITHIN_S + 1.0
# Requests under way get this long when the worker is told to stop: none takes longer. With their
# answers, a last heartbeat and the closing of the pool it is less than `apollo up` waits.
_STOP_WITHIN_S: Final = 15.0
_RECORDED_WITHIN_S: Final = 3.0


class Worker:
    """Claims, places, records, reconciles; until told to stop."""

    def __init__(
        self,
        *,
        dial: DialContacts,
        record: RecordCallEvents,
        reconcile: ReconcileCalls,
        time: AdvanceTime,
        bus: Bus,
        driver: TelephonyDriver,
        clock: Clock,
        before_dialling: Callable[[], Awaitable[Compared]] | None = None,
    ) -> None:
        self._dial = dial
        self._record = record
        self._reconcile = reconcile
        self._time = time
        self._bus = bus
        self._driver = driver
        self._clock = clock
        self._gate = Gate(dial, driver, clock)
        # Has to come to its end before anything is claimed from a database.
        self._before_dialling = before_dialling
        self._is_cleared = before_dialling is None
        # Why it is not cleared yet, where the provider has forgotten calls.
        self._waits: ProviderForgot | None = None
        self._recorder: Collector[Arrival, Off | None] = Collector(self._write)
        self._pending = Turns()
        self._work = asyncio.Event()
        self._time_changed = asyncio.Event()
        self._timers = Timers(clock, lambda campaign_id: self.wake_quietly([campaign_id]))
        self._in_flight: set[asyncio.Task[None]] = set()
        # When the last call was claimed of which we were told, by the database's clock.
        self._told_until: datetime | None = None
        self._claim_was_lost = False
        self._effects = PerformEffects(driver)
        # What keeps each loop from the database, as PostgreSQL calls it, and since when.
        self._faults: dict[str, dict[str, Any]] = {}
        self._last_claim_at: datetime | None = None
        self._last_request_at: datetime | None = None

    async def run(self, *beside: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Work until cancelled, then finish the requests on the wire.

        What runs `beside` is the heartbeat, and the readers and relays of the bus if it has any.
        """
        loops = [
            self._forever(self._listen),
            self._forever(self._dial_woken),
            self._forever(self._follow_time),
            self._forever(self._sweep),
            self._forever(self._look_for_lost_calls),
            self._forever(self._watch_gate),
        ]
        loops += [self._kept_up(run) for run in beside]
        try:
            async with asyncio.TaskGroup() as group:
                for loop in loops:
                    group.create_task(loop)
        finally:
            await self._finish()

    async def take(self, arrival: Arrival) -> Off | None:
        """Record one event, in a set with those that come beside it; returns after the commit."""
        return await self._recorder.put(arrival)

    def wake(self, campaigns: Iterable[uuid.UUID]) -> None:
        """Say that these campaigns may have something to dial, or new due times."""
        woken = dict.fromkeys(campaigns)
        if woken:
            self._pending.add(woken)
            self._work.set()
            self._time_changed.set()

    def report(self) -> dict[str, Any]:
        """Describe this worker for its heartbeat."""
        slowest = self._dial.claim_times.took(asyncio.get_running_loop().time(), nth=3)
        return {
            "is_cleared": self._is_cleared,
            "waits": self._waits and {"until": _iso(self._waits.until), "why": str(self._waits)},
            "in_flight": len(self._in_flight),
            "request_slots": REQUEST_SLOTS,
            "last_claim_at": _iso(self._last_claim_at),
            # One slow claim is an accident, three in a minute are not.
            "slowest_claim_s": round(slowest.seconds, 3),
            # `begin` reads nothing: slow, so is the way to the database, or its machine. `commit`
            # waits for its disk. What is slow between two quick ones was asked to read too much.
            "slowest_claim": slowest.named("begin_s", "work_s", "commit_s"),
            "last_request_at": _iso(self._last_request_at),
            "database_faults": list(self._faults.values()),
            "status_hook_url": self._driver.status_hook_url,
            "provider": self._gate.report(),
        }

    # -------------------------------------------------------------------------------- loops

    async def _forever(self, turn: Callable[[], Awaitable[None]]) -> None:
        """Run a loop's turn again and again; the one place where anything may be caught."""
        while True:
            try:
                await turn()
            except (Unavailable, Stale) as e:
                _log.warning("loop.waits", loop=turn.__name__, error=str(e))
                self._note_fault(turn.__name__, e)
                await asyncio.sleep(_AWAY_AGAIN_S)
            except Exception:  # noqa: BLE001 - a defect in one turn must not stop the others
                _log.exception("loop.failed", loop=turn.__name__)
                await asyncio.sleep(_AWAY_AGAIN_S)
            else:
                self._faults.pop(turn.__name__, None)

    async def _kept_up(self, run: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run what is beside us, and begin it again when it fails: no defect of it ends calling."""
        while True:
            try:
                await run()
            except Exception:  # noqa: BLE001 - as in _forever
                _log.exception("loop.failed", loop=getattr(run, "__qualname__", str(run)))
                await asyncio.sleep(_AWAY_AGAIN_S)
            else:
                return

    def _note_fault(self, loop: str, error: Unavailable | Stale) -> None:
        sqlstate = getattr(error, "sqlstate", "")
        known = self._faults.get(loop)
        if known is None or known["sqlstate"] != sqlstate:
            now = _iso(self._clock.now())
            self._faults[loop] = {"sqlstate": sqlstate, "error": str(error), "since": now}

    async def _listen(self) -> None:
        async for campaign_id in self._bus.wake_ups():
            self._timers.forget(campaign_id)
            self.wake([campaign_id])

    async def _clear(self) -> None:
        """Do what must be done before the first claim; again and again until it succeeds."""
        breaker = self._dial.breaker
        while self._before_dialling is not None and not self._is_cleared:
            try:
                compared = await self._before_dialling()
            except ProviderForgot as e:
                self._waits = e
                await asyncio.sleep(_FORGOT_AGAIN_S)
            except DriverError as e:
                # Nobody could be called now anyhow, and the diagnosis has to say why.
                self._gate.failed(e)
                await asyncio.sleep(_CLEAR_AGAIN_S)
            else:
                self._dial.database = compared.database
                self._is_cleared, self._waits = True, None
                if breaker.state is not GateState.OK:
                    breaker.succeeded(self._clock.monotonic())

    async def _dial_woken(self) -> None:
        await self._clear()
        await self._work.wait()
        if self._claim_was_lost:
            await self._give_back_unsent()
        self._work.clear()
        while self._pending:
            allowed = self._gate.allowed(REQUEST_SLOTS, under_way=len(self._in_flight))
            if allowed == 0:
                return
            campaign_id = self._pending.take()
            try:
                await self._claim(campaign_id, allowed)
            except Unavailable:
                self._claim_was_lost = True
                self._pending.add([campaign_id])
                self._work.set()
                raise
            if not self._is_cleared:
                self._work.set()
                # Who claimed from the old one has sent by then, and the provider can tell of it.
                await asyncio.sleep(_SETTLED_AFTER_S)
                return

    async def _follow_time(self) -> None:
        self._time_changed.clear()
        self.wake_quietly(await self._time.run())
        next_s = await self._time.next_instant_s()
        if next_s is None:
            patience = _SWEEP_EVERY_S
        else:
            # What is overdue just after it was looked at is locked by somebody.
            patience = min(max(next_s, _LOCKED_AGAIN_S), _SWEEP_EVERY_S)
        try:
            async with asyncio.timeout(patience):
                await self._time_changed.wait()
        except TimeoutError:
            return
        await asyncio.sleep(_GATHER_S)

    def wake_quietly(self, campaigns: Iterable[uuid.UUID]) -> None:
        """Wake without asking for the next instant again: this comes from reading it."""
        for campaign_id in campaigns:
            self._pending.add([campaign_id])
            self._work.set()

    async def _sweep(self) -> None:
        found = await self._time.sweep()
        self.wake_quietly(found - self._timers.started_within(_LOOK_AGAIN_EVERY_S))
        await asyncio.sleep(_SWEEP_EVERY_S)

    async def _look_for_lost_calls(self) -> None:
        if self._claim_was_lost:  # what was never sent is given back before it counts as lost
            await asyncio.sleep(_AWAY_AGAIN_S)
            return
        self._after(await self._reconcile.run())
        self._after(await self._reconcile.poll_silent())
        await asyncio.sleep(_RECONCILE_EVERY_S)

    async def _watch_gate(self) -> None:
        """Let a probe out when its time has come."""
        await asyncio.sleep(_GATE_EVERY_S)
        breaker = self._dial.breaker
        if breaker.state is GateState.OK:
            return
        if breaker.is_shut and self._clock.monotonic() < breaker.retry_at:
            return
        nobody_is_due = breaker.is_shut and not self._pending
        if breaker.state is GateState.UNAUTHORISED or (
            breaker.state is GateState.DOWN and nobody_is_due
        ):
            await self._gate.ask()
        self._work.set()

    # --------------------------------------------------------------------- claim and place

    async def _claim(self, campaign_id: uuid.UUID, allowed: int) -> None:
        try:
            claimed = await self._dial.claim(campaign_id, allowed)
        except Stale:
            claimed = Claimed([], wait_s=_LOCKED_AGAIN_S)
        except OtherDatabase:
            _log.warning("database.is_another", campaign_id=ids.campaign_id(campaign_id))
            self._is_cleared = False
            claimed = Claimed([], has_more=True)
        except Unavailable:
            self._dial.breaker.give_back()
            raise
        self._last_claim_at = self._clock.now()
        if not claimed.calls:
            self._dial.breaker.give_back()
        for job in claimed.calls:
            # Never back, as the database's clock may go: what was told of may be on the wire.
            self._told_until = max(self._told_until or job.call.requested_at, job.call.requested_at)
            task = asyncio.create_task(self._place(job))
            self._in_flight.add(task)
            task.add_done_callback(self._placed)
        if claimed.organization_id:
            self._pending.learn(campaign_id, claimed.organization_id)
        if claimed.wait_s is not None:
            self._timers.start(campaign_id, claimed.wait_s)
        elif claimed.has_more:
            self._pending.add([campaign_id])

    async def _give_back_unsent(self) -> None:
        """Release what a claim took whose commit was answered to nobody; it was never sent."""
        unsent = await self._dial.find_unsent(self._told_until)
        event = RequestNotPlaced(at=self._clock.now(), evidence=Evidence.REPLY, reason="claim_lost")
        await asyncio.gather(*(self._recorder.put(Arrival(call, event)) for call in unsent))
        self._claim_was_lost = False
        if unsent:
            _log.warning("claim.given_back", calls=len(unsent))

    async def _place(self, job: ToPlace) -> None:
        event = await self._dial.place(job)
        self._last_request_at = self._clock.now()
        await self._until_recorded(job, event)

    async def _until_recorded(self, job: ToPlace, event: CallEvent) -> None:
        """What the provider answered must not be lost while the database is away."""
        while True:
            try:
                await self._dial.pause_if_refused(job.call.contact.batch_id, event)
                off = await self._recorder.put(Arrival(job.call.id, event))
            except (Unavailable, Stale) as e:
                _log.warning("answer.not_recorded_yet", error=str(e))
                await asyncio.sleep(_AWAY_AGAIN_S)
            else:
                self._dial.note(event, off)
                return

    def _placed(self, task: "asyncio.Task[None]") -> None:
        self._in_flight.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.error("place.failed", exc_info=task.exception())
        if self._pending:
            self._work.set()

    async def _write(self, arrivals: Sequence[Arrival]) -> Sequence[Off | None]:
        recorded = await self._record.record(arrivals)
        self._after(recorded)
        return recorded.offs

    def _after(self, recorded: Recorded) -> None:
        if self._record.wakes_by_notify:
            self.wake(recorded.freed)  # else the bus told whoever claims for them, perhaps us
        self._effects.start(recorded.effects)

    async def _finish(self) -> None:
        self._timers.forget_all()
        under_way = self._in_flight | self._effects.under_way
        if under_way:
            _log.info("worker.finishing", requests=len(self._in_flight))
            _, late = await asyncio.wait(under_way, timeout=_STOP_WITHIN_S)
            for task in late:
                # As if we had been killed: reconciliation finds out what became of it.
                task.cancel()
        await self._recorder.drain(_RECORDED_WITHIN_S)


def _iso(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()
