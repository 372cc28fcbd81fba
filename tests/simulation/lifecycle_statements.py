"""What the queries of `storage/sql/lifecycle.sql` do, and the table of all statements by text."""

import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from tests.simulation import (
    calls_statements,
    dialling_statements,
    gates_statements,
    recovery_statements,
)
from tests.simulation.dialling_statements import LIVE, Rows
from tests.simulation.engine import NO_KEY, UPDATE, Statement, Transaction

from apollo.storage.database import load_queries


def lock_campaign(
    t: Transaction, now: datetime, campaign_id: uuid.UUID, organization_id: str
) -> Rows:
    t.lock_timeout_s = 15.0
    c = t.get("campaigns", campaign_id)
    if c is None or c["organization_id"] != organization_id:
        return []
    t.lock("campaigns", campaign_id, NO_KEY)
    return [
        {
            "id": c["id"],
            "is_paused": c["paused_at"] is not None,
            "is_cancelled": c["cancelled_at"] is not None,
            "read_at": now,
        }
    ]


def find_batch(t: Transaction, now: datetime, batch_id: uuid.UUID) -> Rows:
    del now
    b = t.get("batches", batch_id)
    if b is None:
        return []
    return [{"organization_id": b["organization_id"], "campaign_id": b["campaign_id"]}]


def lock_batches(
    t: Transaction, now: datetime, campaign_id: uuid.UUID, batch_id: uuid.UUID | None
) -> Rows:
    del now
    wanted = [
        b
        for b in t.rows("batches")
        if b["campaign_id"] == campaign_id
        and (b["id"] == batch_id or (batch_id is None and b["status"] in LIVE))
    ]
    wanted.sort(key=lambda b: b["id"])
    for b in wanted:
        t.lock("batches", b["id"], UPDATE)
    return [dict(b) for b in wanted]


def count_open_calls(
    t: Transaction, now: datetime, campaign_id: uuid.UUID, batch_id: uuid.UUID | None
) -> Rows:
    del now
    calls = [
        c
        for c in t.rows("calls")
        if c["campaign_id"] == campaign_id
        and c["ended_at"] is None
        and (batch_id is None or c["batch_id"] == batch_id)
    ]
    return [{"count": len(calls)}]


def read_campaign_status(t: Transaction, now: datetime, campaign_id: uuid.UUID) -> Rows:
    del now
    c = t.get("campaigns", campaign_id)
    if c is None:
        return []
    batches = [b["status"] for b in t.rows("batches") if b["campaign_id"] == campaign_id]
    is_paused = c["paused_at"] is not None
    if c["cancelled_at"] is not None:
        status = "cancelled"
    elif LIVE.intersection(batches):
        status = "paused" if is_paused else "active"
    elif batches:
        status = "completed"
    else:
        status = "paused" if is_paused else "draft"
    return [{"status": status}]


def pause_campaign(t: Transaction, now: datetime, campaign_id: uuid.UUID, at: datetime) -> Rows:
    del now
    t.change("campaigns", campaign_id, paused_at=at, updated_at=at)
    return [{}]


def resume_campaign(t: Transaction, now: datetime, campaign_id: uuid.UUID, at: datetime) -> Rows:
    del now
    t.change("campaigns", campaign_id, paused_at=None, updated_at=at)
    return [{}]


def cancel_campaign(t: Transaction, now: datetime, campaign_id: uuid.UUID, at: datetime) -> Rows:
    del now
    t.change("campaigns", campaign_id, cancelled_at=at, paused_at=None, updated_at=at)
    return [{}]


def pause_batches(
    t: Transaction, now: datetime, batch_ids: list[uuid.UUID], paused_by: str, at: datetime
) -> Rows:
    del now
    for batch_id in _live(t, batch_ids):
        t.change("batches", batch_id, status="paused", paused_by=paused_by, updated_at=at)
    return [{}]


def _live(t: Transaction, batch_ids: list[uuid.UUID]) -> list[uuid.UUID]:
    found = [t.get("batches", batch_id) for batch_id in batch_ids]
    return [b["id"] for b in found if b is not None and b["status"] in LIVE]


def resume_batches(t: Transaction, now: datetime, batch_ids: list[uuid.UUID], at: datetime) -> Rows:
    del now
    resumed = []
    for batch_id in batch_ids:
        b = t.get("batches", batch_id)
        if b is not None and b["status"] == "paused":
            is_ahead = b["scheduled_start"] is not None and b["scheduled_start"] > at
            status = "pending" if is_ahead else "in_progress"
            t.change(
                "batches",
                batch_id,
                status=status,
                paused_by=None,
                pause_reason=None,
                ready_at=at,
                updated_at=at,
            )
            resumed.append({"status": status})
    return resumed


