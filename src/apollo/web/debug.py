"""`GET /batches/{batch_id}/debug`: the page that says why no phone rings.

Owns the shape of the answer in the API's description. The answer itself comes from the use-case,
and this module must never judge or leave out any of it.
"""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse

from apollo.core.diagnosis import Verdict
from apollo.core.reasons import Layer, Reason, Severity
from apollo.core.states import BatchStatus, ContactStatus
from apollo.usecases.explain_batch import as_json
from apollo.web.requests import Caller, KnownQueryRoute, Uses
from apollo.web.schemas import Warned

_DESCRIPTION = """
Why a batch does what it does: use it when a batch is `in_progress` and no calls seem to go out.

`status_breakdown` always has `pending`, `dispatched` and `completed`, and every other status that
has contacts. `diagnostics.stuck_pending` is true when pending contacts could have been dialled for
over 30 minutes and none was; waiting for calling hours, a start, a pause, a retry time or a slot in
use is never stuck. `diagnostics.tip` is the next step for a person.

`diagnostics.reasons` lists every reason that holds, the most serious first, each with the numbers
that prove it and what to do; `/docs/reasons` explains each code. The arithmetic closes:
`unfinished = on_call + dialable_now + sum(by_reason)`.

The answer costs the same for a batch of any size, except with `verify=true`, which counts every
contact one by one and compares the result with the counters.
"""

_EXAMPLE: dict[str, Any] = {
    "batch_id": "btc_0Lm3xPq9VtKc2RZs8YhWd4",
    "status": "in_progress",
    "status_breakdown": {
        "pending": {"count": 380, "oldest_updated_at": "2026-05-10T09:05:00Z"},
        "dispatched": {"count": 0},
        "completed": {"count": 58, "oldest_updated_at": "2026-05-10T10:25:00Z"},
        "retrying": {"count": 120, "oldest_updated_at": "2026-05-10T12:01:00Z"},
    },
    "pending_sample": [
        "con_0Lm3xPq9VtKc2RZs8YhWd40001B",
        "con_0Lm3xPq9VtKc2RZs8YhWd40001C",
        "con_0Lm3xPq9VtKc2RZs8YhWd40001D",
    ],
    "diagnostics": {
        "stuck_pending": False,
        "tip": "Nothing to do: calling hours open Monday 11 May 09:00 (Asia/Kolkata), in 14 h"
        " 30 min. If they are wrong, change the campaign's working_hours or timezone.",
        "verdict": "waiting",
        "reasons": [
            {
                "code": "outside_window",
                "layer": "clock",
                "severity": "info",
                "contacts": 380,
                "since": None,
                "until": "2026-05-11T03:30:00Z",
                "evidence": {
                    "opens_at": "2026-05-11T03:30:00Z",
                    "opens_local": "Monday 11 May 09:00",
                    "timezone": "Asia/Kolkata",
                },
                "fix": "Nothing to do: calling hours open Monday 11 May 09:00 (Asia/Kolkata), in"
                " 14 h 30 min. If they are wrong, change the campaign's working_hours or timezone.",
                "help": "/docs/reasons#outside_window",
            },
            {
                "code": "retry_not_due",
                "layer": "contact",
                "severity": "info",
                "contacts": 120,
                "since": None,
                "until": "2026-05-10T13:20:00Z",
                "evidence": {
                    "first_due_at": "2026-05-10T13:20:00Z",
                    "last_due_at": "2026-05-10T13:58:00Z",
                },
                "fix": "Nothing to do: 120 wait for their retry, the first until"
                " 2026-05-10T13:20:00Z (in 20 min), the last until 2026-05-10T13:58:00Z.",
                "help": "/docs/reasons#retry_not_due",
            },
        ],
        "accounting": {
            "unfinished": 500,
            "on_call": 0,
            "dialable_now": 0,
            "by_reason": {"outside_window": 380, "retry_not_due": 120},
        },
        "limits": [
            {"name": "batch", "limit": 10, "in_use": 0, "free": 10},
            {"name": "campaign", "limit": 20, "in_use": 6, "free": 14},
        ],
        "held": {"contacts": 0, "note": None},
        "next_dial_at": "2026-05-11T03:30:00Z",
        "estimated_finish_at": None,
        "estimate_is_at_least": False,
        "not_reached_by_end": None,
        "warnings": [],
        "as_of": "2026-05-10T13:00:00Z",
        "stale_inputs": [],
    },
}


class StatusCount(BaseModel):
    """Contacts of one status."""

    count: int = Field(description="Contacts with this status.")
    oldest_updated_at: datetime | None = Field(
        default=None,
        description="When the one longest in this status got there; absent when count is 0.",
    )


