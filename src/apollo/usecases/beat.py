"""Each process says every few seconds that it lives and how it is: evidence for the diagnosis."""

import asyncio
import dataclasses
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

import structlog

from apollo.core.diagnosis.reported import WriteFault
from apollo.errors import Stale, Unavailable
from apollo.ports import Bus, Clock
from apollo.storage import heartbeats
from apollo.storage.database import Database
from apollo.storage.heartbeats import Process
from apollo.storage.migrations import schema_version_wanted

_log = structlog.get_logger("apollo.heartbeat")

# Three are missed before a process counts as dead (15 s).
BEAT_EVERY_S: Final = 5.0
# The last two beats.
_LAGS_KEPT: Final = 2
# A minute of beats, and what is no quick exchange: half of it is how wrong the skew may be.
_EXCHANGES_KEPT: Final = 12
_SLOW: Final = timedelta(seconds=1)


class Heartbeat:
    """The heartbeat of one process."""

    def __init__(
        self,
        *,
        db: Database,
        process: Process,
        bus: Bus,
        clock: Clock,
        figures: Sequence[Callable[[], Mapping[str, Any]]],
    ) -> None:
        """Take what the report is put together from: each gives some of its keys."""
        self._db = db
        self._process = process
        self._bus = bus
        self._clock = clock
        self._figures = figures
        self._schema_version = schema_version_wanted()
        self._lags: deque[float] = deque([0.0], maxlen=_LAGS_KEPT)
        # How long each of the last exchanges took, and what it showed of the clocks.
        self._exchanges: deque[tuple[timedelta, timedelta]] = deque(maxlen=_EXCHANGES_KEPT)
        # What keeps the heartbeat from being written, while it does.
        self.write_fault: WriteFault | None = None

    async def run(self) -> None:
        """Beat until cancelled, then say goodbye."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                await self._beat()
                due = loop.time() + BEAT_EVERY_S
                await asyncio.sleep(BEAT_EVERY_S)
                self._lags.append(max(loop.time() - due, 0.0))
        finally:
            await self._say_goodbye()

    async def _beat(self) -> None:
        own = self._own_condition()
        try:
            await self._write(self._gathered() | own)
        except (Unavailable, Stale) as e:
            self._note_fault(e)
            _log.warning("heartbeat.lost", error=str(e))
        except Exception:  # noqa: BLE001 - a figure that cannot be stored must not make us look dead
            _log.exception("heartbeat.without_figures")
            await self._write_alone(own)

    async def _write_alone(self, own: Mapping[str, Any]) -> None:
        try:
            await self._write(own)
        except Exception:  # noqa: BLE001 - what the database refuses now it may take at the next beat
            _log.exception("heartbeat.failed")

    async def _write(self, report: Mapping[str, Any]) -> None:
        async with self._db.reserved() as connection:
            began = self._clock.now()
            seen_at = await heartbeats.beat(connection, self._process, report)
            ended = self._clock.now()
        self.write_fault = None
        self._exchanges.append((ended - began, began + (ended - began) / 2 - seen_at))

    @property
    def clock_skew(self) -> timedelta | None:
        """Our clock minus the database's, by the quickest exchange of the last minute.

        None until one was quick: what waited for a lock may have been answered at any instant.
        """
        waited, skew = min(self._exchanges, default=(_SLOW, timedelta()))
        return skew if waited < _SLOW else None

    def _gathered(self) -> dict[str, Any]:
        """Ask for all figures; one that fails is left out, and the others are reported."""
        report: dict[str, Any] = {}
        for figure in self._figures:
            try:
                report |= figure()
            except Exception:  # noqa: BLE001 - whatever is wrong with a figure, the process lives
                _log.exception(
                    "heartbeat.figure_failed", figure=getattr(figure, "__qualname__", "")
                )
        return report

    def _own_condition(self) -> dict[str, Any]:
        health = self._bus.health()
        bus = {
            name: value for name, value in dataclasses.asdict(health).items() if value is not None
        } | {"last_contact_at": health.last_contact_at and health.last_contact_at.isoformat()}
        return {"bus": bus, **self._condition()}

    def _condition(self) -> dict[str, Any]:
        size, waiting, longest_s = self._db.queue()
        skew = self.clock_skew
        return {
            # One hang is over when it can be told of; a process that hangs shows it twice in a row.
            "loop_lag_s": round(min(self._lags), 3),
            "schema_version": self._schema_version,
            "clock_skew_s": None if skew is None else round(skew.total_seconds(), 3),
            "pool": {"size": size, "waiting": waiting, "longest_s": round(longest_s, 3)},
        }

    def _note_fault(self, error: Unavailable | Stale) -> None:
        sqlstate = getattr(error, "sqlstate", "")
        before = self.write_fault
        if before is None or before.sqlstate != sqlstate:
            self.write_fault = WriteFault(
                sqlstate=sqlstate, error=str(error), since=self._clock.now()
            )

    async def _say_goodbye(self) -> None:
        try:
            async with asyncio.timeout(2), self._db.connection() as connection:
                await heartbeats.say_goodbye(connection, self._process)
        except (Unavailable, Stale, TimeoutError) as e:
            _log.warning("heartbeat.no_goodbye", error=str(e))
