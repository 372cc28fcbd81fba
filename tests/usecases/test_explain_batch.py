"""The diagnosis on real tables: each condition is made in the database, and the answer read."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.usecases.explained_world import CREATED, EVERY_DAY, HOOK, NOW, World

from apollo.core import ids
from apollo.core.reasons import Reason
from apollo.errors import NotFound
from apollo.storage import diagnosis, recovery
from apollo.storage.database import Connection, Database, load_queries
from apollo.usecases import explain_batch


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    db = await Database.connect(database_url, connections_max=2)
    yield World(db)
    await db.close()


def codes(diagnostics: dict[str, Any]) -> list[str]:
    return [reason["code"] for reason in diagnostics["reasons"]]


async def test_a_healthy_batch_has_the_documented_keys_and_nothing_serious(world: World) -> None:
    await world.make(20)
    await world.worker()
    await world.call(1, 3, status="in_progress", state="ringing")
    await world.run("update calls set heard_at = requested_at")
    await world.move(1, 1, "completed")
    await world.run(
        "update calls set state='ended', ended_at=$1, outcome='completed' where position=1", NOW
    )
    assert await world.answer() == {
        "batch_id": ids.batch_id(world.batch_id),
        "status": "in_progress",
        "status_breakdown": {
            "pending": {"count": 17, "oldest_updated_at": "2026-05-12T08:00:00Z"},
            "dispatched": {"count": 0},
            "in_progress": {"count": 2, "oldest_updated_at": "2026-05-12T09:59:00Z"},
            "completed": {"count": 1, "oldest_updated_at": "2026-05-12T09:59:00Z"},
        },
        "pending_sample": [
            ids.contact_id(ids.ContactKey(world.batch_id, position)) for position in (4, 5, 6)
        ],
        "diagnostics": {
            "stuck_pending": False,
            "tip": "Batch is healthy: 2 contacts are on a call, 8 more are dialled right now.",
            "verdict": "healthy",
            "reasons": [
                {
                    "code": "concurrency_full",
                    "layer": "capacity",
                    "severity": "info",
                    "contacts": 9,
                    "since": None,
                    "until": None,
                    "evidence": {
                        "limit": 10,
                        "in_use": 2,
                        "oldest_call_at": "2026-05-12T09:59:00Z",
                    },
                    "fix": "If the carrier allows more calls at a time, raise the campaign's"
                    " metadata.concurrency_limit. 8 of 10 slots are free, too few for all, and 9"
                    " contacts wait for one.",
                    "help": "/docs/reasons#concurrency_full",
                }
            ],
            "accounting": {
                "unfinished": 19,
                "on_call": 2,
                "dialable_now": 8,
                "by_reason": {"concurrency_full": 9},
            },
            "limits": [
                {"name": "batch", "limit": 10, "in_use": 2, "free": 8},
                {"name": "campaign", "limit": 10, "in_use": 2, "free": 8},
            ],
            "held": {"contacts": 0, "note": None},
            "next_dial_at": "2026-05-12T10:00:00Z",
            "estimated_finish_at": None,
            "estimate_is_at_least": False,
            "not_reached_by_end": None,
            "warnings": [
                {
                    "code": "no_calling_hours",
                    "text": "People are called at any hour of the day or night: the campaign has no"
                    " working_hours. To bound them, give working_hours; a table that is given"
                    " holds.",
                }
            ],
            "as_of": "2026-05-12T10:00:00Z",
            "stale_inputs": [],
        },
    }


async def test_a_batch_of_somebody_else_is_not_found(world: World) -> None:
    await world.make(1)
    for organization_id, batch_id in (
        ("org_b", ids.batch_id(world.batch_id)),
        ("org_a", ids.batch_id(uuid.uuid4())),
        ("org_a", "btc_nonsense"),
    ):
        with pytest.raises(NotFound, match=r"^Batch not found$"):
            await world.use_case.explain(organization_id, batch_id)


# -------------------------------------------------------------------------------------- intent


async def test_a_paused_batch_names_who_paused_it(world: World) -> None:
    await world.make(5)
    await world.worker()
    await world.run("update batches set status = 'paused', paused_by = 'batch'")
    await world.run(
        "insert into actions (organization_id, campaign_id, batch_id, at, actor, action)"
        " values ('org_a', $1, $2, $3, 'crm', 'batch_paused')",
        world.campaign_id,
        world.batch_id,
        NOW - timedelta(minutes=9),
    )
    found = await world.reason("batch_paused")
    assert (found["contacts"], found["evidence"]["by"]) == (5, "crm")
    assert found["since"] == "2026-05-12T09:51:00Z"
    assert (await world.diagnostics())["verdict"] == "waiting"


async def test_a_paused_campaign_a_scheduled_start_and_a_stop_order_are_each_found(
    world: World,
) -> None:
    await world.make(5)
    await world.worker()
    await world.run("update campaigns set paused_at = $1", NOW)
    await world.run("update batches set status = 'paused', paused_by = 'campaign'")
    assert codes(await world.diagnostics()) == ["campaign_paused"]
    await world.run("update campaigns set paused_at = null")
    await world.run(
        "update batches set status = 'pending', paused_by = null, scheduled_start = $1",
        NOW + timedelta(hours=1),
    )
    answer = await world.diagnostics()
    assert codes(answer) == ["batch_scheduled"]
    assert answer["next_dial_at"] == "2026-05-12T11:00:00Z"
    await world.run("update batches set status = 'in_progress', scheduled_start = null")
    await world.run("update organizations set dialling_stopped_at = $1 where id = 'org_a'", NOW)
    found = await world.reason("dialling_stopped")
    assert found["evidence"]["scope"] == "the organisation"


async def test_a_batch_that_apollo_paused_carries_the_providers_words(world: World) -> None:
    await world.make(5)
    await world.worker()
    await world.run(
        "update batches set status = 'paused', paused_by = 'apollo', pause_reason = $1",
        {"code": "bad_request_everywhere", "text": "application_sid not found"},
    )
    answer = await world.diagnostics()
    assert codes(answer) == ["bad_request_everywhere", "paused_by_apollo"]
    assert answer["verdict"] == "blocked"
    assert all("application_sid not found" in reason["fix"] for reason in answer["reasons"])


async def test_a_cancelled_and_an_expired_batch_are_finished(world: World) -> None:
    await world.make(5)
    await world.move(1, 5, "skipped")
    await world.run("update batches set status = 'cancelled'")
    answer = await world.diagnostics()
    assert (answer["verdict"], codes(answer)) == ("finished", ["cancelled"])
    await world.run("update batches set status = 'expired', ends_at = $1", NOW)
    answer = await world.diagnostics()
    assert (answer["verdict"], codes(answer)) == ("finished", ["batch_expired"])


# ---------------------------------------------------------------------------- clock and contact


async def test_closed_hours_name_the_next_opening_in_the_campaigns_zone(world: World) -> None:
    await world.make(5)
    await world.worker()
    await world.run(
        "update campaigns set working_hours_enforced = true, working_hours = $1",
        {day: {"start": "09:00", "end": "15:00"} for day in EVERY_DAY},
    )
    found = await world.reason("outside_window")
    assert found["contacts"] == 5
    assert found["until"] == "2026-05-13T03:30:00Z"
    assert found["evidence"]["opens_local"] == "Wednesday 13 May 09:00"
    diagnosis = await world.use_case.diagnose("org_a", world.batch_id)
    opens_at = datetime(2026, 5, 13, 3, 30, tzinfo=UTC)
    assert diagnosis.holds_back(None, None) == (Reason.OUTSIDE_WINDOW, opens_at)


async def test_retries_and_follow_ups_tell_the_first_and_the_last_due_time(world: World) -> None:
    await world.make(4)
    await world.worker()
    await world.take(4)
    await world.move(1, 3, "retrying", wait_reason="retry_not_due")
    await world.move(4, 4, "followup_scheduled", wait_reason="follow_up_not_due")
    for position in (1, 2, 3):
        await world.wait(position, 1, NOW + timedelta(minutes=10 * position), is_due=False)
    await world.wait(4, 0, NOW + timedelta(days=1), is_due=False)
    found = await world.reason("retry_not_due")
    assert found["contacts"] == 3
    assert found["evidence"] == {
        "first_due_at": "2026-05-12T10:10:00Z",
        "last_due_at": "2026-05-12T10:30:00Z",
    }
    assert (await world.reason("follow_up_not_due"))["until"] == "2026-05-13T10:00:00Z"
    answer = await world.diagnostics()
    assert (answer["verdict"], answer["next_dial_at"]) == ("waiting", "2026-05-12T10:10:00Z")


async def test_what_fell_due_and_was_not_promoted_waits_for_the_worker(world: World) -> None:
    await world.make(3)
    await world.take(3)
    await world.move(1, 3, "retrying", wait_reason="retry_not_due")
    for position in (1, 2, 3):
        await world.wait(position, 1, NOW + timedelta(minutes=2 - position), is_due=False)
    answer = await world.diagnostics()
    assert answer["accounting"]["by_reason"] == {"retry_not_due": 1, "no_worker_alive": 2}


async def test_a_blocked_number_names_the_call_that_holds_it_but_not_of_another_organisation(
    world: World,
) -> None:
    await world.make(4)
    await world.worker()
    other = uuid.uuid4()
    await world.call(1, 1, batch_id=other, number="+447400123456")
    await world.call(2, 2, batch_id=other, number="+919876543210", organization_id="org_b")
    await world.take(2)
    await world.move(1, 2, "pending", wait_reason="duplicate_number_blocked", at=CREATED)
    later = NOW + timedelta(seconds=30)
    await world.wait(1, 2, later, is_due=False, number="+447400123456", since=CREATED)
    await world.wait(2, 2, later, is_due=False, number="+919876543210", since=CREATED)
    found = await world.reason("duplicate_number_blocked")
    assert found["contacts"] == 2
    held_by = {row["contact_id"][-1]: row["batch_id"] for row in found["evidence"]["sample"]}
    assert held_by == {"1": ids.batch_id(other), "2": None}


# ----------------------------------------------------------------------------------- capacity


async def test_full_slots_name_the_other_batches_that_hold_them(world: World) -> None:
    await world.make(50, limit=5)
    await world.worker()
    other = uuid.uuid4()
    await world.add_batch(other, 9)
    await world.call(101, 104, batch_id=other, state="ringing")
    await world.call(1, 1, state="ringing")
    found = await world.reason("campaign_concurrency_full")
    assert found["contacts"] == 49
    assert found["evidence"]["held_by"] == [
        {
            "batch_id": ids.batch_id(other),
            "calls": 4,
            "oldest_call_at": "2026-05-12T09:59:00Z",
            "status": "in_progress",
        }
    ]
    assert (await world.diagnostics())["verdict"] == "healthy"


# ----------------------------------------------------------------------- pipeline and provider


async def test_a_dead_worker_is_named_with_host_process_and_time(world: World) -> None:
    await world.make(7)
    await world.beat("worker", {}, seen_at=NOW - timedelta(minutes=45))
    await world.beat("web", {})
    answer = await world.answer()
    found = answer["diagnostics"]["reasons"][0]
    assert (found["code"], found["contacts"]) == ("no_worker_alive", 7)
    assert found["evidence"]["last_worker"]["host"] == "dialler-1"
    assert found["evidence"]["last_worker"]["pid"] == 41
    assert found["evidence"]["last_worker"]["seen_at"] == "2026-05-12T09:15:00Z"
    assert answer["diagnostics"]["stuck_pending"] is True
    assert "7 contacts have been pending" in answer["diagnostics"]["tip"]
    assert f"/batches/{answer['batch_id']}/dispatch" in answer["diagnostics"]["tip"]


@pytest.mark.parametrize(
    ("state", "code"),
    [
        ("unauthorised", "provider_unauthorised"),
        ("down", "provider_down"),
        ("rate_limited", "rate_limited_by_provider"),
    ],
)
async def test_a_provider_that_fails_is_known_from_the_workers_report(
    world: World, state: str, code: str
) -> None:
    await world.make(3)
    await world.worker(state, last_error="401 or so", retry_at=(NOW + timedelta(1)).isoformat())
    found = await world.reason(code)
    assert (found["contacts"], found["since"]) == (3, "2026-05-12T09:57:00Z")
    assert "401 or so" in found["fix"]


async def test_calls_that_a_restore_lost_are_read_in_and_then_let_go(world: World) -> None:
    await world.make(3)
    await world.worker()
    found = {"compared_from": CREATED.isoformat(), "unknown_calls": 2}
    await world.run("insert into installation (agent_key_secret) values ('x')")
    async with world.db.transaction() as connection:
        assert await recovery.enter_recovery(connection, found)
    (lost,) = (await world.diagnostics())["reasons"]
    assert "On the server, read the missing calls in" in lost["fix"]
    assert lost["evidence"]["read_in_at"] is None
    async with world.db.transaction() as connection:
        read_in = {"at": NOW.isoformat(), "given": 2}
        await recovery.note_read_in(connection, found | {"read_in": read_in})
    (waits,) = (await world.diagnostics())["reasons"]
    assert waits["evidence"]["read_in_at"] == "2026-05-12T10:00:00Z"
    assert "They were read in at 2026-05-12T10:00:00Z." in waits["fix"]


async def test_unknown_calls_are_counted_and_say_when_they_are_looked_for(world: World) -> None:
    await world.make(3)
    await world.worker(answers={"server_error": 3})
    await world.call(1, 3, state="unknown")
    found = await world.reason("provider_errors_unknown")
    assert (found["contacts"], found["evidence"]["answers_last_minute"]) == (
        3,
        {"server_error": 3},
    )


async def test_accepted_calls_without_webhooks_name_the_hook_url(world: World) -> None:
    await world.make(3)
    await world.worker()
    await world.beat("web", {"hooks": {"received": 0, "refused_signature": 0}})
    await world.call(1, 3)
    answer = await world.diagnostics()
    assert codes(answer) == ["webhooks_not_arriving"]
    found = answer["reasons"][0]
    assert found["evidence"]["hook_url"] == HOOK
    assert (found["evidence"]["calls"], found["evidence"]["requests_on_hook"]) == (3, 0)
    # One that was heard of acquits itself, and not the others.
    await world.run("update calls set heard_at = requested_at where position = 3")
    (found,) = (await world.diagnostics())["reasons"]
    assert (found["evidence"]["unheard"], found["evidence"]["calls"]) == (2, 3)
    await world.run("update calls set heard_at = requested_at")
    assert codes(await world.diagnostics()) == []


async def test_refused_signatures_come_before_the_silence_they_cause(world: World) -> None:
    await world.make(3)
    await world.worker()
    refused = {"refused_signature": 9, "last_refused_at": NOW.isoformat()}
    refused["refused_at"] = [NOW.isoformat()] * 9
    await world.beat("web", {"hooks": {"received": 0, "last_received_at": None, **refused}})
    await world.call(1, 3)
    answer = await world.diagnostics()
    assert codes(answer) == ["webhooks_rejected_signature", "webhooks_not_arriving"]
    assert answer["reasons"][0]["evidence"]["refused"] == 9


async def test_a_report_of_another_version_is_not_there(world: World) -> None:
    await world.make(3)
    await world.run("update batches set ready_at = $1", NOW)
    await world.beat("worker", {"provider": "in another shape"})
    assert (await world.diagnostics())["verdict"] == "healthy"


# -------------------------------------------------------------------------------------- books


async def test_a_batch_that_nobody_closed_is_found(world: World) -> None:
    await world.make(3)
    await world.take(3)
    await world.move(1, 3, "completed")
    assert codes(await world.diagnostics()) == ["completed_not_closed"]


async def test_a_recount_on_request_verifies_the_counters_or_shows_the_difference(
    world: World,
) -> None:
    await world.make(9)
    await world.worker()
    await world.move(1, 2, "busy")
    await world.take(2)
    assert "counters_verified" not in codes(await world.diagnostics())
    found = await world.reason("counters_verified", verify=True)
    assert found["evidence"] == {"recounted": 9, "difference": 0}
    await world.run("update batch_counters set contacts = contacts + 1 where status = 'busy'")
    answer = await world.diagnostics(verify=True)
    assert (answer["verdict"], codes(answer)[0]) == ("degraded", "accounting_gap")
    gaps = answer["reasons"][0]["evidence"]["gaps"]
    assert gaps == {"counted busy": -1, "in no counter": -1}


async def test_a_contact_shown_on_a_call_that_does_not_exist_is_a_gap(world: World) -> None:
    await world.make(3)
    await world.worker()
    await world.take(1)
    await world.move(1, 1, "dispatched")
    answer = await world.diagnostics()
    assert answer["accounting"]["by_reason"] == {"accounting_gap": 1}
    assert "1 contact matches no reason" in answer["reasons"][0]["fix"]


# -------------------------------------------------------------------------------- stuck_pending


async def test_a_slot_that_another_batch_gave_back_just_now_restarts_the_half_hour(
    world: World,
) -> None:
    await world.make(3)
    other = uuid.uuid4()
    await world.add_batch(other, 1)
    assert (await world.diagnostics())["stuck_pending"] is True
    await world.run(
        "update contacts set status = 'completed', updated_at = $2 where batch_id = $1",
        other,
        NOW - timedelta(minutes=10),
    )
    assert (await world.diagnostics())["stuck_pending"] is False


async def test_a_contact_given_back_keeps_its_place_as_the_oldest(world: World) -> None:
    await world.make(9)
    await world.worker()
    await world.take(4)
    await world.move(1, 3, "completed")
    await world.run("update contacts set updated_at = $1 where position = 4", CREATED)
    await world.wait(4, 2, CREATED, is_due=True, since=CREATED - timedelta(hours=1))
    answer = await world.answer()
    assert answer["pending_sample"] == [
        ids.contact_id(ids.ContactKey(world.batch_id, position)) for position in (4, 5, 6)
    ]
    assert answer["status_breakdown"]["pending"]["oldest_updated_at"] == "2026-05-12T07:00:00Z"


# ---------------------------------------------------------------------------------------- held


async def _hold(world: World, first: int, last: int) -> None:
    """Have the calls to contacts given up, and the contacts held."""
    await world.call(first, last, state="unknown")
    await world.run(
        "update calls set state = 'ended', outcome = 'failed', evidence = 'assumed', ended_at = $1,"
        " hangup_reason = 'outcome_unknown' where position between $2 and $3",
        NOW,
        first,
        last,
    )
    await world.run(
        "update contacts set attempts = 1 where position between $1 and $2", first, last
    )
    await world.move(first, last, "failed")


async def test_contacts_that_are_held_are_counted_and_are_no_reason(world: World) -> None:
    await world.make(20)
    await world.worker()
    await _hold(world, 1, 3)
    # Released, called again and lost again for another cause.
    await world.run("update contacts set attempts = 2 where position = 3")
    found = await world.diagnostics()
    assert (found["verdict"], codes(found)) == ("healthy", ["concurrency_full"])
    assert found["tip"].startswith("Batch is healthy")
    assert found["held"] == {
        "contacts": 2,
        "note": "2 contacts are held as failed: a call may have been placed, and it is unknown"
        " what became of it. On the server, `apollo calls unresolved` lists such calls, and `apollo"
        " calls release ID --reason …` makes a contact callable again.",
    }
    await world.run("delete from heartbeats")
    stalled = await world.diagnostics()
    assert (stalled["verdict"], codes(stalled)[0]) == ("blocked", "no_worker_alive")
    assert stalled["tip"].startswith("Start a worker")
    assert stalled["held"] == found["held"]


async def test_a_completed_batch_with_held_contacts_is_finished_and_says_so(world: World) -> None:
    await world.make(3)
    await world.worker()
    await _hold(world, 1, 3)
    await world.run("update batches set status = 'completed', completed_at = $1", NOW)
    found = await world.diagnostics()
    assert (found["verdict"], codes(found)) == ("finished", ["how_it_ended"])
    assert found["held"]["contacts"] == 3
    await world.run("update batches set status = 'cancelled'")
    closed = (await world.diagnostics())["held"]["note"]
    assert closed.endswith("the batch is cancelled, so no one is called again.")
    await world.move(1, 3, "completed")
    assert (await world.diagnostics())["held"] == {"contacts": 0, "note": None}


async def test_so_many_unknown_calls_that_not_all_are_looked_at_is_said(world: World) -> None:
    await world.make(1_001)
    await world.worker()
    await _hold(world, 1, 1_001)
    held = (await world.diagnostics())["held"]
    assert held["contacts"] == 1_000
    assert held["note"].startswith("At least 1,000 contacts are held as failed")


# ------------------------------------------------------------------------- outages and the cost


async def test_what_cannot_be_read_in_time_is_named_and_the_rest_is_answered(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.make(3)
    await world.run("update batches set ready_at = $1", NOW)
    # However slow the machine is with the rest.
    monkeypatch.setattr(explain_batch, "_ANSWERED_WITHIN_S", 30)
    monkeypatch.setattr(explain_batch, "_SILENT_S", 30)
    monkeypatch.setattr(diagnosis, "_ENOUGH_S", 30)
    monkeypatch.setattr(diagnosis, "_THEN_WITHIN_MS", 2_000)
    async with _locked(world.db, "heartbeats"):
        answer = await world.diagnostics()
    assert answer["stale_inputs"] == ["processes"]
    assert (answer["verdict"], codes(answer)) == ("degraded", [])


@asynccontextmanager
async def _locked(db: Database, table: str) -> AsyncIterator[None]:
    async with db.transaction() as connection:
        await connection.execute(f"lock table {table} in access exclusive mode")
        yield


_MEASURED = (
    *("live_calls", "neighbours", "endings"),
    *("tallies", "open_calls", "contacts_on_call", "waiting", "heads", "parked", "acts"),
    *(
        "held",
        "ended_calls",
        "decided_calls",
        "decided_earlier",
        "decided_elsewhere",
        "calls_elsewhere",
    ),
)


async def _cost(world: World) -> dict[str, tuple[int, set[str]]]:
    """Buffers touched by each reading, and the tables it reads from end to end."""
    queries = load_queries("diagnosis") | load_queries("comparison")
    given = {
        "batch_id": world.batch_id,
        "campaign_id": world.campaign_id,
        "organization_id": "org_a",
        "now": NOW,
        "overdue_max": 1000,
        "looked_at_max": 10,
        "ring_for": timedelta(minutes=1),
        "talk_for": timedelta(minutes=1),
        "rings_for": timedelta(hours=1),
    }
    costs = {}
    async with world.db.connection() as connection:
        for name in _MEASURED:
            query = queries[name]
            values = [given[param] for param in query.params]
            plan = await _explained(connection, query.text, values)
            buffers = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
            costs[name] = (buffers, _scanned(plan))
    return costs


async def _explained(connection: Connection, text: str, values: list[Any]) -> dict[str, Any]:
    raw = await connection.fetchval(f"explain (analyze, buffers, format json) {text}", *values)
    plan: dict[str, Any] = json.loads(raw)[0]["Plan"]
    return plan


def _scanned(plan: dict[str, Any]) -> set[str]:
    mine = {plan["Relation Name"]} if plan["Node Type"] == "Seq Scan" else set()
    return mine.union(*(_scanned(inner) for inner in plan.get("Plans", [])))


async def _fill(world: World, contacts: int) -> None:
    """A batch half done: ended calls, retries, contacts given back, ten open calls."""
    await world.make(contacts, limit=20)
    await world.worker()
    half = contacts // 2
    await world.call(1, half)
    await world.run("update calls set state='ended', ended_at=$1, outcome='busy'", NOW)
    await world.run(
        "update calls set outcome = 'failed', hangup_reason = 'outcome_unknown'"
        " where position % 10 = 0"
    )
    await world.move(1, half, "busy")
    await world.move(1, contacts // 4, "retrying", wait_reason="retry_not_due")
    await world.run(
        """
        insert into due_contacts (batch_id, position, turn, due_at, is_due, since)
        select $1, n, 1, $2::timestamptz + n * interval '1 second', false, $2
          from generate_series(1, $3::int) as n
        """,
        world.batch_id,
        NOW,
        contacts // 4,
    )
    await world.move(contacts // 4 + 1, contacts // 3, "pending", at=CREATED)
    await world.run(
        """
        insert into due_contacts (batch_id, position, turn, due_at, is_due, since)
        select $1, n, 2, $2, true, $2 from generate_series($3::int, $4::int) as n
        """,
        world.batch_id,
        CREATED,
        contacts // 4 + 1,
        contacts // 3,
    )
    await world.call(half + 1, half + 10)
    for table in ("contacts", "calls", "due_contacts", "batch_counters", "batches"):
        await world.run(f"vacuum analyze {table}")


async def test_the_cost_is_the_same_for_a_small_and_a_large_batch(world: World) -> None:
    await _fill(world, 400)
    before = await _cost(world)
    await world.run(
        "truncate contacts, due_contacts, calls, batch_counters, batch_cursors, batches,"
        " campaigns, organizations, heartbeats cascade"
    )
    await _fill(world, 200_000)
    for name, (buffers, scanned) in (await _cost(world)).items():
        assert not scanned & {"contacts", "calls", "due_contacts"}, (name, scanned)
        # Trees grow by a level or two for each of the 23 look-ups of the longest reading; it
        # would be thousands if one of them read its way through the batch.
        assert buffers <= before[name][0] + 90, (name, before[name][0], buffers)
    answer = await world.diagnostics()
    assert answer["accounting"]["by_reason"]["retry_not_due"] == 50_000


async def test_two_tables_out_of_reach_are_both_named_within_a_second(world: World) -> None:
    await world.make(3)
    await world.run("update batches set ready_at = $1", NOW)
    loop = asyncio.get_running_loop()
    async with _locked(world.db, "heartbeats"), _locked_too(world.db.url, "calls"):
        began = loop.time()
        answer = await world.diagnostics()
        took_s = loop.time() - began
    assert {"processes", "open_calls", "ended_calls"} <= set(answer["stale_inputs"])
    # The promise is a second; a busy machine may take more, and without a limit it would be five.
    assert took_s < 3.0


@asynccontextmanager
async def _locked_too(url: str, table: str) -> AsyncIterator[None]:
    other = await Database.connect(url, connections_max=1)
    async with _locked(other, table):
        yield
    await other.close()


async def test_the_last_calls_and_what_to_compare_them_with_are_read(world: World) -> None:
    await world.make(400)
    await world.worker()
    await world.call(1, 300)
    await world.run(
        "update calls set state = 'ended', outcome = case when position > 200 then 'no_answer'"
        " else 'completed' end, ended_at = $1::timestamptz + position * interval '1 second'",
        NOW - timedelta(hours=1),
    )
    await world.move(1, 300, "completed")
    found = await world.reason("no_answer_high")
    assert found["evidence"]["calls"] == 200
    assert found["evidence"]["before"] == {"calls": 100, "no_answer": 0, "rate": 0.0}
    assert "50% of the last 200 first calls rang out, against 0% of 100" in found["fix"]


async def test_who_picked_up_is_judged_in_the_order_of_calling(world: World) -> None:
    """Who picks up is known at once, and who does not only when the phone has rung out."""
    await world.make(20)
    await world.worker()
    await world.call(1, 20, at=NOW - timedelta(seconds=20))
    ended = "update calls set state = 'ended', ended_at = $1, outcome = 'no_answer'"
    await world.run(f"{ended} where position <= 12 and position not in (3, 4)", NOW)
    # Two talk still, one rings, and of those placed after that one three have picked up.
    await world.run(
        "update calls set state = 'answered', answered_at = $1"
        " where position in (3, 4, 13, 15, 16, 17)",
        NOW,
    )
    # A retry says nothing about how many pick up at first.
    await world.run("update calls set kind = 'retry' where position = 1")
    query = load_queries("comparison")["decided_calls"]
    known = {"batch_id": world.batch_id, "now": NOW}
    async with world.db.connection() as connection:
        rows = await query.rows(connection, **known, rings_for=timedelta(minutes=1))
        lost = await query.rows(connection, **known, rings_for=timedelta())

    def position(row: Any) -> int:
        return int(row["phone_number"].removeprefix("+9198")) - 10_000_000

    found = {position(row): row["rang_out"] for row in rows}
    assert found == {2: True, **dict.fromkeys(range(5, 13), True), 3: False, 4: False, 13: False}
    assert {position(row) for row in lost} - found.keys() == {15, 16, 17}


async def test_a_session_that_holds_a_lock_is_named_and_its_values_are_not(world: World) -> None:
    await world.make(3)
    await world.worker()
    blocker = await Database.connect(world.db.url, connections_max=1, name="psql")
    async with blocker.transaction() as connection:
        await connection.execute("select set_config('a.b', 'secret 919876543210', true)")
        await connection.execute("lock table campaigns in share row exclusive mode -- '5'")
        waits = asyncio.create_task(world.run("update campaigns set name = 'x'"))
        world.clock.at = datetime.now(UTC) + timedelta(minutes=1)
        found: dict[str, Any] = {"code": ""}
        async with asyncio.timeout(5):
            while found["code"] != "db_locks":
                reasons = (await world.diagnostics())["reasons"]
                found = next((r for r in reasons if r["code"] == "db_locks"), found)
    await waits
    evidence = found["evidence"]
    assert (evidence["application"], evidence["state"]) == ("psql", "idle in transaction")
    assert "5" not in evidence["statement"]
    await blocker.close()


# ------------------------------------------------------------------------------------ when it ends


async def _went(world: World, first: int, last: int, outcome: str, **seconds: float) -> None:
    """Have contacts called `began` seconds ago, each call over `over` seconds ago."""
    await world.call(first, last, at=NOW - timedelta(seconds=seconds["began"]))
    await world.run(
        "update calls set state = 'ended', outcome = $3, evidence = 'webhook', ended_at = $4"
        " where position between $1 and $2",
        first,
        last,
        outcome,
        NOW - timedelta(seconds=seconds["over"]),
    )
    status = "completed" if outcome == "completed" else "retrying"
    reason = None if outcome == "completed" else "retry_not_due"
    await world.move(first, last, status, wait_reason=reason)


async def _done_in_s(world: World) -> int:
    """In how many seconds everybody is expected to be done with."""
    at = datetime.fromisoformat((await world.diagnostics())["estimated_finish_at"])
    return round((at - NOW).total_seconds())


async def test_calls_under_way_count_in_when_a_batch_will_be_done(world: World) -> None:
    await world.make(100, limit=20)
    await world.worker()
    await _went(world, 1, 20, "completed", began=24, over=4)
    await world.call(21, 40, at=NOW - timedelta(seconds=4))
    found = await world.diagnostics()
    # 16 s of the calls that are out, and sixty calls more.
    assert await _done_in_s(world) in (75, 76)
    assert (found["estimate_is_at_least"], found["not_reached_by_end"]) == (False, 0)
    await world.move(41, 100, "completed")
    await world.take(100)
    assert await _done_in_s(world) in (15, 16)


async def test_coming_cooldowns_count_in_when_a_batch_will_be_done(world: World) -> None:
    await world.make(60, limit=20)
    await world.worker()
    await world.run(
        """update campaigns set retry_policy = '{"max_retries": 2, "cooldown_minutes": 1}'"""
    )
    await _went(world, 1, 60, "busy", began=33, over=30)
    for position in range(1, 61):
        await world.wait(position, 1, NOW + timedelta(seconds=30), is_due=False)
    # Thirty seconds, three rounds of 3 s, a minute more, and the last one's second retry.
    assert await _done_in_s(world) in (101, 102)
    await world.run("update calls set kind = 'retry', attempt = 2")
    assert await _done_in_s(world) in (38, 39)


async def test_a_batch_that_ends_before_it_is_done_says_so_and_whom_it_leaves_out(
    world: World,
) -> None:
    await world.make(220, limit=20)
    await world.worker()
    await _went(world, 1, 20, "completed", began=20, over=0)
    await world.call(21, 40, at=NOW)
    await world.run("update batches set ends_at = $1", NOW + timedelta(seconds=60))
    found = await world.diagnostics()
    assert found["estimated_finish_at"] == "2026-05-12T10:01:00Z"
    assert found["not_reached_by_end"] == 140


async def test_calls_longer_than_all_that_ended_say_that_it_is_the_earliest(world: World) -> None:
    await world.make(100, limit=20)
    await world.worker()
    await _went(world, 1, 20, "completed", began=84, over=80)
    await world.call(21, 40, at=NOW - timedelta(seconds=80))
    assert (await world.diagnostics())["estimate_is_at_least"] is True
