"""What the queries of `storage/sql/calls.sql` do, in Python, on the tables in memory."""

import uuid
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import asyncpg
from tests.simulation.dialling_statements import (
    Given,
    Rows,
    complete,
    is_finished,
    lock_both,
    unpark,
)
from tests.simulation.engine import KEY_SHARE, NO_KEY, UPDATE, Row, Transaction

CALL_COLUMNS = {
    "states": "state",
    "provider_call_ids": "provider_call_id",
    "sip_call_ids": "sip_call_id",
    "heard_ats": "heard_at",
    "ringing_ats": "ringing_at",
    "answered_ats": "answered_at",
    "ended_ats": "ended_at",
    "deadline_ats": "deadline_at",
    "outcomes": "outcome",
    "evidences": "evidence",
    "sip_statuses": "sip_status",
    "sip_reasons": "sip_reason",
    "durations": "duration_seconds",
    "hangup_bys": "hangup_by",
    "hangup_reasons": "hangup_reason",
    "reached_whom": "reached",
    "reached_by_agents": "reached_by_agent",
}
CONTACT_COLUMNS = {
    "statuses": "status",
    "wait_reasons": "wait_reason",
    "attempts": "attempts",
    "tries": "tries",
    "retry_counts": "retry_count",
    "follow_up_counts": "follow_up_count",
    "promises": "promises",
    "carrier_failures": "carrier_failures",
    "reached": "is_reached",
    "attempted_ats": "last_attempted_at",
    "updated_ats": "updated_at",
}
RESULT = (
    *("transcript", "summary", "sentiment", "recording_url", "hangup_by", "hangup_reason"),
    *("total_cost", "follow_up_at"),
)


def find_by_provider_ids(t: Transaction, now: datetime, provider_call_ids: list[str]) -> Rows:
    del now
    wanted = set(provider_call_ids)
    return [
        {"provider_call_id": c["provider_call_id"], "id": c["id"]}
        for c in t.rows("calls")
        if c["provider_call_id"] in wanted
    ]


def lock_calls(t: Transaction, now: datetime, call_ids: list[uuid.UUID]) -> Rows:
    found = sorted(
        (c for c in (t.get("calls", i) for i in set(call_ids)) if c is not None),
        key=lambda c: c["id"],
    )
    for batch_id in sorted({c["batch_id"] for c in found}):
        t.lock("batches", batch_id, KEY_SHARE)
    # A row that was waited for is read again; what is only joined stays as it was first seen.
    if "due" not in t.first_sight:
        t.first_sight["due"] = [t.get("due_contacts", _key(c)) for c in found]
        t.first_sight["cursors"] = [t.get("batch_cursors", c["batch_id"]) for c in found]
    for c in found:
        t.lock("calls", c["id"], UPDATE)
        t.lock("contacts", _key(c), UPDATE)
    return [
        _joined(t, c, due, cursor, now)
        for c, due, cursor in zip(
            found,
            t.first_sight["due"],
            t.first_sight["cursors"],
            strict=True,
        )
    ]


def _joined(
    t: Transaction,
    call: Row,
    due: Row | None,
    cursor: Row | None,
    now: datetime,
) -> dict[str, Any]:
    batch = t.get("batches", call["batch_id"])
    contact = t.get("contacts", _key(call))
    campaign = t.get("campaigns", call["campaign_id"])
    assert batch is not None
    assert contact is not None
    assert campaign is not None
    assert cursor is not None
    return {
        **call,
        "has_fresh_contacts": cursor["next_position"] <= batch["total_contacts"],
        "batch_status": batch["status"],
        "max_retries_override": batch["max_retries_override"],
        "retry_policy": campaign["retry_policy"],
        "max_follow_ups": campaign["max_follow_ups"],
        "contact_status": contact["status"],
        **{
            name: contact[name]
            for name in (
                *("wait_reason", "attempts", "tries", "retry_count", "follow_up_count"),
                *(
                    "carrier_failures",
                    "promises",
                    "is_withdrawn",
                    "is_reached",
                    "last_attempted_at",
                ),
            )
        },
        "contact_updated_at": contact["updated_at"],
        "turn": None if due is None else due["turn"],
        "due_at": None if due is None else due["due_at"],
        "read_at": now,
    }


def _key(row: Row) -> tuple[uuid.UUID, int]:
    return row["batch_id"], row["position"]


