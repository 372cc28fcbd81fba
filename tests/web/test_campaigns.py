"""Campaigns over HTTP: their shape, their rules, what changes and what is refused."""

import re
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.web.api_world import CAMPAIGN, ApiWorld

from apollo.core import ids
from apollo.ports import WakeUp, Why

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
ALWAYS = {"monday": {"start": "09:00", "end": "18:00", "enabled": True}}
UNKNOWN = ids.campaign_id(uuid.UUID(int=5))


def places(reply: Any) -> list[list[str | int]]:
    """The places of the faults of a 422."""
    return [fault["loc"] for fault in reply.body["detail"]]


async def test_a_new_campaign_has_every_documented_key_and_its_defaults(api: ApiWorld) -> None:
    reply = await api.ask("POST", "/api/v1/campaigns/", json=CAMPAIGN)
    assert reply.status == 201
    created = reply.body
    assert created == {
        "campaign_id": created["campaign_id"],
        "name": "Renewals",
        "organization_id": "org_acme",
        "agent_id": "agent_1",
        "status": "draft",
        "phone_numbers": ["+14155550123"],
        "phone_number_strategy": "round_robin",
        "working_hours_enforced": False,
        "timezone": "UTC",
        "working_hours": None,
        "retry_policy": {"max_retries": 3, "strategy": "fixed", "cooldown_minutes": 30},
        "max_follow_ups": 3,
        "number_gap_minutes": None,
        "amd": False,
        "default_call_variables": {},
        "metadata": {},
        "allowed_countries": None,
        "allowed_number_types": [],
        "completed_calls": 0,
        "failed_calls": 0,
        "busy_calls": 0,
        "no_answer_calls": 0,
        "voicemail_calls": 0,
        "follow_up_calls": 0,
        "warnings": created["warnings"],
        "created_at": created["created_at"],
        "updated_at": created["created_at"],
    }
    assert [one["code"] for one in created["warnings"]] == ["no_calling_hours"]
    assert created["campaign_id"].startswith("cmp_")
    read = await api.ask("GET", f"/api/v1/campaigns/{created['campaign_id']}")
    assert read.body == created


NIGHT = {"sunday": {"start": "03:00", "end": "03:30"}}


@pytest.mark.parametrize(
    ("field", "values"),
    [("max_follow_ups", [-1, 101, 1.5, "3"]), ("number_gap_minutes", [-1, 1441, "15"])],
)
async def test_how_often_a_person_is_called_has_bounds(
    api: ApiWorld, field: str, values: list[Any]
) -> None:
    for value in values:
        refused = await api.ask("POST", "/api/v1/campaigns/", json=CAMPAIGN | {field: value})
        assert refused.status == 422, value
        assert places(refused) == [["body", field]]
    campaign = await api.campaign(**{field: 0})
    assert campaign[field] == 0
    path = f"/api/v1/campaigns/{campaign['campaign_id']}"
    changed = await api.ask("PATCH", path, json={field: None})
    assert changed.body[field] == {"max_follow_ups": 3, "number_gap_minutes": None}[field]


async def test_hours_that_are_given_hold_unless_that_is_switched_off_in_so_many_words(
    api: ApiWorld,
) -> None:
    held = await api.campaign(working_hours=NIGHT)
    assert (held["working_hours_enforced"], held["warnings"]) == (True, [])
    off = await api.campaign(working_hours=NIGHT, working_hours_enforced=False)
    assert off["working_hours_enforced"] is False
    (warning,) = off["warnings"]
    assert warning["code"] == "no_calling_hours"
    assert "working_hours_enforced is false" in warning["text"]
    none = await api.campaign(working_hours={})
    assert none["working_hours_enforced"] is False
    assert "the campaign has no working_hours" in none["warnings"][0]["text"]
    path = "/api/v1/campaigns/"
    closed = {"sunday": {"enabled": False}}
    refused = await api.ask("POST", path, json=CAMPAIGN | {"working_hours": closed})
    assert refused.status == 422, "a table that holds and has no day could never dial"


