"""What the diagnosis looks at: one instant of a batch and of everything it depends on.

Filled by storage in one transaction. What could not be read is None and named in `stale_inputs`;
a rule that needs it stays silent. Must never hold a judgement.
"""

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta

from apollo.core.diagnosis.reported import (
    Backlog,
    DatabaseHealth,
    DecidedCall,
    EndedCall,
    HookCounts,
    LiveCall,
    Neighbour,
    Process,
    ProviderHealth,
    WriteFault,
)
from apollo.core.model import Turn
from apollo.core.reasons import Reason
from apollo.core.states import BatchStatus, ContactStatus, Outcome, PausedBy
from apollo.core.windows import WorkingHours

__all__ = ["HookCounts", "Process", "ProviderHealth", "Settings", "Snapshot"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the installation was told."""

    stuck_after: timedelta
    ring_timeout: timedelta
    # "postgres" or "kafka": the texts name Kafka only when it is the bus.
    bus_kind: str
    time_limit: timedelta = timedelta(minutes=30)
    # The pace over all workers; None: as fast as slots allow.
    calls_per_second: float | None = None
    # How agents that are not registered are reached.
    default_application_sid: str = ""
    default_call_hook: str = ""
    # The program that answers, and the schema it was made for.
    version: str = ""
    schema_version: int | None = None


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
    rejected_count: int = 0
    # A few of the rows left out: where, and why.
    rejected: tuple[tuple[int, str], ...] = ()
    max_retries: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CampaignFacts:
    """Its campaign."""

    id: uuid.UUID
    hours: WorkingHours
    concurrency_limit: int
    paused_at: datetime | None = None
    cancelled_at: datetime | None = None
    # How its agent is reached: by an application of the provider's, or by a hook given inline.
    application_sid: str = ""
    call_hook: str = ""
    agent_id: str = ""
    # The caller ids in use.
    phone_numbers: tuple[str, ...] = ()
    # How long a retry waits at least.
    cooldown: timedelta = timedelta()


@dataclass(frozen=True, slots=True)
class Stop:
    """An operator's order that nothing is dialled; `scope` says for whom."""

    stopped_at: datetime
    scope: str
    # The organisation, where only that one is stopped.
    only: str = ""


@dataclass(frozen=True, slots=True)
class Recovering:
    """Dialling has been on hold since a restore: calls of the provider that the database lacks."""

    since: datetime
    compared_from: datetime
    unknown_calls: int
    # When an operator last had them read in; None: not yet.
    read_in_at: datetime | None = None


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
    # Of the batch that holds them.
    status: BatchStatus = BatchStatus.IN_PROGRESS
    # Requests without a usable answer.
    unknown: int = 0
    unknown_since: datetime | None = None
    next_look_at: datetime | None = None
    # How many are open beyond the longest a call may last.
    too_long: int = 0
    # When any of them is looked at next, and when the last of them was asked for.
    next_deadline_at: datetime | None = None
    newest_at: datetime | None = None


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
class HeldByCarrier:
    """A gate of the batch or its campaign that calls which failed have shut."""

    # "campaign" or "batch".
    scope: str
    # The last failure's code; None: the provider itself refused the numbers.
    sip_status: int | None
    # How many different numbers in a row ended alike before they rang; 0: it was shut by a share.
    numbers: int
    failed: int
    carried: int
    shut_at: datetime
    probe_at: datetime
    # How many other campaigns at the same provider are held, whosever they are.
    others: int = 0


@dataclass(frozen=True, slots=True)
class Ending:
    """How a number of calls of a batch that is over ended."""

    outcome: Outcome
    sip_status: int | None
    hangup_reason: str
    calls: int


@dataclass(frozen=True, slots=True)
class Held:
    """Contacts that nobody calls again before an operator has released them."""

    contacts: int
    # Not all calls of unknown outcome were looked at.
    may_be_more: bool


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

    # The database's time at which it was read: everything in it was dated by that clock.
    read_at: datetime
    settings: Settings
    batch: BatchFacts
    campaign: CampaignFacts
    tallies: tuple[Tally, ...]
    stop: Stop | None = None
    recovering: Recovering | None = None
    open_calls: tuple[OpenCalls, ...] | None = ()
    on_call: tuple[OnCall, ...] | None = ()
    waiting: tuple[Waiting, ...] | None = ()
    heads: tuple[Head, ...] | None = ()
    parked: tuple[Parked, ...] | None = ()
    processes: tuple[Process, ...] | None = ()
    acts: tuple[Act, ...] | None = ()
    held: Held | None = Held(0, may_be_more=False)
    # Gates of the batch and its campaign that are shut because calls fail.
    shut_gates: tuple[HeldByCarrier, ...] | None = ()
    # The last calls of this batch that ended, newest first; those that are open and taken by the
    # provider; and calls of other batches on the connection, to compare with.
    ended: tuple[EndedCall, ...] | None = ()
    live: tuple[LiveCall, ...] | None = ()
    neighbours: tuple[Neighbour, ...] | None = ()
    # Whether people picked up: the last first calls, and what to compare them with, earlier ones of
    # this batch and those of the campaign's other batches; read only when it matters.
    decided: tuple[DecidedCall, ...] | None = ()
    earlier: tuple[DecidedCall, ...] | None = ()
    elsewhere: tuple[DecidedCall, ...] | None = ()
    # How the calls of a batch that is over ended, from an even sample.
    endings: tuple[Ending, ...] | None = ()
    database: DatabaseHealth | None = None
    # None where Kafka is not the bus.
    backlog: Backlog | None = None
    # How long the readings took.
    read_s: float = 0.0
    # What the process that answers could not write.
    write_fault: WriteFault | None = None
    # None unless a recount was asked for.
    recount: tuple[Recounted, ...] | None = None
    # When another batch of the campaign last gave back a slot; read only when it matters.
    slot_freed_at: datetime | None = None
    stale_inputs: tuple[str, ...] = ()
