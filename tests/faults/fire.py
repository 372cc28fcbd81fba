"""Carries out a plan: batches are dialled, blows fall, everybody's answers are watched, it ends."""

import asyncio
import contextlib
import json
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import aiohttp
import asyncpg
from tests.e2e.machine import until
from tests.faults.entry import KILL_POINTS
from tests.faults.plan import Blow
from tests.faults.site import Site

from apollo.core import ids
from apollo.core.windows import WEEKDAYS

_LIVE: Final = ("pending", "dispatched", "in_flight", "retrying", "followup_scheduled")
_NO_PROGRESS_S: Final = 4.0
_NOT_REACHED_S: Final = 60.0
# Longer than any patience of a quick run, on a machine that is busy with other things as well.
_STUCK_AFTER_S: Final = 60.0
# With the product's own: a call that its provider has forgotten is open until its deadline, which
# is two minutes after its phone can have rung.
_STUCK_PATIENTLY_S: Final = 180.0
_MEASURED_FOR_S: Final = 45.0
_NOT_NOW: Final = (OSError, TimeoutError, aiohttp.ClientError)
# Slots that nobody can free before it is known what became of their calls; and those of other
# calls from before this instant: they do not dial again yet.
_HELD: Final = """
select count(*) filter (where state in ('unknown', 'placing')) as held,
       count(*) filter (where state not in ('unknown', 'placing') and requested_at < $1) as busy
  from calls
 where ended_at is null
"""
_UNFINISHED: Final = """
select (select count(*) from batches
         where id = any($1) and status not in ('completed', 'cancelled')) as live,
       (select count(*) from contacts c
         where batch_id = any($1) and status in ('pending', 'retrying', 'in_progress')
           and not exists (select from calls k
                            where k.phone_number = c.phone_number and k.ended_at is null
                              and k.state in ('unknown', 'placing') and not $2)) as waiting,
       (select count(*) from calls
         where ended_at is null and (state not in ('unknown', 'placing') or $2)) as open,
       (select count(*) from calls where ended_at is not null) as ended
"""
_LEFT: Final = """
select count(*) from contacts c join batches b on b.id = c.batch_id
 where c.status in ('pending', 'retrying') and b.status in ('pending', 'in_progress')
   and c.batch_id <> $1
"""


@dataclass
class Recovery:
    """How long after the return of a component there was a request again."""

    kind: str
    first_s: float | None
    # Until every slot not held by a call of unknown fate had dialled; only when it was measured.
    all_s: float | None = None
    slots: int = 0


