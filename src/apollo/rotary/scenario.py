"""A scenario file: who is called, what the carrier can carry, what goes wrong.

Owns its shape and its error messages. Must not act on any of it.
"""

import json
from pathlib import Path
from typing import Annotated, Literal
from uuid import UUID

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError

from apollo.errors import Misconfigured
from apollo.rotary.faults import Faults, RateLimit
from apollo.rotary.people import PeopleRules
from apollo.rotary.schema import Number, Part, Seconds, Share, complaints
from apollo.rotary.settings import is_absolute_http

RECORD_LIFETIME_S = 3600.0  # jambonz forgets a call this long after it was answered or refused
CANCEL_S = 0.1  # from CANCEL to its 487; above 0.05 s jambonz loses the final webhook of it


def _absolute(url: str) -> str:
    if not is_absolute_http(url):
        raise ValueError("should be an absolute http(s) address")
    return url


def _address_alone(value: object) -> object:
    return {"url": value} if isinstance(value, str) else value


class HookAddress(Part):
    """Where a webhook of an application goes; a bare string is the address alone."""

    url: Annotated[str, AfterValidator(_absolute)]
    method: Literal["GET", "POST"] = "POST"
    username: str = ""
    password: str = Field(default="", repr=False)


Hooked = Annotated[HookAddress | None, BeforeValidator(_address_alone)]


class Application(Part):
    """A jambonz application: whoever names it in a request gets its hooks."""

    name: str = "RotaryRouter"
    call_hook: Hooked = None
    call_status_hook: Hooked = None


class Spam(Part):
    """How the networks come to distrust a caller id; in real seconds, as it is about haste."""

    calls: Annotated[int, Field(ge=1)]  # so many calls from one caller id within window_s …
    window_s: Seconds = 60.0
    rate: Share = 1.0  # … and this share of its further calls is refused
    sip: tuple[Annotated[int, Field(ge=400, le=699)], ...] = Field(default=(608, 603), min_length=1)


class Carrier(Part):
    """What the simulated carrier can carry; calls per second are counted in real seconds."""

    up: bool = True  # false: 603 without ringing, as when no trunk is configured
    channels: Annotated[int, Field(ge=0)] | None = None  # calls at once; more get 503
    calls_per_second: Annotated[int, Field(ge=1)] | None = None  # more get 503
    spam: Spam | None = None
    refused_callers: frozenset[Number] = frozenset()  # caller ids that are not on the trunk: 403
    cancel_s: Seconds = CANCEL_S


class Api(Part):
    """How the API server in front behaves."""

    feature_servers: Annotated[int, Field(ge=0)] = 1  # none: every request for a call gets 480
    rate_limit: RateLimit | None = None
    http_pool: bool = False  # jambonz's HTTP_POOL: then the final event is retried as well
    record_lifetime_s: Seconds = RECORD_LIFETIME_S


class Scenario(Part):
    """One rehearsal. Everything has a default: an empty file is everyday life."""

    time_scale: Annotated[float, Field(gt=0, le=1000)] = 1.0  # real seconds per simulated second
    people: PeopleRules = PeopleRules()
    carrier: Carrier = Carrier()
    api: Api = Api()
    applications: dict[UUID, Application] = Field(default_factory=dict)
    fetch_call_hook: bool = False  # ask the call hook on answer; an empty or failing one hangs up
    faults: Faults = Faults()


def read_scenario(path: Path) -> Scenario:
    """The scenario in the file; Misconfigured has one line for each thing wrong with it."""
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text)
    except FileNotFoundError as error:
        raise Misconfigured([f"{path}: there is no such scenario file"]) from error
    except json.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}"
        raise Misconfigured([f"{path}: {where}: not JSON ({error.msg})"]) from error
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured([f"{path}: cannot be read as UTF-8 text ({error})"]) from error
    try:
        return Scenario.model_validate(content)
    except ValidationError as error:
        raise Misconfigured([f"{path}: {line}" for line in complaints(error, Scenario)]) from error
