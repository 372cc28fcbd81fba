"""What the queries of `storage/sql/dialling.sql` do, in Python, on the tables in memory."""

import uuid
from datetime import datetime, timedelta
from typing import Any

import asyncpg
from tests.simulation.engine import NO_KEY, UPDATE, Blocked, Row, Transaction

Given = dict[str, Any]
Rows = list[dict[str, Any]]
LIVE = frozenset({"pending", "in_progress", "paused"})
UNFINISHED = frozenset({"pending", "dispatched", "in_progress", "retrying", "followup_scheduled"})
KINDS = {0: "follow_up", 1: "retry", 2: "first"}


def lock_campaign(t: Transaction, now: datetime, campaign_id: uuid.UUID) -> Rows:
    t.lock_timeout_s = 0.1
    c = t.get("campaigns", campaign_id)
    if c is None:
        return []
    t.lock("campaigns", campaign_id, NO_KEY)
    organization = t.get("organizations", c["organization_id"])
    assert organization is not None
    installation = t.get("installation", True)
    is_all_stopped = installation is not None and installation["dialling_stopped_at"] is not None
    return [
        {
            **c,
            "is_stopped": organization["dialling_stopped_at"] is not None or is_all_stopped,
            "is_recovering": installation is not None and bool(installation["recovery_since"]),
            "database_identity": t.server.identity,
            "call_hook": "https://agent.test/hook",
            "application_sid": None,
            "speech_synthesis": None,
            "speech_recognizer": None,
            "has_shut_gates": any(
                g["campaign_id"] == campaign_id and g["shut_at"] for g in t.rows("carrier_gates")
            ),
            "read_at": now,
        }
    ]


def read_loads(
    t: Transaction, now: datetime, campaign_id: uuid.UUID, campaign_limit: int, at_most: int
) -> Rows:
    open_calls = [
        c["batch_id"]
        for c in t.rows("calls")
        if c["ended_at"] is None and c["campaign_id"] == campaign_id
    ]
    found = []
    for b in t.rows("batches"):
        if b["campaign_id"] != campaign_id or b["status"] != "in_progress":
            continue
        if b["ends_at"] is not None and b["ends_at"] <= now:
            continue
        cursor = t.get("batch_cursors", b["id"])
        assert cursor is not None
        due = sum(d["batch_id"] == b["id"] and d["is_due"] for d in t.rows("due_contacts"))
        found.append(
            {
                "batch_id": b["id"],
                "concurrency_limit": b["concurrency_limit"] or campaign_limit,
                "open_calls": open_calls.count(b["id"]),
                "ready": b["total_contacts"] - cursor["next_position"] + 1 + min(due, at_most),
                "campaign_open_calls": len(open_calls),
                "order": (b["created_at"], b["id"]),
            }
        )
    return sorted(found, key=lambda row: row["order"])


def read_caller_id_loads(t: Transaction, now: datetime, campaign_id: uuid.UUID) -> Rows:
    del now
    loads: dict[str, int] = {}
    for c in t.rows("calls"):
        if c["campaign_id"] == campaign_id and c["ended_at"] is None:
            loads[c["from_number"]] = loads.get(c["from_number"], 0) + 1
    return [{"from_number": number, "open_calls": n} for number, n in loads.items()]


NEW_PROVIDER: dict[str, Any] = {"next_request_at": None}


def lock_pace(t: Transaction, now: datetime, provider: str) -> Rows:
    t.lock("providers", provider, NO_KEY)
    row = t.get("providers", provider)
    if row is None:
        row = {"provider": provider, **NEW_PROVIDER}
        t.put("providers", provider, row)
    booked = row["next_request_at"]
    return [{"ahead_s": 0.0 if booked is None else max((booked - now).total_seconds(), 0.0)}]


def read_load(t: Transaction, now: datetime, provider: str, risky_for: timedelta) -> Rows:
    calls = [c for c in t.rows("calls") if c["provider"] == provider and c["ended_at"] is None]
    placing = [c for c in calls if c["state"] == "placing"]
    unknown = [c for c in calls if c["state"] == "unknown" and c["requested_at"] > now - risky_for]
    at_risk = len(placing) + len(unknown)
    return [{"open_calls": len(calls), "placing": len(placing), "at_risk": at_risk}]