@pytest.mark.parametrize(
    ("first", "patch", "enforced"),
    [
        ({}, {"working_hours": NIGHT}, True),
        ({}, {"working_hours": NIGHT, "working_hours_enforced": False}, False),
        ({"working_hours": NIGHT}, {"name": "Other"}, True),
        ({"working_hours": NIGHT, "working_hours_enforced": False}, {"name": "Other"}, False),
        (
            {"working_hours": NIGHT, "working_hours_enforced": False},
            {"working_hours": NIGHT},
            False,
        ),
        (
            {"working_hours": NIGHT, "working_hours_enforced": False},
            {"working_hours_enforced": None},
            True,
        ),
        ({"working_hours": NIGHT}, {"working_hours": None, "working_hours_enforced": None}, False),
    ],
)
async def test_a_table_given_later_holds_too(
    api: ApiWorld, first: dict[str, Any], patch: dict[str, Any], enforced: bool
) -> None:
    campaign = await api.campaign(**first)
    path = f"/api/v1/campaigns/{campaign['campaign_id']}"
    changed = await api.ask("PATCH", path, json=patch)
    assert changed.status == 200, changed.body
    assert changed.body["working_hours_enforced"] is enforced
    assert bool(changed.body["warnings"]) is not enforced
    preview = await api.ask("POST", f"{path}/preview", json={"contacts_count": 1})
    assert preview.body["warnings"] == changed.body["warnings"]


async def test_a_campaign_with_a_zone_of_former_days_can_still_be_changed(api: ApiWorld) -> None:
    campaign = await api.campaign()
    path = f"/api/v1/campaigns/{campaign['campaign_id']}"
    await api.sql("update campaigns set timezone = 'EST'")
    assert (await api.ask("PATCH", path, json={"name": "Other"})).body["timezone"] == "EST"
    refused = await api.ask("PATCH", path, json={"timezone": "MST"})
    assert refused.status == 422
    assert "America/Denver" in refused.body["detail"][0]["msg"]


async def test_whatever_a_process_takes_for_the_time_the_databases_clock_decides(
    api: ApiWorld,
) -> None:
    """A host whose clock is an hour ahead once started scheduled batches an hour early."""
    campaign = await api.campaign()
    real = datetime.now(UTC)
    soon, past = real + timedelta(minutes=30), real - timedelta(minutes=30)
    batches = [
        {"campaign_id": campaign["campaign_id"], "contacts": [{"phone_number": number}], **times}
        for number, times in (
            ("+14155550124", {"scheduled_start": f"{soon:%FT%TZ}"}),
            ("+14155550125", {"scheduled_start": f"{past:%FT%TZ}"}),
            ("+14155550126", {"ends_at": f"{soon:%FT%TZ}"}),
            ("+14155550127", {"ends_at": f"{past:%FT%TZ}"}),
        )
    ]
    for off in (timedelta(hours=1), timedelta(hours=-1)):
        api.clock.at = real + off
        made = [await api.ask("POST", "/api/v1/batches/", json=body) for body in batches]
        assert [one.status for one in made] == [201, 201, 201, 422]
        assert [one.body["status"] for one in made[:2]] == ["pending", "in_progress"]
        assert abs(datetime.fromisoformat(made[0].body["created_at"]) - real) < timedelta(minutes=5)
        path = f"/api/v1/batches/{made[0].body['batch_id']}"
        assert (await api.ask("PATCH", path, json={"ends_at": f"{past:%FT%TZ}"})).status == 422
        for action, status in (("pause", "paused"), ("resume", "pending")):
            changed = await api.ask("POST", f"{path}/{action}")
            assert changed.body["status"] == status
        for one in made[:3]:
            await api.ask("POST", f"/api/v1/batches/{one.body['batch_id']}/cancel")


async def test_everything_a_client_gives_comes_back(api: ApiWorld) -> None:
    given = {
        "organization_id": "org_acme",
        "phone_numbers": ["+91 98765-43210", "+14155550123", "+919876543210"],
        "phone_number_strategy": "least_loaded",
        "working_hours_enforced": True,
        "timezone": "Asia/Kolkata",
        "working_hours": ALWAYS,
        "retry_policy": {"max_retries": 0, "strategy": "exponential", "cooldown_minutes": 5},
        "default_call_variables": {"language": "en", "product": "Жизнь", "n": 1.5, "x": None},
        "metadata": {"concurrency_limit": 20, "team": ["a", {"b": 2}]},
    }
    reply = await api.ask("POST", "/api/v1/campaigns/create", json=CAMPAIGN | given)
    assert reply.status == 201, reply.body
    given["phone_numbers"] = ["+919876543210", "+14155550123"]
    assert {key: reply.body[key] for key in given} == given


