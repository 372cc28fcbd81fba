"""What the diagnosis looks at: one instant of a batch and of everything it depends on.

Filled by storage in one transaction. What could not be read is None and named in `stale_inputs`;
a rule that needs it stays silent. Must never hold a judgement.
"""

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta

from apollo.core.model import Turn
from apollo.core.reasons import Reason
from apollo.core.states import BatchStatus, ContactStatus, PausedBy
from apollo.core.windows import WorkingHours


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the installation was told."""

    stuck_after: timedelta
    ring_timeout: timedelta
    # "postgres" or "kafka": the texts name Kafka only when it is the bus.
    bus_kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchFacts:
    """The batch itself."""

    id: uuid.UUID
    status: BatchStatus
    total_contacts: int
    ready_at: datetime
    concurrency_limit: int | None = None
    paused_by: PausedBy | None = None
    pause_code: str = ""
    pause_text: str = ""
    scheduled_start: datetime | None = None
    ends_at: datetime | None = None
    updated_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CampaignFacts:
    """Its campaign."""

    id: uuid.UUID
    hours: WorkingHours
    concurrency_limit: int
    paused_at: datetime | None = None
    cancelled_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Stop:
    """An operator's order that nothing is dialled; `scope` says for whom."""

    stopped_at: datetime
    scope: str


@dataclass(frozen=True, slots=True)
class Tally:
    """Contacts of one status and stored wait reason, from the counters."""

    status: ContactStatus
    wait_reason: Reason | None
    contacts: int
    # The first and the latest `updated_at` that ever entered.
    oldest_at: datetime | None = None
    latest_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenCalls:
    """The open calls of one batch of the campaign."""

    batch_id: uuid.UUID
    calls: int
    oldest_at: datetime
    # Requests without a usable answer.
    unknown: int = 0
    unknown_since: datetime | None = None
    next_look_at: datetime | None = None
    # When the provider was last heard of one of them, and when those accepted were requested of
    # which nothing was heard.
    last_heard_at: datetime | None = None
    unheard_at: tuple[datetime, ...] = ()


@dataclass(frozen=True, slots=True)
class OnCall:
    """Contacts of this batch that an open call belongs to, by status."""

    status: ContactStatus
    contacts: int
    oldest_at: datetime


@dataclass(frozen=True, slots=True)
class Waiting:
    """What waits in one turn of the due list; the due times leave out what is promoted or parked.

    `overdue` is counted up to a cap: due, and not promoted yet.
    """

    turn: Turn
    oldest_at: datetime | None = None
    ready_at: datetime | None = None
    first_due_at: datetime | None = None
    last_due_at: datetime | None = None
    overdue: int = 0


@dataclass(frozen=True, slots=True)
class Head:
    """One of the pending contacts that wait longest."""

    position: int
    updated_at: datetime
    is_fresh: bool


@dataclass(frozen=True, slots=True)
class Parked:
    """A contact whose number is on another call, and that call if it may be named."""

    position: int
    batch_id: uuid.UUID | None = None
    execution_id: uuid.UUID | None = None
    requested_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderHealth:
    """A worker's view of its provider connection; `state`: ok, down, unauthorised, rate_limited."""

    provider: str
    state: str
    since: datetime | None = None
    cause: str = ""
    last_error: str = ""
    retry_at: datetime | None = None
    # Answers of the last minute by kind.
    answers: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class HookCounts:
    """What one web process got on the status hook since it started."""

    received: int = 0
    last_received_at: datetime | None = None
    refused_signature: int = 0
    last_refused_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A heartbeat: a process that is, or was, alive."""

    role: str
    host: str
    pid: int
    version: str
    seen_at: datetime
    stopped_at: datetime | None = None
    status_hook_url: str = ""
    provider: ProviderHealth | None = None
    hooks: HookCounts | None = None


@dataclass(frozen=True, slots=True)
class Act:
    """The last time somebody paused or cancelled the batch or its campaign."""

    # "batch" or "campaign".
    scope: str
    # "pause" or "cancel".
    verb: str
    actor: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Recounted:
    """Contacts of one status and wait reason, counted one by one."""

    status: ContactStatus
    wait_reason: Reason | None
    contacts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One instant. Collections are None when they could not be read."""

    settings: Settings
    batch: BatchFacts
    campaign: CampaignFacts
    tallies: tuple[Tally, ...]
    stop: Stop | None = None
    open_calls: tuple[OpenCalls, ...] | None = ()
    on_call: tuple[OnCall, ...] | None = ()
    waiting: tuple[Waiting, ...] | None = ()
    heads: tuple[Head, ...] | None = ()
    parked: tuple[Parked, ...] | None = ()
    processes: tuple[Process, ...] | None = ()
    acts: tuple[Act, ...] | None = ()
    # None unless a recount was asked for.
    recount: tuple[Recounted, ...] | None = None
    # When another batch of the campaign last gave back a slot; read only when it matters.
    slot_freed_at: datetime | None = None
    stale_inputs: tuple[str, ...] = ()