def book_requests(t: Transaction, now: datetime, provider: str, seconds: float) -> Rows:
    row = t.get("providers", provider)
    assert row is not None
    booked = max(row["next_request_at"] or now, now) + timedelta(seconds=seconds)
    t.change("providers", provider, next_request_at=booked)
    return [{}]


def claim_contacts(t: Transaction, now: datetime, /, **given: Any) -> Rows:
    quota = []
    if given["opens_at"] <= now < given["closes_at"] - given["ring_timeout"]:
        quota = list(zip(given["batch_ids"], given["takes"], strict=True))
    due, fresh = _pick(t, quota)
    picked = [(d["turn"], d["batch_id"], d["position"], d["due_at"]) for d in due]
    picked += [(2, batch_id, position, None) for batch_id, position in fresh]
    picked.sort(key=lambda p: p[:3])
    contacts = [t.get("contacts", (b, p)) for _, b, p, _ in picked]
    order = sorted(range(len(picked)), key=lambda n: _number(contacts[n]))
    taken = numbers_taken(t, given["provider"], {_number(c) for c in contacts})
    resting = _resting(t, now, picked, given)
    won: dict[int, dict[str, Any]] = {}
    for n in order:
        contact = contacts[n]
        assert contact is not None
        if contact["phone_number"] in taken or n in resting:
            continue
        if t.server.has_number_index:
            taken.add(contact["phone_number"])
        won[n] = _call(t, now, picked[n], contact, given["caller_ids"][n], given)
    for n, (turn, batch_id, position, _) in enumerate(picked):
        if n in won:
            win(t, won[n])
        else:
            _park(t, now, (batch_id, position), turn, resting.get(n), given)
    for batch_id, take in quota:
        batch, cursor = t.get("batches", batch_id), t.get("batch_cursors", batch_id)
        assert batch is not None
        assert cursor is not None
        beyond = cursor["next_position"] + take - sum(d["batch_id"] == batch_id for d in due)
        behind = max(cursor["next_position"], min(beyond, batch["total_contacts"] + 1))
        t.change("batch_cursors", batch_id, next_position=behind)
        if any(b == batch_id for _, b, _, _ in picked):
            t.change("batch_cursors", batch_id, last_claimed_at=now)
    if won:
        campaign = t.get("campaigns", given["campaign_id"])
        assert campaign is not None
        used = campaign["caller_ids_used"] + len(won)
        t.change("campaigns", given["campaign_id"], caller_ids_used=used)
    return sorted(
        won.values(),
        key=lambda c: ("follow_up retry first".index(c["kind"]), c["batch_id"], c["position"]),
    )


def _number(contact: Row | None) -> str:
    assert contact is not None
    return str(contact["phone_number"])


def _pick(
    t: Transaction, quota: list[tuple[uuid.UUID, int]]
) -> tuple[list[Row], list[tuple[uuid.UUID, int]]]:
    due: list[Row] = []
    fresh: list[tuple[uuid.UUID, int]] = []
    for batch_id, take in quota:
        waiting = [d for d in t.rows("due_contacts") if d["batch_id"] == batch_id and d["is_due"]]
        waiting.sort(key=lambda d: (d["turn"], d["due_at"], d["position"]))
        mine: list[Row] = []
        for d in waiting:
            if len(mine) == take:
                break
            if t.try_lock("due_contacts", (batch_id, d["position"]), UPDATE):
                mine.append(d)
        cursor = t.get("batch_cursors", batch_id)
        assert cursor is not None
        first = cursor["next_position"]
        for position in range(first, first + take - len(mine)):
            contact = t.get("contacts", (batch_id, position))
            if contact is not None and contact["status"] == "pending":
                fresh.append((batch_id, position))
        due += mine
    for d in due:
        t.lock("contacts", (d["batch_id"], d["position"]), NO_KEY)
    for key in fresh:
        t.lock("contacts", key, NO_KEY)
        t.lock("due_contacts", key, UPDATE)
    for batch_id, _ in quota:
        t.lock("batch_cursors", batch_id, NO_KEY)
    return due, fresh


