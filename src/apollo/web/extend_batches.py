"""Contacts added, skipped and changed, batches made of others, test calls: over HTTP.

Owns their shapes and paths. Must never decide anything about a call.
"""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final, TypeVar

import msgspec
from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, Field, ValidationError

from apollo.core.list_rows import GivenContact
from apollo.core.states import BatchStatus
from apollo.errors import FieldError, Invalid
from apollo.usecases.batch_views import View
from apollo.usecases.check_contacts import Across, OnDuplicate, OnInvalid
from apollo.usecases.extend_batches import ADDED_MAX, RERUN
from apollo.usecases.wanted_batches import NewBatch
from apollo.web.batch_shapes import (
    AcrossBatches,
    BarredRows,
    CampaignId,
    ContactAnswer,
    ContactBody,
    CreatedBatchAnswer,
    DuplicateRows,
    End,
    InvalidRows,
    Limit,
    OrganizationId,
    Region,
    RejectedRow,
    Retries,
    Start,
    Within,
)
from apollo.web.contact_input import read_batch_body
from apollo.web.idempotency import KEY_PARAMETER, Store, answer_once
from apollo.web.requests import (
    Caller,
    KnownQueryRoute,
    StrictRoute,
    Uses,
    check_organization,
    decode_json,
)
from apollo.web.schemas import Answer, Body, answered, schema_of

_Shape = TypeVar("_Shape", bound=BaseModel)
_BatchId = Annotated[str, Path(description="The batch, `btc_…`.")]
_ContactId = Annotated[str, Path(description="The contact, `con_…`.")]


class AddHead(Body):
    """How the contacts that are added are checked."""

    on_invalid: InvalidRows = OnInvalid.REJECT
    on_duplicate: DuplicateRows = OnDuplicate.SKIP
    across: AcrossBatches = Across.CAMPAIGN
    within: Within = None
    on_barred: BarredRows = OnDuplicate.SKIP
    default_region: Region = None


class AddBody(AddHead):
    """Contacts for a live batch."""

    contacts: list[ContactBody] = Field(
        min_length=1, max_length=ADDED_MAX, description="Who is called behind all others."
    )


class AddedAnswer(Answer):
    """What became of the contacts that were to be added."""

    batch_id: str = Field(description="The batch, `btc_…`.")
    added: int = Field(description="Contacts that were added.")
    total_contacts: int = Field(description="Of the whole batch, those added among them.")
    first_contact_id: str = Field(description="The first of them, in upload order.")
    last_contact_id: str = Field(description="The last of them.")
    rejected: list[RejectedRow] = Field(description="Rows of this request that were left out.")
    rejected_count: int = Field(description="All rows of this request that were left out.")


class RerunBody(Body):
    """What the new batch has of its own; everything is optional."""

    scheduled_start: Start = None
    ends_at: End = None
    concurrency_limit: Limit = None
    max_retries_override: Retries = None
    call_context: dict[str, Any] | None = Field(
        default=None, description="Instead of the other batch's."
    )
    metadata: dict[str, Any] | None = Field(
        default=None, description="Over the other batch's; `rerun_of` is its id."
    )
    on_duplicate: DuplicateRows = OnDuplicate.SKIP
    across: AcrossBatches = Across.CAMPAIGN
    within: Within = None
    on_barred: BarredRows = OnDuplicate.SKIP


class TestCallBody(Body):
    """One call to try things out."""

    campaign_id: CampaignId
    organization_id: OrganizationId = None
    phone_number: str = Field(description="Whom to call, as for a contact.")
    call_variables: dict[str, Any] | None = Field(default=None, description="For the agent.")
    call_context: dict[str, Any] | None = Field(default=None, description="For the agent.")
    metadata: dict[str, Any] | None = Field(
        default=None, description="Kept with its batch; `test_call` is set to true."
    )
    on_barred: BarredRows = OnDuplicate.SKIP
    default_region: Region = None


class TestCallAnswer(Answer):
    """Where the call is: a batch of one contact."""

    batch_id: str = Field(description="The batch of one that it is, `btc_…`.")
    contact_id: str = Field(description="Its only contact, `con_…`.")
    campaign_id: str = Field(description="The campaign, `cmp_…`.")
    batch_status: BatchStatus = Field(description="The status of that batch.")


class ContactChanges(Body):
    """What may be changed of a contact."""

    call_variables: dict[str, Any] = Field(
        description="Replaces all of them, from the contact's next call on."
    )


class SkippedAnswer(ContactAnswer):
    """A contact that is not called again."""

    message: str = Field(description="What was done, in words.")
    calls_in_progress: int = Field(description="1 when it is on a call, which goes on.")


def _json_input(model: type[BaseModel], *, is_required: bool) -> dict[str, Any]:
    schema = schema_of(model)
    content = {"application/json": {"schema": schema}}
    return {
        "parameters": [KEY_PARAMETER],
        "requestBody": {"required": is_required, "content": content},
    }


router = APIRouter(route_class=KnownQueryRoute)
strict = APIRouter(tags=["batches"], route_class=StrictRoute)