async def test_every_wrong_field_is_named_at_once(api: ApiWorld) -> None:
    wrong = {
        "name": "  ",
        "agent_id": "",
        "phone_numbers": ["+14155550123", "+1415"],
        "phone_number_strategy": "first",
        "timezone": "Asia/Calcuta",
        "retry_policy": {"max_retries": -1, "strategy": "never", "cooldown_minutes": 1e9, "x": 1},
        "metadata": {"concurrency_limit": 0},
    }
    reply = await api.ask("POST", "/api/v1/campaigns", json=wrong)
    assert reply.status == 422
    assert places(reply) == [
        ["body", "name"],
        ["body", "agent_id"],
        ["body", "phone_numbers", 1],
        ["body", "phone_number_strategy"],
        ["body", "timezone"],
        ["body", "retry_policy", "x"],
        ["body", "retry_policy", "max_retries"],
        ["body", "retry_policy", "strategy"],
        ["body", "retry_policy", "cooldown_minutes"],
        ["body", "metadata", "concurrency_limit"],
    ]
    assert "Asia/Calcutta" in reply.body["detail"][4]["msg"]


async def test_what_could_never_dial_or_be_kept_is_refused(api: ApiWorld) -> None:
    closed = {"monday": {"start": "09:00", "end": "18:00", "enabled": False}}
    same = {"monday": {"start": "09:00", "end": "09:00", "enabled": True}}
    refused: list[dict[str, Any]] = [
        {"working_hours_enforced": True},
        {"working_hours_enforced": True, "working_hours": {}},
        {"working_hours_enforced": True, "working_hours": closed},
        {"working_hours": same},
        {"working_hours": {"someday": {}}},
        {"working_hours_enforced": "yes"},
        {"working_hours_enforced": 1},
        {"phone_numbers": []},
        {"phone_numbers": ["+14155550123"] * 1001},
        {"phone_numbers": "+14155550123"},
        {"phone_numbers": [14155550123]},
        {"name": None},
        {"name": "x" * 201},
        {"metadata": {"concurrency_limit": 10001}},
        {"metadata": {"concurrency_limit": "20"}},
        {"metadata": {"concurrency_limit": 20.0}},
        {"metadata": {"concurrency_limit": True}},
        {"metadata": {"blob": "x" * 70_000}},
        {"metadata": []},
        {"retry_policy": {"max_retries": 101}},
        {"retry_policy": {"max_retries": True}},
        {"retry_policy": {"strategy": ["fixed"]}},
        {"retry_policy": {"cooldown_minutes": -1}},
        {"retry_policy": {"cooldown_minutes": 1441}},
        {"campaign_id": "cmp_x"},
        {"status": "active"},
        {"unknown": 1},
    ]
    for fields in refused:
        reply = await api.ask("POST", "/api/v1/campaigns", json=CAMPAIGN | fields)
        assert reply.status == 422, fields
        assert set(reply.body["detail"][0]) == {"loc", "msg", "type"}
    assert await api.sql("select from campaigns") == []
    for name in ("name", "agent_id", "phone_numbers"):
        without = {key: value for key, value in CAMPAIGN.items() if key != name}
        assert places(await api.ask("POST", "/api/v1/campaigns", json=without)) == [["body", name]]


async def test_hours_over_midnight_and_a_part_of_the_retry_policy_are_fine(api: ApiWorld) -> None:
    night = {"friday": {"start": "22:00", "end": "02:00"}}
    night["sunday"] = {"start": "00:00", "end": "24:00"}
    created = await api.campaign(
        working_hours=night, retry_policy={"max_retries": 1}, metadata={"concurrency_limit": None}
    )
    assert created["working_hours"] == night
    assert created["retry_policy"] == {
        "max_retries": 1,
        "strategy": "fixed",
        "cooldown_minutes": 30,
    }


async def test_a_patch_replaces_the_keys_given_and_nothing_else(api: ApiWorld) -> None:
    created = await api.campaign(
        metadata={"concurrency_limit": 20, "team": "a"}, default_call_variables={"a": 1, "b": 2}
    )
    path = f"/api/v1/campaigns/{created['campaign_id']}"
    api.bus.woken.clear()
    changes = {
        "name": "Renamed",
        "metadata": {"team": "b"},
        "default_call_variables": None,
        "phone_numbers": ["+919876543210"],
    }
    reply = await api.ask("PATCH", path, json=changes)
    assert reply.status == 200
    assert TIME.fullmatch(reply.body["updated_at"])
    changed = created | changes | {"default_call_variables": {}}
    assert reply.body == changed | {"updated_at": reply.body["updated_at"]}
    campaign_id = ids.parse_id("cmp", created["campaign_id"])
    assert campaign_id is not None
    assert api.bus.woken == [WakeUp(campaign_id, Why.CAMPAIGN_CHANGED)]
    (row,) = await api.sql("select concurrency_limit from campaigns")
    assert row["concurrency_limit"] == 10
    assert (await api.ask("PATCH", path, json={})).body == reply.body
    assert len(api.bus.woken) == 1


