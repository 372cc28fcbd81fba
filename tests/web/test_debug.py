"""The debug route: what it passes on, how it refuses, and that its description tells the truth."""

import json
import uuid
from collections.abc import MutableMapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fastapi import FastAPI

from apollo.core import ids
from apollo.core.diagnosis.snapshot import Settings
from apollo.storage.database import Database
from apollo.usecases.authenticate import Principal
from apollo.usecases.explain_batch import ExplainBatch
from apollo.web.debug import DebugAnswer, debug_router
from apollo.web.faults import add_fault_answers
from apollo.web.requests import principal

NOW = datetime(2026, 5, 12, 10, 0, tzinfo=UTC)
BATCH = "00000000-0000-0000-0000-000000000001"
BATCH_ID = ids.batch_id(uuid.UUID(BATCH))
ROWS = """
insert into organizations (id) values ('org_a'), ('org_b');
insert into campaigns (id, organization_id, name, agent_id, phone_numbers, phone_number_strategy,
  working_hours_enforced, timezone, retry_policy, default_call_variables, metadata, created_at,
  updated_at)
values (:id, 'org_a', 'spring', 'agt', '{+14155550123}', 'round_robin', false, 'UTC', '{}', '{}',
  '{}', :now, :now);
insert into batches (id, organization_id, campaign_id, status, total_contacts, call_context,
  metadata, ready_at, completed_at, created_at, updated_at)
values (:id, 'org_a', :id, 'completed', 1, '{}', '{}', :now, :now, :now, :now);
insert into contacts (batch_id, position, phone_number, call_variables, status, updated_at)
values (:id, 1, '+919876543210', '{}', 'completed', :now);
""".replace(":id", f"'{BATCH}'").replace(":now", f"'{NOW}'")


class StoppedClock:
    """The instant that every test is about."""

    def now(self) -> datetime:
        return NOW

    def monotonic(self) -> float:
        return 0.0


async def get(url: str, path: str, *, query: str = "", organization: str = "org_a") -> Any:
    """Ask the route as a caller whose token the shell has checked; gives status and answer."""
    db = await Database.connect(url, connections_max=1)
    async with db.connection() as connection:
        await connection.execute(ROWS)
    app = FastAPI()
    add_fault_answers(app)
    explain = ExplainBatch(
        db=db,
        clock=StoppedClock(),
        settings=Settings(
            stuck_after=timedelta(minutes=30),
            ring_timeout=timedelta(seconds=45),
            bus_kind="postgres",
        ),
    )
    app.include_router(debug_router(explain, principal))
    sent: list[MutableMapping[str, Any]] = []

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": b""}

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "path": path,
        "root_path": "",
        "query_string": query.encode(),
        "headers": [],
        "state": {"principal": Principal(organization, "crm")},
    }
    await app(scope, receive, send)
    await db.close()
    body = b"".join(message.get("body", b"") for message in sent)
    return sent[0]["status"], json.loads(body)


async def test_the_route_answers_with_the_documented_keys(database_url: str) -> None:
    status, answer = await get(database_url, f"/batches/{BATCH_ID}/debug")
    assert status == 200
    assert list(answer) == [
        "batch_id",
        "status",
        "status_breakdown",
        "pending_sample",
        "diagnostics",
    ]
    assert answer["status_breakdown"] == {
        "pending": {"count": 0},
        "dispatched": {"count": 0},
        "completed": {"count": 1, "oldest_updated_at": "2026-05-12T10:00:00Z"},
    }
    assert answer["diagnostics"]["verdict"] == "finished"


async def test_verify_is_passed_on(database_url: str) -> None:
    _, answer = await get(database_url, f"/batches/{BATCH_ID}/debug", query="verify=true")
    assert [reason["code"] for reason in answer["diagnostics"]["reasons"]] == ["counters_verified"]


@pytest.mark.parametrize(
    ("path", "organization"),
    [(f"/batches/{BATCH_ID}/debug", "org_b"), ("/batches/btc_nonsense/debug", "org_a")],
)
async def test_a_batch_of_somebody_else_looks_like_one_that_does_not_exist(
    database_url: str, path: str, organization: str
) -> None:
    answer = await get(database_url, path, organization=organization)
    assert answer == (404, {"detail": "Batch not found"})


def test_the_example_of_the_description_fits_its_own_model_and_adds_up() -> None:
    example: dict[str, Any] = DebugAnswer.model_json_schema()["example"]
    DebugAnswer.model_validate_json(json.dumps(example))
    sums = example["diagnostics"]["accounting"]
    assert sums["unfinished"] == (
        sums["on_call"] + sums["dialable_now"] + sum(sums["by_reason"].values())
    )
    assert ids.parse_id("btc", example["batch_id"])
    assert all(ids.parse_contact_id(shown) for shown in example["pending_sample"])
