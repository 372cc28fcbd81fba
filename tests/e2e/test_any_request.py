"""Random and malformed requests of one organisation against the running API, beside another's.

schemathesis makes them from the API's own description; what it cannot know, the ids of somebody
else, is tried by hand: in every path, body and filter of every operation.
"""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import asyncpg
from tests.e2e.machine import Machine, machine, until
from tests.e2e.people import KINDS
from tests.e2e.provider import Jambonz

from apollo.config import load
from apollo.wiring.office import open_office

SEED = 20261123
FULL = os.environ.get("APOLLO_TEST_FULL") == "1"
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,"
    "response_schema_conformance,response_headers_conformance,negative_data_rejection,"
    "unsupported_method,ignored_auth,use_after_free"
)
# How what is against the schema may be refused; 413 is not among those it knows by itself.
REFUSALS = [400, 401, 403, 404, 406, 409, 413, 422, 428]


@dataclass
class Victim:
    """The other organisation, with something of every kind."""

    token: str
    ids: dict[str, str]
    secrets: tuple[str, ...]


async def second_token(apollo: Machine) -> str:
    given = {name: value for name, value in apollo.environ.items() if name.startswith("APOLLO_")}
    async with open_office(load(given)) as office:
        return (await office.authenticate.create_token("victim", "tests")).token


async def make_victim(apollo: Machine) -> Victim:
    """A campaign, a batch, contacts and ended calls of the other organisation."""
    token = await second_token(apollo)

    async def post(path: str, body: Any) -> Any:
        status, answer = await apollo.ask("POST", path, token=token, json=body)
        assert status == 201, answer
        return answer

    campaign = await post(
        "/campaigns/",
        {
            "name": "Secret renewals",
            "agent_id": "agent_secret",
            "phone_numbers": ["+912261234599"],
            "retry_policy": {"max_retries": 0, "strategy": "fixed", "cooldown_minutes": 0},
            "default_call_variables": {"plan": "Hidden Gold"},
        },
    )
    campaign_id = campaign["campaign_id"]
    contacts = [
        {"phone_number": f"+9198264573{n}1", "call_variables": {"name": "Unseen Person"}}
        for n in range(2)
    ]
    batch = await post("/batches/", {"campaign_id": campaign_id, "contacts": contacts})
    batch_id = batch["batch_id"]

    async def is_completed() -> bool:
        _, shown = await apollo.ask("GET", f"/batches/{batch_id}", token=token)
        return bool(shown["status"] == "completed")

    await until(is_completed, "the other's batch completed")
    # What is live can be changed, so there the harm would be seen.
    later = {"campaign_id": campaign_id, "contacts": contacts}
    live = await post("/batches/", later | {"scheduled_start": "2099-01-01T00:00:00Z"})
    path = f"/batches/{batch_id}/contacts?include_calls=true"
    _, shown = await apollo.ask("GET", path, token=token)
    ids = {
        "campaign_id": campaign_id,
        "batch_id": live["batch_id"],
        "other_batch_id": batch_id,
        "contact_id": shown[0]["contact_id"],
        "execution_id": shown[0]["call_records"][0]["execution_id"],
        "organization_id": "org_victim",
        "phone_number": "+919826457301",
    }
    # The first is shown in the paths that we ask for: names and variables are not. Numbers are long
    # enough, and no round ones, not to be met in a metric or a time.
    hidden = (
        "Secret renewals",
        "agent_secret",
        "Hidden Gold",
        "Unseen Person",
        "9198264573",
        "912261234599",
    )
    return Victim(token, ids, hidden)


async def snapshot(database_url: str) -> list[str]:
    """Everything of the other organisation, as text."""
    connection = await asyncpg.connect(database_url)
    try:
        rows = []
        for table, where in {
            "campaigns": "organization_id = 'org_victim'",
            "batches": "organization_id = 'org_victim'",
            "calls": "organization_id = 'org_victim'",
            "contacts": "batch_id in (select id from batches where organization_id = 'org_victim')",
            "due_contacts": (
                "batch_id in (select id from batches where organization_id = 'org_victim')"
            ),
            "actions": "organization_id = 'org_victim'",
            "idempotency_keys": "organization_id = 'org_victim'",
        }.items():
            found = await connection.fetch(f"select t::text from {table} t where {where}")  # noqa: S608 - ours
            rows += sorted(r[0] for r in found)
        return rows
    finally:
        await connection.close()


def requests_with(ids: dict[str, str], api: dict[str, Any], random: Random) -> Iterator[Any]:
    """Every operation with these ids wherever one can stand: path, query, body."""
    for path, operations in api["paths"].items():
        for method, operation in operations.items():
            if not path.startswith("/api/v1"):
                continue
            filled = path.removeprefix("/api/v1")
            for name, value in ids.items():
                filled = filled.replace(f"{{{name}}}", value)
            wanted = [p["name"] for p in operation.get("parameters", []) if p["in"] == "query"]
            query = {name: ids[name] for name in wanted if name in ids}
            if path.endswith("/rerun"):
                query["status"] = "busy"
            if filled == path.removeprefix("/api/v1") and not query and method == "get":
                continue  # names nobody
            yield method.upper(), filled, query, bodies(path, method, ids, random)


