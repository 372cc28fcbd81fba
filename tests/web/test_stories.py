"""One contact's story, a batch's history, and previews, on a real API over a real database."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from tests.usecases.batch_world import SetClock
from tests.web.api_world import ApiWorld, running_api

from apollo.core import ids
from apollo.usecases.explain_batch import ExplainBatch
from apollo.usecases.record_history import RecordHistory

NOW = datetime(2026, 5, 10, 9, tzinfo=UTC)  # a Sunday
WEEKDAY = {"monday": {"start": "09:00", "end": "17:00"}}


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[tuple[ApiWorld, ExplainBatch]]:
    async with running_api(database_url) as api:
        api.clock.at = NOW
        yield api, api.uses.explain_batch


async def call(api: ApiWorld, batch_id: str, count: int, **columns: object) -> None:
    """Ended calls of the batch, each of a minute; every fifth rang out."""
    await api.sql(
        "insert into calls (id, organization_id, campaign_id, batch_id, position, attempt, kind,"
        " state, provider, phone_number, from_number, requested_at, ended_at, outcome,"
        " window_opens_at, window_closes_at, hangup_reason, evidence, batch_open_calls,"
        " batch_limit, campaign_open_calls, campaign_limit)"
        " select gen_random_uuid(), 'org_acme', b.campaign_id, b.id, 1, n, 'first', 'ended', 'p',"
        "  '+919876543210', '+14155552671', $3::timestamptz - interval '60 seconds', $3,"
        "  case when n % 5 = 0 then 'no_answer' else 'completed' end, '1970-01-01Z',"
        "  '9999-12-31Z', 'x', 'webhook', 2, 3, 7, case n when 1 then 10 end"
        " from batches b, generate_series(1, $2::int) n where b.id = $1",
        ids.parse_id("btc", batch_id),
        count,
        columns.get("at", NOW - timedelta(hours=1)),
    )


# --------------------------------------------------------------------------------------------- why


async def test_a_contact_tells_what_holds_it_and_what_was_decided_at_each_attempt(
    world: tuple[ApiWorld, ExplainBatch],
) -> None:
    api, _ = world
    batch_id = await api.batch(await api.campaign())
    await call(api, batch_id, 2)
    await api.sql("update contacts set status = 'retrying', wait_reason = 'retry_not_due'")
    await api.sql(
        "insert into due_contacts (batch_id, position, turn, due_at, is_due, since)"
        " select id, 1, 1, $1, false, $1 from batches",
        NOW + timedelta(minutes=5),
    )
    contact_id = ids.contact_id(ids.ContactKey(ids.parse_id("btc", batch_id), 1))  # type: ignore[arg-type]  # it was just made
    reply = await api.ask("GET", f"/api/v1/batches/{batch_id}/contacts/{contact_id}/why")
    assert reply.status == 200, reply.body
    assert reply.body["blocked_by"] == "retry_not_due"
    assert reply.body["next_eligible_at"] == "2026-05-10T09:05:00Z"
    assert "until 2026-05-10T09:05:00Z; 2 calls were made" in reply.body["summary"]
    # Both were decided in the same instant.
    first, second = sorted(reply.body["attempts"], key=lambda one: one["attempt"])
    assert (first["from_number"], first["outcome"]) == ("+14155552671", "completed")
    assert (first["request"], first["window"], first["evidence"]) == ("accepted", None, "webhook")
    batch = {"name": "batch", "limit": 3, "in_use": 2}
    assert first["limits"] == [batch, {"name": "campaign", "limit": 10, "in_use": 7}]
    assert second["limits"] == [batch]


async def test_a_contact_that_waits_for_its_batch_carries_the_batchs_reason(
    world: tuple[ApiWorld, ExplainBatch],
) -> None:
    api, _ = world
    batch_id = await api.batch(await api.campaign())
    contact_id = ids.contact_id(ids.ContactKey(ids.parse_id("btc", batch_id), 1))  # type: ignore[arg-type]  # it was just made
    reply = await api.ask("GET", f"/api/v1/batches/{batch_id}/contacts/{contact_id}/why")
    assert reply.body["blocked_by"] == "no_worker_alive"
    assert reply.body["reason"]["code"] == "no_worker_alive"
    assert "apollo worker" in reply.body["reason"]["fix"]


async def test_a_contact_of_another_batch_is_not_found(
    world: tuple[ApiWorld, ExplainBatch],
) -> None:
    api, _ = world
    campaign = await api.campaign()
    mine, other = await api.batch(campaign), await api.batch(campaign)
    contact_id = ids.contact_id(ids.ContactKey(ids.parse_id("btc", other), 1))  # type: ignore[arg-type]  # it was just made
    for shown in (contact_id, "con_nonsense", contact_id[:-1] + "9"):
        reply = await api.ask("GET", f"/api/v1/batches/{mine}/contacts/{shown}/why")
        assert (reply.status, reply.body) == (404, {"detail": "Contact not found"})


# ----------------------------------------------------------------------------------------- history


async def test_history_has_a_line_for_each_change_and_what_was_done_before_it(
    world: tuple[ApiWorld, ExplainBatch],
) -> None:
    api, explain = world
    batch_id = await api.batch(await api.campaign())
    await api.sql("update batches set ready_at = $1", NOW)
    await api.sql(
        "insert into heartbeats (process_id, role, host, pid, version, started_at, seen_at, report)"
        " values (gen_random_uuid(), 'worker', 'dialler-1', 41, '0.1.0', $1, $1, '{}')",
        NOW,
    )
    clock = SetClock()
    record = RecordHistory(db=api.db, clock=clock, explain=explain)
    for minute in (1, 2, 3):
        clock.at = NOW - timedelta(minutes=60 - minute)
        await record.look()
    await api.sql("update batches set status = 'paused', paused_by = 'batch'")
    await api.sql(
        "insert into actions (organization_id, batch_id, at, actor, action)"
        " select 'org_acme', id, $1, 'crm', 'batch_paused' from batches",
        NOW - timedelta(minutes=30),
    )
    clock.at = NOW - timedelta(minutes=29)
    await record.look()
    reply = await api.ask("GET", f"/api/v1/batches/{batch_id}/debug/history?end={NOW:%FT%TZ}")
    assert reply.status == 200, reply.body
    first, second = reply.body["intervals"]
    assert (first["verdict"], first["reason"], first["since"], first["until"]) == (
        "healthy",
        None,
        "2026-05-10T08:01:00Z",
        "2026-05-10T08:31:00Z",
    )
    assert (second["verdict"], second["reason"], second["until"]) == (
        "waiting",
        "batch_paused",
        None,
    )
    assert [one["actor"] for one in second["preceded_by"]] == ["crm"]
    assert second["summary"].endswith("after batch_paused at 08:30:00 by crm")


async def test_what_was_done_to_the_whole_organisation_is_told_to_it_alone(
    world: tuple[ApiWorld, ExplainBatch],
) -> None:
    api, _ = world
    batch_id = await api.batch(await api.campaign())
    await api.sql("insert into organizations (id) values ('org_other')")
    await api.sql(
        "insert into actions (organization_id, campaign_id, at, actor, action, detail) values"
        " ('org_acme', null, $1, 'ops', 'dialling_stopped', '{}'),"
        # Of another campaign, and of somebody else.
        " ('org_acme', gen_random_uuid(), $1, 'crm', 'campaign_paused', '{}'),"
        " ('org_other', null, $1, 'ops', 'dialling_resumed', '{}'),"
        " ('org_acme', null, $1, 'apollo', 'recovery_entered',"
        '  \'{"unknown_calls": 2, "settled": ["call-of-somebody-else"]}\')',
        NOW - timedelta(minutes=30),
    )
    reply = await api.ask("GET", f"/api/v1/batches/{batch_id}/debug/history?end={NOW:%FT%TZ}")
    assert reply.status == 200, reply.body
    told = {one["action"]: (one["scope"], one["detail"]) for one in reply.body["changes"]}
    assert told == {
        "dialling_stopped": ("organization", {}),
        "recovery_entered": ("organization", {"unknown_calls": 2}),
    }


async def test_the_end_of_a_batch_is_written_down_once(
    world: tuple[ApiWorld, ExplainBatch],
) -> None:
    api, explain = world
    batch_id = await api.batch(await api.campaign())
    clock = SetClock()
    clock.at = NOW - timedelta(minutes=9)
    record = RecordHistory(db=api.db, clock=clock, explain=explain)
    await record.look()
    await api.sql("update contacts set status = 'completed'")
    await api.sql("update batches set status = 'completed', completed_at = now()")
    for _ in range(3):
        clock.at += timedelta(minutes=1)
        await record.look()
    rows = await api.sql("select verdict from debug_history order by since")
    assert [row["verdict"] for row in rows] == ["blocked", "finished"]
    query = "?start=2026-05-10T08:52:00Z&end=2026-05-10T08:53:00Z"
    reply = await api.ask("GET", f"/api/v1/batches/{batch_id}/debug/history{query}")
    assert [one["verdict"] for one in reply.body["intervals"]] == ["finished"]
    reply = await api.ask("GET", f"/api/v1/batches/{batch_id}/debug/history?end=2026-05-10T08:00Z")
    assert reply.body["intervals"] == []


async def test_a_process_whose_clock_is_an_hour_ahead_shows_the_database_s_times(
    world: tuple[ApiWorld, ExplainBatch],
) -> None:
    api, _ = world
    now = (await api.sql("select clock_timestamp() as now"))[0]["now"]
    api.clock.at = now + timedelta(hours=1)
    campaign = await api.campaign()
    batch_id = await api.batch(campaign)
    explain = ExplainBatch(db=api.db, settings=api.uses.explain_batch.settings)
    await RecordHistory(db=api.db, explain=explain).look()
    soon = timedelta(seconds=30)
    reply = await api.ask("GET", f"/api/v1/batches/{batch_id}/debug/history")
    times = [reply.body["end"], *(one["since"] for one in reply.body["intervals"])]
    path = f"/api/v1/campaigns/{campaign['campaign_id']}/preview"
    reply = await api.ask("POST", path, json={"contacts_count": 5})
    times += [reply.body["first_call_at"], reply.body["as_of"]]
    assert len(times) == 4
    for shown in times:
        assert abs(datetime.fromisoformat(shown) - now) < soon, (times, now)


async def test_only_one_worker_records(world: tuple[ApiWorld, ExplainBatch]) -> None:
    api, explain = world
    await api.batch(await api.campaign())
    async with api.db.transaction() as connection:
        await connection.execute("select pg_advisory_xact_lock(x'41504F4C4C4F48'::bigint)")
        await RecordHistory(db=api.db, clock=SetClock(), explain=explain).look()
        assert await api.sql("select 1 from debug_history") == []


async def test_a_history_that_ends_before_it_starts_is_refused(
    world: tuple[ApiWorld, ExplainBatch],
) -> None:
    api, _ = world
    batch_id = await api.batch(await api.campaign())
    query = "?start=2026-05-10T09:00:00Z&end=2026-05-10T08:00:00Z"
    reply = await api.ask("GET", f"/api/v1/batches/{batch_id}/debug/history{query}")
    assert reply.status == 422
    assert reply.body["detail"][0]["loc"] == ["query", "start"]


# ----------------------------------------------------------------------------------------- preview


async def test_a_preview_checks_contacts_and_says_when_the_first_is_called(
    world: tuple[ApiWorld, ExplainBatch],
) -> None:
    api, _ = world
    campaign = await api.campaign(working_hours_enforced=True, working_hours=WEEKDAY)
    contacts = [{"phone_number": n} for n in ("+12025550143", "12", "+1 202 555 0143")]
    path = f"/api/v1/campaigns/{campaign['campaign_id']}/preview"
    reply = await api.ask("POST", path, json={"contacts": contacts})
    assert reply.status == 200, reply.body
    assert (reply.body["accepted"], reply.body["rejected_count"]) == (1, 2)
    assert [row["index"] for row in reply.body["rejected"]] == [1, 2]
    first = datetime.fromisoformat(reply.body["first_call_at"])
    as_of = datetime.fromisoformat(reply.body["as_of"])
    assert (f"{first:%a %H:%M}", first - as_of <= timedelta(days=7)) == ("Mon 09:00", True)
    assert reply.body["estimated_finish_at"] is None
    assert reply.body["limit"]["name"] == "campaign.metadata.concurrency_limit"
    assert await api.sql("select 1 from batches") == []


async def test_a_preview_of_a_change_forecasts_what_is_left_from_measured_calls(
    world: tuple[ApiWorld, ExplainBatch],
) -> None:
    api, _ = world
    campaign = await api.campaign(retry_policy={"max_retries": 0})
    batch_id = await api.batch(campaign)
    await call(api, batch_id, 40, at=datetime.now(UTC) - timedelta(hours=1))
    path = f"/api/v1/campaigns/{campaign['campaign_id']}/preview"
    reply = await api.ask("POST", path, json={})
    assert reply.body["accepted"] == 1
    assert reply.body["measured"] == {
        "calls": 40,
        "seconds_per_call": 60.0,
        "retry_share": 0.2,
    }
    changes = {"metadata": {"concurrency_limit": 2}}
    reply = await api.ask("POST", path, json={"contacts_count": 120, "changes": changes})
    # 120 minutes of talk on two lines, and a minute for who is called beside them.
    assert _takes(reply.body) == timedelta(hours=1, seconds=30)
    assert reply.body["limit"]["calls_at_a_time"] == 2
    reply = await api.ask("POST", path, json={"contacts_count": 120, "concurrency_limit": 1})
    assert reply.body["limit"]["name"] == "batch.concurrency_limit"
    assert _takes(reply.body) == timedelta(hours=2)
    await api.sql("update batches set status = 'paused', paused_by = 'batch'")
    reply = await api.ask("POST", path, json={"contacts_count": 120, "changes": changes})
    assert _takes(reply.body) == timedelta(hours=1)
    row = await api.sql("select concurrency_limit from campaigns")
    assert row[0]["concurrency_limit"] == 10


def _takes(preview: dict[str, str]) -> timedelta:
    """How long the forecast says that it takes."""
    finish_at, as_of = preview["estimated_finish_at"], preview["as_of"]
    return datetime.fromisoformat(finish_at) - datetime.fromisoformat(as_of)


async def test_a_preview_of_a_paused_campaign_says_what_it_waits_for(
    world: tuple[ApiWorld, ExplainBatch],
) -> None:
    api, _ = world
    campaign = await api.campaign()
    await api.sql("update campaigns set paused_at = now()")
    path = f"/api/v1/campaigns/{campaign['campaign_id']}/preview"
    reply = await api.ask("POST", path, json={"contacts_count": 5})
    assert reply.body["waiting_for"] == "campaign_paused"
    assert reply.body["first_call_at"] is None


async def test_a_wrong_change_is_refused_by_the_rules_of_the_campaign(
    world: tuple[ApiWorld, ExplainBatch],
) -> None:
    api, _ = world
    campaign = await api.campaign()
    path = f"/api/v1/campaigns/{campaign['campaign_id']}/preview"
    reply = await api.ask("POST", path, json={"changes": {"timezone": "Mars/Olympus"}})
    assert reply.status == 422
    reply = await api.ask("POST", path, json={"changes": {"colour": "red"}})
    assert reply.status == 422
