"""What processes, the database and ended calls prove: the parts of a snapshot that rules weigh.

Each part is written down by whoever saw it, with the instant at which it was seen. Must never hold
a judgement.
"""

import uuid
from dataclasses import dataclass
from datetime import datetime

from apollo.core.states import CallKind, Outcome


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
    # The provider's clock minus this process's, from the Date of an answer.
    clock_offset_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HookCounts:
    """What one web process got on the status hook since it started."""

    received: int = 0
    last_received_at: datetime | None = None
    refused_signature: int = 0
    last_refused_at: datetime | None = None
    # When the last few were refused, newest first.
    refused_at: tuple[datetime, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """Things that wait inside a process: how many now, and the longest wait of the last minute."""

    waiting: int = 0
    longest_s: float = 0.0
    # Connections there are, where it is the queue for one.
    size: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveList:
    """The provider's live calls as a worker last compared them with the open calls."""

    listed_at: datetime
    listed: int = 0
    # Open calls older than a provider's delays that the list does not show, by batch: those the
    # provider reported on, and those of which nothing was ever heard.
    missing: tuple[tuple[uuid.UUID, int], ...] = ()
    never_seen: tuple[tuple[uuid.UUID, int], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplicationHook:
    """Where the provider says that an application reports to; empty when nowhere."""

    application_sid: str
    checked_at: datetime
    url: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallHook:
    """Whether somebody answers at the address of a voice application; `error` empty: yes."""

    call_hook: str
    checked_at: datetime
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BusReport:
    """What a process says of its bus; None is what its bus, or its role, does not have."""

    kind: str
    is_connected: bool = False
    last_contact_at: datetime | None = None
    last_error: str = ""
    # Partitions it reads, those there are, and for how long it has had none.
    partitions: int | None = None
    partitions_total: int | None = None
    unassigned_s: float = 0.0
    # How old the oldest wake-up, and the oldest status event, is that it has not taken.
    lag_s: float | None = None
    status_lag_s: float | None = None
    # How often its partitions changed in the last two minutes.
    rebalances: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """What waits in the database because of Kafka."""

    # The oldest event that is not in Kafka yet.
    outbox_since: datetime | None = None
    # Messages nobody could read and nobody has seen to.
    letters: int = 0
    first_letter_at: datetime | None = None
    last_letter_at: datetime | None = None
    last_letter_why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteFault:
    """What a process tried again and again and the database would not do: PostgreSQL's own code."""

    sqlstate: str
    error: str
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Restarts:
    """A process started in place of one that ended: how often, and how the last one ended."""

    count: int
    ending: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Why a worker dials nobody, and when that ends by itself."""

    until: datetime
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A heartbeat: a process that is, or was, alive. What it did not report is None."""

    role: str
    host: str
    pid: int
    version: str
    seen_at: datetime
    started_at: datetime | None = None
    stopped_at: datetime | None = None
    status_hook_url: str = ""
    provider: ProviderHealth | None = None
    hooks: HookCounts | None = None
    # How long the event loop stood still before the last heartbeat.
    loop_lag_s: float = 0.0
    # Workers: when it last asked for contacts, and the slowest of the last hundred times.
    last_claim_at: datetime | None = None
    slowest_claim_s: float | None = None
    # Workers: whether it has compared the database with the provider, before which it dials nobody;
    # and until when it waits at the longest, and why, where the provider has forgotten calls.
    is_cleared: bool = True
    waits: Wait | None = None
    # The schema its program was made for.
    schema_version: int | None = None
    # Its clock minus the database's.
    clock_skew_s: float | None = None
    # Requests that wait for a connection to the database, and status events that wait for theirs.
    pool: Queue | None = None
    events: Queue | None = None
    live: LiveList | None = None
    bus: BusReport | None = None
    applications: tuple[ApplicationHook, ...] = ()
    call_hooks: tuple[CallHook, ...] = ()
    write_faults: tuple[WriteFault, ...] = ()
    # None for one that was not started in place of another.
    restarts: Restarts | None = None

    @property
    def who(self) -> str:
        """Name it in a sentence."""
        return f"{self.role} on {self.host} (process {self.pid})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocker:
    """A session of the database that others of ours wait for."""

    pid: int
    application: str
    state: str
    since: datetime
    waiting: int
    statement: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseHealth:
    """How the database is, as seen while this snapshot was read."""

    is_standby: bool = False
    is_readonly: bool = False
    schema_version: int = 0
    blockers: tuple[Blocker, ...] = ()
    # How far ahead requests are booked, by provider: above 0 the pace is what limits.
    booked_ahead_s: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedCall:
    """A call that is over. `heard_at`: when the provider first told us of it, if it did."""

    kind: CallKind
    outcome: Outcome
    from_number: str
    phone_number: str
    requested_at: datetime
    ended_at: datetime
    heard_at: datetime | None = None
    ringing_at: datetime | None = None
    answered_at: datetime | None = None
    sip_status: int | None = None
    sip_reason: str = ""
    hangup_by: str = ""
    hangup_reason: str = ""
    duration_s: int | None = None
    # What proved the end: webhook, reply, poll, cdr, operator, assumed.
    evidence: str = ""
    # Which of the contact's calls it was, from 1.
    attempt: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveCall:
    """An open call of the batch that the provider took."""

    kind: CallKind = CallKind.FIRST
    attempt: int = 1
    from_number: str
    phone_number: str
    requested_at: datetime
    heard_at: datetime | None = None
    ringing_at: datetime | None = None
    answered_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbour:
    """A call of another batch on the same connection, open or over, to compare with."""

    campaign_id: uuid.UUID
    batch_id: uuid.UUID
    # Whether it is of the same organisation: another one's is never named.
    is_ours: bool
    agent_id: str = ""
    from_number: str
    requested_at: datetime
    heard_at: datetime | None = None
    ringing_at: datetime | None = None
    answered_at: datetime | None = None
    ended_at: datetime | None = None
    outcome: Outcome | None = None
    sip_status: int | None = None
    hangup_by: str = ""
    hangup_reason: str = ""
    duration_s: int | None = None
    evidence: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecidedCall:
    """A first call that reached a phone, and whether that phone rang out; it may still be open."""

    from_number: str
    phone_number: str
    requested_at: datetime
    rang_out: bool
