"""The stories behind `/debug`: one contact's, one batch's history, and what would happen.

Owns paths, parameters and the shape of requests. Must never judge anything itself.
"""

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query, Response
from pydantic import BeforeValidator, Field

from apollo.core import bounds
from apollo.core.list_rows import GivenContact
from apollo.errors import Invalid
from apollo.usecases.check_contacts import OnDuplicate
from apollo.usecases.preview_campaign import Planned
from apollo.web.campaigns import CampaignPatch
from apollo.web.requests import Caller, StrictRoute, Uses
from apollo.web.schemas import Body, answered
from apollo.web.story_shapes import HistoryAnswer, PreviewAnswer, WhyAnswer

# What a body of 1 MiB holds; more are previewed by their number alone.
_CONTACTS_MAX: Final = 10_000
_COUNT_MAX: Final = 10_000_000

_WHY: Final = """
Why this person was not called, or not yet: what holds the contact back and until when, and what was
decided at each attempt, as it was stored then: the window that allowed it, its turn and due time,
the limits and how many calls were open before it, the caller id, and what the provider answered.
"""
_HISTORY: Final = """
When the batch moved and when it did not: intervals of verdict and reason, written down within
seconds of each change, with what was done meanwhile to the batch, its campaign and its whole
organisation (a stop of all dialling, a recovery after a restore). `preceded_by` are the changes of
the two minutes before an interval began.
"""
_PREVIEW: Final = """
What would happen, without doing it: a batch of these contacts (or of so many), or the campaign's
unfinished contacts under `changes`, which are keys as `PATCH /campaigns/{id}` takes them.

`first_call_at` is null while something holds the campaign (`waiting_for`). `estimated_finish_at` is
null while fewer than 20 calls of the campaign have ended: it is what the binding `limit` allows at
the mean length of the campaign's last calls, with its share of retries, inside the calling hours.
A new batch takes turns with the batches in progress, and the forecast counts them in.
"""


def _check_written(value: object) -> object:
    # A bare number would be read as seconds since 1970, and answered with everything there is.
    if isinstance(value, str) and not re.match(r"\d{4}-\d{2}-\d{2}", value):
        raise ValueError("write a date and a time, such as 2026-05-10T09:00:00Z")
    return value


_When = Annotated[datetime, BeforeValidator(_check_written)]


class PlannedContact(Body):
    """A contact as `POST /batches` takes it."""

    phone_number: str = Field(description="As `POST /batches` takes it.")
    call_variables: dict[str, Any] = Field(
        default_factory=dict, description="What the agent would be told."
    )


class PreviewBody(Body):
    """What is planned; everything is optional."""

    contacts: list[PlannedContact] | None = Field(
        default=None, max_length=_CONTACTS_MAX, description="The people of a planned batch."
    )
    contacts_count: int | None = Field(
        default=None, ge=0, le=_COUNT_MAX, description="Or only how many they are."
    )
    scheduled_start: str | None = Field(
        default=None, description="When it would begin; in the campaign's timezone or an offset."
    )
    concurrency_limit: int | None = Field(
        default=None, ge=1, le=10_000, description="Calls at a time that the batch would have."
    )
    max_retries_override: int | None = Field(
        default=None, ge=0, le=100, description="In place of the campaign's `max_retries`."
    )
    on_duplicate: str = Field(
        default="skip", pattern="^(skip|keep)$", description="As `POST /batches` takes it."
    )
    default_region: str | None = Field(
        default=None, description="Two letters; how numbers without a plus are read."
    )
    changes: CampaignPatch | None = Field(
        default=None, description="Campaign keys, as PATCH takes them."
    )


router = APIRouter(route_class=StrictRoute)


@router.get(
    "/batches/{batch_id}/contacts/{contact_id}/why",
    tags=["batches"],
    summary="Why a contact is not called",
    response_model=WhyAnswer,
    description=_WHY,
)
async def why(
    caller: Caller,
    uses: Uses,
    batch_id: Annotated[str, Path(description="The batch, `btc_…`.")],
    contact_id: Annotated[str, Path(description="The contact, `con_…`.")],
) -> Response:
    """Tell one contact's story."""
    return answered(await uses.explain_contact.why(caller, batch_id, contact_id))


@router.get(
    "/batches/{batch_id}/debug/history",
    tags=["batches"],
    summary="When a batch moved and when not",
    response_model=HistoryAnswer,
    description=_HISTORY,
)
async def history(
    caller: Caller,
    uses: Uses,
    batch_id: Annotated[str, Path(description="The batch, `btc_…`.")],
    start: Annotated[_When | None, Query(description="From when; 24 h before end.")] = None,
    end: Annotated[_When | None, Query(description="Until when; now.")] = None,
) -> Response:
    """Tell when a batch moved."""
    return answered(
        await uses.history.history(
            caller, batch_id, start=_instant("start", start), end=_instant("end", end)
        )
    )


@router.post(
    "/campaigns/{campaign_id}/preview",
    tags=["campaigns"],
    summary="Preview a batch or a change",
    response_model=PreviewAnswer,
    description=_PREVIEW,
)
async def preview(
    caller: Caller,
    uses: Uses,
    campaign_id: Annotated[str, Path(description="The campaign, `cmp_…`.")],
    body: PreviewBody,
) -> Response:
    """Tell what would happen."""
    return answered(await uses.preview.preview(caller, campaign_id, _planned(body)))


def _planned(body: PreviewBody) -> Planned:
    given = body.model_dump(exclude={"contacts", "on_duplicate", "changes"})
    changes = {} if body.changes is None else body.changes.settings()
    if "organization_id" in changes:
        msg = "cannot be changed; leave it out"
        raise Invalid.field("changes.organization_id", msg)
    contacts = None
    if body.contacts is not None:
        contacts = tuple(
            GivenContact(row, one.phone_number, one.call_variables)
            for row, one in enumerate(body.contacts)
        )
    return Planned(
        **given, changes=changes, contacts=contacts, on_duplicate=OnDuplicate(body.on_duplicate)
    )


def _instant(name: str, at: datetime | None) -> datetime | None:
    """A time without an offset is UTC, as in every answer."""
    if at is None:
        return None
    try:
        return bounds.instant(at if at.tzinfo is not None else at.replace(tzinfo=UTC))
    except ValueError as outside:
        raise Invalid.field(name, str(outside), where="query") from None