@dataclass
class Fire:
    """One run under fire."""

    site: Site
    recoveries: list[Recovery] = field(default_factory=list)
    # What the watcher saw in answers of the API that must not be (I11, I12).
    wrong: list[str] = field(default_factory=list)
    polls: int = 0
    foreign_polls: int = 0
    struck: list[str] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    _began: float = field(default_factory=time.monotonic)

    def say(self, what: str) -> None:
        self.log.append(f"{time.monotonic() - self._began:6.2f} {what}")

    # -------------------------------------------------------------------- the batches

    async def create(self) -> None:
        """Create two organisations' campaigns, and one that is closed today."""
        plan = self.site.plan
        a1, a2, b1 = plan.contacts
        numbers = [f"+91{9_810_000_000 + n}" for n in range(a1 + a2 + b1)]
        theirs = numbers[: plan.shared] + numbers[a1 + a2 : a1 + a2 + b1 - plan.shared]
        await self._campaign("acme", "acme", plan.limits[0], hours=_hours(0))
        await self._campaign("globex", "globex", plan.limits[1])
        await self._campaign("closed", "acme", 2, hours=_hours(60))
        await self._batch("acme-1", "acme", "acme", numbers[:a1])
        await self._batch("acme-2", "acme", "acme", numbers[a1 : a1 + a2])
        await self._batch("globex-1", "globex", "globex", theirs)
        await self._batch("closed-1", "acme", "closed", ["+919820000001", "+919820000002"])

    async def _campaign(self, name: str, org: str, limit: int, **more: Any) -> None:
        body = {
            "name": name,
            "agent_id": "agent_x",
            "phone_numbers": ["+912261234567"],
            "metadata": {"concurrency_limit": limit},
            "retry_policy": {"max_retries": 2, "strategy": "fixed", "cooldown_minutes": 0},
            **(more.get("hours") or {}),
        }
        made = await self._post(org, "/campaigns/", body)
        self.site.campaigns[name] = made["campaign_id"]

    async def _batch(self, name: str, org: str, campaign: str, numbers: list[str]) -> None:
        contacts = [
            {"phone_number": n, "call_variables": {"callee_name": f"Person {n[-4:]}"}}
            for n in numbers
        ]
        body = {"campaign_id": self.site.campaigns[campaign], "contacts": contacts}
        made = await self._post(org, "/batches/", body)
        self.site.batches[name] = made["batch_id"]

    async def _post(self, org: str, path: str, body: Any = None) -> Any:
        status, answer = await self.site.apollo.ask(
            "POST", path, token=self.site.tokens[org], json=body
        )
        assert status in {200, 201}, answer
        return answer

    @property
    def ours(self) -> dict[str, str]:
        """The batches that are to be dialled to their end."""
        return {k: v for k, v in self.site.batches.items() if k != "closed-1"}

    # -------------------------------------------------------------------- from start to end

    async def burn(self) -> None:
        """Dial everything to its end under the plan's blows."""
        await self.create()
        watching = asyncio.create_task(self._watch())
        try:
            for blow in self.site.plan.blows:
                await self._until_called(blow.at_share)
                self.say(f"{blow.kind} {blow.point} {blow.lasts_s:.1f} s")
                self.struck.append(blow.kind)
                await _BLOWS[blow.kind](self, blow)
                self.say("over")
            await self._until_called(1.0)
            await self.site.clear_weather()
            await self._until_over()
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        for recovery in self.recoveries:
            self.say(f"{recovery}")

    async def _until_called(self, share: float) -> None:
        """Wait for so many requests; a run that makes no progress just now is struck as well."""
        wanted = share * sum(self.site.plan.contacts)
        asked = self.site.provider.asked
        seen, since = len(asked), time.monotonic()
        # Requests that are refused again and again are no progress either.
        until = since + _NOT_REACHED_S
        while len(asked) < wanted and time.monotonic() < min(since + _NO_PROGRESS_S, until):
            await asyncio.sleep(0.02)
            if len(asked) > seen:
                seen, since = len(asked), time.monotonic()

    async def _until_over(self) -> None:
        """Wait until every batch has ended and no call is open."""

        mine = [ids.parse_id("btc", batch) for batch in self.ours.values()]
        patience = _STUCK_AFTER_S if self.site.plan.is_quick else _STUCK_PATIENTLY_S
        seen, since, began = None, time.monotonic(), time.monotonic()
        while True:
            now = (await self.site.rows(_UNFINISHED, mine, self.site.plan.is_quick))[0]
            # With the product's patience a call of unknown fate is looked for ten minutes, and
            # nobody else calls its number meanwhile.
            left = now["live"] if self.site.plan.is_quick else now["waiting"]
            if not left and now["open"] == 0:
                break
            if now != seen:
                seen, since = now, time.monotonic()
            if time.monotonic() - since > patience:
                self.wrong.append(f"I9: stuck: {dict(now)}; {await self._why()}")
                return
            await asyncio.sleep(0.2)
        self.say(f"over {time.monotonic() - began:.1f} s after the last blow")

    async def _why(self) -> str:
        found = []
        for name, batch in self.ours.items():
            token = self.site.tokens[name.partition("-")[0]]
            _, debug = await self.site.apollo.ask("GET", f"/batches/{batch}/debug", token=token)
            reasons = [one.get("code") for one in debug["diagnostics"]["reasons"]]
            found.append(f"{name}: {debug['diagnostics']['verdict']} {reasons}")
        return json.dumps(found)

    # -------------------------------------------------------------------- the watcher

    async def _watch(self) -> None:
        """Read the API all the while, as its owner and as a stranger."""
        names = list(self.ours)
        while True:
            for name in names:
                with contextlib.suppress(*_NOT_NOW):
                    await self._look(name)
                await asyncio.sleep(0.2)

    async def _look(self, name: str) -> None:
        owner = name.partition("-")[0]
        stranger = "globex" if owner == "acme" else "acme"
        path = f"/batches/{self.site.batches[name]}"
        status, answer = await self.site.apollo.ask("GET", path, token=self.site.tokens[owner])
        if status == 200:
            self.polls += 1
            added = sum(answer["counters"].values())
            if added != answer["total_contacts"]:
                self.wrong.append(f"I11: {name} counts {added} of {answer['total_contacts']}")
        elif status not in {502, 503}:
            self.wrong.append(f"the API answered {status} to its owner: {answer}")
        for way in (path, f"{path}/contacts", f"{path}/debug"):
            status, _ = await self.site.apollo.ask("GET", way, token=self.site.tokens[stranger])
            self.foreign_polls += 1
            if status not in {404, 503}:
                self.wrong.append(f"I12: {way} answered {status} to another organisation")
        status, listed = await self.site.apollo.ask(
            "GET", "/batches", token=self.site.tokens[stranger]
        )
        if status == 200 and self.site.batches[name] in json.dumps(listed):
            self.wrong.append(f"I12: {name} is in the list of another organisation")

    # -------------------------------------------------------------------- recovery

    async def returned(self, kind: str) -> None:
        """Note the return of what was broken; with the product's own patience, measure it."""
        asked, at = self.site.provider.asked, time.time()
        before = len(asked)
        recovery = Recovery(kind, None)
        self.recoveries.append(recovery)
        if self.site.plan.is_quick:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(2.0):
                    while len(asked) == before:  # noqa: ASYNC110 - nobody tells us
                        await asyncio.sleep(0.01)
        else:
            await self._measure(recovery, before, at)
        if len(asked) > before:
            recovery.first_s = round(asked[before].at - at, 3)

    async def _measure(self, recovery: Recovery, before: int, at: float) -> None:
        """Wait until every slot that could dial was given up by the call before, and dialled."""
        asked, wanted, left, freed_at = self.site.provider.asked, None, -1, None
        returned_at = datetime.fromtimestamp(at, UTC)
        limit = sum(self.site.plan.limits)
        closed = ids.parse_id("btc", self.site.batches["closed-1"])
        while time.time() - at < _MEASURED_FOR_S:
            with contextlib.suppress(*_NOT_NOW, asyncpg.PostgresError):
                slots = (await self.site.rows(_HELD, returned_at))[0]
                freed_at = None if slots["busy"] else freed_at or time.time()
                left = (await self.site.rows(_LEFT, closed))[0]["count"]
                if wanted is None:
                    recovery.slots = wanted = max(limit - slots["held"], 0)
                if freed_at and (len(asked) - before >= wanted or left == 0):
                    break
            await asyncio.sleep(0.05)
        done = len(asked) - before
        if wanted is None:
            recovery.slots = limit  # it was never there to be asked
            return
        if left == 0:
            recovery.slots = wanted = min(wanted, done)
        if freed_at and 0 < wanted <= done:
            recovery.all_s = round(max(asked[before + wanted - 1].at, freed_at) - at, 3)

    # -------------------------------------------------------------------- blows

    async def kill_worker(self, blow: Blow) -> None:
        name = self.site.workers[blow.second and len(self.site.workers) > 1]
        self.site.apollo.kill(name)
        await asyncio.sleep(blow.lasts_s)
        self.site.start(name)
        await self.returned(blow.kind)

    async def kill_api(self, blow: Blow) -> None:
        self.site.apollo.kill("serve")
        await asyncio.sleep(blow.lasts_s)
        self.site.start("serve")
        await self.returned(blow.kind)

    async def kill_rotary(self, blow: Blow) -> None:
        await self.site.kill_rotary()
        await asyncio.sleep(blow.lasts_s)
        await self.site.start_rotary()
        await self.returned(blow.kind)

    async def kill_postgres(self, blow: Blow) -> None:
        await self._end_postgres(blow, signal.SIGKILL)

    async def stop_postgres(self, blow: Blow) -> None:
        await self._end_postgres(blow, signal.SIGQUIT)

    async def _end_postgres(self, blow: Blow, how: signal.Signals) -> None:
        await self.site.postgres.end(how)
        await asyncio.sleep(blow.lasts_s)
        await self.site.postgres.start()
        await self.returned(blow.kind)

    async def die_at_a_point(self, blow: Blow) -> None:
        name = "serve" if KILL_POINTS[blow.point] == "serve" else self.site.workers[0]
        self.site.apollo.kill(name)
        if blow.point == "request written":
            self.site.start(name)
            self._kill_on_request(name, blow.nth)
        else:
            self.site.start(name, kill_at=blow.point, nth=blow.nth)
        if await self._has_died(name):
            self.struck[-1] = f"killed: {blow.point}"
            self.site.start(name)
            await self.returned(f"killed: {blow.point}")
        else:
            self.say("the point was not reached")
            self.struck[-1] = f"not reached: {blow.point}"
            self.site.apollo.kill(name)
            self.site.start(name)

    def _kill_on_request(self, name: str, nth: int) -> None:
        """Kill the worker when its nth request has passed the proxy, before any answer to it."""
        left = [nth]

        def strike() -> None:
            left[0] -= 1
            if left[0] == 0:
                self.site.apollo.processes[name].kill()

        self.site.provider.on_asked = strike

    async def _has_died(self, name: str) -> bool:
        async def has_ended() -> bool:
            return self.site.apollo.has_ended(name)

        try:
            await until(has_ended, "dead", 8.0)
        except AssertionError:
            return False
        finally:
            self.site.provider.on_asked = None
        self.site.apollo.reap(name)
        return True

    async def freeze_worker(self, blow: Blow) -> None:
        await self._freeze(self.site.workers[0], blow)

    async def freeze_api(self, blow: Blow) -> None:
        await self._freeze("serve", blow)

    async def _freeze(self, name: str, blow: Blow) -> None:
        self.site.apollo.tell(name, signal.SIGSTOP)
        await asyncio.sleep(blow.lasts_s)
        self.site.apollo.tell(name, signal.SIGCONT)
        await self.returned(blow.kind)

    async def freeze_postgres(self, blow: Blow) -> None:
        self.site.postgres.freeze(signal.SIGSTOP)
        await asyncio.sleep(blow.lasts_s)
        self.site.postgres.freeze(signal.SIGCONT)
        await self.returned(blow.kind)

    async def cut_provider(self, blow: Blow) -> None:
        proxy = self.site.provider
        proxy.cuts, proxy.share = blow.cuts, 0.3
        await asyncio.sleep(blow.lasts_s)
        proxy.share = 0.0
        await self.returned(blow.kind)

    async def cut_hooks(self, blow: Blow) -> None:
        proxy = self.site.hooks
        proxy.cuts, proxy.share = blow.cuts, 0.3
        await asyncio.sleep(blow.lasts_s)
        proxy.share = 0.0
        await self.returned(blow.kind)

    async def cut_database(self, blow: Blow) -> None:
        for _ in range(blow.nth):
            await self.site.database.cut_after_request(5)
        await self.returned(blow.kind)

    async def shift_clock(self, blow: Blow) -> None:
        name = self.site.workers[0]
        self.site.apollo.kill(name)
        self.site.start(name, clock_off_s=blow.hours * 3600)
        await self.returned(blow.kind)

    async def pause_batch(self, blow: Blow) -> None:
        name = "globex-1" if blow.second else "acme-1"
        await self._pause(name.partition("-")[0], f"/batches/{self.site.batches[name]}", blow)

    async def pause_campaign(self, blow: Blow) -> None:
        await self._pause("acme", f"/campaigns/{self.site.campaigns['acme']}", blow)

    async def _pause(self, org: str, path: str, blow: Blow) -> None:
        if await self._told(org, f"{path}/pause"):
            await asyncio.sleep(blow.lasts_s)
            await self._told(org, f"{path}/resume")
            await self.returned(blow.kind)

    async def cancel_batch(self, blow: Blow) -> None:
        name = "globex-1" if blow.second else "acme-2"
        await self._told(name.partition("-")[0], f"/batches/{self.site.batches[name]}/cancel")

    async def _told(self, org: str, path: str) -> bool:
        """Tell the API until it answers; a batch that is over may refuse."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with contextlib.suppress(*_NOT_NOW):
                status, answer = await self.site.apollo.ask(
                    "POST", path, token=self.site.tokens[org]
                )
                if status < 500:
                    self.say(f"{path.rpartition('/')[2]}: {status} {answer}")
                    return status == 200
            await asyncio.sleep(0.1)
        self.wrong.append(f"{path} was not answered within 30 s")
        return False


def _hours(off_minutes: int) -> dict[str, Any]:
    """Working hours of 40 minutes every day, so far from now (UTC)."""
    middle = datetime.now(UTC) + timedelta(minutes=off_minutes)
    start, end = (f"{middle + timedelta(minutes=by):%H:%M}" for by in (-20, 20))
    day = {"start": start, "end": end, "enabled": True}
    return {"working_hours_enforced": True, "working_hours": dict.fromkeys(WEEKDAYS, day)}


_BLOWS: Final[dict[str, Callable[[Fire, Blow], Awaitable[None]]]] = {
    "worker killed": Fire.kill_worker,
    "API killed": Fire.kill_api,
    "PostgreSQL killed": Fire.kill_postgres,
    "PostgreSQL stopped at once": Fire.stop_postgres,
    "RotaryRouter killed": Fire.kill_rotary,
    "killed at a marked point": Fire.die_at_a_point,
    "worker stands still": Fire.freeze_worker,
    "API stands still": Fire.freeze_api,
    "PostgreSQL stands still": Fire.freeze_postgres,
    "connections to the provider cut": Fire.cut_provider,
    "connections to the API cut": Fire.cut_hooks,
    "connections to PostgreSQL cut": Fire.cut_database,
    "worker's clock off by an hour": Fire.shift_clock,
    "batch paused and resumed": Fire.pause_batch,
    "campaign paused and resumed": Fire.pause_campaign,
    "batch cancelled": Fire.cancel_batch,
}
