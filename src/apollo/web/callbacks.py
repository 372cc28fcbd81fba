"""Provider webhooks and agents' results: verify the raw bytes, store, answer fast.

Plain Starlette routes beside FastAPI, because they carry three to four requests for each call.
Must never answer 200 before the event is safe in PostgreSQL or Kafka, nor anything but 200 to a
good one.
"""

import asyncio
import re
import uuid
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Final, NamedTuple

import msgspec
import structlog
from msgspec import Meta
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from apollo.core import bounds, ids
from apollo.core.events import Reached
from apollo.core.signatures import is_present, signed_at
from apollo.core.states import Off
from apollo.errors import Invalid, NotFound, Stale, Unavailable
from apollo.ports import Clock, Stream, TelephonyDriver
from apollo.usecases.collector import Collector, Overloaded
from apollo.usecases.perform_effects import PerformEffects
from apollo.usecases.receive_status import ReceiveStatus
from apollo.usecases.record_call_events import Arrival, RecordCallEvents
from apollo.usecases.record_call_result import CallResult, RecordCallResult, Stored
from apollo.web.schemas import unknown

_log = structlog.get_logger("apollo.webhooks")

# A status event is some 700 bytes; anything near this is not one.
BODY_BYTES_MAX: Final = 64 * 1024
# Transcripts are long; an hour of talk is some 60 KB.
_RESULT_BYTES_MAX: Final = 1024 * 1024
# No call costs a billion of any currency, and no price list has more decimals.
_COST_DIGITS_MAX: Final = 9
_COST_DECIMALS_MAX: Final = 12
_COST: Final = f"at most {_COST_DIGITS_MAX} digits before the point and {_COST_DECIMALS_MAX} after"
# Who sends a result again signs it again; clocks of machines that keep time differ by far less.
_RESULT_AGE_MAX_S: Final = 600.0
_HOW_TO_SIGN: Final = (
    "the signature does not fit: sign with the key `k` of this call, which its call hook was given,"
    " or with APOLLO_RESULT_SECRET if that is set"
)
# A process that is told to stop has given its requests ten seconds before this: in all it is less
# than `apollo up` waits for it.
_EFFECTS_WITHIN_S: Final = 5.0
_STORED_WITHIN_S: Final = 3.0


# A heartbeat stays small.
_REFUSALS_KEPT: Final = 50


@dataclass(slots=True)
class HookReport:
    """What arrived at the status hook, for the heartbeat."""

    received: int = 0
    last_received_at: datetime | None = None
    refused_signature: int = 0
    last_refused_at: datetime | None = None
    # When the last few were refused: only those since a call was placed can be about that call.
    refused_at: deque[datetime] = field(default_factory=lambda: deque(maxlen=_REFUSALS_KEPT))

    def as_json(self) -> dict[str, Any]:
        """Give it as the heartbeat stores it."""
        return {
            "received": self.received,
            "last_received_at": self.last_received_at and self.last_received_at.isoformat(),
            "refused_signature": self.refused_signature,
            "last_refused_at": self.last_refused_at and self.last_refused_at.isoformat(),
            "refused_at": [at.isoformat() for at in self.refused_at],
        }


class ResultBody(msgspec.Struct, forbid_unknown_fields=True):
    """What an agent adds to a call once it is over; null, or left out: nothing new."""

    execution_id: Annotated[str, Meta(description="The call, `exec_…`.")]
    transcript: Annotated[str | None, Meta(description="What was said.")] = None
    summary: Annotated[str | None, Meta(description="What it came to.")] = None
    sentiment: Annotated[str | None, Meta(description="How the person felt.")] = None
    recording_url: Annotated[
        str | None, Meta(description="Where the recording is; Apollo never fetches it.")
    ] = None
    hangup_by: Annotated[str | None, Meta(description="Who ended the call.")] = None
    hangup_reason: Annotated[str | None, Meta(description="Why it ended, in a word.")] = None
    total_cost: Annotated[
        Decimal | None, Meta(description="What it cost; the currency is yours.")
    ] = None
    follow_up_at: Annotated[
        datetime | None, Meta(description="When this person is to be called once more.")
    ] = None
    reached: Annotated[
        Reached | None, Meta(description="Who picked up: the person, a machine, a wrong person.")
    ] = None


_RESULT: Final = msgspec.json.Decoder(ResultBody)