def close_batches(
    t: Transaction, now: datetime, batch_ids: list[uuid.UUID], at: datetime, status: str
) -> Rows:
    del now
    for batch_id in _live(t, batch_ids):
        t.change(
            "batches", batch_id, status=status, paused_by=None, pause_reason=None, updated_at=at
        )
    return [{}]


def skip_contacts(t: Transaction, now: datetime, batch_ids: list[uuid.UUID], at: datetime) -> Rows:
    del now
    waiting = [
        (c["batch_id"], c["position"])
        for c in t.rows("contacts")
        if c["batch_id"] in batch_ids
        and c["status"] in {"pending", "retrying", "followup_scheduled"}
    ]
    for key in waiting:
        t.lock("contacts", key, NO_KEY)
    for key in waiting:
        t.change("contacts", key, status="skipped", wait_reason=None, updated_at=at)
    return [{} for _ in waiting]


def drop_due_contacts(t: Transaction, now: datetime, batch_ids: list[uuid.UUID]) -> Rows:
    del now
    waiting = [
        (d["batch_id"], d["position"]) for d in t.rows("due_contacts") if d["batch_id"] in batch_ids
    ]
    for key in waiting:
        t.lock("due_contacts", key, UPDATE)
    for key in waiting:
        t.delete("due_contacts", key)
    return [{} for _ in waiting]


def end_cursors(t: Transaction, now: datetime, batch_ids: list[uuid.UUID]) -> Rows:
    del now
    for batch_id in batch_ids:
        b = t.get("batches", batch_id)
        if b is not None:
            t.change("batch_cursors", batch_id, next_position=b["total_contacts"] + 1)
    return [{}]


def record_action(t: Transaction, now: datetime, /, **given: Any) -> Rows:
    del now
    t.own.setdefault("actions", {})[object()] = given
    return [{}]


# --------------------------------------------------------------------- the big red button


NEW_INSTALLATION = {
    "agent_key_secret": b"example",
    "dialling_stopped_at": None,
    "recovery_since": None,
    "recovery_evidence": None,
    "compared_lineage": None,
}


def keep_agent_key_secret(t: Transaction, now: datetime, fresh: bytes) -> Rows:
    del now
    if t.get("installation", True) is None:
        t.put("installation", True, {**NEW_INSTALLATION, "agent_key_secret": fresh})
    return []


def read_agent_key_secret(t: Transaction, now: datetime) -> Rows:
    del now
    return [{"agent_key_secret": i["agent_key_secret"]} for i in t.rows("installation")]


def stop_dialling(t: Transaction, now: datetime, organization_id: str, is_stopped: bool) -> Rows:
    if t.get("organizations", organization_id) is None:
        return []
    t.change("organizations", organization_id, dialling_stopped_at=now if is_stopped else None)
    return [{}]


def stop_all_dialling(t: Transaction, now: datetime, is_stopped: bool) -> Rows:
    t.change("installation", True, dialling_stopped_at=now if is_stopped else None)
    return [{}]


def wakeable_campaigns(t: Transaction, now: datetime, organization_id: str | None) -> Rows:
    del now
    found = {
        b["campaign_id"]: None
        for b in t.rows("batches")
        if b["status"] == "in_progress" and organization_id in {None, b["organization_id"]}
    }
    return [{"campaign_id": campaign_id} for campaign_id in found]


def count_calls_of(t: Transaction, now: datetime, organization_id: str | None) -> Rows:
    del now
    calls = [
        c
        for c in t.rows("calls")
        if c["ended_at"] is None and organization_id in {None, c["organization_id"]}
    ]
    return [{"count": len(calls)}]


def _table() -> Mapping[str, tuple[tuple[str, ...], Statement]]:
    """Give each statement by the text that `apollo.storage` sends."""
    here = {
        name: globals()[name]
        for name in (
            *("lock_campaign", "find_batch", "lock_batches", "count_open_calls"),
            *("read_campaign_status", "pause_campaign", "resume_campaign", "cancel_campaign"),
            *("pause_batches", "resume_batches", "close_batches", "skip_contacts"),
            *("drop_due_contacts", "end_cursors", "record_action", "stop_dialling"),
            *("stop_all_dialling", "wakeable_campaigns", "count_calls_of"),
        )
    }
    here["record_action_everywhere"] = record_action
    agents: dict[str, Statement] = {
        "keep_agent_key_secret": keep_agent_key_secret,
        "read_agent_key_secret": read_agent_key_secret,
    }
    files = {
        "dialling": dialling_statements.STATEMENTS,
        "calls": calls_statements.STATEMENTS,
        "carrier_gates": gates_statements.STATEMENTS,
        "call_results": calls_statements.RESULT_STATEMENTS,
        "lifecycle": here,
        "agents": agents,
        "recovery": recovery_statements.STATEMENTS,
    }
    return {
        query.text: (query.params, statements[name])
        for file, statements in files.items()
        for name, query in load_queries(file).items()
        if name in statements
    }


STATEMENTS = _table()
