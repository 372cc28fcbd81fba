"""What the outside world must be able to do for us: a telephony driver, a bus, a clock.

Storage has no port: PostgreSQL is the truth, and a second truth would only disagree with it.
"""

import enum
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import msgspec

from apollo.core.events import CallEvent


@dataclass(frozen=True, slots=True)
class AgentRoute:
    """How an agent is reached at the provider: by a hook given inline, or by an application."""

    call_hook: str | None = None
    application_sid: str | None = None
    # The five speech fields jambonz wants beside an inline hook: "vendor,language[,voice]".
    speech_synthesis: str | None = None
    speech_recognizer: str | None = None


@dataclass(frozen=True, slots=True)
class DialRequest:
    """One call to be placed, once. Numbers are `+E.164`; times are whole seconds."""

    execution_id: str
    to: str
    from_number: str
    route: AgentRoute
    # Opens `GET /agent/calls/{execution_id}` for the voice application, for this call only.
    agent_key: str
    ring_timeout_s: int
    time_limit_s: int
    # Ask the provider to find out when a machine picks up.
    detects_machines: bool = False


@dataclass(frozen=True, slots=True)
class Placed:
    """The provider said yes. Ids are None when its answer had no readable body."""

    provider_call_id: str | None
    sip_call_id: str | None


@dataclass(frozen=True, slots=True)
class RateLimit:
    """What the provider's headers said about its request budget."""

    remaining: int
    # Seconds until it is full again.
    reset_s: float
    # All requests of a window; None when the provider does not say.
    limit: int | None = None
    said_s_ago: float = 0.0


@dataclass(frozen=True, slots=True)
class LiveCall:
    """A call as the provider's live list or its call-detail records show it."""

    provider_call_id: str
    to: str
    from_number: str
    call_status: str
    sip_status: int | None = None
    sip_reason: str | None = None
    duration_s: int | None = None
    hangup_by: str | None = None
    # Only call-detail records know when.
    attempted_at: datetime | None = None
    answered_at: datetime | None = None
    ended_at: datetime | None = None


class StatusEvent(msgspec.Struct, frozen=True):
    """A verified status webhook: which call, what happened, and the bytes it came as."""

    execution_id: uuid.UUID | None
    provider_call_id: str
    call_status: str
    event: CallEvent | None
    body: bytes
    # Legs that the call's own application opened; they belong to no execution.
    is_child_leg: bool = False


class HangUpAnswer(enum.Enum):
    """What the provider said to being told to end a call."""

    ENDED = "ended"  # it ends the call
    GONE = "gone"  # it knows the call, and its session is over: nobody is on the line any more
    # It has no such call. A provider whose store of calls is away, or was lost, says so of calls
    # that are up: this proves nothing.
    NOT_KNOWN = "not_known"


class TelephonyDriver(Protocol):
    """Speaks to one provider connection. Vendor knowledge ends behind this."""

    @property
    def provider(self) -> str:
        """Name the connection: the account at the provider, the scope of "one call per number"."""

    @property
    def rate_limit(self) -> RateLimit | None:
        """Tell what the last answer said about the request budget."""

    @property
    def status_hook_url(self) -> str:
        """Name the URL the provider is told to report to."""

    async def place(self, request: DialRequest) -> Placed:
        """Send the request once, never again.

        Raises NotPlaced, WillNeverWork or OutcomeUnknown; anything else is a defect.
        """

    async def hang_up(self, provider_call_id: str, *, was_answered: bool) -> HangUpAnswer:
        """End a call; returns what the provider said to that. Raises DriverError."""

    async def read_call(self, provider_call_id: str) -> LiveCall | None:
        """Look one call up in the live list; None when it is not there. Raises DriverError."""

    async def list_live(
        self, to: str | None = None, *, keep: Callable[[LiveCall], bool] | None = None
    ) -> list[LiveCall]:
        """List live outbound calls, to one number or all. Raises DriverError.

        An hour of finished calls may be among them: only what `keep` wants is held in memory.
        """

    async def list_records(self, since: datetime, *, matching: str | None) -> list[LiveCall]:
        """List call-detail records, newest first, numbers as `+E.164`. Raises DriverError."""

    async def probe(self) -> None:
        """Ask something harmless: does the connection work, is the key good? Raises DriverError."""

    def verify_status(self, body: bytes, headers: Mapping[str, str]) -> bool:
        """Check a webhook's signature over its raw bytes."""

    def read_status(self, body: bytes, received_at: datetime) -> StatusEvent:
        """Read a verified webhook. Raises ValueError with what is wrong."""

    async def close(self) -> None:
        """Let go of connections."""


@dataclass(frozen=True, slots=True)
class BusHealth:
    """What a process knows about its bus, for its heartbeat."""

    kind: str
    is_connected: bool
    last_contact_at: datetime | None
    # Of a bus with partitions (None otherwise): those this process reads, those there are, since
    # when it has none, how old the oldest message is that it has not taken, and how often its
    # partitions changed in the last two minutes.
    partitions: int | None = None
    partitions_total: int | None = None
    unassigned_s: float | None = None
    lag_s: float | None = None
    rebalances: int | None = None
    last_error: str = ""


class Why(enum.StrEnum):
    """Why a campaign is woken; for people who read the topic, nothing is decided on it."""

    BATCH_CREATED = "batch_created"  # contacts to call
    BATCH_CHANGED = "batch_changed"  # its limit or its end
    BATCH_RESUMED = "batch_resumed"  # after a pause
    BATCH_DISPATCHED = "batch_dispatched"  # somebody asked for it
    CAMPAIGN_CHANGED = "campaign_changed"  # hours, limits, caller ids
    CAMPAIGN_RESUMED = "campaign_resumed"  # all its batches, after a pause
    DIALLING_RESUMED = "dialling_resumed"  # after a stop of everything
    CALL_ENDED = "call_ended"  # a slot or a number is free
    FOLLOW_UP_SET = "follow_up_set"  # somebody is to be called again


@dataclass(frozen=True, slots=True)
class WakeUp:
    """A campaign that may have something to dial; the batch where one is known."""

    campaign_id: uuid.UUID
    why: Why
    batch_id: uuid.UUID | None = None


class Bus(Protocol):
    """Wakes other processes. Losing every message costs delay, never a call."""

    async def wake(self, wake_ups: Sequence[WakeUp]) -> None:
        """Tell whoever dials."""

    def wake_ups(self) -> AsyncIterator[uuid.UUID]:
        """Yield campaigns as they are woken; reconnects by itself."""

    def health(self) -> BusHealth:
        """Tell how the bus is."""

    async def close(self) -> None:
        """Stop listening."""


class Stream(Protocol):
    """A log outside PostgreSQL that others read, ordered for each key."""

    async def append(self, key: str, value: bytes) -> None:
        """Append; returns when it cannot be lost any more. Raises Unavailable."""


class Clock(Protocol):
    """Tells the time, so that tests can."""

    def now(self) -> datetime:
        """Give the wall time, aware, UTC."""

    def monotonic(self) -> float:
        """Give seconds that never jump."""
