"""A batch under fire: people, processes, somebody who breaks things, and what must hold after."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import aiohttp
import asyncpg
from tests.e2e.machine import Machine, machine, until
from tests.e2e.people import Person, crowd, numbers
from tests.e2e.provider import Jambonz, Quirks
from tests.faults.proxy import FaultProxy

from apollo.core.windows import WEEKDAYS

LIMIT = 25


def process_state(pid: int) -> str:
    """The letter that the system has for the state of a process."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


@dataclass
class Run:
    """One batch that is being dialled."""

    apollo: Machine
    jambonz: Jambonz
    people: dict[str, Person]
    random: Random
    database_url: str
    batch: dict[str, Any] = field(default_factory=dict)
    campaign: dict[str, Any] = field(default_factory=dict)

    def start(self, role: str, **wishes: Any) -> None:
        """Start a process whose waits are short, with whatever else is wished."""
        given = json.dumps({"quick": True} | wishes)
        self.apollo.start(role, entry=("tests.faults.entry", role, given))

    async def create(self, **campaign: Any) -> None:
        """Create the campaign and the batch of everybody."""
        policy = {"max_retries": 2, "strategy": "fixed", "cooldown_minutes": 0}
        self.campaign = await self.apollo.post(
            "/campaigns/",
            {
                "name": "Under fire",
                "agent_id": "agent_x",
                "phone_numbers": ["+912261234567"],
                "metadata": {"concurrency_limit": LIMIT},
                "retry_policy": policy,
                **campaign,
            },
        )
        contacts = [
            {"phone_number": n, "call_variables": {"name": f"Person {n}"}} for n in self.people
        ]
        body = {"campaign_id": self.campaign["campaign_id"], "contacts": contacts}
        self.batch = await self.apollo.post("/batches/", body)

    async def until_ready(self) -> float:
        return await until(self.apollo.is_ready, "ready")

    async def until_undelivered(self) -> None:
        """Wait until the provider gave up telling of the end of some calls."""

        async def are_undelivered() -> bool:
            return len(self.jambonz.undelivered) >= 3

        await until(are_undelivered, "ends lost")

    async def until_ended(self, name: str) -> None:
        """Wait for a process that is about to die."""

        async def has_ended() -> bool:
            return self.apollo.processes[name].poll() is not None

        await until(has_ended, f"{name} dead")
        self.apollo.reap(name)

    async def until_waiting(self, reason: str) -> None:
        """Wait until the diagnosis names this reason."""

        async def waits() -> bool:
            return reason in [one["code"] for one in (await self._diagnosis())["reasons"]]

        await until(waits, reason)

    def hours(self, off_minutes: int) -> dict[str, Any]:
        """Working hours of 20 minutes every day, so far from now (UTC)."""
        middle = datetime.now(UTC) + timedelta(minutes=off_minutes)
        start, end = (f"{middle + timedelta(minutes=by):%H:%M}" for by in (-10, 10))
        day = {"start": start, "end": end, "enabled": True}
        return {"working_hours_enforced": True, "working_hours": dict.fromkeys(WEEKDAYS, day)}

    async def until_stopped(self, name: str) -> None:
        """Wait until a process stands still."""
        pid = self.apollo.processes[name].pid

        async def is_stopped() -> bool:
            return process_state(pid) == "T"

        await until(is_stopped, f"{name} stopped")

    async def count_calls(self, where: str) -> int:
        """Count rows of calls."""
        connection = await asyncpg.connect(self.database_url)
        try:
            return int(await connection.fetchval(f"select count(*) from calls where {where}"))  # noqa: S608 - ours
        finally:
            await connection.close()

    async def finished(self) -> int:
        """How many contacts are final; -1 when the API does not answer."""
        with contextlib.suppress(OSError, TimeoutError, AssertionError, ConnectionError):
            counters = (await self.apollo.get(f"/batches/{self.batch['batch_id']}"))["counters"]
            live = ("pending", "dispatched", "in_flight", "retrying", "followup_scheduled")
            assert sum(counters.values()) == len(self.people), counters
            waiting: int = sum(counters[name] for name in live)
            return len(self.people) - waiting
        return -1

    async def until_placed(self, share: float) -> None:
        """Wait until so many of the people were called."""

        async def are_placed() -> bool:
            return len(self.jambonz.calls_to) >= share * len(self.people)

        await until(are_placed, f"{share:.0%} called")

    async def until_live(self, count: int) -> None:
        """Wait until so many calls go on, none of which ends before `jambonz.release`."""
        self.jambonz.hold()

        async def are_live() -> bool:
            return self.jambonz.live["all"] >= count

        await until(are_live, f"{count} calls at a time")

    async def until_dialling(self, within_s: float = 15.0) -> float:
        """Wait for the next call; gives the seconds it took. Fifteen are what is promised."""
        before = self.jambonz.requests

        async def has_dialled() -> bool:
            return self.jambonz.requests > before or await self.finished() == len(self.people)

        return await until(has_dialled, "dialling again", within_s)

    async def until_completed(self, within_s: float = 90.0) -> float:
        async def is_completed() -> bool:
            return await self.finished() == len(self.people)

        return await self._until_diagnosed(is_completed, "completed", within_s)

    async def until_finished(self, within_s: float = 45.0) -> float:
        """Wait until the diagnosis says so: what a trouble left behind has passed as well."""

        async def is_finished() -> bool:
            return bool((await self._diagnosis())["verdict"] == "finished")

        return await self._until_diagnosed(is_finished, "finished", within_s)

    async def _diagnosis(self) -> dict[str, Any]:
        debug = await self.apollo.get(f"/batches/{self.batch['batch_id']}/debug")
        found: dict[str, Any] = debug["diagnostics"]
        return found

    async def _until_diagnosed(
        self, is_so: Callable[[], Awaitable[bool]], what: str, within_s: float
    ) -> float:
        try:
            return await until(is_so, what, within_s)
        except AssertionError as e:
            with contextlib.suppress(AssertionError, aiohttp.ClientError):
                e.add_note(json.dumps(await self._diagnosis(), indent=1))
            raise

    async def audit(self) -> None:
        """Have the product's own auditor compare the provider's ledger with the database."""
        ledger = self.apollo.logs / "ledger.jsonl"
        self.jambonz.write_ledger(ledger)
        code, said = await self.apollo.command("audit", str(ledger), "--json")
        findings = json.loads(said)["findings"]
        checked = {one["invariant"]: one["checked"] for one in findings}
        assert code == 0, [one for one in findings if one["violations"]]
        # Nothing looked at would be nothing found.
        assert [name for name, count in checked.items() if not count] == []

    async def check(self) -> int:
        """Nobody twice, nothing lost, every outcome right; gives the held calls."""
        held, wrong = 0, []
        contacts = await self.apollo.get(
            f"/batches/{self.batch['batch_id']}/contacts?include_calls=true&limit=1000"
        )
        assert len(contacts) == len(self.people)
        for contact in contacts:
            number, person = contact["phone_number"], self.people[contact["phone_number"]]
            words = [call["call_status"].replace("-", "_") for call in contact["call_records"]]
            reasons = [call["hangup_reason"] for call in contact["call_records"]]
            if reasons and reasons[-1] == "outcome_unknown":
                held += 1
                expected = (*person.outcomes[: len(words) - 1], "failed")
                # Only a call that the provider does not know either may be given up.
                if self.jambonz.calls_to[number] != len(words) - 1 or tuple(words) != expected:
                    wrong.append(f"{person.kind}: given up after {words}, {reasons}")
            elif (contact["status"], tuple(words)) != (person.status, person.outcomes):
                wrong.append(f"{person.kind}: {contact['status']} after {words} {reasons}")
            elif self.jambonz.calls_to[number] != len(words):
                wrong.append(f"{person.kind}: {self.jambonz.calls_to[number]} calls of {words}")
        assert wrong == []
        assert self.jambonz.overlaps == []
        assert set(self.jambonz.posts.values()) <= {1}
        assert self.jambonz.live_max["all"] <= LIMIT
        assert self.jambonz.complaints == []
        debug = await self.apollo.get(f"/batches/{self.batch['batch_id']}/debug?verify=true")
        assert debug["diagnostics"]["verdict"] == "finished"
        assert "accounting_gap" not in [x["code"] for x in debug["diagnostics"]["reasons"]]
        return held