class Callbacks:
    """The two webhooks of Apollo."""

    def __init__(
        self,
        *,
        driver: TelephonyDriver,
        record: RecordCallEvents,
        results: RecordCallResult,
        result_secret: bytes | None,
        clock: Clock,
        status_stream: Stream | None = None,
    ) -> None:
        self._driver = driver
        self._effects = PerformEffects(driver)
        self._record = record
        self._results = results
        self._result_secret = result_secret
        self._clock = clock
        self._collector: Collector[Arrival, Off | None] = Collector(self._write)
        self._receive = ReceiveStatus(
            driver=driver, record=self._collector.put, stream=status_stream
        )
        self.report = HookReport()

    def routes(self) -> list[Route]:
        """Give the routes to mount beside the API."""
        return [
            Route("/webhooks/call-status", _is_reached, methods=["GET"]),
            Route("/webhooks/call-status", self.call_status, methods=["POST"]),
            Route("/webhooks/call-result", self.call_result, methods=["POST"]),
        ]

    async def call_status(self, request: Request) -> Response:
        """Take one status event of the provider."""
        if not is_present(request.headers):
            return self._refuse_signature()
        body = await _read(request, BODY_BYTES_MAX)
        if body is None:
            return _refuse(413, f"a status event is at most {BODY_BYTES_MAX} bytes")
        now = self._clock.now()
        if not self._driver.verify_status(body, request.headers):
            return self._refuse_signature()
        self.report.received += 1
        self.report.last_received_at = now
        try:
            await self._receive.receive(body, now)
        except ValueError as e:
            _log.warning("webhook.unreadable", error=str(e))
            return _refuse(422, str(e))
        except (Unavailable, Stale, Overloaded) as e:
            _log.warning("webhook.not_stored", error=str(e))
            return _refuse(503, "not stored: the database is away or busy; send it again")
        return Response(status_code=200)

    def _refuse_signature(self) -> Response:
        self.report.refused_signature += 1
        self.report.last_refused_at = self._clock.now()
        self.report.refused_at.append(self.report.last_refused_at)
        return _refuse(401, "the signature does not fit: is the webhook secret the account's?")

    async def call_result(self, request: Request) -> Response:
        """Take what the agent adds after a call."""
        if not is_present(request.headers):
            return _refuse(401, _HOW_TO_SIGN)
        body = await _read(request, _RESULT_BYTES_MAX)
        if body is None:
            return _refuse(413, f"a call result is at most {_RESULT_BYTES_MAX} bytes")
        try:
            signed = await self._signed(body, request.headers)
            if signed is None:
                return _refuse(401, _HOW_TO_SIGN)
            age = self._clock.now().timestamp() - signed.at
            if abs(age) > _RESULT_AGE_MAX_S:
                return _refuse(401, _too_old(age))
            return await self._store_result(body, signed)
        except (Unavailable, Stale) as e:
            _log.warning("result.not_stored", error=str(e))
            return _refuse(503, "not stored: the database is away or busy; send it again")

    async def _signed(self, body: bytes, headers: Mapping[str, str]) -> "_Signed | None":
        """Find when a result was signed, and whether with its call's own key; None: it was not."""
        if self._result_secret is not None:
            at = signed_at(body, headers, self._result_secret)
            if at is not None:
                return _Signed(at, by_call_key=False)
        call_id = _call_of(body)
        if call_id is None:
            return None
        at = signed_at(body, headers, await self._results.key_of(call_id))
        return None if at is None else _Signed(at, by_call_key=True)

    async def _store_result(self, body: bytes, signed: "_Signed") -> Response:
        try:
            call_id, result = _read_result(body)
        except ValueError as e:
            return _refuse(422, str(e))
        sent_at = datetime.fromtimestamp(signed.at, UTC)
        try:
            stored = await self.take_result(
                call_id, result, sent_at=sent_at, by_call_key=signed.by_call_key
            )
        except Invalid as refusal:
            return _refuse(422, "; ".join(f"{e.loc[-1]}: {e.msg}" for e in refusal.errors))
        except NotFound as unknown:
            return _refuse(404, str(unknown))
        if stored.follow_up_refused is None:
            return Response(status_code=200)
        # The rest is stored: what was said in a call must not be lost for a wish that goes too far.
        return JSONResponse({"follow_up": "refused", "reason": stored.follow_up_refused})

    async def take_result(
        self, call_id: uuid.UUID, result: CallResult, *, sent_at: datetime, by_call_key: bool
    ) -> Stored:
        """Store a result whose signature was verified, and start what follows from it."""
        stored = await self._results.record(
            call_id, result, sent_at=sent_at, by_call_key=by_call_key
        )
        self._effects.start(stored.effects)
        return stored

    def queue(self) -> dict[str, Any]:
        """Tell of the events that wait to be stored, for the heartbeat."""
        waiting, longest_s = self._collector.queue()
        return {"waiting": waiting, "longest_s": round(longest_s, 3)}

    async def drain(self) -> None:
        """Wait until every event that was taken is stored, and what followed is done.

        Not for ever: what is not stored was answered to nobody, so the provider sends it again.
        """
        await self._collector.drain(_STORED_WITHIN_S)
        if self._effects.under_way:
            await asyncio.wait(self._effects.under_way, timeout=_EFFECTS_WITHIN_S)

    async def _write(self, arrivals: Sequence[Arrival]) -> Sequence[Off | None]:
        recorded = await self._record.record(arrivals)
        self._effects.start(recorded.effects)
        return recorded.offs