def numbers_taken(t: Transaction, provider: str, wanted: set[str]) -> set[str]:
    """Find numbers on an open call; waits for whoever is just opening or ending one."""
    if not t.server.has_number_index:
        return set()
    for number in sorted(wanted):
        t.lock("numbers", (provider, number), UPDATE)
    taken = set()
    for c in t.rows("calls"):
        if c["ended_at"] is None and c["provider"] == provider and c["phone_number"] in wanted:
            for other in t.server.locks.get(("calls", c["id"]), ()):
                theirs = other.own.get("calls", {}).get(c["id"])
                if other is not t and theirs is not None and theirs["ended_at"] is not None:
                    raise Blocked(other)
            taken.add(c["phone_number"])
    return taken


def _call(
    t: Transaction,
    now: datetime,
    picked: tuple[int, uuid.UUID, int, datetime | None],
    contact: Row,
    caller_id: str,
    given: Given,
) -> dict[str, Any]:
    turn, batch_id, position, due_at = picked
    attempt = contact["attempts"] + 1
    for c in t.rows("calls"):
        if (c["batch_id"], c["position"], c["attempt"]) == (batch_id, position, attempt):
            raise asyncpg.UniqueViolationError("calls_batch_id_position_attempt_key")
    call = {
        **EMPTY_CALL,
        "id": uuid.UUID(int=t.server.random.getrandbits(128)),
        "organization_id": given["organization_id"],
        "campaign_id": given["campaign_id"],
        "batch_id": batch_id,
        "position": position,
        "attempt": attempt,
        "kind": KINDS[turn],
        "provider": given["provider"],
        "phone_number": contact["phone_number"],
        "from_number": caller_id,
        "worker_id": given["worker_id"],
        "requested_at": now,
        "deadline_at": now + given["lease"],
        "prior_due_at": due_at,
        "prior_updated_at": contact["updated_at"],
        "prior_attempted_at": contact["last_attempted_at"],
        "batch_open_calls": given["batch_open_calls"][given["batch_ids"].index(batch_id)],
        "batch_limit": given["batch_limits"][given["batch_ids"].index(batch_id)],
        "campaign_open_calls": given["campaign_open_calls"],
        "campaign_limit": given["campaign_limit"],
    }
    t.put("calls", call["id"], call)
    if t.server.on_claim is not None:
        t.server.on_claim(call["phone_number"])
    return call


EMPTY_CALL: dict[str, Any] = {
    "state": "placing",
    "version": 1,
    "reached_by_agent": False,
    **dict.fromkeys(
        (
            *("provider_call_id", "sip_call_id", "heard_at", "ringing_at", "answered_at"),
            *("ended_at", "outcome", "evidence", "sip_status", "sip_reason", "duration_seconds"),
            *("hangup_by", "hangup_reason", "follow_up_at", "reached"),
            *("recording_url", "transcript", "summary", "sentiment", "total_cost"),
        )
    ),
}


def win(t: Transaction, call: dict[str, Any]) -> None:
    """Move a contact whose call was written."""
    key = call["batch_id"], call["position"]
    c = t.get("contacts", key)
    assert c is not None
    t.change(
        "contacts",
        key,
        status="dispatched",
        wait_reason=None,
        attempts=c["attempts"] + 1,
        tries=c["tries"] + 1,
        retry_count=c["retry_count"] + (call["kind"] == "retry" and c["tries"] > 0),
        follow_up_count=c["follow_up_count"] + (call["kind"] == "follow_up"),
        last_attempted_at=call["requested_at"],
        updated_at=call["requested_at"],
    )
    t.delete("due_contacts", key)
    t.count(call["campaign_id"], "attempts", 1)
    if call["kind"] == "follow_up":
        t.count(call["campaign_id"], "follow_up_attempts", 1)