def find_other_calls(t: Transaction, now: datetime, call_ids: list[uuid.UUID]) -> Rows:
    del now
    calls = [c for c in (t.get("calls", i) for i in call_ids) if c is not None]
    return [
        {**other, "beside_id": c["id"]}
        for c in calls
        for other in t.rows("calls")
        if other["attempt"] is not None and _key(other) == _key(c) and other["id"] != c["id"]
    ]


def write_moves(t: Transaction, now: datetime, /, **given: Any) -> Rows:
    del now
    keys = list(zip(given["batch_ids"], given["positions"], strict=True))
    for call_id in given["ids"]:
        t.lock("calls", call_id, NO_KEY)
    for key in keys:
        t.lock("contacts", key, NO_KEY)
        t.lock("due_contacts", key, UPDATE)
    freed = _freed(t, set(given["freed_numbers"]), set(keys))
    moved = sum(_move_call(t, given, n) for n in range(len(given["ids"])))
    for n, key in enumerate(keys):
        _move_contact(t, given, n, key)
    for campaign_id, counted, calls in zip(
        given["campaign_ids"], given["counted"], given["counts"], strict=True
    ):
        t.count(campaign_id, counted, calls)
    _store_events(t, given)
    woken = list(dict.fromkeys([*given["freed_campaigns"], *unpark(t, freed)]))
    if given["notifies"]:
        t.notices += [str(campaign_id) for campaign_id in woken]
    return [{"moved": moved, "woken": woken or None, "told": len(woken)}]


def _freed(
    t: Transaction, numbers: set[str], moved: set[tuple[uuid.UUID, int]]
) -> list[tuple[uuid.UUID, int]]:
    waiting = [_key(d) for d in t.rows("due_contacts") if d["blocked_number"] in numbers]
    return [key for key in waiting if key not in moved and lock_both(t, key)]


def _move_call(t: Transaction, given: Given, n: int) -> bool:
    call = t.get("calls", given["ids"][n])
    if call is None or call["version"] != given["versions"][n]:
        return False
    columns = {column: given[name][n] for name, column in CALL_COLUMNS.items()}
    columns["attempt"] = None if columns["state"] == "released" else call["attempt"]
    _check_call(t, call["id"], columns)
    t.change("calls", call["id"], version=call["version"] + 1, **columns)
    return True


def _check_call(t: Transaction, call_id: uuid.UUID, columns: Given) -> None:
    """Hold the constraints that PostgreSQL holds."""
    is_over = columns["state"] in {"ended", "released"}
    if is_over != (columns["ended_at"] is not None):
        raise asyncpg.CheckViolationError(f"{columns['state']}, ended_at {columns['ended_at']}")
    if (columns["state"] == "ended") != (columns["outcome"] is not None):
        raise asyncpg.CheckViolationError(f"{columns['state']}, outcome {columns['outcome']}")
    sid = columns["provider_call_id"]
    before = t.get("calls", call_id)
    if sid is not None and before is not None and before["provider_call_id"] != sid:
        for other in t.rows("calls"):
            if other["provider_call_id"] == sid and other["id"] != call_id:
                raise asyncpg.UniqueViolationError("calls_at_provider")


def _move_contact(t: Transaction, given: Given, n: int, key: tuple[uuid.UUID, int]) -> None:
    columns = {column: given[name][n] for name, column in CONTACT_COLUMNS.items()}
    if t.get("contacts", key) is not None:
        t.change("contacts", key, **columns)
    if given["turns"][n] is None:
        t.delete("due_contacts", key)
        return
    queued = {
        "batch_id": key[0],
        "position": key[1],
        "turn": given["turns"][n],
        "due_at": given["due_ats"][n],
        "is_due": columns["wait_reason"] is None,
        "since": columns["updated_at"],
        "blocked_number": None,
    }
    t.put("due_contacts", key, queued)


def _store_events(t: Transaction, given: Given) -> None:
    columns = zip(
        given["content_hashes"],
        given["execution_ids"],
        given["event_call_ids"],
        given["call_statuses"],
        given["verdicts"],
        strict=True,
    )
    for content_hash, execution_id, provider_call_id, call_status, verdict in columns:
        if t.get("call_events", content_hash) is None:
            row = {
                "execution_id": execution_id,
                "provider_call_id": provider_call_id,
                "call_status": call_status,
                "verdict": verdict,
            }
            t.own.setdefault("call_events", {})[content_hash] = row


