"""The debug route: what it passes on, how it refuses, and that its description tells the truth."""

import json
import uuid
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.web.api_world import ApiWorld

from apollo.core import ids
from apollo.web.debug import DebugAnswer

NOW = datetime(2026, 5, 12, 10, 0, tzinfo=UTC)
BATCH = "00000000-0000-0000-0000-000000000001"
BATCH_ID = ids.batch_id(uuid.UUID(BATCH))
ROWS = """
insert into campaigns (id, organization_id, name, agent_id, phone_numbers, phone_number_strategy,
  working_hours_enforced, timezone, retry_policy, default_call_variables, metadata, created_at,
  updated_at)
values (:id, 'org_acme', 'spring', 'agt', '{+14155550123}', 'round_robin', false, 'UTC', '{}', '{}',
  '{}', :now, :now);
insert into batches (id, organization_id, campaign_id, status, total_contacts, call_context,
  metadata, ready_at, completed_at, created_at, updated_at)
values (:id, 'org_acme', :id, 'completed', 1, '{}', '{}', :now, :now, :now, :now);
insert into contacts (batch_id, position, phone_number, call_variables, status, updated_at)
values (:id, 1, '+919876543210', '{}', 'completed', :now);
""".replace(":id", f"'{BATCH}'").replace(":now", f"'{NOW}'")


@pytest.fixture
async def batch(api: ApiWorld) -> ApiWorld:
    """An API with one completed batch, an hour after."""
    api.clock.at = NOW
    async with api.db.connection() as connection:
        await connection.execute(ROWS)
    return api


async def test_the_route_answers_with_the_documented_keys(batch: ApiWorld) -> None:
    reply = await batch.ask("GET", f"/api/v1/batches/{BATCH_ID}/debug")
    assert reply.status == 200
    answer = reply.body
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


async def test_verify_is_passed_on(batch: ApiWorld) -> None:
    reply = await batch.ask("GET", f"/api/v1/batches/{BATCH_ID}/debug?verify=true")
    assert [reason["code"] for reason in reply.body["diagnostics"]["reasons"]] == [
        "counters_verified"
    ]


async def test_a_batch_of_somebody_else_looks_like_one_that_does_not_exist(
    batch: ApiWorld,
) -> None:
    other = (await batch.uses.authenticate.create_token("other", "tests")).token
    for path, token in ((BATCH_ID, other), ("btc_nonsense", batch.token)):
        reply = await batch.ask("GET", f"/api/v1/batches/{path}/debug", token=token)
        assert (reply.status, reply.body) == (404, {"detail": "Batch not found"})


def test_the_example_of_the_description_fits_its_own_model_and_adds_up() -> None:
    example: dict[str, Any] = DebugAnswer.model_json_schema()["example"]
    DebugAnswer.model_validate_json(json.dumps(example))
    sums = example["diagnostics"]["accounting"]
    assert sums["unfinished"] == (
        sums["on_call"] + sums["dialable_now"] + sum(sums["by_reason"].values())
    )
    assert ids.parse_id("btc", example["batch_id"])
    assert all(ids.parse_contact_id(shown) for shown in example["pending_sample"])
