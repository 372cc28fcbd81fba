"""Carries out what the core asked for, after the commit and beside the next set of events.

A hang-up is a request to the provider and may take its time: nobody's webhook waits for it.
"""

import asyncio
from collections.abc import Sequence

import structlog

from apollo.core import ids
from apollo.core.events import Alarm, Effect, HangUp
from apollo.errors import DriverError
from apollo.ports import HangUpAnswer, TelephonyDriver

_log = structlog.get_logger("apollo.calls")


class PerformEffects:
    """Starts effects and keeps them until they are done."""

    def __init__(self, driver: TelephonyDriver) -> None:
        self._driver = driver
        self._under_way: set[asyncio.Task[None]] = set()

    @property
    def under_way(self) -> frozenset["asyncio.Task[None]"]:
        """What is not done yet: to wait for before the process stops."""
        return frozenset(self._under_way)

    def start(self, effects: Sequence[Effect]) -> None:
        """Carry these out, one after the other, without waiting for them."""
        if effects:
            task = asyncio.create_task(self.run(effects))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)

    async def run(self, effects: Sequence[Effect]) -> None:
        """Carry these out; what fails is logged: the deadline of the call brings it up again."""
        for effect in effects:
            match effect:
                case HangUp():
                    await self._hang_up(effect)
                case Alarm():
                    _log.error(
                        "call.surprise",
                        execution_id=ids.execution_id(effect.call_id),
                        what=effect.what,
                    )

    async def _hang_up(self, effect: HangUp) -> None:
        execution_id = ids.execution_id(effect.call_id)
        try:
            said = await self._driver.hang_up(
                effect.provider_call_id, was_answered=effect.was_answered
            )
        except DriverError as e:
            _log.error("call.not_hung_up", execution_id=execution_id, error=str(e))
            return
        if said is HangUpAnswer.NOT_KNOWN:
            error = "the provider says it has no such call"
            _log.error("call.not_hung_up", execution_id=execution_id, error=error)
        else:
            _log.warning("call.hung_up", execution_id=execution_id, why=effect.why)