def bodies(path: str, method: str, ids: dict[str, str], random: Random) -> Any:
    if method == "get":
        return None
    if "preview" in path:
        return {"contacts_count": 10}
    if "follow-up" in path:
        return {"at": "2099-01-02T10:00:00Z"}
    if path.endswith("/set-back"):
        return {"reason": "the trunk was unpaid"}
    number = f"+9198123456{random.randint(10, 99)}"
    if path.endswith("/contacts"):
        return {"contacts": [{"phone_number": number}]}
    if path.endswith("/calls"):
        return {"campaign_id": ids["campaign_id"], "phone_number": number}
    if path.endswith(("/batches", "/batches/upload")):
        return {"campaign_id": ids["campaign_id"], "contacts": [{"phone_number": number}]}
    if path.endswith(("/campaigns", "/campaigns/create")):
        return {
            "organization_id": ids["organization_id"],
            "name": "Mine",
            "agent_id": "a",
            "phone_numbers": ["+912261234567"],
        }
    if method == "patch" and "contact_id" in path:
        return {"call_variables": {"callee_name": "Mine"}}
    if method == "patch":
        return {"name": "Taken over"} if "campaign" in path else {"concurrency_limit": 1}
    return None


async def ask(apollo: Machine, request: Any) -> tuple[int, str]:
    method, path, query, body = request
    more: dict[str, Any] = {"params": query}
    if path.endswith("/csv"):
        more |= {"data": b"phone_number\n+919812345699\n", "headers": None}
        headers = {"Authorization": f"Bearer {apollo.token}", "Content-Type": "text/csv"}
        async with apollo.http.post(
            f"{apollo.url}/api/v1{path}", params=query, data=more["data"], headers=headers
        ) as answer:
            return answer.status, await answer.text()
    if body is not None:
        more["json"] = body
    status, answered = await apollo.ask(method, path, **more)
    return status, answered if isinstance(answered, str) else json.dumps(answered)


async def test_no_request_sees_or_changes_anything_of_another_organisation(
    database_url: str, tmp_path: Path
) -> None:
    people = {f"+9198264573{n}1": KINDS[0][1] for n in range(2)}
    jambonz = Jambonz(people, seed=SEED)
    async with (
        jambonz.serving(),
        machine(jambonz, logs=tmp_path, database_url=database_url) as apollo,
    ):
        apollo.start("serve")
        apollo.start("worker")
        await until(apollo.is_ready, "ready")
        victim = await make_victim(apollo)
        apollo.kill("worker")
        before = await snapshot(database_url)
        assert len(before) > 8
        async with apollo.http.get(f"{apollo.url}/openapi.json") as answer:
            api = await answer.json()
        await fuzz_ids(apollo, victim, api)
        assert await snapshot(database_url) == before
        said = await asyncio.to_thread(schemathesis, apollo, tmp_path)
        leaks = [word for word in (*victim.secrets, *victim.ids.values()) if word in said]
        # Its own documentation may name the example numbers; whole ids of others never.
        assert leaks == []
        assert await snapshot(database_url) == before
        assert apollo.surprises() == []


async def fuzz_ids(apollo: Machine, victim: Victim, api: dict[str, Any]) -> None:
    """The other's ids, and ids that nobody has: the same answers, to the letter."""
    random = Random(SEED)
    nobody = {
        name: value if name in {"organization_id", "phone_number"} else _shuffled(value, random)
        for name, value in victim.ids.items()
    }
    foreign = list(requests_with(victim.ids, api, Random(1)))
    unknown = list(requests_with(nobody, api, Random(1)))
    assert len(foreign) > 25
    allowed = {403, 404}
    for theirs, nobodys in zip(foreign, unknown, strict=True):
        status, said = await ask(apollo, theirs)
        assert not [word for word in victim.secrets if word in said], (theirs, said)
        assert (status, said) == await ask(apollo, nobodys), theirs
        # A list that is filtered by somebody else's id may also be empty.
        if (status, said) != (200, "[]"):
            assert status in allowed, (theirs, status, said)


def schemathesis(apollo: Machine, folder: Path) -> str:
    """Run schemathesis as a person would; gives everything that the API answered."""
    report = folder / "answers.yaml"
    config = folder / "schemathesis.toml"
    config.write_text(f"checks.negative_data_rejection.expected-statuses = {REFUSALS}\n")
    ran = subprocess.run(
        [
            str(Path(sys.executable).parent / "schemathesis"),
            *("--config-file", str(config)),
            *("run", f"{apollo.url}/openapi.json"),
            *("--header", f"Authorization: Bearer {apollo.token}"),
            *("--seed", str(SEED), "--generation-database", "none", "--no-color"),
            *("--max-examples", "300" if FULL else "4", "--workers", "1", "--no-shrink"),
            *("--checks", CHECKS, "--continue-on-failure", "--warnings", "off"),
            *("--report", "vcr", "--report-vcr-path", str(report)),
        ],
        env=apollo.environ,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-6000:] + ran.stderr[-1000:]
    assert " 0 generated" not in ran.stdout
    return report.read_text()


def _shuffled(shown_id: str, random: Random) -> str:
    """An id of the same form that nobody has."""
    prefix, _, rest = shown_id.partition("_")
    return f"{prefix}_0{''.join(random.sample(rest[1:], len(rest) - 1))}"