class ReasonAnswer(BaseModel):
    """A reason that holds."""

    code: Reason = Field(description="What it is: see `/docs/reasons`.")
    layer: Layer = Field(description="Where it lies, from outside in.")
    severity: Severity = Field(description="`info` is as it should be.")
    contacts: int = Field(description="How many contacts it concerns, whatever else does too.")
    since: datetime | None = Field(description="Since when it holds, where that is known.")
    until: datetime | None = Field(description="Until when, where a clock decides that.")
    evidence: dict[str, Any] = Field(description="The numbers and names that prove it.")
    fix: str = Field(description="What to do, in words.")
    help: str = Field(description="Where it is explained.")


class AccountingAnswer(BaseModel):
    """Every unfinished contact, under exactly one heading."""

    unfinished: int = Field(description="`on_call + dialable_now + sum(by_reason)`, always.")
    on_call: int = Field(description="Contacts with an open call.")
    dialable_now: int = Field(description="Contacts for which a slot is free right now.")
    by_reason: dict[Reason, int] = Field(description="The others, each under its outermost reason.")


class LimitAnswer(BaseModel):
    """A cap on calls at a time."""

    name: str = Field(description="`batch` or `campaign`.")
    limit: int = Field(description="Calls at a time.")
    in_use: int = Field(description="Open calls that count for it.")
    free: int = Field(description="Calls that could start now.")


class HeldAnswer(BaseModel):
    """Contacts that failed because nobody knows what became of their call."""

    contacts: int | None = Field(
        description="How many, among the last thousand calls of unknown outcome; null when that"
        " could not be read."
    )
    note: str | None = Field(description="What an operator does about them; null when none is.")


class DiagnosticsAnswer(BaseModel):
    """What it means."""

    stuck_pending: bool = Field(description="Contacts could have been dialled for too long.")
    tip: str = Field(description="The next step, for a person.")
    verdict: Verdict = Field(description="How things are, in one word.")
    reasons: list[ReasonAnswer] = Field(description="Every reason that holds, most serious first.")
    accounting: AccountingAnswer = Field(description="Where each unfinished contact stands.")
    limits: list[LimitAnswer] = Field(description="What bounds calls at a time.")
    held: HeldAnswer = Field(
        description="They are final, so no reason and no part of the sum, until released."
    )
    next_dial_at: datetime | None = Field(
        description="The earliest instant a call can start; null when no clock decides that."
    )
    estimated_finish_at: datetime | None = Field(
        description="When everybody is expected to be done with, calls under way and coming retries"
        " included, inside the calling hours; the batch's `ends_at` where that comes first. Null"
        " while fewer than 20 calls of the batch have ended, or something holds the batch for no"
        " known time."
    )
    estimate_is_at_least: bool = Field(
        description="True: `estimated_finish_at` is the earliest it can be. Calls under way already"
        " last longer than those that ended, or contacts wait for somebody else's call."
    )
    warnings: list[Warned] = Field(
        description="What holds nothing up and may not be meant, such as a campaign without"
        " calling hours."
    )
    not_reached_by_end: int | None = Field(
        description="About how many contacts are still to be called when the batch's `ends_at`"
        " comes; they will be skipped. Null while there is no `estimated_finish_at`."
    )
    as_of: datetime = Field(description="The instant all of this describes.")
    stale_inputs: list[str] = Field(description="What could not be read, and so is not judged.")


class DebugAnswer(BaseModel):
    """Why a batch does what it does."""

    model_config = ConfigDict(json_schema_extra={"example": _EXAMPLE})

    batch_id: str = Field(description="The batch, `btc_…`.")
    status: BatchStatus = Field(description="Its status.")
    status_breakdown: dict[ContactStatus, StatusCount] = Field(
        description="Its contacts by status; every status is there."
    )
    pending_sample: list[str] = Field(
        max_length=3, description="The pending contacts that wait longest, to look for in logs."
    )
    diagnostics: DiagnosticsAnswer = Field(description="What it means and what to do.")


router = APIRouter(tags=["batches"], route_class=KnownQueryRoute)


@router.get(
    "/batches/{batch_id}/debug",
    summary="Debug a batch",
    description=_DESCRIPTION,
    response_model=DebugAnswer,
)
async def debug(
    caller: Caller,
    uses: Uses,
    batch_id: Annotated[str, Path(description="The batch, `btc_…`.")],
    verify: Annotated[
        bool, Query(description="Also count every contact and compare with the counters.")
    ] = False,
) -> JSONResponse:
    """Explain a batch."""
    diagnosis = await uses.explain_batch.explain(caller.organization_id, batch_id, verify=verify)
    # Not through the model: it would write out the keys that are to be absent.
    return JSONResponse(as_json(diagnosis))
