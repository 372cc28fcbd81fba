"""Starts our own processes, listens to what they say, and stops them again.

Owns the children of `apollo up` and of the demo. A child never outlives us: it watches the pipe
that is its standard input, which closes with our end, `kill -9` included. Must not know what the
children do.
"""

import asyncio
import contextlib
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

# Enough to see the cause of an end, and still on one screen with the rest.
_LAST_LINES: Final = 15
# A worker gives its requests on the wire 20 s; past that it hangs.
_STOP_WITHIN_S: Final = 25.0
# Nobody is called meanwhile, and a cause that was a single accident is gone at once.
_AGAIN_AFTER_S: Final = 1.0
# A database that is away is found again within a minute, and the log stays readable for a night.
_AGAIN_AFTER_MAX_S: Final = 60.0
# What ran for so long did not end of what ended it before.
_RAN_WELL_S: Final = 600.0
# A traceback in one JSON line is long; longer still is no line of ours and is cut.
_LINE_BYTES_MAX: Final = 1024 * 1024


@dataclass(slots=True)
class Child:
    """One process of ours: its role and the last lines it said."""

    role: str
    process: asyncio.subprocess.Process
    started_at: float
    # How often it was started again since it last ran well.
    restarts: int = 0
    last_lines: deque[str] = field(default_factory=lambda: deque(maxlen=_LAST_LINES))

    def ending(self) -> str:
        """How it ended, in words."""
        code = self.process.returncode
        if code is not None and code < 0:
            return f"was killed by {signal.Signals(-code).name}"
        return f"ended with exit code {code}"


class Supervisor:
    """Runs `apollo ROLE` once for each role, all with one environment."""

    def __init__(self, environ: Mapping[str, str], on_line: Callable[[str, str], None]) -> None:
        """`on_line` is called with role and line for each line that a child writes."""
        self._environ = environ
        self._on_line = on_line
        self._children: list[Child] = []
        self._readers: list[asyncio.Task[None]] = []

    async def start(self, role: str, after: Child | None = None) -> Child:
        """Start `apollo ROLE`, in place of one that has ended; its readiness is the caller's."""
        restarts = 0 if after is None else after.restarts + 1
        said = () if after is None else ("--restarts", str(restarts), "--ending", after.ending())
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            # Without -P a file of the working directory could stand in for a module of Python.
            *("-P", "-m", "apollo.cli", role, "--parent-pipe", *said),
            env=dict(self._environ),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            limit=_LINE_BYTES_MAX,
            # Ctrl-C of the terminal reaches us alone: we decide in which order they stop.
            process_group=0,
        )
        child = Child(role, process, asyncio.get_running_loop().time(), restarts)
        self._children.append(child)
        self._readers.append(asyncio.create_task(self._read(child)))
        return child

    async def first_end(self) -> Child:
        """Wait until any child ends, and give it with its last words."""
        ends = {asyncio.create_task(child.process.wait()): child for child in self._children}
        try:
            done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in ends:
                task.cancel()
        child = ends[done.pop()]
        await self._readers[self._children.index(child)]
        return child

    async def keep_up(self, on_end: Callable[[Child, float], None]) -> None:
        """Start again whatever ends by itself, until cancelled.

        `on_end` is called with each that ended and the seconds until it is started again: longer
        each time, so that a cause that stays is not made worse, and short again once it ran well.
        """
        async with asyncio.TaskGroup() as group:
            for child in self._children:
                group.create_task(self._keep_up(child, on_end))

    async def _keep_up(self, child: Child, on_end: Callable[[Child, float], None]) -> None:
        while True:
            await child.process.wait()
            reader = self._readers[self._children.index(child)]
            await reader
            if asyncio.get_running_loop().time() - child.started_at > _RAN_WELL_S:
                child.restarts = 0
            wait_s = min(_AGAIN_AFTER_S * 2**child.restarts, _AGAIN_AFTER_MAX_S)
            on_end(child, wait_s)
            await asyncio.sleep(wait_s)
            ended, child = child, await self.start(child.role, after=child)
            self._children.remove(ended)
            self._readers.remove(reader)

    async def stop(self) -> None:
        """Ask every child to stop, wait, and kill those that do not; none is left afterwards.

        Whoever is cancelled meanwhile is so when that is done.
        """
        stopping = asyncio.create_task(self._stop())
        try:
            await asyncio.shield(stopping)
        except asyncio.CancelledError:
            await stopping
            raise

    async def _stop(self) -> None:
        for child in self._children:
            self._tell(child, signal.SIGTERM)
        waiting = [asyncio.create_task(child.process.wait()) for child in self._children]
        if waiting:
            await asyncio.wait(waiting, timeout=_STOP_WITHIN_S)
        for child in self._children:
            self._tell(child, signal.SIGKILL)
        await asyncio.gather(*waiting, *self._readers)
        self._children.clear()
        self._readers.clear()

    def _tell(self, child: Child, wish: signal.Signals) -> None:
        if child.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                child.process.send_signal(wish)

    async def _read(self, child: Child) -> None:
        stream = child.process.stdout
        if stream is None:
            return
        while True:
            try:
                raw = await stream.readline()
            except ValueError:  # a line over the limit: its beginning is lost, the rest follows
                continue
            if not raw:
                return
            line = raw.decode(errors="replace").rstrip("\r\n")
            child.last_lines.append(line)
            # Our own reader may be gone; the child is still to be read, or it would wait for us.
            with contextlib.suppress(OSError):
                self._on_line(child.role, line)


def stop_with_parent() -> None:
    """Stop this process, as SIGTERM would, when whoever started it is gone.

    Standard input must be a pipe whose other end the parent holds and never writes to.
    """
    threading.Thread(target=_watch_pipe, name="parent-pipe", daemon=True).start()


def _watch_pipe() -> None:
    # Not sys.stdin: its lock, held by a thread in a read, would break the interpreter's end.
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_STOP_WITHIN_S)
    os._exit(1)  # hung, and nobody is left to kill it
