"""Everything of one Apollo on this machine: database, API, worker and, if need be, RotaryRouter.

Owns what `apollo up` and the demo have in common: which processes run, with which environment, when
they are ready, and in which order they stop. It prints nothing.
"""

import asyncio
import errno
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, TypeVar

import aiohttp

from apollo import embedded
from apollo.cli.listening import fault_of_port
from apollo.cli.rehearsal import connected, keep_secrets, rotary_url
from apollo.cli.supervisor import Child, Supervisor
from apollo.config import Settings, load
from apollo.errors import ApolloError, Misconfigured, Unavailable
from apollo.storage import heartbeats
from apollo.usecases.authenticate import NewToken, TokenListed
from apollo.wiring.office import open_office

_T = TypeVar("_T")
# Longer than the embedded PostgreSQL may take to recover from a crash (120 s).
_READY_WITHIN_S: Final = 150.0
# A start takes three seconds: looking more seldom would be felt.
_LOOK_EVERY_S: Final = 0.05
# What listens on this machine answers at once.
_ASK_S: Final = 2.0
_HEARD_WITHIN: Final = timedelta(seconds=15)
_OK: Final = 200


class ChildEnded(ApolloError):
    """One of our processes ended by itself; `child` has its last words."""

    def __init__(self, child: Child) -> None:
        said = "".join(f"\n  {line}" for line in child.last_lines) or "\n  (it said nothing)"
        super().__init__(f"the {child.role} process {child.ending()}; the last it said:{said}")
        self.child = child


@dataclass(frozen=True, slots=True)
class Stack:
    """A running Apollo. `settings` are those of its processes; `url` is the API on this machine."""

    settings: Settings
    url: str
    environ: Mapping[str, str]
    # None when the operator's own provider is used.
    rotary_url: str | None
    supervisor: Supervisor

    async def unless_ended(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Do the work; raises ChildEnded, and cancels the work, if a process ends meanwhile."""
        task = asyncio.ensure_future(work)
        end = asyncio.ensure_future(self.supervisor.first_end())
        try:
            await asyncio.wait({task, end}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise ChildEnded(end.result())
            return task.result()
        finally:
            for one in (task, end):
                one.cancel()
            await asyncio.gather(task, end, return_exceptions=True)

    async def first_token(self, organization: str) -> NewToken | TokenListed:
        """Make a token of the organisation, or name one of those that are in force."""
        async with open_office(self.settings) as office:
            for token in await office.authenticate.list_tokens(organization):
                if token.revoked_at is None:
                    return token
            return await office.authenticate.create_token(organization, "first token")


@asynccontextmanager
async def started(
    environ: Mapping[str, str], on_line: Callable[[str, str], None]
) -> AsyncGenerator[Stack]:
    """Start everything, and give it when it is ready; at the end everything is stopped.

    `on_line` gets role and line of whatever the processes say. Raises Misconfigured, also for a
    port in use, and ChildEnded.
    """
    settings = load(environ)
    with_rotary = settings.jambonz_url is None
    await _check_ports(settings, with_rotary=with_rotary)
    if with_rotary:
        environ = connected(environ, settings, keep_secrets(settings.data_dir))
    supervisor = Supervisor(environ, on_line)
    stack = Stack(
        settings=load(environ),
        url=_local_url(settings),
        environ=environ,
        rotary_url=rotary_url(settings) if with_rotary else None,
        supervisor=supervisor,
    )
    is_embedded = settings.database_url is None
    # The children start it, and one of them may be killed: then it is ours to stop.
    with embedded.in_use(settings.data_dir) if is_embedded else nullcontext():
        try:
            await supervisor.start("serve")
            worker = await supervisor.start("worker")
            if with_rotary:
                await supervisor.start("rotary")
            await stack.unless_ended(_ready(stack, worker))
            yield stack
        finally:
            await supervisor.stop()


async def _ready(stack: Stack, worker: Child) -> None:
    try:
        async with asyncio.timeout(_READY_WITHIN_S), _asking() as session:
            waits = [_until(lambda: _answers(session, f"{stack.url}/readyz"))]
            if stack.rotary_url:
                waits.append(_until(lambda: _answers(session, f"{stack.rotary_url}/rotary/health")))
            await asyncio.gather(*waits)
            await _worker_lives(stack.settings, worker)
    except TimeoutError:
        raise Unavailable(f"not everything is ready after {_READY_WITHIN_S:.0f} s") from None


async def _worker_lives(settings: Settings, worker: Child) -> None:
    async with open_office(settings) as office:

        async def lives() -> bool:
            async with office.db.connection() as connection:
                alive = await heartbeats.list_alive(connection, _HEARD_WITHIN)
            here = socket.gethostname()
            return any((one.host, one.pid) == (here, worker.process.pid) for one, _ in alive)

        await _until(lives)


async def _until(is_so: Callable[[], Awaitable[bool]]) -> None:
    while True:
        if await is_so():
            return
        await asyncio.sleep(_LOOK_EVERY_S)


def _asking() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_ASK_S))


async def _answers(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(url) as response:
            return response.status == _OK
    except (aiohttp.ClientError, TimeoutError, OSError):
        return False


def _local_url(settings: Settings) -> str:
    """The API as this machine reaches it, whatever APOLLO_URL says."""
    return load({"APOLLO_HOST": settings.host, "APOLLO_PORT": str(settings.port)}).url


async def _check_ports(settings: Settings, *, with_rotary: bool) -> None:
    wanted = [("APOLLO_PORT", settings.host, settings.port, "/livez")]
    if with_rotary:
        wanted.append(
            ("APOLLO_ROTARY_PORT", settings.rotary_host, settings.rotary_port, "/rotary/health")
        )
    faults = [fault for one in wanted if (fault := await _port_fault(*one))]
    if with_rotary and settings.port == settings.rotary_port:
        faults.append(
            f"APOLLO_ROTARY_PORT: {settings.port} is APOLLO_PORT as well; set it to another one"
        )
    if faults:
        raise Misconfigured(faults)


async def _port_fault(setting: str, host: str, port: int, page: str) -> str | None:
    """Why the port cannot be used; None when it is free."""
    fault = fault_of_port(host, port)
    if fault is None:
        return None
    if fault.errno != errno.EADDRINUSE:
        return f"{setting}: {host}:{port} cannot be used ({fault.strerror}); set another one"
    shown = f"[{host}]" if ":" in host else host
    async with _asking() as session:
        is_apollo = await _answers(session, f"http://{shown}:{port}{page}")
    who = "another Apollo" if is_apollo else "another program"
    return f"{setting}: {who} listens on port {port}; stop it, or set {setting} to a free port"
