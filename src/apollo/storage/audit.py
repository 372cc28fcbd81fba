"""Reads everything of ours that an audit compares, from one snapshot."""

import uuid
from collections import defaultdict
from datetime import datetime
from typing import Any, Final

from apollo.core.audit import Books, CampaignRules, Change, OurCall
from apollo.core.events import Evidence, Reached
from apollo.core.ids import ContactKey
from apollo.core.states import CallKind, CallState, Outcome
from apollo.core.windows import parse_working_hours
from apollo.storage.database import Connection, Record, load_queries
from apollo.storage.recovery import read_caller_ids

_Q: Final = load_queries("audit")
# A person waits for it, once: a recount of a hundred million contacts takes minutes.
_PATIENCE_S: Final = 3600.0


async def read_books(connection: Connection, since: datetime) -> Books:
    """Read the rows of calls since an instant, and what surrounds them; needs a snapshot."""
    # Everything is read: here a scan of the table is the right plan.
    await connection.execute("set local enable_seqscan = on")
    batches = await connection.fetch(_Q["batches"].text, timeout=_PATIENCE_S)
    changes = await _Q["changes"].rows(connection)
    calls = await connection.fetch(_Q["calls"].text, since, timeout=_PATIENCE_S)
    lost = await connection.fetch(_Q["lost_contacts"].text, timeout=_PATIENCE_S)
    changed = await connection.fetch(_Q["changed_finals"].text, timeout=_PATIENCE_S)
    return Books(
        calls=[_call(r) for r in calls],
        campaigns=_rules(await _Q["campaigns"].rows(connection), batches),
        changes=[Change(r["at"], r["action"], r["campaign_id"], r["batch_id"]) for r in changes],
        contacts=int(await _Q["count_contacts"].value(connection)),
        lost_contacts=[ContactKey(r["batch_id"], r["position"]) for r in lost],
        changed_finals=[(ContactKey(r["batch_id"], r["position"]), r["what"]) for r in changed],
        wrong_counters={r["id"]: r["off_by"] for r in batches if r["off_by"]},
        batches=len(batches),
        settled=frozenset(await _Q["settled"].value(connection) or ()),
        caller_ids=frozenset(await read_caller_ids(connection)),
    )


def _call(r: Record) -> OurCall:
    return OurCall(
        id=r["id"],
        contact=ContactKey(r["batch_id"], r["position"]),
        campaign_id=r["campaign_id"],
        provider=r["provider"],
        provider_call_id=r["provider_call_id"],
        number=r["phone_number"],
        kind=CallKind(r["kind"]),
        state=CallState(r["state"]),
        outcome=r["outcome"] and Outcome(r["outcome"]),
        hangup_reason=r["hangup_reason"],
        evidence=r["evidence"] and Evidence(r["evidence"]),
        reached=r["reached"] and Reached(r["reached"]),
        requested_at=r["requested_at"],
        window_opens_at=r["window_opens_at"],
        window_closes_at=r["window_closes_at"],
    )


def _rules(campaigns: list[Record], batches: list[Record]) -> dict[uuid.UUID, CampaignRules]:
    limits: dict[uuid.UUID, dict[uuid.UUID, Any]] = defaultdict(dict)
    retries: dict[uuid.UUID, dict[uuid.UUID, Any]] = defaultdict(dict)
    for r in batches:
        limits[r["campaign_id"]][r["id"]] = r["concurrency_limit"]
        retries[r["campaign_id"]][r["id"]] = r["max_retries_override"]
    return {
        r["id"]: CampaignRules(
            concurrency_limit=r["concurrency_limit"],
            hours=parse_working_hours(
                r["working_hours"] or {},
                enforced=r["working_hours_enforced"],
                timezone=r["timezone"],
            ),
            max_retries=r["retry_policy"]["max_retries"],
            batch_limits=limits[r["id"]],
            batch_retries=retries[r["id"]],
        )
        for r in campaigns
    }
