"""When campaigns that wait for a known instant are to be looked at again: one timer for each."""

import asyncio
import uuid
from collections.abc import Callable
from typing import Final

from apollo.ports import Clock

# Timers far ahead drift with the clocks; an hour is near enough to look again.
_AT_MOST_S: Final = 3600.0


class Timers:
    """Calls `fired` with a campaign when its time has come; needs the running loop."""

    def __init__(self, clock: Clock, fired: Callable[[uuid.UUID], None]) -> None:
        self._clock = clock
        self._fired = fired
        # With the monotonic seconds at which it was started.
        self._timers: dict[uuid.UUID, tuple[asyncio.TimerHandle, float]] = {}

    def start(self, campaign_id: uuid.UUID, seconds: float) -> None:
        """Look at a campaign in so many seconds, and not when it was to be looked at before."""
        self.forget(campaign_id)
        loop = asyncio.get_running_loop()
        timer = loop.call_later(min(seconds, _AT_MOST_S), self._fire, campaign_id)
        self._timers[campaign_id] = (timer, self._clock.monotonic())

    def forget(self, campaign_id: uuid.UUID) -> None:
        """Drop a campaign's timer, if there is one."""
        entry = self._timers.pop(campaign_id, None)
        if entry is not None:
            entry[0].cancel()

    def forget_all(self) -> None:
        """Drop every timer."""
        for campaign_id in list(self._timers):
            self.forget(campaign_id)

    def started_within(self, seconds: float) -> set[uuid.UUID]:
        """Give the campaigns whose timers were started no longer ago than this."""
        now = self._clock.monotonic()
        return {c for c, (_, at) in self._timers.items() if now - at < seconds}

    def _fire(self, campaign_id: uuid.UUID) -> None:
        self._timers.pop(campaign_id, None)
        self._fired(campaign_id)
