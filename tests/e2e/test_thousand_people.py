"""A thousand scripted people, a provider that is not ours, and the processes as they are run."""

import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random
from typing import Any

import asyncpg
from tests.e2e.machine import Machine, machine, until
from tests.e2e.people import Person, crowd, numbers
from tests.e2e.provider import APPLICATION, Jambonz, Quirks

from apollo.config import load
from apollo.ports import AgentRoute
from apollo.wiring.office import open_office

SEED = 20261123
CAMPAIGN_LIMIT, BATCH_LIMIT = 60, 25
# By the groups whose calls the provider counts. A limit that is never reached would prove nothing.
LIMITS = {"limited": BATCH_LIMIT, "inline": CAMPAIGN_LIMIT, "application": 15}
PEOPLE_OF = {"limited": 350, "free": 500, "application": 150}


class Watch:
    """Looks at the API all the time, and remembers what cannot be true."""

    def __init__(self, apollo: Machine) -> None:
        self.apollo = apollo
        self.polls = 0
        self.wrong: list[str] = []

    async def once(self, batch: dict[str, Any]) -> str:
        shown = await self.apollo.get(f"/batches/{batch['batch_id']}")
        debug = await self._explained(batch["batch_id"])
        total = batch["total_contacts"]
        self.polls += 2
        self._check(sum(shown["counters"].values()) == total, f"counters {shown['counters']}")
        breakdown = sum(one["count"] for one in debug["status_breakdown"].values())
        self._check(breakdown == total, f"breakdown {debug['status_breakdown']}")
        books = debug["diagnostics"]["accounting"]
        counted = books["on_call"] + books["dialable_now"] + sum(books["by_reason"].values())
        self._check(counted == books["unfinished"], f"accounting {books}")
        loud = [x for x in debug["diagnostics"]["reasons"] if x["severity"] != "info"]
        # The machine that runs the tests may be slow, and people who ring out are called again
        # at once, so that later calls are answered less: both are the truth.
        true = {"db_slow", "pool_exhausted", "no_answer_high"}
        wrong = {x["code"]: x["evidence"] for x in loud if x["code"] not in true}
        self._check(not wrong, f"reasons {wrong}")
        return str(shown["status"])

    async def _explained(self, batch_id: str) -> Any:
        """It answers within a second or says that it cannot: then it is asked again."""
        found: list[Any] = []

        async def has_answered() -> bool:
            status, debug = await self.apollo.ask("GET", f"/batches/{batch_id}/debug")
            assert status in {200, 503}, debug
            found[:] = [debug]
            return status == 200

        await until(has_answered, "an answer")
        return found[0]

    def _check(self, is_so: bool, what: str) -> None:
        if not is_so:
            self.wrong.append(what)


async def is_there(database_url: str, role: str) -> bool:
    connection = await asyncpg.connect(database_url)
    try:
        asked = "select exists (select from heartbeats where role = $1)"
        return bool(await connection.fetchval(asked, role))
    finally:
        await connection.close()


async def until_full(jambonz: Jambonz, *names: str) -> None:
    async def are_full() -> bool:
        return all(jambonz.live[name] == LIMITS[name] for name in names)

    await until(are_full, f"as many calls as there may be: {names}")


async def create_campaign(
    apollo: Machine, name: str, limit: int, **more: Any
) -> Callable[..., Awaitable[dict[str, Any]]]:
    """A campaign with two retries at once; gives what creates its batches."""
    campaign = await apollo.post(
        "/campaigns/",
        {
            "name": name,
            "agent_id": f"agent_{name}",
            "phone_numbers": ["+912261234567", "+912261234568"],
            "metadata": {"concurrency_limit": limit},
            "retry_policy": {"max_retries": 2, "strategy": "fixed", "cooldown_minutes": 0},
            **more,
        },
    )

    async def create_batch(to: list[str], **options: Any) -> dict[str, Any]:
        contacts = [{"phone_number": n, "call_variables": {"name": f"Person {n}"}} for n in to]
        body = {"campaign_id": campaign["campaign_id"], "contacts": contacts, **options}
        batch: dict[str, Any] = await apollo.post("/batches/", body)
        return batch

    return create_batch


