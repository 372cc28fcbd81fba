"""How long the database took, and how long somebody waits for it.

Under load an answer lies ready while our own event loop is busy with others: that is told apart
here. Must never blame the database for it: what is given is the least that it can have taken.
"""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from typing import Any, Final, Protocol, TypeVar

from apollo.core.longest import Longest
from apollo.errors import ApolloError, Unavailable

# Fine enough to see a busy loop, and no turn at all for the few milliseconds that most work takes.
_TICK_S: Final = 0.01
# What a transaction asks for, `begin` and `commit` among them: each answer may have waited for one
# turn of the loop.
_ANSWERS: Final = 8

_T = TypeVar("_T")
# Work that nobody waits for any more, until the driver has let go of it.
_given_up: set["asyncio.Task[Any]"] = set()


class _Cuttable(Protocol):
    def terminate(self) -> None: ...


class Stopwatch:
    """Runs from when it is made; needs the running loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._began = self._due = self._loop.time()
        self._longest_turn_s = 0.0
        self._laps = [self._began]
        self._wait()

    def lap(self) -> None:
        """End one part of what is timed; the next begins."""
        self._laps.append(self._loop.time())

    def parts(self) -> list[float]:
        """Give the seconds of each part that ended, one turn of the loop left out."""
        times = (ended - began for began, ended in itertools.pairwise(self._laps))
        return [max(seconds - self._longest_turn_s, 0.0) for seconds in times]

    def stop(self, *, answers: int = _ANSWERS) -> float:
        """Give the seconds that the database took at least, for so many answers."""
        self._timer.cancel()
        self._note_turn()
        took_s = self._loop.time() - self._began
        return max(took_s - answers * self._longest_turn_s, 0.0)

    def _wait(self) -> None:
        self._due = self._loop.time() + _TICK_S
        self._timer = self._loop.call_at(self._due, self._tick)

    def _tick(self) -> None:
        self._note_turn()
        self._wait()

    def _note_turn(self) -> None:
        self._longest_turn_s = max(self._longest_turn_s, self._loop.time() - self._due)


@contextlib.contextmanager
def timing(longest: Longest | None) -> Generator[Callable[[], None]]:
    """Note how long the database took for what is done inside; None: nobody wants to know.

    Gives what ends one part of it; the last part ends with all.
    """
    if longest is None:
        yield _no_lap
        return
    watch = Stopwatch()
    try:
        yield watch.lap
    finally:
        watch.lap()
        took_s = watch.stop()
        longest.note(asyncio.get_running_loop().time(), took_s, watch.parts())


def _no_lap() -> None:
    """Do nothing: nobody wants to know."""


@contextlib.asynccontextmanager
async def cut_if_cancelled(connection: _Cuttable) -> AsyncGenerator[None]:
    """Close a connection without a word when its work is given up: a server that hangs is deaf."""
    try:
        yield
    except asyncio.CancelledError:
        connection.terminate()
        raise


class Pulse:
    """When the database last answered, for who waits for several answers of it."""

    def __init__(self) -> None:
        self.answered_at = asyncio.get_running_loop().time()

    def beat(self) -> None:
        """Note that it has just answered."""
        self.answered_at = asyncio.get_running_loop().time()


async def answered_within(
    seconds: float,
    work: Coroutine[Any, Any, _T],
    *,
    pulse: Pulse | None = None,
    silent_s: float | None = None,
) -> _T:
    """Wait so long for an answer of the database, whatever the driver does when it is given up.

    With a `pulse` it is given up after `silent_s` without a sign of life as well. Raises
    Unavailable when nothing has come; the work ends by itself then.
    """
    task = asyncio.create_task(work)
    loop = asyncio.get_running_loop()
    ends_at, waited_s = loop.time() + seconds, seconds
    try:
        while not task.done():
            due = ends_at
            if pulse is not None and silent_s is not None and pulse.answered_at + silent_s < due:
                due, waited_s = pulse.answered_at + silent_s, silent_s
            if due <= loop.time():
                break
            await asyncio.wait({task}, timeout=due - loop.time())
    except asyncio.CancelledError:
        _give_up(task)
        raise
    if task.done():
        return task.result()
    _give_up(task)
    raise Unavailable(f"the database has not answered within {waited_s:g} s")


def _give_up(task: "asyncio.Task[Any]") -> None:
    task.cancel()
    _given_up.add(task)
    task.add_done_callback(_ended)


def _ended(task: "asyncio.Task[Any]") -> None:
    _given_up.discard(task)
    # Whatever it was, nobody is left to hear it; a defect of ours is not to be hidden.
    error = None if task.cancelled() else task.exception()
    if error is not None and not isinstance(error, ApolloError):
        task.get_loop().call_exception_handler({"message": "given up", "exception": error})
