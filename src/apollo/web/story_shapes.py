"""How the answers of `why`, `history` and `preview` look.

Owns the API's description of them. The answers are built by the use-cases and are not checked
again; a test holds them against these models.
"""

from typing import Any

from pydantic import Field

from apollo.core.reasons import Reason
from apollo.core.states import CallKind, ContactStatus
from apollo.web.batch_shapes import RejectedRow
from apollo.web.debug import ReasonAnswer
from apollo.web.schemas import Answer, Timestamp, Warned


class WindowAnswer(Answer):
    """The calling hours that allowed a call."""

    opens_at: Timestamp = Field(description="When they began.")
    closes_at: Timestamp = Field(description="When they end.")


class LimitSeen(Answer):
    """A limit, as the claim saw it."""

    name: str = Field(description="`batch` or `campaign`.")
    limit: int = Field(description="Calls at a time.")
    in_use: int = Field(description="Calls that were open before this one.")


class AttemptAnswer(Answer):
    """What was decided at one call, and what became of it."""

    execution_id: str = Field(description="The call, `exec_…`.")
    attempt: int | None = Field(description="Which try it was, from 1; null if it used none up.")
    kind: CallKind = Field(description="Whether it was a first call, a retry or a follow-up.")
    decided_at: Timestamp = Field(description="When the call was committed.")
    was_due_at: Timestamp | None = Field(description="When it was due; null for a first call.")
    window: WindowAnswer | None = Field(description="The hours that allowed it; null: any hour.")
    limits: list[LimitSeen] = Field(description="The limits that left room for it.")
    from_number: str = Field(description="The caller id that was chosen.")
    provider: str = Field(description="The provider connection.")
    provider_call_id: str | None = Field(description="The provider's own id, once it answered.")
    request: str = Field(description="What is known of the request, in words.")
    heard_at: Timestamp | None = Field(description="When the first webhook of it came.")
    ringing_at: Timestamp | None = Field(description="When the phone began to ring.")
    answered_at: Timestamp | None = Field(description="When it was picked up.")
    ended_at: Timestamp | None = Field(description="When it ended.")
    looked_at_again_at: Timestamp | None = Field(
        description="When Apollo asks the provider about it, if nothing is heard before."
    )
    outcome: str | None = Field(description="How it ended.")
    sip_status: int | None = Field(description="The last SIP status, such as 486.")
    sip_reason: str | None = Field(description="The text that came with it.")
    duration_seconds: int | None = Field(description="Seconds from the answer to the end.")
    hangup_by: str | None = Field(description="Who ended it.")
    hangup_reason: str | None = Field(description="Why it ended, in a word.")
    evidence: str | None = Field(description="Where its end is known from.")


class WhyAnswer(Answer):
    """What holds one contact back, and every attempt to reach it."""

    contact_id: str = Field(description="The contact, `con_…`.")
    batch_id: str = Field(description="Its batch, `btc_…`.")
    campaign_id: str = Field(description="Its campaign, `cmp_…`.")
    phone_number: str = Field(description="Its number, E.164.")
    status: ContactStatus = Field(description="Its status.")
    blocked_by: str | None = Field(description="The code of what holds it back.")
    next_eligible_at: Timestamp | None = Field(description="When that ends, if a clock decides.")
    reason: ReasonAnswer | None = Field(
        description="That reason with its evidence, where the whole batch waits for it."
    )
    summary: str = Field(description="All of it in a sentence or two.")
    attempts: list[AttemptAnswer] = Field(description="Its calls, oldest first.")
    as_of: Timestamp = Field(description="The instant all of this describes.")


class ChangeAnswer(Answer):
    """Something that was done to the batch, its campaign or the whole organisation."""

    at: Timestamp = Field(description="When.")
    actor: str = Field(description="Who: the name of a token, an operator's command, or Apollo.")
    action: str = Field(description="What.")
    scope: str = Field(description="To what: `batch`, `campaign`, `organization`, everything.")
    detail: dict[str, Any] | None = Field(description="More about it.")


class IntervalAnswer(Answer):
    """A stretch of time with one verdict."""

    since: Timestamp = Field(description="When it began.")
    until: Timestamp | None = Field(description="When it ended; null: it goes on.")
    verdict: str = Field(description="How things were, in one word.")
    reason: Reason | None = Field(description="The first reason then.")
    preceded_by: list[ChangeAnswer] = Field(description="What was done in the 2 minutes before.")
    summary: str = Field(description="All of it in a sentence.")


class HistoryAnswer(Answer):
    """When a batch moved and when it did not."""

    batch_id: str = Field(description="The batch, `btc_…`.")
    start: Timestamp = Field(description="From when.")
    end: Timestamp = Field(description="Until when.")
    intervals: list[IntervalAnswer] = Field(description="Oldest first.")
    changes: list[ChangeAnswer] = Field(description="What was done in this time, oldest first.")
    is_complete: bool = Field(description="False: there were more; ask for a shorter time.")


class LimitPlanned(Answer):
    """What bounds the pace."""

    name: str = Field(description="The key or setting that binds.")
    calls_at_a_time: int = Field(description="Slots.")
    calls_per_second: float | None = Field(description="Calls a second; null: not known yet.")


class MeasuredAnswer(Answer):
    """What the campaign's last calls say."""

    calls: int = Field(description="Calls looked at.")
    seconds_per_call: float = Field(description="How long one holds its slot, in seconds.")
    retry_share: float = Field(description="The share that led to a retry, 0 to 1.")


class PreviewAnswer(Answer):
    """What would happen, without doing it."""

    campaign_id: str = Field(description="The campaign, `cmp_…`.")
    accepted: int = Field(description="Contacts that would be called.")
    rejected_count: int = Field(description="Contacts that would be left out.")
    rejected: list[RejectedRow] = Field(description="The first of them, and why.")
    waiting_for: str | None = Field(description="The code of what holds the campaign now.")
    first_call_at: Timestamp | None = Field(description="When the first call would start.")
    estimated_finish_at: Timestamp | None = Field(
        description="When all would be done with, retries and their cooldowns included."
    )
    limit: LimitPlanned = Field(description="What bounds the pace.")
    measured: MeasuredAnswer | None = Field(description="Null while too few calls have ended.")
    warnings: list[Warned] = Field(description="What may not be as you meant it; mostly empty.")
    as_of: Timestamp = Field(description="The instant all of this describes.")
