"""What requests about batches may contain, and how batches, contacts and calls look.

Owns the API's description of them. Answers are built by the use-cases and are not checked again; a
test holds them against these models.
"""

from typing import Annotated, Any, Final

from pydantic import ConfigDict, Field

from apollo.core.events import Reached
from apollo.core.states import BatchStatus, CallKind, ContactStatus, PausedBy
from apollo.usecases.check_contacts import Across, OnDuplicate, OnInvalid
from apollo.web.schemas import Answer, Body, Changes, ReadOnly, Timestamp

_TIME: Final = (
    "With an offset (`Z`, `+05:30`) an instant; without one a wall time in the campaign's timezone."
)
CampaignId = Annotated[str, Field(description="The campaign that calls these people.")]
OrganizationId = Annotated[
    str | None, Field(description="The token's own organisation; another one is a 403.")
]
Start = Annotated[
    str | None, Field(description=f"When dialling begins; none or past: at once. {_TIME}")
]
End = Annotated[
    str | None,
    Field(description=f"Whoever was not reached by then is `skipped`. {_TIME}"),
]
Limit = Annotated[
    int | None,
    Field(ge=1, le=10_000, description="Calls at a time; the campaign's own limit still holds."),
]
Retries = Annotated[
    int | None, Field(ge=0, le=100, description="Replaces the campaign's `max_retries`; 0: none.")
]
# Enum members are given as text, which strict bodies would refuse.
InvalidRows = Annotated[
    OnInvalid,
    Field(strict=False, description="`reject`: 422, naming bad rows. `skip`: leave them out."),
]
DuplicateRows = Annotated[
    OnDuplicate,
    Field(
        strict=False,
        description="A number that came before in the batch, or elsewhere (`across`). `skip`: left"
        " out, the first row is kept. `keep`: called all the same.",
    ),
]
AcrossBatches = Annotated[
    Across,
    Field(
        strict=False,
        description="Where else a number may have come before: `none`, the `campaign`, or the"
        " whole `organization`. Left out is who is still to be called, or was reached, there.",
    ),
]
Within = Annotated[
    str | None,
    Field(
        description="Batches that ended within this time count, too; none: live ones alone.",
        examples=["P30D"],
    ),
]
BarredRows = Annotated[
    OnDuplicate,
    Field(
        strict=False,
        description="Numbers that do not exist (404, 410, 604) or do not want to be called (607,"
        " 608), as an earlier call of yours was told. `skip`: left out. `keep`: called.",
    ),
]
Region = Annotated[
    str | None,
    Field(description="Two letters; how numbers without a plus are read.", examples=["IN"]),
]


class ContactBody(Body):
    """One person to call."""

    phone_number: str = Field(description="E.164; spaces, dashes and brackets are removed.")
    call_variables: dict[str, Any] | None = Field(
        default=None, description="What the agent is told; `callee_name` is how it greets."
    )


class BatchHead(Body):
    """A new batch without its contacts."""

    campaign_id: CampaignId
    organization_id: OrganizationId = None
    scheduled_start: Start = None
    ends_at: End = None
    concurrency_limit: Limit = None
    max_retries_override: Retries = None
    call_context: dict[str, Any] | None = Field(
        default=None, description="Handed to the voice application with every call."
    )
    metadata: dict[str, Any] | None = Field(default=None, description="Kept with the batch.")
    on_invalid: InvalidRows = OnInvalid.REJECT
    on_duplicate: DuplicateRows = OnDuplicate.SKIP
    across: AcrossBatches = Across.CAMPAIGN
    within: Within = None
    on_barred: BarredRows = OnDuplicate.SKIP
    default_region: Region = None


