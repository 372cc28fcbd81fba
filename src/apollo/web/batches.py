"""Batches over HTTP: read, changed, followed up. `create_batches` and `lifecycle` have the rest.

Owns paths, parameters and their description. Must never decide anything about a batch.
"""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Response
from starlette.responses import StreamingResponse

from apollo.core.states import BatchStatus, ContactStatus
from apollo.usecases.export_results import ResultsForm
from apollo.usecases.list_filters import ListFilter
from apollo.web import listing
from apollo.web.batch_shapes import (
    BatchAnswer,
    BatchChanges,
    ContactAnswer,
    FollowUpBody,
)
from apollo.web.requests import Caller, StrictRoute, Uses, check_organization
from apollo.web.schemas import OrganizationQuery, RowsLimit, Skip, answered

BatchId = Annotated[str, Path(description="The batch, `btc_…`.")]

_ToNumber = Annotated[str | None, Query(description="Only to this number.")]

router = APIRouter(tags=["batches"], route_class=StrictRoute)


_BatchFilter = Annotated[ListFilter, Depends(listing.listed_by(BatchStatus))]


@router.get("/batches", response_model=list[BatchAnswer])
async def list_batches(
    caller: Caller,
    uses: Uses,
    wanted: _BatchFilter,
    organization_id: OrganizationQuery = None,
    campaign_id: Annotated[str | None, Query(description="Only this campaign's.")] = None,
) -> Response:
    """List batches, newest first, with live counters."""
    check_organization(caller, organization_id)
    return listing.page(await uses.read_batches.batches(caller, wanted, campaign_id=campaign_id))


@router.get("/campaigns/{campaign_id}/batches", response_model=list[BatchAnswer])
async def list_batches_of_campaign(
    caller: Caller,
    uses: Uses,
    campaign_id: Annotated[str, Path(description="The campaign, `cmp_…`.")],
    wanted: _BatchFilter,
) -> Response:
    """List the batches of a campaign, newest first, with live counters."""
    return listing.page(await uses.read_batches.of_campaign(caller, campaign_id, wanted))


@router.get("/batches/{batch_id}", response_model=BatchAnswer)
async def read_batch(caller: Caller, uses: Uses, batch_id: BatchId) -> Response:
    """Read a batch with live counters."""
    return answered(await uses.read_batches.batch(caller, batch_id))


@router.patch("/batches/{batch_id}", response_model=BatchAnswer)
async def change_batch(
    caller: Caller, uses: Uses, batch_id: BatchId, changes: BatchChanges
) -> Response:
    """Change a live batch; keys that are left out stay. It holds from the next call on."""
    check_organization(caller, changes.organization_id)
    if changes.fixed & changes.model_fields_set:
        changes.check_fixed(await uses.read_batches.batch(caller, batch_id))
    given = changes.settings()
    if "metadata" in given:
        given["metadata"] = given["metadata"] or {}
    return answered(await uses.change_batches.change(caller, batch_id, given))


@router.get(
    "/batches/{batch_id}/contacts",
    response_model=list[ContactAnswer],
)
async def list_contacts(
    caller: Caller,
    uses: Uses,
    batch_id: BatchId,
    include_calls: Annotated[bool, Query(description="With every call of each contact.")] = False,
    status: listing.Statuses = None,
    phone_number: _ToNumber = None,
    updated_since: listing.UpdatedSince = None,
    after: listing.After = None,
    count: listing.Count = False,
    skip: Skip = 0,
    limit: RowsLimit = 100,
    explain: Annotated[bool, Query(description="With what holds each contact back.")] = False,
) -> Response:
    """List the contacts of a batch, in upload order.

    Contacts change their status while you read: `skip` over a filtered list then leaves some out.
    Go on with `after`, the last `contact_id` of the page before; it misses nobody.
    """
    listing.one_way(after, skip)
    wanted = ListFilter(
        statuses=listing.statuses(status, ContactStatus),
        phone_number=listing.number(phone_number),
        updated_since=listing.instant("updated_since", updated_since),
        after=after,
        with_total=count,
        skip=skip,
        limit=limit,
    )
    listed = await uses.read_batches.contacts(
        caller, batch_id, wanted, with_calls=include_calls, explain=explain
    )
    return listing.page(listed)


@router.get(
    "/batches/{batch_id}/results.csv",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/csv": {"schema": {"type": "string"}}}}},
)
async def download_results(
    caller: Caller,
    uses: Uses,
    batch_id: BatchId,
    columns: Annotated[
        str | None,
        Query(
            description="Only these columns, separated by commas, in this order: of the contact and"
            " its last call, or call variables by their names.",
            examples=["phone_number,policy_id,status"],
        ),
    ] = None,
    status: listing.Statuses = None,
    phone_number: _ToNumber = None,
    updated_since: listing.UpdatedSince = None,
    raw: Annotated[
        bool,
        Query(description="For programs: leave cells that a spreadsheet would run as a formula."),
    ] = False,
    bom: Annotated[
        bool | None,
        Query(description="Begin with a byte-order mark, as spreadsheets need; not with `raw`."),
    ] = None,
) -> Response:
    """Download one line per contact, with its last call, and a column for each call variable.

    The file can be uploaded as it is: only the number and the variables count then. The last
    column, `call_variables`, has all of them as JSON; variables that the first thousand contacts
    lack are only there.
    """
    form = ResultsForm(
        columns=[one.strip() for one in columns.split(",") if one.strip()] if columns else (),
        is_raw=raw,
        has_mark=not raw if bom is None else bom,
    )
    wanted = ListFilter(
        statuses=listing.statuses(status, ContactStatus),
        phone_number=listing.number(phone_number),
        updated_since=listing.instant("updated_since", updated_since),
    )
    lines = await uses.read_batches.results(caller, batch_id, form, wanted)
    headers = {"Content-Disposition": f'attachment; filename="{batch_id}.csv"'}
    return StreamingResponse(lines, headers=headers, media_type="text/csv")


@router.get(
    "/batches/{batch_id}/rejected.csv",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/csv": {"schema": {"type": "string"}}}}},
)
async def download_rejected(caller: Caller, uses: Uses, batch_id: BatchId) -> Response:
    """Download the rows that were left out, as they were uploaded, and why.

    The last column, `rejected_reason`, is ignored when the corrected file is uploaded. Rows of a
    JSON body have the columns `phone_number` and `call_variables`. Nothing left out: only a header.
    """
    lines = await uses.read_batches.rejected(caller, batch_id)
    headers = {"Content-Disposition": f'attachment; filename="{batch_id}-rejected.csv"'}
    return StreamingResponse(lines, headers=headers, media_type="text/csv")


@router.post(
    "/batches/{batch_id}/contacts/{contact_id}/follow-up",
    response_model=ContactAnswer,
)
async def schedule_follow_up(
    caller: Caller,
    uses: Uses,
    batch_id: BatchId,
    contact_id: Annotated[str, Path(description="The contact, `con_…`.")],
    wanted: FollowUpBody,
) -> Response:
    """Call somebody who was reached once more. A completed batch is reopened."""
    return answered(await uses.follow_ups.schedule(caller, batch_id, contact_id, wanted.at))
