"""A running Apollo to be made ill: the hands that break things, and the eyes on `/debug`.

Owns what the causes need: campaigns and batches with people of a known kind, RotaryRouter's faults,
the worker's process, a voice application, the database. Must never judge.
"""

import asyncio
import contextlib
import json
import os
import signal
import sys
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
from aiohttp import web
from rig import _free_ports, numbers_of, swept_folder

from apollo import embedded
from apollo.cli.api_client import ApiClient
from apollo.cli.stack import Stack, started
from apollo.errors import ApolloError, DriverError, Unavailable
from apollo.usecases.authenticate import NewToken
from apollo.wiring import parts
from apollo.wiring.office import Office, open_office

ORGANIZATION = "org_ward"
# People by the last digit of their number.
TALKS, LONG, SILENT, REFUSED, QUICK = "1", "2", "3", "4", "6"
OTHER_APPLICATION = "11111111-1111-4111-8111-111111111111"
ONCE_APPLICATION = "22222222-2222-4222-8222-222222222222"
REFUSED_CALLER = "+442079460999"
_PEOPLE = {
    TALKS: {"does": "answer", "ring_s": 0.2, "talk_s": 3},
    LONG: {"does": "answer", "ring_s": 0.2, "talk_s": 90},
    SILENT: {"does": "no_answer", "ring_s": 0.3},
    REFUSED: {"does": "refuse", "sip": 503},
    QUICK: {"does": "answer", "ring_s": 0.1, "talk_s": 0.3},
}
_CALLER_IDS_EACH = 8
_TROUBLED = """
select 1
  from heartbeats
 where seen_at > clock_timestamp() - interval '15 seconds'
   and ((report ->> 'loop_lag_s')::float > 5 or (report ->> 'slowest_claim_s')::float > 0.5
        or (report -> 'pool' ->> 'longest_s')::float > 1
        or (report -> 'events' ->> 'longest_s')::float > 5)
"""
_AGE = """
create temporary table old on commit drop as
  select id from batches order by created_at desc limit 1;
update batches set ready_at = ready_at - interval '3 minutes' where id in (table old);
update contacts set updated_at = updated_at - interval '3 minutes' where batch_id in (table old);
"""
_SMALL_DISK = """
alter table calls set tablespace small;
create table filler (a text) tablespace small;
"""
_BIG_DISK = """
drop table filler;
alter table calls set tablespace pg_default;
"""
_FILL = "insert into filler select repeat('x', 900) from generate_series(1, $1::integer)"
_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


