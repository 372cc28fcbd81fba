"""Calls over HTTP: one by its execution id, or all to a number. Reads only."""

import enum
from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

from apollo.usecases.list_filters import ListFilter
from apollo.web import listing
from apollo.web.batch_shapes import CallInFull, CallOfContact
from apollo.web.requests import Caller, KnownQueryRoute, Uses
from apollo.web.schemas import RowsLimit, Skip, answered


class CallStatus(enum.StrEnum):
    """What a call record shows: on its way, or how it ended."""

    QUEUED = "queued"
    TRYING = "trying"
    RINGING = "ringing"
    IN_PROGRESS = "in-progress"
    COMPLETED = "completed"
    BUSY = "busy"
    NO_ANSWER = "no-answer"
    FAILED = "failed"
    VOICEMAIL = "voicemail"


router = APIRouter(tags=["calls"], route_class=KnownQueryRoute)


@router.get("/calls/{execution_id}", response_model=CallInFull)
async def read_call(
    caller: Caller,
    uses: Uses,
    execution_id: Annotated[str, Path(description="The call, `exec_…`.")],
) -> Response:
    """Read a call with the variables its agent was given."""
    return answered(await uses.read_batches.call(caller, execution_id))


@router.get("/calls", response_model=list[CallOfContact])
async def list_calls(
    caller: Caller,
    uses: Uses,
    phone_number: Annotated[
        str | None, Query(description="Every call to this number, newest first.")
    ] = None,
    batch_id: Annotated[
        str | None, Query(description="Only of this batch; alone: all its calls, upload order.")
    ] = None,
    status: listing.Statuses = None,
    created_after: listing.CreatedAfter = None,
    created_before: listing.CreatedBefore = None,
    after: listing.After = None,
    skip: Skip = 0,
    limit: RowsLimit = 100,
) -> Response:
    """List the calls to a number, or of a batch; at least one of both must be given."""
    listing.one_way(after, skip)
    begins, ends = listing.span(created_after, created_before)
    wanted = ListFilter(
        statuses=listing.statuses(status, CallStatus),
        phone_number=listing.number(phone_number),
        created_after=begins,
        created_before=ends,
        after=after,
        skip=skip,
        limit=limit,
    )
    return answered(await uses.read_batches.calls(caller, wanted, batch_id=batch_id))
