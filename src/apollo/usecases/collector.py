"""Gathers single items into sets: one lane, no timer, everybody answered after the commit.

While one set is being written the next one gathers by itself, so a lone item never waits and a
crowd shares its commits. This is what makes a durable answer cheap.
"""

import asyncio
import contextvars
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, TypeVar

from apollo.core.longest import Longest
from apollo.errors import ApolloError, Stale, Unavailable

Item = TypeVar("Item")
Result = TypeVar("Result")

# Larger sets gain little and make the first in line wait longer (design/speed: 500).
SET_MAX: Final = 500
# Beyond this many waiting items the process is overloaded and says so instead of growing.
WAITING_MAX: Final = 20_000


class Overloaded(ApolloError):
    """Too many items wait already; nothing was taken."""


class Collector(Generic[Item, Result]):
    """Turns `put(item)` from many tasks into `write(items)` from one."""

    def __init__(self, write: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]]) -> None:
        self._write = write
        self._waiting: deque[tuple[Item, asyncio.Future[Result]]] = deque()
        # Since when each item waits, the oldest first; and how long those of the last minute did.
        self._since: dict[asyncio.Future[Result], float] = {}
        self._waits = Longest()
        self._lane: asyncio.Task[None] | None = None

    async def put(self, item: Item) -> Result:
        """Hand in one item; returns, or raises, when its set was written."""
        if len(self._waiting) >= WAITING_MAX:
            raise Overloaded(f"{WAITING_MAX} items wait to be written")
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Result] = loop.create_future()
        self._waiting.append((item, done))
        self._since[done] = loop.time()
        if self._lane is None or self._lane.done():
            # A context of its own: the set belongs to nobody's request in particular.
            self._lane = asyncio.create_task(self._run(), context=contextvars.Context())
        try:
            return await done
        finally:
            self._waits.note(loop.time(), loop.time() - self._since.pop(done))

    def queue(self) -> tuple[int, float]:
        """Tell how many items wait, and the longest wait of the last minute, in seconds."""
        now = asyncio.get_running_loop().time()
        oldest_s = now - next(iter(self._since.values()), now)
        return len(self._since), max(oldest_s, self._waits.of_the_minute(now))

    async def drain(self, within_s: float) -> None:
        """Wait until everything handed in was written; what takes longer is given up unwritten."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within_s
        while self._lane is not None and not self._lane.done():
            done, _ = await asyncio.wait([self._lane], timeout=max(deadline - loop.time(), 0.0))
            if not done:
                self._lane.cancel()
                return

    async def _run(self) -> None:
        while self._waiting:
            count = min(len(self._waiting), SET_MAX)
            entries = [self._waiting.popleft() for _ in range(count)]
            await self._write_set(entries)

    async def _write_set(self, entries: list[tuple[Item, "asyncio.Future[Result]"]]) -> None:
        try:
            results = await self._write([item for item, _ in entries])
        except (Unavailable, Stale) as e:
            _fail(entries, e)
        except Exception as e:  # noqa: BLE001 - whatever it is, every waiter must hear of it
            if len(entries) == 1:
                _fail(entries, e)
                return
            # One bad item must not take the others down with it.
            for entry in entries:
                await self._write_set([entry])
        else:
            for (_, done), result in zip(entries, results, strict=True):
                if not done.done():
                    done.set_result(result)


def _fail(entries: list[tuple[Item, "asyncio.Future[Result]"]], error: Exception) -> None:
    for _, done in entries:
        if not done.done():
            done.set_exception(error)
