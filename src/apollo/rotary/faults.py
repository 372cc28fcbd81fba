"""Everything that can go wrong on purpose.

Owns which faults are switched on and decides, by seed and number and never by order of arrival,
which call each one strikes. Must not carry them out.
"""

from typing import Annotated, Literal, TypeVar

from pydantic import BeforeValidator, Field, ValidationError

from apollo.errors import Misconfigured
from apollo.rotary.dice import chance
from apollo.rotary.ledger import Entry
from apollo.rotary.schema import LONGEST_S, Number, Part, Seconds, Share, Wait, complaints

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
    """Waiting, in simulated seconds: as long each time, or a [least, most] drawn for each call."""

    delay_s: Wait = (5.0, 5.0)


class LateHook(HookFault):
    """The webhook waits, and the later ones of its call wait behind it."""

    delay_s: Seconds = 5.0


class Refusal(Fault):
    """The request is refused before any call is placed, in the words jambonz uses."""

    status: Literal[400, 401, 403, 404, 429, 480, 500, 503] = 480
    says: str | None = None  # answered as {"msg": says} instead of the usual words of the status
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


class Overwritten(Fault):
    """The record of a call replaces that of another one that was attempted in the same moment.

    jambonz's record store knows a record by the millisecond of its attempt, its trunk and whether
    it was answered: of two that share all three only the one written last is left.
    """

    within_ms: Annotated[int, Field(ge=1, le=60_000)] = 1  # what counts as the same moment


class Outage(Part):
    """A part of jambonz behind the API is away, for everybody, while this is on."""


class CallStoreAway(Outage):
    """Redis is away: no call is known, and requests for calls wait before they are refused."""

    # Its client tries again and again: 0.5, 9.5, 32 and 42 s were measured, in simulated seconds.
    answers_after_s: Wait = (0.5, 42.0)
    # It was restarted and keeps nothing: what it knew when this was switched on is gone for good.
    forgets: bool = False


class SlowLookups(Outage):
    """Answers to every other request than one for a call come late; in simulated seconds."""

    answers_after_s: Wait = (10.0, 40.0)


class Nonsense(Outage):
    """A share of all answers and webhooks has values, headers and bodies that make no sense.

    Statuses, ids and the words for the state of a call stay true.
    """

    rate: Share = 0.3


class DeadServer(Fault):
    """A feature server that died is still registered, and this share of the requests goes to it.

    After `registered_s` from the first of them it is registered no more: requests go to the others,
    or get 480 when there is no other (`api.feature_servers` counts it in).
    """

    registered_s: Seconds = 60.0


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
T_Outage = TypeVar("T_Outage", bound=Outage)


def _rate_alone(value: object) -> object:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return {"rate": value}
    return value


def _switched_on(value: object) -> object:
    return {} if value is True else None if value is False else value


Away = Annotated[T_Outage | None, BeforeValidator(_switched_on)]
Maybe = Annotated[T | None, BeforeValidator(_rate_alone)]


class Faults(Part):
    """The faults that are on; a bare number is a rate. Names are what the ledger shows."""

    # About every request.
    request_budget: RateLimit | None = None  # while it is on, it stands for `api.rate_limit`
    # About what lies behind the API. `true` is on as well as {}.
    key_store_away: Away[Outage] = None  # MySQL: each key is answered 500, and nothing forwarded
    call_store_away: Away[CallStoreAway] = None  # Redis: no call is known, every request gets 480
    record_store_away: Away[Outage] = None  # InfluxDB: records are neither read nor written
    lookups_slow: Away[SlowLookups] = None
    nonsense: Away[Nonsense] = None
    # About the request that places a call.
    dead_feature_server: Maybe[DeadServer] = None
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
    call_not_listed: Maybe[Fault] = None  # live or not, the list lacks it and its name gets 404
    cdr_late: Maybe[LateRecord] = None
    cdr_lost: Maybe[Fault] = None
    cdr_overwritten: Maybe[Overwritten] = None
    wrong_clock: Maybe[WrongClock] = None


class FaultPlan:
    """The faults in force now; they may be exchanged while calls are up."""

    def __init__(self, rules: Faults, seed: int) -> None:
        self.rules = rules
        self.seed = seed

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

    def drawn_s(self, wait: tuple[float, float], *words: object) -> float:
        """Simulated seconds between the least and the most; the same ones for the same words."""
        least, most = wait
        return least + (most - least) * chance(self.seed, "seconds", *words)

    def speaks_nonsense(self, *words: object) -> bool:
        """Whether the answer, or the webhook, that these words name makes no sense."""
        rule = self.rules.nonsense
        return rule is not None and chance(self.seed, "nonsense now", *words) < rule.rate

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
        if chance(self.seed, name, entry.number, entry.nth_request, event) >= fault.rate:
            return None
        label = f"{name}:{event}" if event else name
        if label not in entry.faults:
            entry.faults.append(label)
        return fault