def lock_batches(t: Transaction, now: datetime, batch_ids: list[uuid.UUID]) -> Rows:
    del now
    for batch_id in sorted(batch_ids):
        t.lock("batches", batch_id, NO_KEY)
    return [{"id": batch_id} for batch_id in sorted(batch_ids)]


def complete_batches(t: Transaction, now: datetime, /, **given: Any) -> Rows:
    del now
    done = []
    for batch_id in given["batch_ids"]:
        batch = t.get("batches", batch_id)
        is_open = batch is not None and batch["status"] in {"in_progress", "paused"}
        if batch is not None and is_open and is_finished(t, batch):
            complete(t, batch_id, given["now"])
            done.append({"id": batch_id, "campaign_id": batch["campaign_id"]})
    return done


def pause_refused_batch(t: Transaction, now: datetime, /, **given: Any) -> Rows:
    del now
    batch = t.get("batches", given["batch_id"])
    if batch is None or batch["status"] != "in_progress":
        return []
    t.change(
        "batches",
        batch["id"],
        status="paused",
        paused_by="apollo",
        pause_reason=given["reason"],
        updated_at=given["now"],
    )
    return [{"organization_id": batch["organization_id"], "campaign_id": batch["campaign_id"]}]


def note_action(t: Transaction, now: datetime, /, **given: Any) -> Rows:
    del now
    t.own.setdefault("actions", {})[object()] = given
    return [{}]


def notify_campaigns(t: Transaction, now: datetime, campaign_ids: Iterable[uuid.UUID]) -> Rows:
    del now
    t.notices += [str(campaign_id) for campaign_id in campaign_ids]
    return [{} for _ in campaign_ids]


def take_overdue(
    t: Transaction,
    now: datetime,
    provider: str,
    turn: timedelta,
    abandoned_after: timedelta,
    at_most: int,
) -> Rows:
    overdue = [
        c
        for c in t.rows("calls")
        if c["ended_at"] is None
        and c["deadline_at"] is not None
        and c["deadline_at"] <= now - abandoned_after * (c["provider"] != provider)
    ]
    overdue.sort(key=lambda c: c["deadline_at"])
    taken = [c for c in overdue[:at_most] if t.try_lock("calls", c["id"], UPDATE)]
    for c in taken:
        t.change("calls", c["id"], deadline_at=now + turn)
    return [{**c, "read_at": now} for c in taken]


PAUSING = {"batch_paused", "batch_resumed"}
TOLD = ("requested_at", "heard_at", "ringing_at", "answered_at")


def read_silent(
    t: Transaction, now: datetime, provider: str, silence: timedelta, at_most: int
) -> Rows:
    named = [
        c
        for c in t.rows("calls")
        if c["ended_at"] is None and c["provider"] == provider and c["provider_call_id"] is not None
    ]
    told = {c["id"]: max(c[at] for at in TOLD if c[at] is not None) for c in named}
    heard = [
        told[c["id"]]
        for c in named
        if c["heard_at"] is not None and c["requested_at"] < now - silence
    ]
    are_all_silent = bool(heard) and max(heard) < now - silence
    silent = [
        c
        for c in named
        if told[c["id"]] < now - silence and (c["heard_at"] is None or are_all_silent)
    ]
    silent.sort(key=lambda c: told[c["id"]])
    return [{**c, "read_at": now} for c in silent[:at_most]]


def set_deadlines(
    t: Transaction,
    now: datetime,
    ids: list[uuid.UUID],
    versions: list[int],
    deadline_ats: list[datetime],
) -> Rows:
    del now
    for call_id in ids:
        t.lock("calls", call_id, NO_KEY)
    for call_id, version, deadline_at in zip(ids, versions, deadline_ats, strict=True):
        call = t.get("calls", call_id)
        if call is not None and call["ended_at"] is None and call["version"] == version:
            t.change("calls", call_id, deadline_at=deadline_at)
    return [{}]


def read_known_provider_ids(t: Transaction, now: datetime, provider_call_ids: list[str]) -> Rows:
    return find_by_provider_ids(t, now, provider_call_ids)


def mark_numbers(t: Transaction, now: datetime, call_ids: list[uuid.UUID]) -> Rows:
    for call_id in call_ids:
        call = t.get("calls", call_id)
        assert call is not None
        key = call["organization_id"], call["phone_number"]
        t.lock("marked_numbers", key, UPDATE)
        if t.get("marked_numbers", key) is None:
            organization_id, phone_number = key
            t.put(
                "marked_numbers",
                key,
                {
                    "organization_id": organization_id,
                    "phone_number": phone_number,
                    "mark": "wrong_person",
                    "call_id": call_id,
                    "marked_at": now,
                },
            )
    return [{}]