def _resting(
    t: Transaction,
    now: datetime,
    picked: list[tuple[int, uuid.UUID, int, datetime | None]],
    given: Given,
) -> dict[int, datetime]:
    """Until when the numbers rest that were called a moment ago, by place among those picked."""
    gap = given["number_gap"]
    found: dict[int, datetime] = {}
    if not gap:
        return found
    for n, (turn, batch_id, position, _) in enumerate(picked):
        contact = t.get("contacts", (batch_id, position))
        assert contact is not None
        is_promise = turn == 0 and contact["tries"] == 0
        ends = [
            c["ended_at"]
            for c in _called_lately(t, contact["phone_number"], given["organization_id"])
            if c["ended_at"] > now - gap
            and (c["batch_id"] != batch_id or (is_promise and c["position"] == position))
        ]
        if ends:
            found[n] = max(ends) + gap
    return found


def _called_lately(t: Transaction, number: str, organization_id: str) -> list[Row]:
    return [
        c
        for c in t.rows("calls")
        if c["phone_number"] == number
        and c["organization_id"] == organization_id
        and c["attempt"] is not None
        and c["ended_at"] is not None
    ]


def has_called_too_soon(
    t: Transaction, now: datetime, call_ids: list[uuid.UUID], number_gap: timedelta
) -> Rows:
    del now
    for call_id in call_ids:
        w = t.get("calls", call_id)
        assert w is not None
        contact = t.get("contacts", (w["batch_id"], w["position"]))
        assert contact is not None
        is_promise = w["kind"] == "follow_up" and contact["tries"] == 1
        for c in _called_lately(t, w["phone_number"], w["organization_id"]):
            is_other = c["batch_id"] != w["batch_id"]
            is_own = is_promise and c["position"] == w["position"]
            if c["ended_at"] > w["requested_at"] - number_gap and (is_other or is_own):
                return [{"exists": True}]
    return [{"exists": False}]


def _park(
    t: Transaction,
    now: datetime,
    key: tuple[uuid.UUID, int],
    turn: int,
    rests_until: datetime | None,
    given: Given,
) -> None:
    c = t.get("contacts", key)
    assert c is not None
    is_resting = rests_until is not None
    is_own = any(
        k["ended_at"] is None
        and k["phone_number"] == c["phone_number"]
        and k["provider"] == given["provider"]
        and k["organization_id"] == given["organization_id"]
        for k in t.rows("calls")
    )
    reason = "duplicate_number_blocked" if is_own and not is_resting else "number_resting"
    t.change("contacts", key, wait_reason=reason)
    before = t.get("due_contacts", key) or {
        "batch_id": key[0],
        "position": key[1],
        "turn": turn,
        "since": c["updated_at"],
    }
    parked = {
        "due_at": rests_until or now + timedelta(seconds=30),
        "is_due": False,
        "blocked_number": None if is_resting else c["phone_number"],
    }
    t.put("due_contacts", key, {**before, **parked})


def promote_due(t: Transaction, now: datetime, at_most: int) -> Rows:
    waiting = [d for d in t.rows("due_contacts") if not d["is_due"] and d["due_at"] <= now]
    ripe: list[tuple[uuid.UUID, int]] = []
    for d in sorted(waiting, key=lambda d: d["due_at"]):
        key = d["batch_id"], d["position"]
        if len(ripe) < at_most and lock_both(t, key):
            ripe.append(key)
    campaigns = unpark(t, ripe)
    return [{"campaign_id": c, "promoted": len(ripe)} for c in campaigns]


def lock_both(t: Transaction, key: tuple[uuid.UUID, int]) -> bool:
    """Lock a queue entry and its contact, or neither (`for update of d, c skip locked`)."""
    # PostgreSQL keeps the first lock when it skips for the second; so do we.
    return t.try_lock("due_contacts", key, UPDATE) and t.try_lock("contacts", key, UPDATE)


