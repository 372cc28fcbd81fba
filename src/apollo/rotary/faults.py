"""Everything that can go wrong on purpose.

Owns which faults are switched on and decides, by seed and number and never by order of arrival,
which call each one strikes. Must not carry them out.
"""

from typing import Annotated, Literal, TypeVar

from pydantic import BeforeValidator, Field, ValidationError

from apollo.errors import Misconfigured
from apollo.rotary.dice import chance
from apollo.rotary.ledger import Entry
from apollo.rotary.schema import LONGEST_S, Number, Part, Seconds, Share, complaints

Event = Literal[
    "trying",  # the INVITE was sent
    "ringing",  # 180
    "early-media",  # 183
    "in-progress",  # 200
    "completed",  # an answered call is over
    "failed",  # refused, for any reason without a word of its own
    "busy",  # 486 or 603
    "no-answer",  # 487
]


RATE_LIMIT = 600  # requests in a window of jambonz, all clients together
RATE_WINDOW_S = 300


class Fault(Part):
    """When a fault strikes: a share of the calls, of those to some numbers, of the nth ones."""

    rate: Share = 1.0
    numbers: frozenset[Number] = frozenset()  # empty: calls to any number
    calls: frozenset[Annotated[int, Field(ge=1)]] = frozenset()  # 1 is the first to a number


class HookFault(Fault):
    """A fault of single webhooks."""

    events: frozenset[Event] = frozenset()  # empty: any event


class Delay(Fault):
    """Waiting, in simulated seconds."""

    delay_s: Seconds = 5.0


class LateHook(HookFault):
    """The webhook waits, and the later ones of its call wait behind it."""

    delay_s: Seconds = 5.0


class Refusal(Fault):
    """The request is refused before any call is placed, in the words jambonz uses."""

    status: Literal[400, 401, 403, 404, 429, 480, 500, 503] = 480
    retry_after_s: Annotated[int, Field(ge=0, le=int(LONGEST_S))] = 1  # sent with 429


class HookFirst(Fault):
    """The answer to the request waits until the webhook for one of `events` was sent."""

    events: frozenset[Event] = frozenset({"trying"})


class Crash(HookFault):
    """At one of `events` a feature server dies."""

    events: frozenset[Event] = frozenset({"in-progress"})


class Expiry(Fault):
    """The call record is gone this long after the call was answered or refused."""

    delay_s: Seconds = 0.0


class LateRecord(Fault):
    """The call-detail record appears this long after the call ended."""

    delay_s: Seconds = 20.0  # jambonz buffers them for up to 20 s


class WrongClock(Fault):
    """The router's clock is off: signatures and call-detail records show it, the ledger never."""

    offset_s: Annotated[float, Field(ge=-LONGEST_S, le=LONGEST_S)] = -3600.0


class RateLimit(Part):
    """A budget of requests in a window; one for all clients and methods, as jambonz has it."""

    requests: Annotated[int, Field(ge=1)] = RATE_LIMIT
    window_s: Annotated[int, Field(ge=1, le=int(LONGEST_S))] = RATE_WINDOW_S  # real seconds


T = TypeVar("T", bound=Fault)


def _rate_alone(value: object) -> object:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return {"rate": value}
    return value


Maybe = Annotated[T | None, BeforeValidator(_rate_alone)]


class Faults(Part):
    """The faults that are on; a bare number is a rate. Names are what the ledger shows."""

    # About every request.
    request_budget: RateLimit | None = None  # while it is on, it stands for `api.rate_limit`
    # About the request that places a call.
    delay_before_placing: Maybe[Delay] = None
    delay_after_placing: Maybe[Delay] = None
    drop_reply: Maybe[Fault] = None  # the call is placed, the connection breaks without an answer
    place_then_500: Maybe[Fault] = None  # the call is placed, the answer says it failed
    never_place: Maybe[Fault] = None  # the answer is 201, and no phone ever rings
    refuse: Maybe[Refusal] = None
    # About the carrier.
    no_carrier: Maybe[Fault] = None  # 603 without ringing, as when no trunk is configured
    # About status webhooks.
    webhook_lost: Maybe[HookFault] = None
    webhook_doubled: Maybe[HookFault] = None
    webhook_late: Maybe[LateHook] = None
    webhook_reordered: Maybe[HookFault] = None  # it is sent after its successor
    webhook_before_reply: Maybe[HookFirst] = None
    webhook_badly_signed: Maybe[HookFault] = None
    # About what a feature server remembers.
    call_silent: Maybe[Crash] = None  # the feature server of this one call dies
    crash: Maybe[Crash] = None  # every call that is live at that moment goes silent
    record_expires: Maybe[Expiry] = None
    cdr_late: Maybe[LateRecord] = None
    cdr_lost: Maybe[Fault] = None
    wrong_clock: Maybe[WrongClock] = None


class FaultPlan:
    """The faults in force now; they may be exchanged while calls are up."""

    def __init__(self, rules: Faults, seed: int) -> None:
        self.rules = rules
        self._seed = seed

    def change(self, wanted: dict[str, object]) -> None:
        """Set the named faults, null to lift one; Misconfigured if the result makes no sense."""
        merged = self.in_force() | wanted
        try:
            self.rules = Faults.model_validate(merged)
        except ValidationError as error:
            raise Misconfigured(complaints(error, Faults)) from error

    def clear(self) -> None:
        """Lift every fault."""
        self.rules = Faults()

    def in_force(self) -> dict[str, object]:
        """The faults that are on, as JSON would write them."""
        return self.rules.model_dump(mode="json", exclude_none=True, exclude_defaults=True)

    def strike(self, fault: T | None, name: str, entry: Entry, event: str = "") -> T | None:
        """The fault, if it strikes this call (or this event of it); the ledger notes that."""
        if fault is None:
            return None
        if isinstance(fault, HookFault) and fault.events and event not in fault.events:
            return None
        if fault.numbers and entry.number not in fault.numbers:
            return None
        if fault.calls and entry.nth_request not in fault.calls:
            return None
        if chance(self._seed, name, entry.number, entry.nth_request, event) >= fault.rate:
            return None
        label = f"{name}:{event}" if event else name
        if label not in entry.faults:
            entry.faults.append(label)
        return fault
