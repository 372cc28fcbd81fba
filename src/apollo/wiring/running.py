"""Runs the loop of one process until it is done or told to stop. Must never know what runs."""

import asyncio
import contextlib
import gc
import zoneinfo
from collections.abc import Coroutine
from typing import Any

import uvloop

from apollo.wiring.signals import stop_signals


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run until done, or until a signal asks to stop, which is a clean end."""

    async def guarded() -> None:
        task = asyncio.ensure_future(main)
        loop = asyncio.get_running_loop()
        signals = stop_signals()

        def stop() -> None:
            # Once: a second Ctrl-C must not cut short what the first one began.
            for number in signals:
                loop.add_signal_handler(number, lambda: None)
            task.cancel()

        for number in signals:
            loop.add_signal_handler(number, stop)
        with contextlib.suppress(asyncio.CancelledError):
            await task

    # The zones that were tested are those of the pinned package, not the machine's.
    zoneinfo.reset_tzpath(to=())
    # What lives as long as we do, and what an event makes and drops, need no search for cycles.
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    uvloop.run(guarded())