class _Signed(NamedTuple):
    """When a result was signed, in unix seconds, and with which kind of key."""

    at: int
    by_call_key: bool


def _too_old(age_s: float) -> str:
    ago = timedelta(seconds=round(abs(age_s)))
    when = f"{ago} ago" if age_s > 0 else f"{ago} ahead of the clock here"
    limit = int(_RESULT_AGE_MAX_S // 60)
    return f"sign each attempt anew: this was signed {when}, and {limit} minutes are allowed"


async def _read(request: Request, bytes_max: int) -> bytes | None:
    """Read a body; None when it is over the size, without reading it all."""
    body = b""
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        part: bytes = message.get("body", b"")
        body += part
        if len(body) > bytes_max:
            return None
        if not message.get("more_body", False):
            return body


class _Named(msgspec.Struct):
    execution_id: str


def _call_of(body: bytes) -> uuid.UUID | None:
    """Read which call a body claims to be about, before it is known who wrote it."""
    try:
        return ids.parse_id("exec", msgspec.json.decode(body, type=_Named).execution_id)
    except (ValueError, RecursionError):
        return None


def _read_result(body: bytes) -> tuple[uuid.UUID, CallResult]:
    try:
        result = _RESULT.decode(body)
    except (ValueError, RecursionError, ArithmeticError) as e:
        raise ValueError(f"not a call result: {_plain(str(e))}") from None
    call_id = ids.parse_id("exec", result.execution_id)
    if call_id is None:
        raise ValueError("execution_id: not an execution id; expected exec_…")
    if result.follow_up_at is not None and result.reached not in {None, Reached.PERSON}:
        raise ValueError(
            f"follow_up_at: leave it out with reached {result.reached.value}; a machine is called"
            " again under the retry policy, and a wrong person is not"
        )
    if result.follow_up_at is not None and result.follow_up_at.tzinfo is None:
        raise ValueError("follow_up_at: needs an offset, as in 2026-05-10T09:05:00Z")
    given = msgspec.structs.asdict(result)
    del given["execution_id"]
    for name, value in given.items():
        if isinstance(value, str) and "\x00" in value:
            raise ValueError(f"{name}: must not contain NUL characters")
    if result.follow_up_at is not None:
        try:
            given["follow_up_at"] = bounds.instant(result.follow_up_at)
        except ValueError as e:
            raise ValueError(f"follow_up_at: {e}") from None
    cost = result.total_cost
    if cost is not None and not (cost.is_finite() and _is_amount(cost)):
        raise ValueError(f"total_cost: must be a number of {_COST}, such as 0.0125")
    return call_id, CallResult(**given)


def _plain(fault: str) -> str:
    """Return the decoder's sentence; for a key that is not known, the keys that are."""
    found = re.fullmatch(r"Object contains unknown field `(.*)`", fault, re.DOTALL)
    if found is None:
        return fault
    return f"{found[1][:80]}: {unknown('key', found[1], ResultBody.__struct_fields__)}"


def _is_amount(cost: Decimal) -> bool:
    _, digits, exponent = cost.as_tuple()
    decimals = -int(exponent)
    return decimals <= _COST_DECIMALS_MAX and len(digits) - decimals <= _COST_DIGITS_MAX


async def _is_reached(_request: Request) -> Response:
    """Tell a person who tries the address from the provider's machine that it is the right one."""
    text = (
        "This is Apollo: status webhooks are taken here, as signed POST requests of the provider.\n"
    )
    return PlainTextResponse(text)


def _refuse(status: int, detail: str) -> Response:
    return JSONResponse({"detail": detail}, status_code=status)
