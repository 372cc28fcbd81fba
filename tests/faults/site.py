"""One installation in real processes, with proxies between them and witnesses beside it."""

import asyncio
import contextlib
import json
import os
import signal
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final

import asyncpg
from scripts.ports import free_port
from tests.e2e.machine import Machine, machine, until
from tests.e2e.provider import ACCOUNT, API_KEY, SECRET
from tests.faults.mutants import prepare
from tests.faults.plan import Plan
from tests.faults.proxy import DatabaseProxy, FaultProxy

from apollo import embedded
from apollo.config import load
from apollo.wiring.office import open_office

PEOPLE: Final = {
    "mix": {
        "answer": 0.55,
        "voicemail": 0.05,
        "no_answer": 0.12,
        "busy": 0.16,
        "decline": 0.06,
        "bad_number": 0.06,
    },
    "dial_s": [0.02, 0.15],
    "ring_s": [0.05, 0.4],
    "talk_s": [0.1, 0.8],
    "voicemail_s": [0.1, 0.4],
    "unanswered_s": [0.2, 0.6],
}
# Writes down, in the transaction that does it, whatever happens to what was final: the witness of
# I10. The product has no such table.
_WITNESS: Final = """
create table witness (transaction xid8, batch_id uuid, position integer, what text, was text,
                      became text, at timestamptz default clock_timestamp());
create function witness_contact() returns trigger language plpgsql as $$
begin
  insert into witness values
    (pg_current_xact_id(), new.batch_id, new.position, 'contact', old.status, new.status);
  return null;
end $$;
create function witness_call() returns trigger language plpgsql as $$
begin
  insert into witness values
    (pg_current_xact_id(), new.batch_id, new.position, 'call', old.outcome, new.outcome);
  return null;
end $$;
create trigger witness after update of status on contacts for each row
  when (old.status in ('completed', 'failed', 'busy', 'no_answer', 'skipped', 'max_retries_reached')
        and new.status <> old.status) execute function witness_contact();
create trigger witness after update of outcome on calls for each row
  when (old.outcome is not null and new.outcome is distinct from old.outcome)
  execute function witness_call();
"""


class Postgres:
    """The server of a job: killed and started as the plan wants."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = embedded.ensure_running(folder)
        # Whoever looks after the server: Apollo's own role may not end the sessions of others.
        self.operator_url = self.url.replace("//apollo@", "//postgres@")

    def _postmaster(self) -> int:
        return int((self.folder / "postgres/db/postmaster.pid").read_text().split()[0])

    async def end(self, how: signal.Signals) -> None:
        """Kill every process of it, or have it stop at once (SIGQUIT)."""
        pid = self._postmaster()
        if how is signal.SIGKILL:
            os.killpg(pid, how)
        else:
            os.kill(pid, how)
        await until(self._is_gone, "PostgreSQL gone")

    async def _is_gone(self) -> bool:
        return not embedded.is_running(self.folder)

    def freeze(self, how: signal.Signals) -> None:
        """Stop, or let go on, the postmaster and all its sessions."""
        for pid in self._family():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, how)

    def _family(self) -> list[int]:
        pid = self._postmaster()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [pid, *map(int, children)]

    async def start(self) -> None:
        await asyncio.to_thread(embedded.ensure_running, self.folder)

    @property
    def socket(self) -> str:
        folder = self.url.partition("host=")[2].partition("&")[0]
        return f"{folder}/.s.PGSQL.5432"

    def named(self, database: str) -> str:
        return self.url.replace("/apollo?", f"/{database}?")


@dataclass
class Site:
    """A running installation."""

    plan: Plan
    postgres: Postgres
    apollo: Machine
    database_url: str
    provider: FaultProxy
    hooks: FaultProxy
    database: DatabaseProxy
    rotary_port: int
    scenario: Path
    random: Random
    tokens: dict[str, str] = field(default_factory=dict)
    # What was started for a name: where a replacement is started alike.
    batches: dict[str, str] = field(default_factory=dict)
    campaigns: dict[str, str] = field(default_factory=dict)

    @property
    def workers(self) -> list[str]:
        return [f"worker-{n}" for n in range(self.plan.workers)]

    def start(self, name: str, **wishes: Any) -> None:
        """Start a process of Apollo's, which is the mutant if there is one."""
        role = name.partition("-")[0]
        given: dict[str, Any] = {"quick": self.plan.is_quick} | wishes
        if self.plan.mutant:
            given["mutant"] = self.plan.mutant
        self.apollo.start(role, name=name, entry=("tests.faults.entry", role, json.dumps(given)))

    async def start_rotary(self) -> None:
        self.apollo.start("rotary")
        await self.until_rotary_answers()
        await self.provider.open()

    async def until_rotary_answers(self) -> None:
        async def answers() -> bool:
            with contextlib.suppress(OSError, asyncio.TimeoutError, Exception):
                async with self.apollo.http.get(f"{self.rotary_url}/rotary/health") as answer:
                    return answer.status == 200
            return False

        await until(answers, "RotaryRouter answers")

    async def kill_rotary(self) -> None:
        self.apollo.kill("rotary")
        await self.provider.refuse()

    @property
    def rotary_url(self) -> str:
        return f"http://127.0.0.1:{self.rotary_port}"

    async def clear_weather(self) -> None:
        """Have RotaryRouter do everything right from now on, after another start too."""
        self.scenario.write_text(json.dumps({"people": PEOPLE}))
        headers = {"Authorization": f"Bearer {API_KEY}"}
        url = f"{self.rotary_url}/rotary/faults"
        async with self.apollo.http.delete(url, headers=headers) as answer:
            assert answer.status == 200, await answer.text()

    async def rows(self, query: str, *given: Any) -> list[asyncpg.Record]:
        """Ask the database itself, past the proxies."""
        connection = await asyncpg.connect(self.database_url, timeout=5)
        try:
            found: list[asyncpg.Record] = await connection.fetch(query, *given)
            return found
        finally:
            await connection.close()