@router.post(
    "/batches/{batch_id}/contacts",
    tags=["batches"],
    status_code=201,
    response_model=AddedAnswer,
    openapi_extra=_json_input(AddBody, is_required=True),
)
async def add_contacts(
    request: Request, caller: Caller, uses: Uses, batch_id: _BatchId
) -> Response:
    """Add contacts to a live batch, 10 000 at the most; they are called behind all others."""

    async def work(store: Store | None) -> bytes:
        kind = request.headers.get("content-type", "")
        head, contacts = read_batch_body(await request.body(), kind, AddHead)
        added = await uses.extend_batches.add(
            caller, batch_id, _wanted(head), contacts, on_created=_storing(store)
        )
        return msgspec.json.encode(added)

    return await answer_once(uses.answers, caller, f"/batches/{batch_id}/contacts", request, work)


@router.post(
    "/batches/{batch_id}/rerun",
    tags=["batches"],
    status_code=201,
    response_model=CreatedBatchAnswer,
    openapi_extra=_json_input(RerunBody, is_required=False),
)
async def rerun_batch(
    request: Request,
    caller: Caller,
    uses: Uses,
    batch_id: _BatchId,
    status: Annotated[
        list[str],
        Query(description="Contacts that ended so: `no_answer,busy`. Nobody who still waits."),
    ],
) -> Response:
    """Make a new batch of those contacts of another one that ended in these statuses."""
    wanted_statuses = _rerun_statuses(status)

    async def work(store: Store | None) -> bytes:
        body = await _read(request, RerunBody)
        made = await uses.extend_batches.rerun(
            caller, batch_id, wanted_statuses, _wanted(body), on_created=_storing(store)
        )
        return msgspec.json.encode(made)

    path, query = f"/batches/{batch_id}/rerun", ",".join(wanted_statuses)
    return await answer_once(uses.answers, caller, path, request, work, query=query)


@router.post(
    "/calls",
    tags=["calls"],
    status_code=201,
    response_model=TestCallAnswer,
    openapi_extra=_json_input(TestCallBody, is_required=True),
)
async def place_test_call(request: Request, caller: Caller, uses: Uses) -> Response:
    """Call one number once, to try things out.

    It is a batch of one contact without retries, and an ordinary call: calling hours, limits, a
    pause and the gap between two calls to one number hold. A number that is in another batch is
    called all the same. `GET /batches/{batch_id}/debug` says why no phone rings.
    """

    async def work(store: Store | None) -> bytes:
        body = await _read(request, TestCallBody)
        check_organization(caller, body.organization_id)
        contact = GivenContact(0, body.phone_number, body.call_variables or {})
        given = body.model_dump(exclude={"organization_id", "phone_number", "call_variables"})
        placed = await uses.extend_batches.test_call(
            caller, _new(given), contact, on_created=_storing(store)
        )
        return msgspec.json.encode(placed)

    return await answer_once(uses.answers, caller, "/calls", request, work)


@strict.post("/batches/{batch_id}/contacts/{contact_id}/skip", response_model=SkippedAnswer)
async def skip_contact(
    caller: Caller, uses: Uses, batch_id: _BatchId, contact_id: _ContactId
) -> Response:
    """Take one contact out of a live batch. A call in progress goes on, and no other follows."""
    return answered(await uses.change_contacts.skip(caller, batch_id, contact_id))


@strict.patch("/batches/{batch_id}/contacts/{contact_id}", response_model=ContactAnswer)
async def change_contact(
    caller: Caller,
    uses: Uses,
    batch_id: _BatchId,
    contact_id: _ContactId,
    changes: ContactChanges,
) -> Response:
    """Replace a contact's variables while it is still to be called."""
    changed = await uses.change_contacts.change(
        caller, batch_id, contact_id, changes.call_variables
    )
    return answered(changed)


_CAMPAIGN_OF_BATCH: Final = ""


def _wanted(body: BaseModel) -> NewBatch:
    return _new({"campaign_id": _CAMPAIGN_OF_BATCH, **body.model_dump()})


def _new(given: dict[str, Any]) -> NewBatch:
    return NewBatch(**{name: value for name, value in given.items() if value is not None})


def _rerun_statuses(given: list[str]) -> list[Any]:
    asked = [one.strip() for part in given for one in part.split(",")]
    unknown = [one for one in asked if one not in set(RERUN)]
    if unknown:
        shown = ", ".join(repr(one[:40]) for one in unknown[:3])
        msg = f"{shown} cannot be called again so; use one or more of {', '.join(RERUN)}"
        raise Invalid.field("status", msg, where="query")
    return [one for one in RERUN if one in set(asked)]


async def _read(request: Request, shape: type[_Shape]) -> _Shape:
    """Read a JSON body into a shape; none is an empty object. Raises Invalid."""
    body = await request.body()
    if body:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            msg = "the body must be JSON; send Content-Type: application/json"
            raise Invalid.field("content-type", msg, where="header")
    decoded = decode_json(body) if body else {}
    try:
        return shape.model_validate(decoded)
    except ValidationError as wrong:
        raise Invalid(
            [FieldError(("body", *e["loc"]), e["msg"], e["type"]) for e in wrong.errors()]
        ) from None


def _storing(store: Store | None) -> Callable[[Any, View], Awaitable[None]] | None:
    if store is None:
        return None

    async def on_created(connection: Any, created: View) -> None:
        await store(connection, msgspec.json.encode(created))

    return on_created
