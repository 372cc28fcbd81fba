"""One Apollo to measure: embedded PostgreSQL, API, worker and RotaryRouter in a folder of its own.

Owns how it is started, spoken to and put away, however the measurement ends. Campaigns and batches
are made over the HTTP API, as a client makes them. Must never measure anything.
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import aiohttp
from figures import say
from machine import Running, find_running
from scripts.postgres import promote

from apollo.cli.api_client import ApiClient
from apollo.cli.rehearsal import kept_secrets
from apollo.cli.stack import Stack, started
from apollo.errors import Unavailable
from apollo.storage.database import Database
from apollo.usecases.authenticate import NewToken
from apollo.wiring.office import open_office

ORGANIZATION = "org_bench"
_CALLER_IDS = ["+14155550100", "+442079460000"]
# The first mobile number of an Indian series: five digits are left for each contact.
_FIRST_NUMBER = 919_876_500_000
_PIECE_ROWS = 5_000


@dataclass(frozen=True, slots=True)
class Rig:
    """A running Apollo."""

    folder: Path
    stack: Stack
    api: ApiClient
    db: Database
    running: Running
    ready_after_s: float

    async def campaign(self, limit: int, **more: Any) -> str:
        """Create a campaign that calls so many at a time; gives its id."""
        body = {
            "name": "Benchmark",
            "agent_id": "agent_benchmark",
            "phone_numbers": _CALLER_IDS,
            "allowed_countries": ["IN"],
            "metadata": {"concurrency_limit": limit},
            **more,
        }
        created = await self.api.send("/api/v1/campaigns/", body)
        return str(created["campaign_id"])

    async def batch(self, campaign_id: str, numbers: Iterable[str], **more: str) -> str:
        """Upload a batch; gives its id."""
        query = {"campaign_id": campaign_id, **more}
        key = f"benchmark-{time.monotonic_ns()}"
        created = await self.api.upload_csv("/api/v1/batches/csv", _csv(numbers), query, key)
        return str(created["batch_id"])

    async def status(self, batch_id: str) -> dict[str, Any]:
        """Read a batch as a client does."""
        found: dict[str, Any] = await self.api.read(f"/api/v1/batches/{batch_id}")
        return found

    async def run_sql(self, statement: str, *values: Any) -> list[Any]:
        """Run a statement beside Apollo, for what no client can do in a moment."""
        async with self.db.connection() as connection:
            return list(await connection.fetch(statement, *values, timeout=300))

    async def checkpoint(self) -> None:
        """Flush now, so that the measurement does not pay for what came before."""
        await self.run_sql("checkpoint")

    async def ledger(self, since: str) -> list[dict[str, Any]]:
        """What RotaryRouter witnessed of requests since a time."""
        url = f"{self.stack.rotary_url}/rotary/ledger"
        async with (
            aiohttp.ClientSession() as session,
            session.get(url, params={"since": since}) as answer,
        ):
            return [json.loads(line) for line in (await answer.text()).splitlines()]

    def webhook_secret(self) -> str:
        """The secret with which RotaryRouter signs."""
        kept = kept_secrets(self.folder)
        if kept is None:
            raise Unavailable("the rig has no RotaryRouter")
        return kept.webhook_secret


@contextlib.asynccontextmanager
async def running_rig(people: Mapping[str, Any]) -> AsyncGenerator[Rig]:
    """Start an Apollo whose RotaryRouter has these people, and put everything away afterwards."""
    with swept_folder() as folder:
        began = time.monotonic()
        async with started(_environment(folder, people), _ignore) as stack:
            ready_after_s = time.monotonic() - began
            say(f"ready after {ready_after_s:.1f} s")
            token = await stack.first_token(ORGANIZATION)
            if not isinstance(token, NewToken):
                raise Unavailable("the database of the rig is not new")
            async with (
                ApiClient(stack.url, token.token) as api,
                open_office(stack.settings) as office,
            ):
                running = find_running(folder / "postgres")
                await promote(office.db.url)
                yield Rig(folder, stack, api, office.db, running, ready_after_s)


def numbers_of(count: int, *, first: int = 0, ending: str = "") -> list[str]:
    """Valid numbers, all different, each with the same last digits if need be."""
    room = 10 ** (5 - len(ending))
    if first + count > room:
        raise ValueError(f"only {room} numbers end in {ending!r}")
    step = 10 ** len(ending)
    return [f"+{_FIRST_NUMBER + n * step + int(ending or 0)}" for n in range(first, first + count)]


async def _csv(numbers: Iterable[str]) -> AsyncIterator[bytes]:
    yield b"phone_number,callee_name,current_plan\n"
    rows = (f"{number},Rajesh Sharma,Basic Health\n" for number in numbers)
    while piece := "".join(islice(rows, _PIECE_ROWS)):
        yield piece.encode()


def _environment(folder: Path, people: Mapping[str, Any]) -> dict[str, str]:
    """An environment of its own: nothing the operator has set may lead a benchmark elsewhere."""
    scenario = folder / "scenario.json"
    scenario.write_text(json.dumps({"people": people}), encoding="utf-8")
    port, rotary_port = _free_ports(2)
    environ = {name: value for name, value in os.environ.items() if not name.startswith("APOLLO_")}
    return environ | {
        "APOLLO_DATA_DIR": str(folder),
        "APOLLO_PORT": str(port),
        "APOLLO_ROTARY_PORT": str(rotary_port),
        "APOLLO_ROTARY_SCENARIO": str(scenario),
        "APOLLO_ROTARY_SEED": "1",
        "APOLLO_LOG": "json",
    }


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


@contextlib.contextmanager
def swept_folder() -> Iterator[Path]:
    """A private folder that is gone afterwards with the database in it, `kill -9` included.

    The demo's sweeper does it: a process that waits for the end of its standard input, which is
    our end.
    """
    folder = Path(tempfile.mkdtemp(prefix="apollo-bench-"))
    command = [sys.executable, "-P", "-m", "apollo.demo", "--sweep", str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True) as sweeper:
        try:
            yield folder
        finally:
            sweeper.communicate()


def _ignore(_role: str, _line: str) -> None:
    """What the processes log is shown only when one of them ends by itself."""
