"""Contacts taken out of a live batch, changed, added; batches made of others; test calls."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.usecases.batch_world import OTHER, some_numbers
from tests.web.api_world import ApiWorld, Reply, running_api

from apollo.core import ids

API = "/api/v1"
NUMBERS = some_numbers(9)


@pytest.fixture
async def api(database_url: str) -> AsyncIterator[ApiWorld]:
    async with running_api(database_url) as world:
        yield world


async def a_batch(api: ApiWorld, many: int = 3, **fields: Any) -> dict[str, Any]:
    campaign = await api.campaign(allowed_countries=["*"])
    contacts = [{"phone_number": number} for number in NUMBERS[:many]]
    body = {"campaign_id": campaign["campaign_id"], "contacts": contacts, **fields}
    made = await api.ask("POST", f"{API}/batches/", json=body)
    assert made.status == 201, made.body
    created: dict[str, Any] = made.body
    return created


async def contacts_of(api: ApiWorld, batch: dict[str, Any]) -> list[dict[str, Any]]:
    found = await api.ask("GET", f"{API}/batches/{batch['batch_id']}/contacts")
    listed: list[dict[str, Any]] = found.body
    return listed


async def skip(api: ApiWorld, batch: dict[str, Any], position: int) -> Reply:
    key = ids.parse_id("btc", batch["batch_id"])
    assert key is not None
    contact = ids.contact_id(ids.ContactKey(key, position))
    return await api.ask("POST", f"{API}/batches/{batch['batch_id']}/contacts/{contact}/skip")


# ------------------------------------------------------------------------------------------- skip


async def test_one_contact_is_taken_out_and_the_others_stay(api: ApiWorld) -> None:
    batch = await a_batch(api)
    skipped = await skip(api, batch, 1)
    assert skipped.status == 200, skipped.body
    assert (skipped.body["status"], skipped.body["calls_in_progress"]) == ("skipped", 0)
    assert skipped.body["message"] == "Contact skipped successfully"
    assert [c["status"] for c in await contacts_of(api, batch)] == ["skipped", "pending", "pending"]
    (row,) = await api.sql("select next_position from batch_cursors")
    assert row["next_position"] == 2, "the claim begins with whoever is to be called"
    again = await skip(api, batch, 1)
    assert (again.status, again.body["message"]) == (200, "Contact is already skipped")
    actions = await api.sql("select actor, detail from actions where action = 'contact_skipped'")
    assert [(r["actor"], r["detail"]["was"]) for r in actions] == [("tests", "pending")]
    shown = await api.ask("GET", f"{API}/batches/{batch['batch_id']}")
    assert shown.body["counters"]["skipped"] == 1
    assert sum(shown.body["counters"].values()) == 3


async def test_the_last_contact_to_be_skipped_completes_its_batch(api: ApiWorld) -> None:
    batch = await a_batch(api, 2)
    for position in (2, 1):
        assert (await skip(api, batch, position)).status == 200
    shown = await api.ask("GET", f"{API}/batches/{batch['batch_id']}")
    assert shown.body["status"] == "completed"


async def test_who_is_on_a_call_keeps_it_and_none_follows(api: ApiWorld) -> None:
    batch = await a_batch(api)
    await api.sql(
        "insert into calls (id, organization_id, campaign_id, batch_id, position, attempt, kind,"
        " state, provider, phone_number, from_number, requested_at, window_opens_at,"
        " window_closes_at) select gen_random_uuid(), organization_id, campaign_id, id, 1, 1,"
        " 'first', 'ringing', 'p', $1, '+14155550123', now(), now(), now() from batches",
        NUMBERS[0],
    )
    await api.sql("update contacts set status = 'in_progress', attempts = 1 where position = 1")
    skipped = await skip(api, batch, 1)
    assert (skipped.body["status"], skipped.body["calls_in_progress"]) == ("in_progress", 1)
    assert "its call in progress goes on, and no other follows" in skipped.body["message"]
    again = await skip(api, batch, 1)
    assert (again.status, again.body["calls_in_progress"]) == (200, 1)
    contact = skipped.body["contact_id"]
    path = f"{API}/batches/{batch['batch_id']}/contacts/{contact}/follow-up"
    promised = await api.ask("POST", path, json={"at": "2126-05-11T00:00:00Z"})
    assert promised.status == 409
    assert "taken out" in promised.body["detail"]


async def test_what_is_over_cannot_be_skipped_and_foreign_contacts_do_not_exist(
    api: ApiWorld,
) -> None:
    batch = await a_batch(api)
    await api.sql("update contacts set status = 'completed' where position = 1")
    over = await skip(api, batch, 1)
    assert over.status == 409
    assert "the contact is completed" in over.body["detail"]
    assert (await skip(api, batch, 4)).status == 404
    token = (await api.uses.authenticate.create_token(OTHER.organization_id, "t")).token
    contact = (await contacts_of(api, batch))[1]["contact_id"]
    path = f"{API}/batches/{batch['batch_id']}/contacts/{contact}"
    for method, where, body in (
        ("POST", f"{path}/skip", None),
        ("PATCH", path, {"call_variables": {}}),
        (
            "POST",
            f"{API}/batches/{batch['batch_id']}/contacts",
            {"contacts": [{"phone_number": NUMBERS[5]}]},
        ),
        ("POST", f"{API}/batches/{batch['batch_id']}/rerun?status=busy", {}),
        (
            "POST",
            f"{API}/calls",
            {"campaign_id": batch["campaign_id"], "phone_number": NUMBERS[5]},
        ),
    ):
        foreign = await api.ask(method, where, token=token, json=body)
        assert foreign.status == 404, (where, foreign.body)
    assert [c["status"] for c in await contacts_of(api, batch)] == [
        "completed",
        "pending",
        "pending",
    ]
    await api.ask("POST", f"{API}/batches/{batch['batch_id']}/cancel")
    changed = await api.ask("PATCH", path, json={"call_variables": {}})
    assert changed.status == 409


# ---------------------------------------------------------------------------------------- variables


async def test_what_the_agent_is_told_can_be_changed_until_the_contact_is_final(
    api: ApiWorld,
) -> None:
    batch = await a_batch(api)
    contact = (await contacts_of(api, batch))[0]["contact_id"]
    path = f"{API}/batches/{batch['batch_id']}/contacts/{contact}"
    changed = await api.ask("PATCH", path, json={"call_variables": {"callee_name": "Ruth"}})
    assert changed.status == 200, changed.body
    assert changed.body["call_variables"] == {"callee_name": "Ruth"}
    for body in ({}, {"call_variables": None}, {"call_variables": {"a": "x" * 70_000}}, {"x": 1}):
        assert (await api.ask("PATCH", path, json=body)).status == 422, body
    assert (await contacts_of(api, batch))[0]["call_variables"] == {"callee_name": "Ruth"}


# ---------------------------------------------------------------------------------------------- add


async def test_contacts_are_added_behind_the_others(api: ApiWorld) -> None:
    batch = await a_batch(api)
    path = f"{API}/batches/{batch['batch_id']}/contacts"
    body = {
        "contacts": [{"phone_number": n} for n in (NUMBERS[3], NUMBERS[0], "12", NUMBERS[4])],
        "on_invalid": "skip",
    }
    headers = {"Idempotency-Key": "one"}
    added = await api.ask("POST", path, json=body, headers=headers)
    assert added.status == 201, added.body
    assert (added.body["added"], added.body["total_contacts"]) == (2, 5)
    assert [row["index"] for row in added.body["rejected"]] == [2, 1]
    assert "came before in this batch" in added.body["rejected"][1]["reason"]
    listed = await contacts_of(api, batch)
    assert [c["phone_number"] for c in listed] == [*NUMBERS[:3], NUMBERS[3], NUMBERS[4]]
    assert added.body["first_contact_id"] == listed[3]["contact_id"]
    assert added.body["last_contact_id"] == listed[4]["contact_id"]
    again = await api.ask("POST", path, json=body, headers=headers)
    assert (again.status, again.body) == (201, added.body)
    assert again.headers["Idempotent-Replayed"] == "true"
    shown = (await api.ask("GET", f"{API}/batches/{batch['batch_id']}")).body
    assert (shown["total_contacts"], shown["rejected_count"]) == (5, 2)
    assert sum(shown["counters"].values()) == 5
    refused = await api.ask("POST", path, json={"contacts": [{"phone_number": "12"}]})
    assert refused.status == 422
    await api.ask("POST", f"{API}/batches/{batch['batch_id']}/cancel")
    closed = await api.ask("POST", path, json={"contacts": [{"phone_number": NUMBERS[6]}]})
    assert closed.status == 409


# -------------------------------------------------------------------------------------------- rerun


async def test_a_batch_is_made_of_those_who_were_not_reached(api: ApiWorld) -> None:
    batch = await a_batch(api, 4, metadata={"source": "crm"})
    statuses = ["no_answer", "busy", "completed", "pending"]
    for position, status in enumerate(statuses, 1):
        await api.sql("update contacts set status = $2 where position = $1", position, status)
    path = f"{API}/batches/{batch['batch_id']}/rerun"
    made = await api.ask("POST", f"{path}?status=no_answer,busy", headers={"Idempotency-Key": "r"})
    assert made.status == 201, made.body
    assert (made.body["total_contacts"], made.body["campaign_id"]) == (2, batch["campaign_id"])
    assert made.body["metadata"] == {"source": "crm", "rerun_of": batch["batch_id"]}
    assert [c["phone_number"] for c in await contacts_of(api, made.body)] == NUMBERS[:2]
    again = await api.ask("POST", f"{path}?status=no_answer,busy", headers={"Idempotency-Key": "r"})
    assert again.body["batch_id"] == made.body["batch_id"]
    other = await api.ask("POST", f"{path}?status=busy", headers={"Idempotency-Key": "r"})
    assert other.status == 422, "the same key with other statuses is another request"
    assert "Idempotency-Key" in str(other.body)
    repeated = await api.ask("POST", f"{path}?status=busy")
    assert repeated.status == 422, "who is in the new batch is still to be called there"
    for query in ("", "?status=pending", "?status=busy,x", "?state=busy"):
        refused = await api.ask("POST", f"{path}{query}")
        assert refused.status == 422, query
    assert (await api.ask("POST", f"{API}/batches/btc_x/rerun?status=busy")).status == 404


# --------------------------------------------------------------------------------------- one call


async def test_one_call_is_placed_to_try_things_out(api: ApiWorld) -> None:
    batch = await a_batch(api)
    body = {
        "campaign_id": batch["campaign_id"],
        "phone_number": NUMBERS[0],
        "call_variables": {"callee_name": "Ruth"},
    }
    placed = await api.ask("POST", f"{API}/calls", json=body, headers={"Idempotency-Key": "t"})
    assert placed.status == 201, placed.body
    again = await api.ask("POST", f"{API}/calls", json=body, headers={"Idempotency-Key": "t"})
    assert again.body == placed.body
    made = (await api.ask("GET", f"{API}/batches/{placed.body['batch_id']}")).body
    assert (made["total_contacts"], made["max_retries_override"]) == (1, 0)
    assert made["metadata"] == {"test_call": True}
    (contact,) = await contacts_of(api, made)
    assert contact["contact_id"] == placed.body["contact_id"]
    assert contact["call_variables"] == {"callee_name": "Ruth"}
    for wrong in (
        {"phone_number": "12"},
        {"campaign_id": "cmp_x"},
        {"phone_number": None},
        {"x": 1},
    ):
        refused = await api.ask("POST", f"{API}/calls", json=body | wrong)
        assert refused.status == (404 if "campaign_id" in wrong else 422), wrong
