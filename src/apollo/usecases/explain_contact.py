"""Why was this person not called, or not yet? From the stored verdict and the stored attempts.

Each attempt carries what was decided when it was made: the window that allowed it, the turn and its
due time, the limits, the caller id, and what the provider answered. Must never work any of that out
anew.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from apollo.core import ids, sip
from apollo.core.diagnosis import Diagnosis
from apollo.core.events import Evidence
from apollo.core.states import FINAL_CONTACT, ON_CALL, CallState, ContactStatus, Outcome
from apollo.core.windows import ALWAYS
from apollo.errors import NotFound
from apollo.storage import call_records, contacts
from apollo.storage.database import Database, Record
from apollo.usecases.authenticate import Principal
from apollo.usecases.batch_views import View, explanation, whole
from apollo.usecases.explain_batch import ExplainBatch, reason_as_json
from apollo.usecases.read_batches import find_batch

_NOT_FOUND: Final = "Contact not found"
# What the provider said to the request, by how far the call got.
_REFUSED: Final = "refused: the provider takes no call to this number"
_NO_ANSWER: Final = "no usable answer: nobody knew whether there is a call"
_REQUEST: Final = {
    CallState.PLACING: "on its way",
    CallState.UNKNOWN: "no usable answer: there may be a call, so nobody calls again before it is"
    " known",
    CallState.RELEASED: "never sent, or refused: no attempt was used up",
}


class ExplainContact:
    """Explains one contact of the caller's organisation."""

    def __init__(self, *, db: Database, explain: ExplainBatch) -> None:
        self._db = db
        self._explain = explain

    async def why(self, principal: Principal, batch_id: str, contact_id: str) -> View:
        """Say what holds a contact back, until when, and what was decided at each attempt.

        Raises NotFound or Unavailable.
        """
        key = ids.parse_contact_id(contact_id)
        async with self._db.transaction(snapshot=True) as connection:
            batch = await find_batch(connection, principal, batch_id)
            if key is None or key.batch_id != batch["id"]:
                raise NotFound(_NOT_FOUND)
            page = await contacts.read_page(
                connection, batch_id=key.batch_id, skip=key.position - 1, limit=1
            )
            if not page:
                raise NotFound(_NOT_FOUND)
            attempts = await call_records.read_attempts(connection, key)
        diagnosis = await self._explain.diagnose(principal.organization_id, key.batch_id)
        contact = page[0]
        blocked = explanation(contact, diagnosis)
        code = blocked.get("blocked_by")
        return {
            "contact_id": contact_id,
            "batch_id": batch_id,
            "campaign_id": ids.campaign_id(batch["campaign_id"]),
            "phone_number": contact["phone_number"],
            "status": contact["status"],
            "blocked_by": code,
            "next_eligible_at": blocked.get("next_eligible_at"),
            "reason": _reason(diagnosis, code),
            "summary": _summary(contact, blocked, attempts, diagnosis),
            "attempts": [_attempt(row) for row in attempts],
            "as_of": whole(diagnosis.as_of),
        }


def _reason(diagnosis: Diagnosis, code: str | None) -> View | None:
    """The reason of the batch with its evidence, where it is the batch that waits."""
    found = next((one for one in diagnosis.reasons if one.code == code), None)
    return None if found is None else reason_as_json(found)


def _summary(
    contact: Record, blocked: Mapping[str, Any], attempts: list[Record], diagnosis: Diagnosis
) -> str:
    """Say in a sentence or two how it stands, and how the last call ended if one did."""
    status = ContactStatus(contact["status"])
    made = sum(row["attempt"] is not None for row in attempts)
    tried = f"{made} calls were made" if made != 1 else "1 call was made"
    last = next((row for row in reversed(attempts) if row["outcome"] is not None), None)
    ended = "" if last is None else f", the last ended: {_ending(last)}"
    if status in FINAL_CONTACT:
        return f"Finished as {status}; {tried}{ended}."
    if status in ON_CALL:
        return f"A call is up; {tried}."
    code, until = blocked.get("blocked_by"), blocked.get("next_eligible_at")
    if code is None:
        return f"Nothing holds it back: it is taken in its turn; {tried}{ended}."
    when = f" until {until:%Y-%m-%dT%H:%M:%SZ}" if isinstance(until, datetime) else ""
    then = ""
    if diagnosis.binding is not None and diagnosis.binding != code:
        then = f" After that it would wait because of {diagnosis.binding}."
    return f"Waits because of {code}{when}; {tried}{ended}.{then}"


def _ending(row: Record) -> str:
    """Say how a call ended: the reason, and the SIP code with its meaning where it failed."""
    how = str(row["hangup_reason"] or row["outcome"])
    code = row["sip_status"]
    if code is None or row["outcome"] == Outcome.COMPLETED:
        return how
    return f"{how} (SIP {sip.spoken(code, row['sip_reason'])}: {sip.read(code).meaning})"


def _limits(row: Record) -> list[View]:
    """The limits as the claim saw them; none are known of a call that was read in."""
    return [
        {"name": name, "limit": row[f"{name}_limit"], "in_use": row[f"{name}_open_calls"]}
        for name in ("batch", "campaign")
        if row[f"{name}_limit"] is not None
    ]


def _request(state: CallState, row: Record) -> str:
    """Say what is known of the request, whatever became of the call since."""
    if state in _REQUEST:
        return _REQUEST[state]
    if row["evidence"] == Evidence.REPLY:
        return _REFUSED
    was_heard_of = row["provider_call_id"] is not None or row["heard_at"] is not None
    is_proven = row["evidence"] in {Evidence.WEBHOOK, Evidence.POLL, Evidence.RECORD}
    return "accepted" if was_heard_of or is_proven else _NO_ANSWER


def _attempt(row: Record) -> View:
    is_bounded = row["window_opens_at"] != ALWAYS.opens_at
    state = CallState(row["state"])
    return {
        "execution_id": ids.execution_id(row["id"]),
        "attempt": row["attempt"],
        "kind": row["kind"],
        "decided_at": whole(row["requested_at"]),
        "was_due_at": whole(row["prior_due_at"]),
        "window": {
            "opens_at": whole(row["window_opens_at"]),
            "closes_at": whole(row["window_closes_at"]),
        }
        if is_bounded
        else None,
        "limits": _limits(row),
        "from_number": row["from_number"],
        "provider": row["provider"],
        "provider_call_id": row["provider_call_id"],
        "request": _request(state, row),
        "heard_at": whole(row["heard_at"]),
        "ringing_at": whole(row["ringing_at"]),
        "answered_at": whole(row["answered_at"]),
        "ended_at": whole(row["ended_at"]),
        "looked_at_again_at": whole(row["deadline_at"]) if row["ended_at"] is None else None,
        "outcome": row["outcome"],
        "sip_status": row["sip_status"],
        "sip_reason": row["sip_reason"],
        "duration_seconds": row["duration_seconds"],
        "hangup_by": row["hangup_by"],
        "hangup_reason": row["hangup_reason"],
        "evidence": row["evidence"],
    }