async def test_null_puts_an_optional_field_back_to_its_default(api: ApiWorld) -> None:
    created = await api.campaign(
        phone_number_strategy="random",
        working_hours_enforced=True,
        timezone="Asia/Kolkata",
        working_hours=ALWAYS,
        retry_policy={"max_retries": 9},
    )
    path = f"/api/v1/campaigns/{created['campaign_id']}"
    reply = await api.ask("PATCH", path, json={"working_hours": None})
    assert places(reply) == [["body", "working_hours"]]
    nulls = dict.fromkeys(
        (
            "phone_number_strategy",
            "working_hours_enforced",
            "timezone",
            "working_hours",
            "retry_policy",
        )
    )
    reply = await api.ask("PATCH", path, json=nulls)
    fresh = await api.campaign()
    assert {key: reply.body[key] for key in nulls} == {key: fresh[key] for key in nulls}
    for name in ("name", "agent_id", "phone_numbers"):
        assert places(await api.ask("PATCH", path, json={name: None})) == [["body", name]]


async def test_what_is_not_the_clients_to_change_stays(api: ApiWorld) -> None:
    created = await api.campaign()
    path = f"/api/v1/campaigns/{created['campaign_id']}"
    for name in ("campaign_id", "status", "created_at"):
        reply = await api.ask("PATCH", path, json={name: "another"})
        assert places(reply) == [["body", name]], name
    reply = await api.ask("PATCH", path, json={"organization_id": "org_other"})
    assert reply.status == 403
    assert (await api.ask("GET", path)).body == created


async def test_campaigns_are_listed_newest_first_by_page_and_status(api: ApiWorld) -> None:
    made = []
    for _ in range(5):
        api.clock.at += timedelta(seconds=1)
        made.append((await api.campaign())["campaign_id"])
    await api.batch({"campaign_id": made[1]})
    await api.batch({"campaign_id": made[2]}, "completed")

    async def listed(query: str = "") -> list[str]:
        reply = await api.ask("GET", f"/api/v1/campaigns/?{query}")
        return [campaign["campaign_id"] for campaign in reply.body]

    assert await listed() == made[::-1]
    assert await listed("skip=1&limit=2&organization_id=org_acme") == made[3:1:-1]
    assert await listed("status=active") == [made[1]]
    assert await listed("status=completed") == [made[2]]
    assert await listed("status=draft") == [made[4], made[3], made[0]]
    assert await listed("status=cancelled") == []


async def test_the_status_follows_the_batches(api: ApiWorld) -> None:
    created = await api.campaign()
    path = f"/api/v1/campaigns/{created['campaign_id']}"

    async def status() -> str:
        return str((await api.ask("GET", path)).body["status"])

    assert await status() == "draft"
    await api.batch(created, "paused")
    assert await status() == "active"
    assert (await api.ask("POST", f"{path}/pause")).body["status"] == "paused"
    assert await status() == "paused"
    await api.sql("update batches set status = 'expired', paused_by = null")
    assert await status() == "completed"


async def test_an_id_that_does_not_exist_is_the_same_404_in_every_form(api: ApiWorld) -> None:
    for unknown in (UNKNOWN, "cmp_x", "btc_x", "x", "%00", "cmp_" + "z" * 22):
        path = f"/api/v1/campaigns/{unknown}"
        for method, suffix in (
            ("GET", ""),
            ("PATCH", ""),
            ("DELETE", ""),
            ("GET", "/stats"),
            ("POST", "/pause"),
            ("POST", "/resume"),
            ("POST", "/cancel"),
        ):
            extra: dict[str, Any] = {"json": {}} if method == "PATCH" else {}
            reply = await api.ask(method, path + suffix, **extra)
            assert (reply.status, reply.body) == (404, {"detail": "Campaign not found"})


async def test_delete_hides_a_campaign_at_rest_and_refuses_a_live_one(api: ApiWorld) -> None:
    created = await api.campaign()
    path = f"/api/v1/campaigns/{created['campaign_id']}"
    await api.batch(created)
    reply = await api.ask("DELETE", path)
    assert reply.status == 409
    assert "/cancel" in reply.body["detail"]
    assert (await api.ask("POST", f"{path}/cancel")).body["status"] == "cancelled"
    reply = await api.ask("DELETE", path)
    assert (reply.status, reply.body) == (204, "")
    assert (await api.ask("GET", path)).status == 404
    assert (await api.ask("GET", "/api/v1/campaigns")).body == []


