"""Each process says every few seconds that it lives and how it is: evidence for the diagnosis."""

import asyncio
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Final

import structlog

from apollo.errors import Stale, Unavailable
from apollo.ports import Bus
from apollo.storage import heartbeats
from apollo.storage.database import Database
from apollo.storage.heartbeats import Process

_log = structlog.get_logger("apollo.heartbeat")

# Three are missed before a process counts as dead (15 s).
BEAT_EVERY_S: Final = 5.0


class Heartbeat:
    """The heartbeat of one process."""

    def __init__(
        self,
        *,
        db: Database,
        process: Process,
        bus: Bus,
        report: Callable[[], Mapping[str, Any]],
    ) -> None:
        self._db = db
        self._process = process
        self._bus = bus
        self._report = report

    async def run(self) -> None:
        """Beat until cancelled, then say goodbye."""
        loop = asyncio.get_running_loop()
        lag_s = 0.0
        try:
            while True:
                await self._beat(lag_s)
                due = loop.time() + BEAT_EVERY_S
                await asyncio.sleep(BEAT_EVERY_S)
                lag_s = max(loop.time() - due, 0.0)
        finally:
            await self._say_goodbye()

    async def _beat(self, lag_s: float) -> None:
        health = self._bus.health()
        bus = {
            name: value for name, value in dataclasses.asdict(health).items() if value is not None
        } | {"last_contact_at": health.last_contact_at and health.last_contact_at.isoformat()}
        report = {**self._report(), "bus": bus, "loop_lag_s": round(lag_s, 3)}
        try:
            async with self._db.connection() as connection:
                await heartbeats.beat(connection, self._process, report)
        except (Unavailable, Stale) as e:
            _log.warning("heartbeat.lost", error=str(e))

    async def _say_goodbye(self) -> None:
        try:
            async with asyncio.timeout(2), self._db.connection() as connection:
                await heartbeats.say_goodbye(connection, self._process)
        except (Unavailable, Stale, TimeoutError) as e:
            _log.warning("heartbeat.no_goodbye", error=str(e))
