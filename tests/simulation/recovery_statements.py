"""What the queries of `storage/sql/recovery.sql` do that a worker asks before it dials."""

from datetime import datetime
from typing import Any

from tests.simulation.dialling_statements import Rows
from tests.simulation.engine import Transaction


def read_reach(t: Transaction, now: datetime) -> Rows:
    del now
    claims = [k["last_claimed_at"] for k in t.rows("batch_cursors") if k["last_claimed_at"]]
    return [{"identity": t.server.identity, "knows_until": max(claims, default=None)}]


def read_recovery(t: Transaction, now: datetime) -> Rows:
    del now
    return [
        {"recovery_since": i["recovery_since"], "recovery_evidence": i["recovery_evidence"] or {}}
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
            names = ("id", "provider_call_id", "phone_number", "from_number", "requested_at")
            found.append({name: c[name] for name in names} | {"is_open": c["ended_at"] is None})
    return sorted(found, key=lambda c: c["requested_at"])


def enter_recovery(t: Transaction, now: datetime, evidence: dict[str, Any]) -> Rows:
    held = t.get("installation", True)
    if held is None or held["recovery_since"] is not None:
        return []
    t.change("installation", True, recovery_since=now, recovery_evidence=evidence)
    return [{"recovery_since": now}]


def note_everywhere(t: Transaction, now: datetime, /, **given: Any) -> Rows:
    del now
    t.own.setdefault("actions", {})[object()] = given
    return [{}]


STATEMENTS = {
    name: globals()[name]
    for name in (
        *("read_reach", "read_recovery", "read_caller_ids", "read_our_calls"),
        *("enter_recovery", "note_everywhere"),
    )
}