async def contacts_of(apollo: Machine, batch_id: str, total: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while len(found) < total:
        path = f"/batches/{batch_id}/contacts?include_calls=true&limit=1000&skip={len(found)}"
        page = await apollo.get(path)
        assert page, "fewer contacts than the batch has"
        found += page
    return found


def faults_of(person: Person, contact: dict[str, Any]) -> list[str]:
    """What is not as it must be with this contact."""
    # A call record has the word of the provider, with a dash.
    words = [call["call_status"].replace("-", "_") for call in contact["call_records"]]
    outcomes = tuple(words)
    if (contact["status"], outcomes) == (person.status, person.outcomes):
        return []
    return [f"{person.kind}: {contact['status']} after {outcomes}"]


async def test_a_thousand_scripted_people_are_called_as_they_must_be(
    database_url: str, tmp_path: Path
) -> None:
    total = sum(PEOPLE_OF.values())
    everybody = dict(zip(numbers(total), crowd(total, Random(SEED)), strict=True))
    to = iter(everybody)
    groups = {name: [next(to) for _ in range(count)] for name, count in PEOPLE_OF.items()}
    group_of = {number: name for name, group in groups.items() for number in group}
    campaign_of = {"limited": "inline", "free": "inline", "application": "application"}
    jambonz = Jambonz(
        everybody,
        seed=SEED,
        groups_of=lambda n: {group_of[n], campaign_of[group_of[n]]},
        quirks=Quirks(doubled=0.1, swapped=0.1, before_reply=0.05),
    )
    async with (
        jambonz.serving(),
        machine(jambonz, logs=tmp_path, database_url=database_url) as apollo,
    ):
        async with open_office(load({"APOLLO_DATABASE_URL": database_url})) as office:
            route = AgentRoute(application_sid=APPLICATION)
            await office.agents.set_route("agent_application", route)
        apollo.start("serve")
        apollo.start("worker")
        await until(apollo.is_ready, "ready")
        await until(lambda: is_there(database_url, "worker"), "a worker")
        inline = await create_campaign(apollo, "inline", CAMPAIGN_LIMIT)
        application = await create_campaign(apollo, "application", 15)
        began = time.monotonic()
        # Each limit is reached, however slow the machine is at making calls.
        jambonz.hold()
        batches = [await inline(groups["limited"], concurrency_limit=BATCH_LIMIT)]
        await until_full(jambonz, "limited")
        batches += [await inline(groups["free"]), await application(groups["application"])]
        await until_full(jambonz, "inline", "application")
        jambonz.release()
        watch = Watch(apollo)

        async def all_completed() -> bool:
            statuses = [await watch.once(batch) for batch in batches]
            return all(status == "completed" for status in statuses)

        took_s = await until(all_completed, "completed", within_s=120)
        print(f"{total} people in {took_s:.1f} s, {len(jambonz.lines)} calls, {watch.polls} polls")
        assert watch.wrong == []
        await check_everything(apollo, jambonz, batches, everybody)
        assert time.monotonic() - began < 120


async def check_everything(
    apollo: Machine, jambonz: Jambonz, batches: list[dict[str, Any]], people: dict[str, Person]
) -> None:
    wrong: list[str] = []
    for batch in batches:
        contacts = await contacts_of(apollo, batch["batch_id"], batch["total_contacts"])
        statuses = Counter(contact["status"] for contact in contacts)
        for contact in contacts:
            wrong += faults_of(people[contact["phone_number"]], contact)
        shown = (await apollo.get(f"/batches/{batch['batch_id']}"))["counters"]
        assert {name: n for name, n in shown.items() if n} == dict(statuses)
        debug = (await apollo.get(f"/batches/{batch['batch_id']}/debug?verify=true"))["diagnostics"]
        assert (debug["verdict"], debug["stuck_pending"]) == ("finished", False)
        assert {one["severity"] for one in debug["reasons"]} == {"info"}
        assert "counters_verified" in {one["code"] for one in debug["reasons"]}
    assert wrong == []
    # The witness: never twice at once, one request for each call, nobody called once too often.
    assert jambonz.overlaps == []
    assert set(jambonz.posts.values()) == {1}
    assert len(jambonz.posts) == len(jambonz.lines)
    assert {n: jambonz.calls_to[n] for n in people} == {
        n: len(person.outcomes) for n, person in people.items()
    }
    for name, limit in LIMITS.items():
        assert jambonz.live_max[name] <= limit
    assert jambonz.complaints == []
    assert jambonz.undelivered == []
    assert jambonz.spoken_to_wrong == []
    assert jambonz.spoken_to > 20
    assert apollo.surprises() == []
    calls: dict[str, int] = defaultdict(int)
    for campaign in await apollo.get("/campaigns/"):
        stats = await apollo.get(f"/campaigns/{campaign['campaign_id']}/stats")
        for name, count in stats["call_counters"].items():
            calls[name] += count
    print(dict(calls), jambonz.answers)
