"""What the queries of `storage/sql/carrier_gates.sql` do, in Python, on the tables in memory."""

import uuid
from datetime import datetime
from typing import Any

from tests.simulation.dialling_statements import Rows
from tests.simulation.engine import NO_KEY, UPDATE, Transaction

COLUMNS = {
    "campaign_ids": "campaign_id",
    "families": "family",
    "failed": "failed",
    "carried": "carried",
    "sinces": "since",
    "failed_ats": "failed_at",
    "sip_statuses": "sip_status",
    "carried_ats": "carried_at",
    "shut_ats": "shut_at",
    "probe_ats": "probe_at",
}


def lock_gates(t: Transaction, now: datetime, /, **given: Any) -> Rows:
    del now
    keys = sorted(zip(given["providers"], given["kinds"], given["scope_ids"], strict=True))
    held = [key for key in keys if t.get("carrier_gates", key) is not None]
    for key in held:
        t.lock("carrier_gates", key, UPDATE)
    rows = []
    for key in held:
        gate = t.get("carrier_gates", key)
        assert gate is not None
        calls = [t.get("calls", call_id) for call_id in gate["row_calls"]]
        rows.append({**gate, "row_numbers": [c["phone_number"] if c else "" for c in calls]})
    return rows


def count_under_way(t: Transaction, now: datetime, /, **given: Any) -> Rows:
    del now
    rows = []
    scopes = zip(given["kinds"], given["scope_ids"], given["campaign_ids"], strict=True)
    for kind, scope_id, campaign_id in scopes:
        under_way = sum(
            c["campaign_id"] == campaign_id
            and c["ended_at"] is None
            and (kind == "campaign" or c["batch_id"] == scope_id)
            and c["state"] != "unknown"
            and c["ringing_at"] is None
            and c["answered_at"] is None
            for c in t.rows("calls")
        )
        rows.append({"kind": kind, "scope_id": scope_id, "under_way": under_way})
    return rows


def write_gates(t: Transaction, now: datetime, /, **given: Any) -> Rows:
    keys = list(zip(given["providers"], given["kinds"], given["scope_ids"], strict=True))
    for key in sorted(keys):
        t.lock("carrier_gates", key, NO_KEY)
    for n, key in enumerate(keys):
        columns = {column: given[name][n] for name, column in COLUMNS.items()}
        calls = [uuid.UUID(one) for one in given["rows"][n].split()]
        row = {"provider": key[0], "kind": key[1], "scope_id": key[2], "row_calls": calls}
        t.put("carrier_gates", key, {**row, **columns, "changed_at": now})
    return [{} for _ in keys]


def read_shut_gates(t: Transaction, now: datetime, campaign_id: uuid.UUID, provider: str) -> Rows:
    del now
    return [
        {name: g[name] for name in ("kind", "scope_id", "shut_at", "probe_at", "sip_status")}
        for g in t.rows("carrier_gates")
        if g["campaign_id"] == campaign_id and g["provider"] == provider and g["shut_at"]
    ]


def note_probes(t: Transaction, now: datetime, /, **given: Any) -> Rows:
    keys = list(zip(given["providers"], given["kinds"], given["scope_ids"], strict=True))
    for key in sorted(keys):
        t.lock("carrier_gates", key, NO_KEY)
    for key, probe_at in zip(keys, given["probe_ats"], strict=True):
        gate = t.get("carrier_gates", key)
        if gate is not None and gate["shut_at"] is not None:
            t.change("carrier_gates", key, probe_at=probe_at, changed_at=now)
    return [{} for _ in keys]


def note_set_back(t: Transaction, now: datetime, /, **given: Any) -> Rows:
    for batch_id in given["batch_ids"]:
        action = {"batch_id": batch_id, "actor": "apollo", "action": "contacts_set_back"}
        t.own.setdefault("actions", {})[object()] = {**action, "at": now}
    return [{} for _ in given["batch_ids"]]


STATEMENTS = {
    name: globals()[name]
    for name in (
        *("lock_gates", "count_under_way", "write_gates", "read_shut_gates", "note_probes"),
        "note_set_back",
    )
}
