"""What the queries of `storage/sql/recovery.sql` do: before a worker dials, and for an operator."""

import uuid
from datetime import datetime
from typing import Any

from tests.simulation.dialling_statements import (
    EMPTY_CALL,
    KINDS,
    LIVE,
    Given,
    Rows,
    numbers_taken,
    win,
)
from tests.simulation.engine import KEY_SHARE, NO_KEY, UPDATE, Row, Transaction

WAITS = frozenset({"pending", "retrying", "followup_scheduled"})


def read_reach(t: Transaction, now: datetime) -> Rows:
    del now
    claims = [k["last_claimed_at"] for k in t.rows("batch_cursors") if k["last_claimed_at"]]
    workers = [
        h["started_at"]
        for h in t.rows("heartbeats")
        if h["role"] == "worker" and h["report"].get("is_cleared")
    ]
    knows_until = max(claims, default=min(workers, default=None))
    installation = t.get("installation", True) or {"compared_lineage": None}
    return [
        {
            "identity": t.server.identity,
            "lineage": t.server.lineage,
            "knows_until": knows_until,
            "compared_lineage": installation["compared_lineage"],
        }
    ]


def note_compared(t: Transaction, now: datetime, lineage: str) -> Rows:
    del now
    if t.get("installation", True) is not None:
        t.change("installation", True, compared_lineage=lineage)
    return [{}]


def read_recovery(t: Transaction, now: datetime) -> Rows:
    del now
    open_since = min(
        (c["requested_at"] for c in t.rows("calls") if not c["ended_at"]), default=None
    )
    return [
        {
            "recovery_since": i["recovery_since"],
            "recovery_evidence": i["recovery_evidence"] or {},
            "open_since": open_since,
        }
        for i in t.rows("installation")
    ]


def read_caller_ids(t: Transaction, now: datetime) -> Rows:
    del now
    numbers = {number: None for c in t.rows("campaigns") for number in c["phone_numbers"]}
    return [{"number": number} for number in numbers]


def read_our_calls(t: Transaction, now: datetime, /, **given: Any) -> Rows:
    del now
    sids, numbers = set(given["provider_call_ids"]), set(given["phone_numbers"])
    found = []
    for c in t.rows("calls"):
        is_unnamed = (
            c["phone_number"] in numbers
            and c["provider"] == given["provider"]
            and c["provider_call_id"] is None
            and c["state"] != "released"
            and (c["ended_at"] is None or c["requested_at"] >= given["since"])
        )
        if c["provider_call_id"] in sids or is_unnamed:
            names = (
                *("id", "provider_call_id", "phone_number", "from_number", "requested_at"),
                *("outcome", "evidence"),
            )
            found.append({name: c[name] for name in names} | {"is_open": c["ended_at"] is None})
    return sorted(found, key=lambda c: c["requested_at"])


def read_open_calls(t: Transaction, now: datetime, provider: str) -> Rows:
    del now
    return [
        {"id": c["id"]}
        for c in t.rows("calls")
        if c["provider"] == provider and c["ended_at"] is None
    ]


def enter_recovery(t: Transaction, now: datetime, evidence: dict[str, Any]) -> Rows:
    held = t.get("installation", True)
    if held is None or held["recovery_since"] is not None:
        return []
    t.change("installation", True, recovery_since=now, recovery_evidence=evidence)
    return [{"recovery_since": now}]


def note_read_in(t: Transaction, now: datetime, evidence: dict[str, Any]) -> Rows:
    del now
    held = t.get("installation", True)
    if held is None or held["recovery_since"] is None:
        return []
    t.change("installation", True, recovery_evidence=evidence)
    return [{}]


def leave_recovery(t: Transaction, now: datetime, evidence: dict[str, Any]) -> Rows:
    del now
    if t.get("installation", True) is None:
        return []
    t.change("installation", True, recovery_since=None, recovery_evidence=evidence)
    return [{}]


def note_everywhere(t: Transaction, now: datetime, /, **given: Any) -> Rows:
    del now
    t.own.setdefault("actions", {})[object()] = given
    return [{}]