@contextlib.asynccontextmanager
async def open_site(plan: Plan, postgres: Postgres, logs: Path) -> AsyncIterator[Site]:
    """Start an installation with a database of its own."""
    name = f"run_{uuid.uuid4().hex[:12]}"
    connection = await asyncpg.connect(postgres.operator_url)
    await connection.execute(f"create database {name} owner apollo")
    await connection.close()
    random = Random(plan.seed)
    rotary_port = free_port()
    provider = FaultProxy(target=rotary_port, random=Random(random.random()))
    hooks = FaultProxy(random=Random(random.random()))
    database = DatabaseProxy(socket=postgres.socket)
    scenario = logs / "scenario.json"
    scenario.write_text(json.dumps({"people": PEOPLE, "faults": plan.weather}))
    async with provider.serving(), hooks.serving(), database.serving():
        settings = {
            "APOLLO_RING_TIMEOUT": "3s",
            "APOLLO_TIME_LIMIT": "8s",
            "APOLLO_NUMBER_GAP": "0",
            "APOLLO_ROTARY_PORT": str(rotary_port),
            "APOLLO_ROTARY_API_KEY": API_KEY,
            "APOLLO_ROTARY_WEBHOOK_SECRET": SECRET,
            "APOLLO_ROTARY_SCENARIO": str(scenario),
            "APOLLO_ROTARY_SEED": str(plan.seed + 1),
            "APOLLO_WEBHOOK_URL": f"http://127.0.0.1:{hooks.port}/webhooks/call-status#rc=5&rp=all",
            "APOLLO_JAMBONZ_ACCOUNT_SID": ACCOUNT,
        }
        url = f"postgresql://apollo@127.0.0.1:{database.port}/{name}"
        async with machine(
            f"http://127.0.0.1:{provider.port}/v1",
            logs=logs,
            database_url=url,
            settings=settings,
        ) as apollo:
            hooks.target = int(apollo.url.rpartition(":")[2])
            site = Site(
                plan=plan,
                postgres=postgres,
                apollo=apollo,
                database_url=postgres.named(name),
                provider=provider,
                hooks=hooks,
                database=database,
                rotary_port=rotary_port,
                scenario=scenario,
                random=random,
            )
            await _prepare(site)
            yield site
    await _drop(postgres, name)


async def _prepare(site: Site) -> None:
    plan, apollo = site.plan, site.apollo
    connection = await asyncpg.connect(site.database_url)
    await connection.execute(_WITNESS)
    await connection.close()
    if plan.mutant:
        await prepare(plan.mutant, site.database_url)
    given = {k: v for k, v in apollo.environ.items() if k.startswith("APOLLO_")}
    async with open_office(load(given)) as office:
        made = await office.authenticate.create_token("globex", "tests")
    site.tokens = {"acme": apollo.token, "globex": made.token}
    site.apollo.start("rotary")
    for name in ("serve", *site.workers):
        site.start(name)
    await site.until_rotary_answers()
    await until(apollo.is_ready, "ready")


async def _drop(postgres: Postgres, name: str) -> None:
    connection = await asyncpg.connect(postgres.operator_url)
    await connection.execute(f"drop database {name} with (force)")
    await connection.close()