def unpark(t: Transaction, keys: list[tuple[uuid.UUID, int]]) -> list[uuid.UUID]:
    """Make contacts claimable; gives their campaigns."""
    campaigns: dict[uuid.UUID, None] = {}
    for key in keys:
        t.change("due_contacts", key, is_due=True, blocked_number=None)
        t.change("contacts", key, wait_reason=None)
        batch = t.get("batches", key[0])
        assert batch is not None
        campaigns[batch["campaign_id"]] = None
    return list(campaigns)


def start_batches(t: Transaction, now: datetime) -> Rows:
    pending = [b for b in t.rows("batches") if b["status"] == "pending"]
    ripe = [b for b in pending if b["scheduled_start"] and b["scheduled_start"] <= now]
    for b in ripe:
        t.lock("batches", b["id"], NO_KEY)
    for b in ripe:
        t.change("batches", b["id"], status="in_progress", ready_at=now, updated_at=now)
    return [{"campaign_id": b["campaign_id"]} for b in ripe]


def read_expired_batches(t: Transaction, now: datetime) -> Rows:
    found = [
        b
        for b in t.rows("batches")
        if b["status"] in LIVE and b["ends_at"] is not None and b["ends_at"] <= now
    ]
    return [{"id": b["id"]} for b in sorted(found, key=lambda b: b["ends_at"])]


def read_next_instant(t: Transaction, now: datetime) -> Rows:
    instants = [d["due_at"] for d in t.rows("due_contacts") if not d["is_due"]]
    for b in t.rows("batches"):
        if b["status"] == "pending" and b["scheduled_start"] is not None:
            instants.append(b["scheduled_start"])
        if b["status"] in LIVE and b["ends_at"] is not None:
            instants.append(b["ends_at"])
    return [{"s": (min(instants) - now).total_seconds() if instants else None}]


def read_dialable_campaigns(t: Transaction, now: datetime) -> Rows:
    del now
    due = {d["batch_id"] for d in t.rows("due_contacts") if d["is_due"]}
    found: dict[uuid.UUID, None] = {}
    for b in t.rows("batches"):
        if b["status"] == "in_progress":
            cursor = t.get("batch_cursors", b["id"])
            assert cursor is not None
            if cursor["next_position"] <= b["total_contacts"] or b["id"] in due:
                found[b["campaign_id"]] = None
    return [{"campaign_id": c} for c in found]


def close_finished_batches(t: Transaction, now: datetime) -> Rows:
    closed = []
    for b in list(t.rows("batches")):
        if b["status"] in {"in_progress", "paused"} and is_finished(t, b):
            t.lock("batches", b["id"], NO_KEY)
            closed.append(b["id"])
    for batch_id in closed:
        complete(t, batch_id, now)
    return [{"id": batch_id} for batch_id in closed]


def is_finished(t: Transaction, batch: Row) -> bool:
    """Tell whether every contact of a batch is final, as this transaction sees them."""
    for position in range(1, batch["total_contacts"] + 1):
        contact = t.get("contacts", (batch["id"], position))
        if contact is not None and contact["status"] in UNFINISHED:
            return False
    return True


def complete(t: Transaction, batch_id: uuid.UUID, now: datetime) -> None:
    """Complete a batch."""
    t.change(
        "batches",
        batch_id,
        status="completed",
        paused_by=None,
        pause_reason=None,
        completed_at=now,
        updated_at=now,
    )


def find_unsent_claims(
    t: Transaction, now: datetime, worker_id: uuid.UUID, told_until: datetime | None
) -> Rows:
    del now
    return [
        {"id": c["id"]}
        for c in t.rows("calls")
        if c["worker_id"] == worker_id
        and c["state"] == "placing"
        and (told_until is None or c["requested_at"] > told_until)
    ]


STATEMENTS = {
    name: globals()[name]
    for name in (
        *("lock_campaign", "read_loads", "read_caller_id_loads", "lock_pace", "book_requests"),
        "read_load",
        *(
            "claim_contacts",
            "has_called_too_soon",
            "find_unsent_claims",
            "promote_due",
            "start_batches",
            "read_expired_batches",
        ),
        *("read_next_instant", "read_dialable_campaigns", "close_finished_batches"),
    )
}