def unmark_numbers(t: Transaction, now: datetime, call_ids: list[uuid.UUID]) -> Rows:
    del now
    for row in list(t.rows("marked_numbers")):
        if row["call_id"] in call_ids:
            key = row["organization_id"], row["phone_number"]
            t.lock("marked_numbers", key, UPDATE)
            t.delete("marked_numbers", key)
    return [{}]


def remember(
    t: Transaction,
    now: datetime,
    call_id: uuid.UUID,
    content_hash: uuid.UUID,
    sent_at: datetime,
) -> Rows:
    before = [r["sent_at"] for r in t.rows("call_results") if r["call_id"] == call_id]
    is_new = t.get("call_results", (call_id, content_hash)) is None
    if is_new:
        row = {"call_id": call_id, "content_hash": content_hash, "sent_at": sent_at}
        t.put("call_results", (call_id, content_hash), {**row, "recorded_at": now})
    return [{"is_new": is_new, "is_newest": not before or sent_at >= max(before)}]


def write(t: Transaction, now: datetime, call_id: uuid.UUID, **given: Any) -> Rows:
    del now
    call = t.get("calls", call_id)
    if call is None:
        return []
    columns = {name: call[name] if given[name] is None else given[name] for name in RESULT}
    t.change("calls", call_id, **columns, version=call["version"] + 1)
    return [{}]


def fill(t: Transaction, now: datetime, call_id: uuid.UUID, **given: Any) -> Rows:
    del now
    call = t.get("calls", call_id)
    if call is None:
        return []
    columns = {name: given[name] if call[name] is None else call[name] for name in RESULT}
    t.change("calls", call_id, **columns, version=call["version"] + 1)
    return [{}]


def reopen_batch(t: Transaction, now: datetime, /, **given: Any) -> Rows:
    del now
    batch = t.get("batches", given["batch_id"])
    if batch is None or batch["status"] != "completed":
        return []
    campaign = t.get("campaigns", batch["campaign_id"])
    paused_by = "campaign" if campaign is not None and campaign["paused_at"] is not None else None
    told = [
        a for a in t.rows("actions") if a.get("batch_id") == batch["id"] and a["action"] in PAUSING
    ]
    if told and told[-1]["action"] == "batch_paused":
        paused_by = "apollo" if told[-1].get("actor", "apollo") == "apollo" else "batch"
    reopened = {
        "status": "paused" if paused_by else "in_progress",
        "paused_by": paused_by,
        "pause_reason": told[-1]["detail"] if paused_by == "apollo" else None,
        "completed_at": None,
    }
    t.change(
        "batches",
        batch["id"],
        **reopened,
        ready_at=max(batch["ready_at"], given["now"]),
        updated_at=given["now"],
    )
    return [{"organization_id": batch["organization_id"], "campaign_id": batch["campaign_id"]}]


PROVIDERS_OWN = {"webhook", "poll", "cdr"}


def read_existing_between(
    t: Transaction, now: datetime, provider: str, since: datetime, until: datetime, at_most: int
) -> Rows:
    del now
    found = [
        c
        for c in t.rows("calls")
        if c["provider"] == provider
        and since <= c["requested_at"] <= until
        and c["provider_call_id"] is not None
        and c["state"] != "released"
        and (
            any(c[at] is not None for at in ("heard_at", "ringing_at", "answered_at"))
            or c["evidence"] in PROVIDERS_OWN
        )
    ]
    found.sort(key=lambda c: c["requested_at"], reverse=True)
    return [
        {
            **c,
            "has_rung": any(c[at] is not None for at in ("ringing_at", "answered_at"))
            or c["outcome"] == "completed",
        }
        for c in found[:at_most]
    ]


STATEMENTS = {
    name: globals()[name]
    for name in (
        *("find_by_provider_ids", "lock_calls", "find_other_calls", "write_moves"),
        *("lock_batches", "complete_batches", "pause_refused_batch", "note_action"),
        *("notify_campaigns", "take_overdue", "read_silent", "set_deadlines"),
        *("read_known_provider_ids", "reopen_batch", "read_existing_between"),
        *("mark_numbers", "unmark_numbers"),
    )
}
RESULT_STATEMENTS = {name: globals()[name] for name in ("remember", "write", "fill")}
