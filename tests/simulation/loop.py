"""Virtual time: an event loop that never waits, and processes in it that can die or be stopped.

Time jumps to the next timer. Every task runs inside the context of a `Process`: what belongs to a
dead one is never run again, which is `kill -9` and not a cancellation; what belongs to a stopped
one runs when it goes on. Nothing here knows what is simulated. Of the libraries for virtual time
(looptime, simloop) none can kill a part of a program in this way, and this is all that is needed.
"""

import asyncio
import contextlib
import heapq
from asyncio import Handle, TimerHandle
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from dataclasses import dataclass
from typing import Any


@dataclass(eq=False)
class Process:
    """One simulated operating-system process."""

    name: str
    is_alive: bool = True
    # Stopped until this virtual second (SIGSTOP).
    stopped_until: float = 0.0
    # After this many more steps `at_step` is done; a step is a point at which a crash matters.
    steps_left: int = -1
    at_step: Callable[["Process"], None] | None = None
    on_death: Callable[["Process"], None] | None = None

    async def step(self) -> None:
        """Pass a point at which the process may die or be stopped."""
        if self.at_step is None:
            return
        self.steps_left -= 1
        if self.steps_left < 0:
            act, self.at_step = self.at_step, None
            act(self)
            # Whatever was done to the process takes hold here.
            await asyncio.sleep(0)

    def kill(self) -> None:
        """End it as `kill -9` does: nothing of it runs any more, not even `finally`."""
        if self.is_alive:
            self.is_alive = False
            if self.on_death is not None:
                self.on_death(self)

    def start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run a task as a part of this process."""
        context = copy_context()
        context.run(PROCESS.set, self)
        return asyncio.get_running_loop().create_task(work, context=context)


# Whose code runs now; None for the world itself.
PROCESS: ContextVar[Process | None] = ContextVar("process", default=None)


class VirtualLoop(asyncio.BaseEventLoop):
    """An event loop whose clock moves only when there is nothing else to do."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        self._timers: list[tuple[float, int, Any]] = []
        self._count = 0
        # The queue in which the base class, too, puts what is to be run.
        self._queue: deque[Any] = vars(self)["_ready"]
        # Kept, so that nothing of a killed process is tidied up by the garbage collector.
        self._kept: list[asyncio.Task[Any]] = []
        self.failures: list[str] = []
        self.set_task_factory(self._make_task)
        self.set_exception_handler(self._note_failure)

    def time(self) -> float:
        """Give the virtual seconds since the loop began."""
        return self._now

    def get_debug(self) -> bool:
        """Debugging costs more than running."""
        return False

    def call_soon(  # type: ignore[override] # the stub's TypeVarTuple says no more
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Handle:
        """Run a callback in this instant, after those that were asked for before it."""
        handle = Handle(callback, args, self, context)
        self._queue.append(handle)
        return handle

    def call_later(  # type: ignore[override] # as above
        self,
        delay: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> TimerHandle:
        """Run a callback after so many virtual seconds."""
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override] # as above
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> TimerHandle:
        """Run a callback at a virtual second."""
        handle = TimerHandle(when, callback, args, self, context)
        self._count += 1
        heapq.heappush(self._timers, (when, self._count, handle))
        return handle

    async def nap(self, seconds: float) -> None:
        """Sleep, for those who are never cancelled; half the price of `asyncio.sleep`."""
        woken: asyncio.Future[None] = asyncio.Future(loop=self)
        self.call_at(self._now + seconds, _wake, woken)
        await woken

    def _make_task(
        self,
        loop: asyncio.AbstractEventLoop,
        work: Any,  # Python 3.11 and later versions disagree on the type of what a task runs
        context: Context | None = None,
    ) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.Task(work, loop=loop, context=context)
        self._kept.append(task)
        return task

    def close_tasks(self) -> None:
        """Drop every task that is left, without letting it run."""
        for task in self._kept:
            if task.done():
                continue
            vars_of_task: Any = task
            vars_of_task._log_destroy_pending = False
            with contextlib.suppress(BaseException):
                coroutine = task.get_coro()
                if coroutine is not None:
                    coroutine.close()

    def _run_once(self) -> None:
        """Run until somebody stops the loop; the base class calls this again and again."""
        queue, timers = self._queue, self._timers
        while not vars(self)["_stopping"]:
            if queue:
                handle = queue.popleft()
            elif timers:
                when, _, handle = heapq.heappop(timers)
                if not handle._cancelled:
                    self._now = max(self._now, when)
            else:
                raise RuntimeError("nothing can happen any more")
            if handle._cancelled:
                continue
            context: Context = handle._context
            process = context.get(PROCESS)
            if process is not None:
                if not process.is_alive:
                    continue
                if process.stopped_until > self._now:
                    self._count += 1
                    heapq.heappush(timers, (process.stopped_until, self._count, handle))
                    continue
            handle._run()

    def _timer_handle_cancelled(self, handle: TimerHandle) -> None:
        """Nothing to do: a cancelled timer is skipped when its time comes."""

    def _asyncgen_firstiter_hook(self, agen: object) -> None:
        """Generators of killed processes are not ended tidily."""

    def _asyncgen_finalizer_hook(self, agen: object) -> None:
        """Generators of killed processes are not ended tidily."""

    def _process_events(self, event_list: object) -> None:
        """There are no files."""

    def _write_to_self(self) -> None:
        """There are no other threads."""

    def _note_failure(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        del loop
        self.failures.append(f"{context.get('message')}: {context.get('exception')!r}")


def _wake(woken: "asyncio.Future[None]") -> None:
    if not woken.done():
        woken.set_result(None)