@contextlib.asynccontextmanager
async def under_fire(
    count: int,
    *,
    seed: int,
    logs: Path,
    database_url: str | None = None,
    data_dir: Path | None = None,
    quirks: Quirks | None = None,
    proxy: FaultProxy | None = None,
    settings: Mapping[str, str] | None = None,
) -> AsyncIterator[Run]:
    """An Apollo for so many people; a proxy stands between its worker and the provider."""
    print(f"seed {seed}")
    random = Random(seed)
    people = dict(zip(numbers(count), crowd(count, random), strict=True))
    jambonz = Jambonz(people, seed=seed, quirks=quirks)
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(jambonz.serving())
        provider: Jambonz | str = jambonz
        if proxy is not None:
            proxy.target = jambonz.port
            await stack.enter_async_context(proxy.serving())
            provider = jambonz.base_url.replace(str(jambonz.port), str(proxy.port))
        apollo = await stack.enter_async_context(
            machine(
                provider,
                logs=logs,
                database_url=database_url,
                data_dir=data_dir,
                settings={
                    "APOLLO_RING_TIMEOUT": "5s",
                    "APOLLO_TIME_LIMIT": "10s",
                    **(settings or {}),
                },
            )
        )
        jambonz.api_url = apollo.url
        jambonz.application_hook = f"{apollo.url}/webhooks/call-status#rc=5&rp=all"
        run = Run(apollo, jambonz, people, random, database_url or "")
        began = time.monotonic()
        yield run
        print(f"{time.monotonic() - began:.1f} s, {len(jambonz.lines)} calls")
        await asyncio.sleep(0)