class BatchBody(BatchHead):
    """A new batch."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "campaign_id": "cmp_0Lm3xPq9VtKc2RZs8YhWd4",
                "contacts": [
                    {
                        "phone_number": "+12025550143",
                        "call_variables": {
                            "callee_name": "Rajesh Sharma",
                            "current_plan": "Basic Health",
                            "renewal_date": "2026-07-01",
                        },
                    }
                ],
                "concurrency_limit": 10,
            }
        }
    )

    contacts: list[ContactBody] = Field(min_length=1)


class UploadQuery(Body):
    """The same for an upload, in the query."""

    model_config = ConfigDict(extra="forbid", strict=False)

    campaign_id: CampaignId
    organization_id: OrganizationId = None
    scheduled_start: Start = None
    ends_at: End = None
    concurrency_limit: Limit = None
    max_retries_override: Retries = None
    call_context: str | None = Field(default=None, description="A JSON object, as text.")
    metadata: str | None = Field(default=None, description="A JSON object, as text.")
    on_invalid: InvalidRows = OnInvalid.REJECT
    on_duplicate: DuplicateRows = OnDuplicate.SKIP
    across: AcrossBatches = Across.CAMPAIGN
    within: Within = None
    on_barred: BarredRows = OnDuplicate.SKIP
    default_region: Region = None


class BatchChanges(Changes):
    """What may be changed while a batch lives; null puts a key back to its default."""

    fixed = frozenset(
        {
            "batch_id",
            "campaign_id",
            "organization_id",
            "status",
            "scheduled_start",
            "call_context",
            "created_at",
        }
    )
    moving = frozenset(
        {
            "total_contacts",
            "counters",
            "paused_by",
            "pause_reason",
            "rejected",
            "rejected_count",
            "completed_at",
            "updated_at",
        }
    )

    concurrency_limit: Limit = None
    max_retries_override: Retries = None
    ends_at: End = None
    metadata: dict[str, Any] | None = Field(default=None, description="Kept with the batch.")
    batch_id: ReadOnly
    campaign_id: ReadOnly
    organization_id: ReadOnly
    status: ReadOnly
    total_contacts: ReadOnly
    scheduled_start: ReadOnly
    call_context: ReadOnly
    counters: ReadOnly
    paused_by: ReadOnly
    pause_reason: ReadOnly
    rejected: ReadOnly
    rejected_count: ReadOnly
    completed_at: ReadOnly
    created_at: ReadOnly
    updated_at: ReadOnly


class FollowUpBody(Body):
    """When somebody is to be called again."""

    at: str = Field(description=f"Past: now. {_TIME}", examples=["2026-05-11T10:30:00"])


class CountersAnswer(Answer):
    """Contacts by status; they always add up to `total_contacts`."""

    pending: int
    dispatched: int
    in_flight: int = Field(description="Contacts in status `in_progress`.")
    retrying: int
    completed: int
    failed: int
    busy: int
    no_answer: int
    voicemail: int = Field(description="A machine picked up, and no retry is left.")
    skipped: int
    followup_scheduled: int
    max_retries_reached: int


class RejectedRow(Answer):
    """A row that did not become a contact."""

    index: int = Field(description="From 0 in a request; the row of the file, header 1, in a CSV.")
    phone_number: str
    reason: str


class BatchAnswer(Answer):
    """A batch."""

    batch_id: str = Field(examples=["btc_0Lm3xPq9VtKc2RZs8YhWd4"])
    campaign_id: str
    organization_id: str
    status: BatchStatus
    total_contacts: int
    concurrency_limit: int = Field(description="Its own limit, else the campaign's.")
    max_retries_override: int | None
    scheduled_start: Timestamp | None
    ends_at: Timestamp | None
    call_context: dict[str, Any]
    metadata: dict[str, Any]
    counters: CountersAnswer
    paused_by: PausedBy | None = Field(description="Who paused it, and so who may resume it.")
    pause_reason: dict[str, Any] | None = Field(description="Why Apollo paused it.")
    rejected: list[RejectedRow] = Field(description="Rows left out, up to 1 000.")
    rejected_count: int = Field(description="All rows left out.")
    completed_at: Timestamp | None
    created_at: Timestamp
    updated_at: Timestamp


class CallAnswer(Answer):
    """One call."""

    execution_id: str
    call_status: str = Field(
        description="`queued`, `trying`, `ringing`, `in-progress`, or how it ended: `completed`,"
        " `busy`, `no-answer`, `voicemail`, `failed`."
    )
    attempt: int
    kind: CallKind
    from_number: str
    provider_call_id: str | None
    started_at: Timestamp
    ringing_at: Timestamp | None
    answered_at: Timestamp | None
    ended_at: Timestamp | None
    duration_seconds: int | None
    sip_status: int | None
    sip_reason: str | None
    hangup_by: str | None
    hangup_reason: str | None
    reached: Reached | None = Field(
        description="Who picked up, as the agent or machine detection says; null: nobody said."
    )
    recording_url: str | None
    transcript: str | None
    summary: str | None
    sentiment: str | None
    total_cost: float | None


class CallOfContact(CallAnswer):
    """One call, with whom it was to."""

    contact_id: str
    batch_id: str
    campaign_id: str
    phone_number: str


class CallInFull(CallOfContact):
    """One call, with what its agent was told."""

    agent_id: str
    variables: dict[str, Any] = Field(description="The contact's over the campaign's defaults.")
    call_context: dict[str, Any]


class ContactAnswer(Answer):
    """A contact."""

    contact_id: str
    batch_id: str
    campaign_id: str
    phone_number: str
    call_variables: dict[str, Any]
    status: ContactStatus
    retry_count: int = Field(description="Retries used so far.")
    follow_up_count: int
    last_attempted_at: Timestamp | None
    next_retry_at: Timestamp | None
    latest_retry_count: int
    current_call: CallAnswer | None = Field(description="The newest call.")
    call_records: list[CallAnswer] | None = Field(
        default=None, description="Every call, newest last; only with `include_calls`."
    )
    blocked_by: str | None = Field(
        default=None, description="Why it is not called now; only with `explain`, if unfinished."
    )
    next_eligible_at: Timestamp | None = Field(
        default=None, description="When that ends, if a clock decides; only with `explain`."
    )
