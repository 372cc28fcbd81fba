"""Ctrl-C, SIGTERM and a closed terminal end the work in good order, once.

Owns the signals of every command that starts or opens something. A second Ctrl-C must not cut the
stopping short: that would leave processes behind.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from apollo.wiring.signals import stop_signals

_T = TypeVar("_T")


class Interrupted(Exception):
    """Somebody asked us to stop; everything was put away before this was raised."""


async def until_interrupted(work: Coroutine[Any, Any, _T]) -> _T:
    """Do the work, or cancel it on the first signal and raise Interrupted when it has ended."""
    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()
    was_asked = False

    def ask_once() -> None:
        nonlocal was_asked
        if not was_asked:
            was_asked = True
            task.cancel()

    wishes = stop_signals()
    for wish in wishes:
        loop.add_signal_handler(wish, ask_once)
    try:
        return await task
    except asyncio.CancelledError:
        if was_asked:
            raise Interrupted from None
        raise
    finally:
        for wish in wishes:
            loop.remove_signal_handler(wish)


def to_its_end(work: Coroutine[Any, Any, _T]) -> _T:
    """Do a command's work, and put everything away whatever asks it to stop."""
    try:
        return asyncio.run(until_interrupted(work))
    except Interrupted:
        raise KeyboardInterrupt from None  # typer's word for it: "Aborted." and exit code 130
