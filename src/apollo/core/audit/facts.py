"""What an audit compares, and what it finds."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from apollo.core.events import Evidence, Reached
from apollo.core.ids import ContactKey
from apollo.core.states import CallKind, CallState, Outcome
from apollo.core.windows import WorkingHours


@dataclass(frozen=True, slots=True)
class WitnessedCall:
    """One request for a call as the provider saw it; without `placed_at` no phone ever rang.

    Times are the provider's. Call-detail records know no request, no tag and no ringing:
    `requested_at` is then when it was attempted, `execution_id` is None.
    """

    provider_call_id: str
    execution_id: uuid.UUID | None
    number: str
    requested_at: datetime
    placed_at: datetime | None
    rang_at: datetime | None
    answered_at: datetime | None
    ended_at: datetime | None
    call_status: str | None
    sip_status: int | None
    # The caller id; None where the witness does not say.
    from_number: str | None = None


@dataclass(frozen=True, slots=True)
class ListedCall:
    """A call as the provider's live list shows it: without times, for an hour after its end."""

    provider_call_id: str
    from_number: str
    call_status: str
    sip_status: int | None


@dataclass(frozen=True, slots=True)
class OurCall:
    """A row of `calls`, released ones too."""

    id: uuid.UUID
    contact: ContactKey
    campaign_id: uuid.UUID
    provider: str
    provider_call_id: str | None
    number: str
    kind: CallKind
    state: CallState
    outcome: Outcome | None
    hangup_reason: str | None
    reached: Reached | None
    requested_at: datetime
    window_opens_at: datetime
    window_closes_at: datetime
    # Where its end is known from; None: it has not ended.
    evidence: Evidence | None = None


@dataclass(frozen=True, slots=True)
class CampaignRules:
    """What a campaign and its batches allow, as it is now; None: as the campaign."""

    concurrency_limit: int
    hours: WorkingHours
    max_retries: int
    batch_limits: Mapping[uuid.UUID, int | None]
    batch_retries: Mapping[uuid.UUID, int | None]


@dataclass(frozen=True, slots=True)
class Change:
    """Something an operator, or Apollo, did to a campaign or to one of its batches."""

    at: datetime
    action: str
    campaign_id: uuid.UUID
    # None: the whole campaign.
    batch_id: uuid.UUID | None


@dataclass(frozen=True, slots=True)
class Books:
    """Everything of ours that is compared."""

    calls: Sequence[OurCall]
    campaigns: Mapping[uuid.UUID, CampaignRules]
    # In the order of their times.
    changes: Sequence[Change]
    contacts: int
    # Contacts that are not final and wait for nothing that has a name.
    lost_contacts: Sequence[ContactKey]
    # Final contacts whose calls, and recorded corrections, say something else; and what.
    changed_finals: Sequence[tuple[ContactKey, str]]
    # Batches whose counters differ from a recount: by how many contacts.
    wrong_counters: Mapping[uuid.UUID, int]
    batches: int
    # The provider's ids of calls that a confirmed recovery found to belong to nobody who waits.
    settled: frozenset[str] = frozenset()
    # The numbers that our campaigns call from.
    caller_ids: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Violation:
    """One case in which an invariant does not hold: the ids to look for, and what is wrong."""

    ids: tuple[str, ...]
    what: str


@dataclass(slots=True)
class Finding:
    """What was found about one invariant."""

    invariant: str
    # What must hold, in words.
    rule: str
    # How many of what were looked at.
    checked: int = 0
    unit: str = ""
    violations: list[Violation] = field(default_factory=list)
    # What could not be judged, and why; empty when everything could.
    left_out: str = ""
