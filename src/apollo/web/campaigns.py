"""The routes of campaigns: their shapes and their HTTP; every rule is in `manage_campaigns`."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Path, Request, Response
from pydantic import Field, WithJsonSchema

from apollo.core import ids
from apollo.core.campaign_settings import warnings_of
from apollo.core.states import CampaignStatus
from apollo.core.windows import WEEKDAYS
from apollo.usecases.list_filters import ListFilter
from apollo.usecases.manage_campaigns import CampaignRecord
from apollo.web import idempotency, listing
from apollo.web.requests import Caller, StrictRoute, Uses, check_organization
from apollo.web.schemas import (
    Answer,
    Body,
    Changes,
    OrganizationQuery,
    ReadOnly,
    Timestamp,
    Warned,
)

CampaignId = Annotated[str, Path(description="The campaign, `cmp_…`.")]

router = APIRouter(tags=["campaigns"], route_class=StrictRoute)
_HOURS = {"monday": {"start": "09:00", "end": "18:00", "enabled": True}}
_RETRY = {"max_retries": 3, "strategy": "fixed", "cooldown_minutes": 30}


_DAY: Final = {
    "type": "object",
    "properties": {
        "start": {"type": "string", "description": "HH:MM, the first minute of the hours."},
        "end": {"type": "string", "description": "HH:MM, when they end; 24:00 for midnight."},
        "enabled": {"type": "boolean", "description": "false closes the day."},
    },
}
WorkingHours = Annotated[
    dict[str, Any],
    WithJsonSchema(
        {
            "type": "object",
            "additionalProperties": False,
            "properties": {day: _DAY | {"description": "A weekday."} for day in WEEKDAYS},
        }
    ),
]
RetryPolicy = Annotated[
    dict[str, Any],
    WithJsonSchema(
        {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "max_retries": {
                    "type": "integer",
                    "minimum": 0,
                    "maximum": 100,
                    "description": "Calls after the first, to somebody who was not reached.",
                },
                "strategy": {
                    "type": "string",
                    "enum": ["fixed", "exponential"],
                    "description": "`exponential` doubles the wait each time, up to 24 h.",
                },
                "cooldown_minutes": {
                    "type": "number",
                    "minimum": 0,
                    "description": "The wait before a retry, in minutes.",
                },
            },
        }
    ),
]
Strategy = Annotated[
    str, WithJsonSchema({"type": "string", "enum": ["round_robin", "random", "least_loaded"]})
]
Metadata = Annotated[
    dict[str, Any],
    WithJsonSchema(
        {
            "type": "object",
            "additionalProperties": True,
            "properties": {
                "concurrency_limit": {
                    "type": "integer",
                    "minimum": 1,
                    "maximum": 10000,
                    "description": "Calls at a time, over all its batches.",
                }
            },
        }
    ),
]
COUNTERS = frozenset(
    {
        "completed_calls",
        "failed_calls",
        "busy_calls",
        "no_answer_calls",
        "voicemail_calls",
        "follow_up_calls",
    }
)


class CampaignFields(Body):
    """What may be written into a campaign; null, or leaving a key out, is the default."""

    agent_id: str | None = Field(None, description="The agent that speaks.", examples=["agent_1"])
    phone_numbers: list[str] | None = Field(
        None, description="E.164 caller ids, at least one.", examples=[["+14155550123"]]
    )
    phone_number_strategy: Strategy | None = Field(
        None, description="round_robin, random or least_loaded.", examples=["round_robin"]
    )
    working_hours_enforced: bool | None = Field(
        None, description="Dial only inside working_hours. Left out: true if there is a table."
    )
    timezone: str | None = Field(
        None, description="The IANA name of a place, or UTC.", examples=["Asia/Kolkata"]
    )
    working_hours: WorkingHours | None = Field(
        None,
        description="Weekdays; a missing one is closed; start > end runs over midnight.",
        examples=[_HOURS],
    )
    retry_policy: RetryPolicy | None = Field(
        None,
        description="max_retries 0 to 100, strategy fixed or exponential, cooldown_minutes.",
        examples=[_RETRY],
    )
    max_follow_ups: int | None = Field(
        None, description="How many may be promised to one contact, 0 to 100; 3.", examples=[3]
    )
    number_gap_minutes: float | None = Field(
        None,
        description="Between two calls to one number out of different batches, and before a"
        " follow-up, 0 to 1440; left out: APOLLO_NUMBER_GAP. Retries have their cooldown.",
        examples=[15],
    )
    amd: bool | None = Field(
        None,
        description="Have the provider find out when a machine picks up. jambonz needs speech"
        " recognition for it; what the agent says of a call outranks it.",
    )
    default_call_variables: dict[str, Any] | None = Field(
        None, description="Under each contact's own variables.", examples=[{"language": "en"}]
    )
    allowed_countries: list[str] | None = Field(
        None,
        description="Countries whose numbers may be called, two letters each, or `*` for all. By"
        " default those of the caller ids, with their territories.",
        examples=[["US", "CA"]],
    )
    allowed_number_types: list[str] | None = Field(
        None,
        description="Kinds of number that are refused otherwise: premium_rate, shared_cost,"
        " personal, universal_access, satellite, global_service, pager, voicemail, own_caller_id.",
        examples=[["universal_access"]],
    )
    metadata: Metadata | None = Field(
        None,
        description="Free; concurrency_limit (1 to 10000) bounds all batches together.",
        examples=[{"concurrency_limit": 20}],
    )


class CampaignCreate(CampaignFields):
    """A new campaign."""

    name: str = Field(description="What people call it.", examples=["Q2 Insurance Renewals"])
    agent_id: str = Field(description="The agent that speaks.", examples=["agent_1"])
    phone_numbers: list[str] = Field(
        description="E.164 caller ids, at least one.", examples=[["+14155550123"]]
    )
    organization_id: str | None = Field(None, description="The token's own, or left out.")


class CampaignPatch(CampaignFields, Changes):
    """The keys to replace; null puts an optional one back to its default."""

    fixed = frozenset({"campaign_id", "organization_id", "status", "created_at"})
    moving = frozenset({"updated_at", "warnings", *COUNTERS})

    name: str | None = Field(None, description="What people call it.")
    campaign_id: ReadOnly
    organization_id: ReadOnly
    status: ReadOnly
    completed_calls: ReadOnly
    failed_calls: ReadOnly
    busy_calls: ReadOnly
    no_answer_calls: ReadOnly
    voicemail_calls: ReadOnly
    follow_up_calls: ReadOnly
    warnings: ReadOnly
    created_at: ReadOnly
    updated_at: ReadOnly


class CampaignAnswer(Answer):
    """A campaign."""

    campaign_id: str = Field(description="The campaign, `cmp_…`.")
    name: str = Field(description="What people call it.")
    organization_id: str = Field(
        description="Whose it is: the organisation of the token that created it."
    )
    agent_id: str = Field(description="The agent that speaks.")
    status: CampaignStatus = Field(
        description="Derived from its batches; `paused` and `cancelled` are said by people."
    )
    phone_numbers: list[str] = Field(description="Caller ids, E.164.")
    phone_number_strategy: Strategy = Field(description="How the caller id of a call is chosen.")
    working_hours_enforced: bool = Field(
        description="Whether calls are placed only inside `working_hours`."
    )
    timezone: str = Field(
        description="IANA name; `working_hours` and times without an offset are in it."
    )
    working_hours: WorkingHours | None = Field(
        description="Hours of each weekday; a missing day is closed."
    )
    retry_policy: RetryPolicy = Field(
        description="`max_retries`, `strategy`, `cooldown_minutes`, all three."
    )
    max_follow_ups: int = Field(description="The most follow-ups of one contact.")
    number_gap_minutes: float | None = Field(
        description="The least time between two calls to one number out of different batches, and"
        " before a follow-up, in minutes; null: the installation's own."
    )
    amd: bool = Field(description="Whether the provider looks for machines that pick up.")
    default_call_variables: dict[str, Any] = Field(
        description="Variables of every contact that has none of that name."
    )
    metadata: Metadata = Field(
        description="As given; `concurrency_limit` bounds the calls of all batches together."
    )
    allowed_countries: list[str] | None = Field(
        description="Countries whose numbers may be called; null: those of the caller ids."
    )
    allowed_number_types: list[str] = Field(
        description="Kinds of number that are called all the same, such as `premium_rate`."
    )
    completed_calls: int = Field(description="Calls that reached somebody.")
    failed_calls: int = Field(description="Calls that failed.")
    busy_calls: int = Field(description="Calls that found the line busy.")
    no_answer_calls: int = Field(description="Calls that nobody picked up.")
    voicemail_calls: int = Field(description="Calls that a machine picked up.")
    follow_up_calls: int = Field(description="Calls that were follow-ups, whatever their outcome.")
    warnings: list[Warned] = Field(description="What may not be as you meant it; mostly empty.")
    created_at: Timestamp = Field(description="When it was created.")
    updated_at: Timestamp = Field(description="When it was last changed.")


class StatsAnswer(Answer):
    """A campaign in numbers, all of one snapshot."""

    campaign_id: str = Field(description="The campaign, `cmp_…`.")
    contact_counts: dict[str, int] = Field(
        description="Contacts of all its batches by status; every status is there."
    )
    batch_counts: dict[str, int] = Field(
        description="Its batches by status; every status is there."
    )
    call_counters: dict[str, int] = Field(description="Ended calls by outcome, and follow-ups.")
    retry_breakdown: dict[str, int] = Field(
        description="Contacts by retries used, from `retry_1` to the most allowed."
    )
    in_flight_contacts: int = Field(description="Contacts with a call on its way or going on.")
    total_call_attempts: int = Field(description="Calls placed, released ones left out.")
    follow_up_attempts: int = Field(description="Calls placed that were follow-ups.")


@router.post(
    "/campaigns",
    status_code=201,
    response_model=CampaignAnswer,
    openapi_extra={"parameters": [idempotency.KEY_PARAMETER]},
)
@router.post("/campaigns/create", status_code=201, include_in_schema=False)
async def create_campaign(
    body: CampaignCreate, request: Request, uses: Uses, caller: Caller
) -> Response:
    """Create a campaign. With an `Idempotency-Key` header, a repeat gives the first answer."""
    check_organization(caller, body.organization_id)
    fields = body.model_dump(exclude_unset=True, exclude={"organization_id"})

    async def work(store: idempotency.Store | None) -> bytes:
        async def remember(connection: Any, created: CampaignRecord) -> None:
            if store is not None:
                await store(connection, idempotency.to_json(show(created)))

        created = await uses.campaigns.create(caller, fields, on_created=remember)
        return idempotency.to_json(show(created))

    return await idempotency.answer_once(uses.answers, caller, "/campaigns", request, work)


@router.get("/campaigns")
async def list_campaigns(
    uses: Uses,
    caller: Caller,
    response: Response,
    wanted: Annotated[ListFilter, Depends(listing.listed_by(CampaignStatus))],
    organization_id: OrganizationQuery = None,
) -> list[CampaignAnswer]:
    """List campaigns, newest first."""
    check_organization(caller, organization_id)
    found = await uses.campaigns.browse(caller, wanted)
    if found.total is not None:
        response.headers[listing.TOTAL] = str(found.total)
    return [show(campaign) for campaign in found.rows]


@router.get("/campaigns/{campaign_id}")
async def read_campaign(campaign_id: CampaignId, uses: Uses, caller: Caller) -> CampaignAnswer:
    """Read one campaign."""
    return show(await uses.campaigns.read(caller, campaign_id))


@router.patch("/campaigns/{campaign_id}")
async def change_campaign(
    campaign_id: CampaignId, body: CampaignPatch, uses: Uses, caller: Caller
) -> CampaignAnswer:
    """Replace the top-level keys given; applies to the calls that are placed from now on."""
    check_organization(caller, body.organization_id)
    if body.fixed & body.model_fields_set:
        current = show(await uses.campaigns.read(caller, campaign_id))
        body.check_fixed(current.model_dump(mode="json"))
    return show(await uses.campaigns.change(caller, campaign_id, body.settings()))


@router.delete("/campaigns/{campaign_id}", status_code=204, response_class=Response)
async def delete_campaign(campaign_id: CampaignId, uses: Uses, caller: Caller) -> Response:
    """Delete a campaign that has no live batch and no call in progress."""
    await uses.campaigns.delete(caller, campaign_id)
    return Response(status_code=204)


@router.get("/campaigns/{campaign_id}/stats")
async def read_campaign_stats(campaign_id: CampaignId, uses: Uses, caller: Caller) -> StatsAnswer:
    """Count everything about a campaign, live."""
    stats = await uses.campaigns.stats(caller, campaign_id)
    return StatsAnswer(
        campaign_id=ids.campaign_id(stats.campaign_id),
        contact_counts=stats.contact_counts,
        batch_counts=stats.batch_counts,
        call_counters=stats.call_counters,
        retry_breakdown=stats.retry_breakdown,
        in_flight_contacts=stats.in_flight_contacts,
        total_call_attempts=stats.total_call_attempts,
        follow_up_attempts=stats.follow_up_attempts,
    )


def show(campaign: CampaignRecord) -> CampaignAnswer:
    """Give a campaign the shape of the API."""
    settings = campaign.settings
    return CampaignAnswer(
        campaign_id=ids.campaign_id(campaign.id),
        name=settings.name,
        organization_id=campaign.organization_id,
        agent_id=settings.agent_id,
        status=campaign.status,
        phone_numbers=settings.phone_numbers,
        phone_number_strategy=settings.phone_number_strategy,
        working_hours_enforced=bool(settings.working_hours_enforced),
        timezone=settings.timezone,
        working_hours=settings.working_hours,
        retry_policy=settings.retry_policy,
        max_follow_ups=settings.max_follow_ups,
        number_gap_minutes=settings.number_gap_minutes,
        amd=settings.amd,
        default_call_variables=settings.default_call_variables,
        metadata=settings.metadata,
        allowed_countries=settings.allowed_countries,
        allowed_number_types=settings.allowed_number_types,
        completed_calls=campaign.completed_calls,
        failed_calls=campaign.failed_calls,
        busy_calls=campaign.busy_calls,
        no_answer_calls=campaign.no_answer_calls,
        voicemail_calls=campaign.voicemail_calls,
        follow_up_calls=campaign.follow_up_calls,
        warnings=[Warned(**one) for one in warnings_of(settings)],
        created_at=campaign.created_at,
        updated_at=campaign.updated_at,
    )
