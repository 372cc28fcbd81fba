"""What requests about batches may contain, and how batches, contacts and calls look.

Owns the API's description of them. Answers are built by the use-cases and are not checked again; a
test holds them against these models.
"""

from typing import Annotated, Any, Final

from pydantic import ConfigDict, Field

from apollo.core.events import Reached
from apollo.core.states import BatchStatus, CallKind, ContactStatus, PausedBy
from apollo.usecases.check_contacts import Across, OnDuplicate, OnInvalid, OnMostlyInvalid
from apollo.web.schemas import Answer, Body, Changes, ReadOnly, Timestamp, Warned

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
MostlyInvalid = Annotated[
    OnMostlyInvalid,
    Field(
        strict=False,
        description="If more than half of the rows are bad, or numbers look shortened by a"
        " spreadsheet: `reject`: 422, creating nothing. `accept`: the good rows are called.",
    ),
]
Region = Annotated[
    str | None,
    Field(
        description="Two letters: the country in which numbers without a plus are read.",
        examples=["IN"],
    ),
]
DryRun = Annotated[
    bool,
    Field(
        description="Create nothing; answer 200 with what would be taken, what left out and why,"
        " and how the list is read."
    ),
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
    on_mostly_invalid: MostlyInvalid = OnMostlyInvalid.REJECT
    default_region: Region = None
    dry_run: DryRun = False


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

    contacts: list[ContactBody] = Field(min_length=1, description="The people to call.")


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
    on_mostly_invalid: MostlyInvalid = OnMostlyInvalid.REJECT
    default_region: Region = None
    dry_run: DryRun = False
    phone_column: str | None = Field(
        default=None,
        max_length=200,
        description="The column that holds the number, if its name is not a usual one.",
        examples=["Primary contact"],
    )
    map: list[str] = Field(
        default=[],
        max_length=200,
        description="`variable=column`, repeated: the call variable that a column becomes.",
        examples=[["callee_name=First Name"]],
    )
    sheet: str | None = Field(
        default=None, max_length=200, description="The sheet of a workbook that has several."
    )


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

    pending: int = Field(description="Not dialled yet.")
    dispatched: int = Field(description="Handed to the provider; nothing heard yet.")
    in_flight: int = Field(description="Contacts in status `in_progress`.")
    retrying: int = Field(description="Wait for their next try.")
    completed: int = Field(description="Reached.")
    failed: int = Field(description="Could not be called.")
    busy: int = Field(description="Ended busy, with no retry left or allowed.")
    no_answer: int = Field(description="Ended unanswered, with no retry left or allowed.")
    voicemail: int = Field(description="A machine picked up, and no retry is left.")
    skipped: int = Field(
        description="Not called: the batch was cancelled or ended, or an operator took them out."
    )
    followup_scheduled: int = Field(description="Reached, with a follow-up to come.")
    max_retries_reached: int = Field(description="Not reached in any of their tries.")


class RejectedRow(Answer):
    """A row that did not become a contact."""

    index: int = Field(description="From 0 in a request; the row of the file, header 1, in a CSV.")
    phone_number: str = Field(
        description="The number, E.164; as it was given in a row that was left out."
    )
    reason: str = Field(description="What is wrong with it and what would be right.")


class BatchAnswer(Answer):
    """A batch."""

    batch_id: str = Field(description="The batch.", examples=["btc_0Lm3xPq9VtKc2RZs8YhWd4"])
    campaign_id: str = Field(description="Its campaign, `cmp_…`.")
    organization_id: str = Field(description="Whose it is.")
    status: BatchStatus = Field(description="Its status.")
    total_contacts: int = Field(description="Its contacts, rows left out aside.")
    concurrency_limit: int = Field(description="Its own limit, else the campaign's.")
    max_retries_override: int | None = Field(
        description="In place of the campaign's `max_retries`."
    )
    scheduled_start: Timestamp | None = Field(
        description="When dialling was to begin; null for at once."
    )
    ends_at: Timestamp | None = Field(description="When those still waiting are skipped.")
    call_context: dict[str, Any] = Field(
        description="What the voice application gets with every call."
    )
    metadata: dict[str, Any] = Field(description="As given.")
    counters: CountersAnswer = Field(description="Its contacts by status.")
    paused_by: PausedBy | None = Field(description="Who paused it, and so who may resume it.")
    pause_reason: dict[str, Any] | None = Field(description="Why Apollo paused it.")
    rejected: list[RejectedRow] = Field(description="Rows left out, up to 1 000.")
    rejected_count: int = Field(description="All rows left out.")
    completed_at: Timestamp | None = Field(description="When its last contact was done with.")
    created_at: Timestamp = Field(description="When it was created.")
    updated_at: Timestamp = Field(description="When it was last changed.")


class CreatedBatchAnswer(BatchAnswer):
    """A batch that was just created."""

    warnings: list[Warned] = Field(description="What may not be as you meant it; mostly empty.")


class CallAnswer(Answer):
    """One call."""

    execution_id: str = Field(description="The call, `exec_…`; the provider has it as `tag`.")
    call_status: str = Field(
        description="`queued`, `trying`, `ringing`, `in-progress`, or how it ended: `completed`,"
        " `busy`, `no-answer`, `voicemail`, `failed`."
    )
    attempt: int = Field(description="Which call to this contact it is, from 1.")
    kind: CallKind = Field(description="Whether it is a first call, a retry or a follow-up.")
    from_number: str = Field(description="The caller id, E.164.")
    provider_call_id: str | None = Field(
        description="The provider's own id; null until it answered."
    )
    started_at: Timestamp = Field(description="When the provider was asked for it.")
    ringing_at: Timestamp | None = Field(description="When the phone began to ring.")
    answered_at: Timestamp | None = Field(description="When it was picked up.")
    ended_at: Timestamp | None = Field(description="When it ended.")
    duration_seconds: int | None = Field(description="Seconds from the answer to the end.")
    sip_status: int | None = Field(description="The last SIP status, such as 486.")
    sip_reason: str | None = Field(description="The text that came with it.")
    hangup_by: str | None = Field(description="Who ended it.")
    hangup_reason: str | None = Field(description="Why it ended, in a word.")
    reached: Reached | None = Field(
        description="Who picked up, as the agent or machine detection says; null: neither said."
    )
    recording_url: str | None = Field(
        description="Where the recording is, from the agent's result."
    )
    transcript: str | None = Field(description="What was said, from the agent's result.")
    summary: str | None = Field(description="What it came to, from the agent's result.")
    sentiment: str | None = Field(description="How the person felt, from the agent's result.")
    total_cost: float | None = Field(
        description="What it cost, from the agent's result; the currency is yours."
    )


class CallOfContact(CallAnswer):
    """One call, with whom it was to."""

    contact_id: str = Field(description="The contact, `con_…`.")
    batch_id: str = Field(description="Its batch, `btc_…`.")
    campaign_id: str = Field(description="Its campaign, `cmp_…`.")
    phone_number: str = Field(
        description="The number, E.164; as it was given in a row that was left out."
    )


class CallInFull(CallOfContact):
    """One call, with what its agent was told."""

    agent_id: str = Field(description="The agent that speaks.")
    variables: dict[str, Any] = Field(description="The contact's over the campaign's defaults.")
    call_context: dict[str, Any] = Field(
        description="What the voice application gets with every call."
    )


class ContactAnswer(Answer):
    """A contact."""

    contact_id: str = Field(description="The contact, `con_…`.")
    batch_id: str = Field(description="Its batch, `btc_…`.")
    campaign_id: str = Field(description="Its campaign, `cmp_…`.")
    phone_number: str = Field(
        description="The number, E.164; as it was given in a row that was left out."
    )
    call_variables: dict[str, Any] = Field(description="What the agent is told about this person.")
    status: ContactStatus = Field(description="Its status.")
    retry_count: int = Field(description="Retries used so far.")
    follow_up_count: int = Field(description="Follow-ups so far.")
    last_attempted_at: Timestamp | None = Field(description="When it was last called.")
    next_retry_at: Timestamp | None = Field(
        description="When it is called next, if that is a retry or a follow-up."
    )
    latest_retry_count: int = Field(description="Retries used since the last follow-up began.")
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