def find_contacts(t: Transaction, now: datetime, phone_numbers: list[str]) -> Rows:
    del now
    found = []
    for c in t.rows("contacts"):
        b = t.get("batches", c["batch_id"])
        assert b is not None
        if c["phone_number"] in phone_numbers and c["status"] in WAITS and b["status"] in LIVE:
            campaign = t.get("campaigns", b["campaign_id"])
            assert campaign is not None
            row = {name: c[name] for name in ("batch_id", "position", "phone_number")}
            row["caller_ids"] = campaign["phone_numbers"]
            found.append(((b["created_at"], b["id"], c["position"]), row))
    return [row for _, row in sorted(found, key=lambda pair: pair[0])]


def adopt_call(t: Transaction, now: datetime, /, **given: Any) -> Rows:
    batch_id, position = given["batch_id"], given["position"]
    # Joined, not locked: one that had to wait goes on with what it first saw.
    due = t.first_sight.setdefault("due", t.get("due_contacts", (batch_id, position)))
    batch = t.get("batches", batch_id)
    if batch is None or batch["status"] not in LIVE:
        return []
    t.lock("batches", batch_id, KEY_SHARE)
    contact = t.get("contacts", (batch_id, position))
    if contact is None or contact["status"] not in WAITS:
        return []
    t.lock("contacts", (batch_id, position), UPDATE)
    if _is_known(t, given, contact):
        return []
    passed = _passed(t, batch_id, position)
    for key in [(batch_id, position), *((p["batch_id"], p["position"]) for p in passed)]:
        t.lock("due_contacts", key, UPDATE)
    t.lock("batch_cursors", batch_id, NO_KEY)
    call = _adopted(t, now, given, batch, contact, due)
    t.put("calls", call["id"], call)
    win(t, call)
    for p in passed:
        queued = {"batch_id": batch_id, "position": p["position"], "turn": 2, "due_at": now}
        state = {"is_due": True, "since": p["updated_at"], "blocked_number": None}
        t.put("due_contacts", (batch_id, p["position"]), queued | state)
    cursor = t.get("batch_cursors", batch_id)
    assert cursor is not None
    reached = max(cursor["next_position"], position + 1)
    t.change("batch_cursors", batch_id, next_position=reached)
    return [{"id": call["id"]}]


def _is_known(t: Transaction, given: Given, contact: Row) -> bool:
    """Tell whether a unique index refuses the call."""
    return bool(numbers_taken(t, given["provider"], {contact["phone_number"]})) or any(
        c["provider_call_id"] == given["provider_call_id"] for c in t.rows("calls")
    )


def _passed(t: Transaction, batch_id: uuid.UUID, position: int) -> list[Row]:
    """Give whom the cursor would pass by though they still wait, and are not queued."""
    cursor = t.get("batch_cursors", batch_id)
    assert cursor is not None
    before = [t.get("contacts", (batch_id, p)) for p in range(cursor["next_position"], position)]
    return [
        c
        for c in before
        if c is not None
        and c["status"] == "pending"
        and t.get("due_contacts", (batch_id, c["position"])) is None
    ]


def _adopted(
    t: Transaction, now: datetime, given: Given, batch: Row, contact: Row, due: Row | None
) -> dict[str, Any]:
    return {
        **EMPTY_CALL,
        "state": "accepted",
        "id": uuid.UUID(int=t.server.random.getrandbits(128)),
        "organization_id": batch["organization_id"],
        "campaign_id": batch["campaign_id"],
        "batch_id": batch["id"],
        "position": contact["position"],
        "attempt": contact["attempts"] + 1,
        "kind": KINDS[2 if due is None else due["turn"]],
        "provider": given["provider"],
        "phone_number": contact["phone_number"],
        "from_number": given["from_number"],
        "provider_call_id": given["provider_call_id"],
        "worker_id": None,
        "requested_at": given["requested_at"] or now,
        "deadline_at": now,
        "prior_due_at": due and due["due_at"],
        "prior_updated_at": contact["updated_at"],
        "prior_attempted_at": contact["last_attempted_at"],
        **dict.fromkeys(("batch_open_calls", "batch_limit")),
        **dict.fromkeys(("campaign_open_calls", "campaign_limit")),
    }


STATEMENTS = {
    name: globals()[name]
    for name in (
        *("read_reach", "read_recovery", "read_caller_ids", "read_our_calls"),
        *("enter_recovery", "note_compared", "note_read_in", "leave_recovery", "note_everywhere"),
        *("find_contacts", "adopt_call", "read_open_calls"),
    )
}