async def test_stats_have_the_documented_shape(api: ApiWorld) -> None:
    created = await api.campaign()
    await api.batch(created)
    reply = await api.ask("GET", f"/api/v1/campaigns/{created['campaign_id']}/stats")
    assert reply.status == 200
    statuses = "pending dispatched in_progress retrying completed failed busy no_answer voicemail"
    others = ["skipped", "followup_scheduled", "max_retries_reached"]
    zeros = dict.fromkeys([*statuses.split(), *others], 0)
    assert reply.body == {
        "campaign_id": created["campaign_id"],
        "contact_counts": zeros | {"pending": 1},
        "batch_counts": {
            "pending": 0,
            "in_progress": 1,
            "paused": 0,
            "completed": 0,
            "cancelled": 0,
            "expired": 0,
        },
        "call_counters": {
            "completed_calls": 0,
            "failed_calls": 0,
            "busy_calls": 0,
            "no_answer_calls": 0,
            "voicemail_calls": 0,
            "follow_up_calls": 0,
        },
        "retry_breakdown": {"retry_1": 0, "retry_2": 0, "retry_3": 0},
        "in_flight_contacts": 0,
        "total_call_attempts": 0,
        "follow_up_attempts": 0,
    }


async def test_lifecycle_answers_have_the_documented_shape(api: ApiWorld) -> None:
    created = await api.campaign()
    batch = await api.batch(created)
    campaign = created["campaign_id"]
    steps = [
        (f"batches/{batch}/pause", "paused", "Batch paused successfully"),
        (f"batches/{batch}/resume", "in_progress", "Batch resumed successfully"),
        (f"campaigns/{campaign}/pause", "paused", "Campaign paused successfully"),
        (f"campaigns/{campaign}/resume", "active", "Campaign resumed successfully"),
        (f"batches/{batch}/cancel", "cancelled", "Batch cancelled successfully"),
    ]
    for path, status, message in steps:
        reply = await api.ask("POST", f"/api/v1/{path}/")
        key, name = ("batch_id", batch) if "batches" in path else ("campaign_id", campaign)
        assert (reply.status, reply.body) == (
            200,
            {key: name, "status": status, "message": message, "calls_in_progress": 0},
        )
    reply = await api.ask("POST", f"/api/v1/batches/{batch}/resume")
    assert reply.status == 409
    assert "final" in reply.body["detail"]


async def test_dispatch_has_the_documented_shape(api: ApiWorld) -> None:
    batch = await api.batch(await api.campaign())
    reply = await api.ask("POST", f"/api/v1/batches/{batch}/dispatch")
    assert reply.body == {
        "batch_id": batch,
        "status": "in_progress",
        "dispatched_count": 1,
        "message": "Batch dispatch re-triggered successfully",
        "waiting_for": "no_worker_alive",
    }


async def test_whom_a_campaign_may_call_is_set_changed_and_put_back(api: ApiWorld) -> None:
    wanted = {"allowed_countries": ["us", "CA", "US"], "allowed_number_types": ["satellite"]}
    created = (await api.ask("POST", "/api/v1/campaigns/", json={**CAMPAIGN, **wanted})).body
    assert created["allowed_countries"] == ["US", "CA"]
    assert created["allowed_number_types"] == ["satellite"]
    path = f"/api/v1/campaigns/{created['campaign_id']}"
    nulls = {"allowed_countries": None, "allowed_number_types": None}
    put_back = (await api.ask("PATCH", path, json=nulls)).body
    assert (put_back["allowed_countries"], put_back["allowed_number_types"]) == (None, [])
    for countries in (["Europe"], []):
        bad: dict[str, list[str]] = {"allowed_countries": countries}
        refused = await api.ask("PATCH", path, json=bad)
        assert places(refused) == [["body", "allowed_countries"]]
    refused = await api.ask("PATCH", path, json={"allowed_number_types": ["gold"]})
    assert places(refused) == [["body", "allowed_number_types"]]


async def test_a_caller_id_without_a_country_is_not_told_of_default_region(api: ApiWorld) -> None:
    body = {**CAMPAIGN, "phone_numbers": ["2025550143"]}
    refused = await api.ask("POST", "/api/v1/campaigns/", json=body)
    assert "country is missing" in refused.body["detail"][0]["msg"]
    assert "default_region" not in refused.body["detail"][0]["msg"]