@dataclass
class Ward:
    """One Apollo, and what it takes to break it."""

    stack: Stack
    api: ApiClient
    office: Office
    http: aiohttp.ClientSession
    agent_url: str
    _first: int = 0
    _campaigns: list[str] = field(default_factory=list)

    # ------------------------------------------------------------------------------- patients

    async def campaign(self, limit: int = 10, *, one_caller: bool = False, **more: Any) -> str:
        """Create a campaign with caller ids of its own; gives its id."""
        nth = len(self._campaigns)
        count = 1 if one_caller else _CALLER_IDS_EACH
        body = {
            "name": "Ward",
            "agent_id": "agent_ward",
            "phone_numbers": [f"+44207946{nth * 8 + n:04d}" for n in range(count)],
            "allowed_countries": ["IN"],
            "metadata": {"concurrency_limit": limit},
            **more,
        }
        created = await self.api.send("/api/v1/campaigns/", body)
        self._campaigns.append(str(created["campaign_id"]))
        return str(created["campaign_id"])

    async def batch(self, kind: str = TALKS, count: int = 60, **more: Any) -> str:
        """Create a batch of people of one kind, in a campaign of its own unless one is given."""
        campaign_id = more.pop("campaign_id", None) or await self.campaign(
            more.pop("limit", 10), **more.pop("campaign", {})
        )
        numbers = more.pop("numbers", None) or self.numbers(kind, count)
        body = {
            "campaign_id": campaign_id,
            "contacts": [{"phone_number": number} for number in numbers],
            **more,
        }
        created = await self.api.send("/api/v1/batches/", body)
        return str(created["batch_id"])

    def numbers(self, kind: str, count: int) -> list[str]:
        """Numbers that nobody had before."""
        self._first += count
        return numbers_of(count, first=self._first - count, ending=kind)

    async def everyday(self, nth: int) -> list[str]:
        """Batches as on any day: many calls, closed hours, a pause in between, retries."""
        retries = {"max_retries": 1, "strategy": "fixed", "cooldown_minutes": 0.05}
        first = await self.batch("", 200, limit=20, campaign={"retry_policy": retries})
        closed = await self.batch("", 20, campaign=closed_hours())
        paused = await self.batch("", 60)
        await self.api.send(f"/api/v1/batches/{paused}/pause")
        await asyncio.sleep(2)
        await self.api.send(f"/api/v1/batches/{paused}/resume")
        self._first = 0 if nth % 100 == 0 else self._first
        return [first, paused, closed]

    async def are_over(self, batches: Sequence[str]) -> bool:
        """Whether all but the last of them are completed."""
        found = [await self.api.read(f"/api/v1/batches/{one}") for one in batches[:-1]]
        return all(one["status"] == "completed" for one in found)

    async def reasons(self, batch_id: str, *, verify: bool = False) -> list[str]:
        """The codes that `/debug` gives now; none while it cannot answer."""
        try:
            query = {"verify": "true"} if verify else {}
            found = await self.api.read(f"/api/v1/batches/{batch_id}/debug", query)
        except ApolloError:
            return []
        return [str(reason["code"]) for reason in found["diagnostics"]["reasons"]]

    async def until_called(self, batch_id: str, calls: int) -> None:
        """Wait until so many contacts of a batch were called."""
        async with asyncio.timeout(30):
            while True:
                batch = await self.api.read(f"/api/v1/batches/{batch_id}")
                if batch["total_contacts"] - batch["counters"]["pending"] >= calls:
                    return
                await asyncio.sleep(0.1)

    # ---------------------------------------------------------------------------------- hands

    async def faults(self, undo: contextlib.AsyncExitStack, **wanted: Any) -> None:
        """Switch faults of RotaryRouter on until the cause is undone."""
        undo.push_async_callback(self._rotary, "DELETE", "faults")
        await self._rotary("POST", "faults", wanted)

    async def _rotary(self, method: str, page: str, body: Any = None) -> None:
        key = self.stack.settings.rotary_api_key
        headers = {"Authorization": f"Bearer {key.get_secret_value() if key else ''}"}
        url = f"{self.stack.rotary_url}/rotary/{page}"
        async with self.http.request(method, url, headers=headers, json=body) as answer:
            if answer.status != 200:
                raise Unavailable(f"RotaryRouter answers {answer.status}: {await answer.text()}")

    async def worker_pid(self) -> int:
        """The process of the worker."""
        rows = await self.sql(
            "select pid from heartbeats where role = 'worker' and stopped_at is null"
            " order by started_at limit 1"
        )
        return int(rows[0]["pid"])

    async def halt_worker(self, undo: contextlib.AsyncExitStack) -> None:
        """Stop the worker's process in its tracks until the cause is undone."""
        pid = await self.worker_pid()
        undo.callback(os.kill, pid, signal.SIGCONT)
        os.kill(pid, signal.SIGSTOP)

    async def forget(self) -> None:
        """Wait until no heartbeat tells of the last trouble any more: a minute at most."""
        await asyncio.sleep(1)
        async with asyncio.timeout(90):
            while await self.sql(_TROUBLED):
                await asyncio.sleep(0.5)

    async def another_worker(self, undo: contextlib.AsyncExitStack, patch: str) -> None:
        """Run a second worker whose program was changed before it began."""
        code = (
            "import os; from apollo.wiring import parts, worker; from apollo.config import load; "
            f"{patch}; worker.run_worker(load(os.environ))"
        )
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-P", "-c", code),
            env=dict(self.stack.environ),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )

        async def stop() -> None:
            process.terminate()
            await process.wait()

        undo.push_async_callback(stop)

    async def dump(self, undo: contextlib.AsyncExitStack) -> Path:
        """Back the database up into a file that is there until the cause is undone."""
        folder = undo.enter_context(tempfile.TemporaryDirectory(prefix="ward-"))
        file = Path(folder) / "apollo.dump"
        await _run(_tool("pg_dump"), "--format=custom", f"--file={file}", self.office.db.url)
        return file

    async def restore(self, file: Path) -> None:
        """Put a dump in the living database's place, as docs/howto/restore.md says."""
        (row,) = await self.sql("select current_database() as name")
        name, url = str(row["name"]), self.office.db.url
        server = await asyncpg.connect(url, database="postgres")
        try:
            await server.execute("create database restored")
            target = url.replace(f"@/{name}?", "@/restored?")
            await _run(_tool("pg_restore"), "--no-owner", f"--dbname={target}", str(file))
            await server.execute(f'alter database "{name}" with allow_connections false')
            await server.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where datname = $1", name
            )
            await server.execute(f'alter database "{name}" rename to before_restore')
            await server.execute(f'alter database restored rename to "{name}"')
            await server.execute("drop database before_restore with (force)")
        finally:
            await server.close()

    async def age_newest_batch(self) -> None:
        """Make the newest batch, of which nobody was called, three minutes older than it is."""
        await self._script(_AGE)

    async def fill_disk_of_calls(self, undo: contextlib.AsyncExitStack) -> None:
        """Move the calls to a small file system of their own, and leave no room; needs root."""
        data = await self.sql("show data_directory")
        owner = Path(data[0]["data_directory"]).stat()  # noqa: ASYNC240 - nothing else runs here
        folder = tempfile.mkdtemp(prefix="ward-")
        undo.callback(os.rmdir, folder)
        await _run("mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder)
        undo.push_async_callback(_run, "umount", folder)
        os.chown(folder, owner.st_uid, owner.st_gid)
        await self.sql(f"create tablespace small location '{folder}'")
        undo.push_async_callback(self.sql, "drop tablespace small")
        undo.push_async_callback(self._script, _BIG_DISK)
        await self._script(_SMALL_DISK)
        for rows in (1_000, 100, 1):
            with contextlib.suppress(Unavailable):
                while True:
                    await self.sql(_FILL, rows)

    async def _script(self, statements: str) -> None:
        async with self.office.db.connection() as connection:
            await connection.execute(statements)

    async def operator(self, *words: str) -> None:
        """Run a command as the operator of this Apollo does."""
        await _run(sys.executable, "-P", "-m", "apollo.cli", *words, env=dict(self.stack.environ))

    async def lock(self, undo: contextlib.AsyncExitStack, statement: str) -> None:
        """Hold what a statement locks until the cause is undone."""
        connection = await self.connect()
        undo.push_async_callback(connection.close)
        await connection.execute("begin")
        await connection.execute(statement)

    async def connect(self) -> "asyncpg.Connection[asyncpg.Record]":
        """A connection of our own, as a person with psql has one."""
        operator_url = self.office.db.url.replace("//apollo@", "//postgres@")
        return await asyncpg.connect(operator_url, server_settings={"application_name": "psql"})

    async def sql(self, statement: str, *values: Any) -> list[Any]:
        """Run a statement beside Apollo."""
        async with self.office.db.connection() as connection:
            return list(await connection.fetch(statement, *values))

    async def ask_at_once(self, path: str, times: int) -> None:
        """Send many requests and do not wait for them."""
        token = self.api._session.headers["Authorization"]  # noqa: SLF001 - the token of the ward

        async def ask() -> None:
            headers = {"Authorization": token}
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                async with self.http.get(self.stack.url + path, headers=headers) as answer:
                    await answer.read()

        self._asking = [asyncio.create_task(ask()) for _ in range(times)]

    async def tidy(self) -> None:
        """End what the last cause left behind, so that the next one meets a healthy Apollo."""
        for campaign_id in self._campaigns:
            with contextlib.suppress(ApolloError):
                await self.api.send(f"/api/v1/campaigns/{campaign_id}/cancel")
        rows = await self.sql(
            "select provider_call_id from calls"
            " where ended_at is null and provider_call_id is not null"
        )
        driver = parts.make_driver(self.stack.settings, parts.SystemClock())
        for row in rows:
            with contextlib.suppress(DriverError):
                await driver.hang_up(row["provider_call_id"], was_answered=True)
        await driver.close()
        # Requests that still wait for an answer would open the breaker again.
        async with asyncio.timeout(60):
            while await self.sql("select 1 from calls where state = 'placing'"):
                await asyncio.sleep(0.5)
        await self.forget()
        # The breaker lets a probe out every few seconds; a good one and all is well.
        probe = await self.batch(QUICK, 3)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(45):
                while (await self.api.read(f"/api/v1/batches/{probe}"))["status"] != "completed":
                    await asyncio.sleep(0.2)


def _tool(name: str) -> str:
    """A program that comes with the embedded PostgreSQL."""
    return str(Path(embedded.program("postgres")).with_name(name))


async def _run(*command: str, env: dict[str, str] | None = None) -> None:
    process = await asyncio.create_subprocess_exec(
        *command, env=env, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    _, said = await process.communicate()
    if process.returncode:
        raise Unavailable(f"{Path(command[0]).name} failed: {said.decode().strip()}")


def closed_hours() -> dict[str, Any]:
    """Calling hours of a campaign that are closed now: an hour, twelve hours from here."""
    import time  # noqa: PLC0415 - only here

    hour = (time.gmtime().tm_hour + 12) % 24
    day = {"start": f"{hour:02}:00", "end": f"{hour:02}:59"}
    return {"working_hours_enforced": True, "working_hours": dict.fromkeys(_DAYS, day)}


@contextlib.asynccontextmanager
async def opened_ward(
    world: str, settings: Mapping[str, str] | None = None
) -> AsyncGenerator[Ward]:
    """Start an Apollo of this world, and put everything away afterwards."""
    with swept_folder() as folder:
        async with _voice_application() as agent_url:
            environ = _environment(folder, world, agent_url) | (settings or {})
            async with started(environ, lambda _role, _line: None) as stack:
                token = await stack.first_token(ORGANIZATION)
                if not isinstance(token, NewToken):
                    raise Unavailable("the database of the ward is not new")
                async with (
                    ApiClient(stack.url, token.token) as api,
                    open_office(stack.settings) as office,
                    aiohttp.ClientSession() as http,
                ):
                    yield Ward(stack, api, office, http, agent_url)


@contextlib.asynccontextmanager
async def _voice_application() -> AsyncIterator[str]:
    """An agent that says something at /ok, and fails at /broken."""

    async def speaks(_: web.Request) -> web.Response:
        return web.json_response([{"verb": "pause", "length": 600}])

    async def fails(_: web.Request) -> web.Response:
        return web.Response(status=500)

    app = web.Application()
    app.router.add_route("*", "/ok", speaks)
    app.router.add_route("*", "/broken", fails)
    runner = web.AppRunner(app)
    await runner.setup()
    (port,) = _free_ports(1)
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


def _environment(folder: Path, world: str, agent_url: str) -> dict[str, str]:
    port, rotary_port = _free_ports(2)
    ours = f"http://127.0.0.1:{port}/webhooks/call-status"
    scenario: dict[str, Any] = {
        "people": {"by_ending": _PEOPLE} if world != "everyday" else {"preset": "everyday"},
        "fetch_call_hook": True,
        "applications": {
            OTHER_APPLICATION: {
                "call_hook": f"{agent_url}/ok",
                "call_status_hook": f"{agent_url}/ok",
            },
            ONCE_APPLICATION: {"call_hook": f"{agent_url}/ok", "call_status_hook": ours},
        },
        "carrier": {
            "spam": {"calls": 20, "window_s": 300, "rate": 0.9, "sip": [608]},
            "refused_callers": [REFUSED_CALLER],
        },
    }
    if world == "everyday":
        scenario.pop("carrier")
    file = folder / "scenario.json"
    file.write_text(json.dumps(scenario), encoding="utf-8")
    environ = {name: value for name, value in os.environ.items() if not name.startswith("APOLLO_")}
    more = {"APOLLO_CALLS_PER_SECOND": "1", "APOLLO_RING_TIMEOUT": "120"} if world == "slow" else {}
    return environ | {
        "APOLLO_DATA_DIR": str(folder),
        "APOLLO_PORT": str(port),
        "APOLLO_ROTARY_PORT": str(rotary_port),
        "APOLLO_ROTARY_SCENARIO": str(file),
        "APOLLO_ROTARY_SEED": "1",
        "APOLLO_DEFAULT_CALL_HOOK": f"{agent_url}/ok",
        "APOLLO_LOG": "json",
        **more,
    }
