"""Sorts the provider's HTTP answers by what we may do next.

It must never call an answer "not placed" unless no call can exist: whatever is not in the table
below may have dialled somebody. Numbers and keys never reach the text of an error.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Annotated, Any, Final

import msgspec

from apollo.core import bounds
from apollo.errors import DriverError, NotPlaced, OutcomeUnknown, WillNeverWork
from apollo.ports import DialRequest, Placed, RateLimit

# Everything decoding can raise: bad JSON and wrong types, bad UTF-8, nesting without end.
UNREADABLE: Final = (ValueError, RecursionError)

OK: Final = 200
CREATED: Final = 201
NOT_FOUND: Final = 404
UNPROCESSABLE: Final = 422

# Answers given before the request is forwarded to anything that dials.
_NOT_PLACED: Final = {
    401: "unauthorised",
    403: "unauthorised",
    429: "rate_limited",
    480: "no_capacity",  # no feature server is registered
}
_REFUSED: Final = frozenset({400, NOT_FOUND, UNPROCESSABLE})
_SERVER_ERROR: Final = 500
# jambonz could not reach one of its own stores: MySQL at a call or a key, the record store at a
# record. Node writes it so, followed by the address.
_STORE_DOWN: Final = "connect ECONNREFUSED"
# A key of the service provider may never dial; jambonz says so with a 400.
_KEY_MAY_NOT_DIAL: Final = "unauthorized createcall request"

# What a 429 without any header waits: long enough to matter in a window of 300 s, short enough
# not to be noticed when the limit was a passing one.
_RETRY_AFTER_DEFAULT_S: Final = 5.0
# No rate limit we know has a window over an hour; a longer wait is a broken header or clock.
_RETRY_AFTER_MAX_S: Final = 3600.0
# "Mon, 01 Jan 2026 00:00:00 +0000" and room for a comment.
_DATE_CHARS_MAX: Final = 100
# Fits one line of a log and one field on a screen.
_TEXT_CHARS_MAX: Final = 200

_WHOLE_SECONDS: Final = re.compile(r"[0-9]{1,9}")
# As in "600;w=300".
_POLICY: Final = re.compile(r"([0-9]{1,9}); ?w=([0-9]{1,9})")
# A bare run of 7 to 15 digits (E.164 allows 15), or anything that opens like "+44 7400 123".
_PHONE_NUMBER: Final = re.compile(r"\+\d[\d ().-]{5,}\d|(?<![\w.-])\d{7,15}(?![\w-])")
_NAMES_TO: Final = re.compile(r"\bto (?:property|parameter|number)\b|\bto\.number\b")
_NAMES_FROM: Final = re.compile(r"\bfrom (?:property|parameter|number)\b")

# jambonz's ids are UUIDs. Anything else is not an id, and must not find its way into a path.
ProviderCallId = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{1,64}$")]


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: `is_whole` is False when the body broke off, stalled or was too long."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    is_whole: bool

    @property
    def is_success(self) -> bool:
        """Tell whether the status is of the 2xx class."""
        return 200 <= self.status <= 299  # noqa: PLR2004 - the 2xx class

    @property
    def text(self) -> str:
        """The provider's words: of `{"msg"}`, of `{"message"}`, or the body as it is."""
        try:
            said = msgspec.json.decode(self.body, type=_Said)
        except UNREADABLE:
            return self.body.decode("utf-8", "replace")
        return said.msg or said.message or self.body.decode("utf-8", "replace")


class _Said(msgspec.Struct):
    msg: str = ""
    message: str = ""


class _Created(msgspec.Struct):
    sid: ProviderCallId | None = None
    call_id: Any = msgspec.field(default=None, name="callId")


def placed(answer: Answer) -> Placed:
    """Read a 201. It is a yes even when its body is not readable: then both ids are None."""
    try:
        created = msgspec.json.decode(answer.body, type=_Created)
    except UNREADABLE:
        return Placed(None, None)
    return Placed(created.sid, bounds.text(created.call_id) or None)


def refusal(answer: Answer, *, now: datetime, request: DialRequest | None = None) -> DriverError:
    """Sort any answer that is not the one hoped for.

    `request` is what was asked, when a call was asked for: its numbers and key are kept out of
    the text, and the text is searched for whose fault it is.
    """
    status, text = answer.status, answer.text
    shown = f"the provider answered {status}: {_presentable(text, request)}"
    if not answer.is_whole:
        return OutcomeUnknown(shown + " (broken off)", status=status, cause="broken_body")
    if cause := _why_not_placed(status, text, asks_for_call=request is not None):
        wait_s = _retry_after_s(answer.headers, now) if cause == "rate_limited" else 0.0
        return NotPlaced(shown, status=status, cause=cause, retry_after_s=wait_s)
    if status in _REFUSED:
        cause = "number" if request and _blames_number(text, request) else "request"
        return WillNeverWork(shown, status=status, cause=cause)
    cause = "store_down" if _is_store_down(status, text) else "server_error"
    return OutcomeUnknown(shown, status=status, cause=cause)


def _why_not_placed(status: int, text: str, *, asks_for_call: bool) -> str:
    """Name the cause of an answer that is given before anything dials; else empty."""
    if status in _NOT_PLACED:
        return _NOT_PLACED[status]
    if 300 <= status <= 399:  # noqa: PLR2004 - the 3xx class
        return "redirect"
    if status in _REFUSED and _KEY_MAY_NOT_DIAL in text.lower():
        return "unauthorised"
    # A feature server that cannot be reached is "fetch failed" instead: that may have been late.
    return "store_down" if asks_for_call and _is_store_down(status, text) else ""


def _is_store_down(status: int, text: str) -> bool:
    return status == _SERVER_ERROR and text.startswith(_STORE_DOWN)


def rate_limit_of(headers: Mapping[str, str]) -> RateLimit | None:
    """Read the request budget; None when the provider does not tell."""
    remaining = headers.get("RateLimit-Remaining", "")
    reset = headers.get("RateLimit-Reset", "")
    if not (_WHOLE_SECONDS.fullmatch(remaining) and _WHOLE_SECONDS.fullmatch(reset)):
        return None
    policy = rate_policy_of(headers)
    reset_s = min(float(reset), _RETRY_AFTER_MAX_S)
    return RateLimit(int(remaining), reset_s, None if policy is None else policy[0])


def rate_policy_of(headers: Mapping[str, str]) -> tuple[int, float] | None:
    """Read how many requests are allowed in how many seconds; None when it does not tell."""
    found = _POLICY.fullmatch(headers.get("RateLimit-Policy", ""))
    return None if found is None else (int(found[1]), min(float(found[2]), _RETRY_AFTER_MAX_S))


def _retry_after_s(headers: Mapping[str, str], now: datetime) -> float:
    for name in ("Retry-After", "RateLimit-Reset"):
        seconds = _seconds_from(headers.get(name, ""), now)
        if seconds is not None:
            return min(max(seconds, 0.0), _RETRY_AFTER_MAX_S)
    return _RETRY_AFTER_DEFAULT_S


def _seconds_from(text: str, now: datetime) -> float | None:
    if _WHOLE_SECONDS.fullmatch(text):
        return float(text)
    until = _date_of(text)
    return None if until is None else (until - now).total_seconds()


def _date_of(text: str) -> datetime | None:
    """Read a date of HTTP as UTC; None for anything else, of which its parser raises any kind."""
    if len(text) > _DATE_CHARS_MAX:
        return None
    try:
        at = parsedate_to_datetime(text)
        # "-0000" in a date means UTC without saying where.
        return bounds.instant(at if at.tzinfo else at.replace(tzinfo=UTC))
    except (ValueError, OverflowError, TypeError, IndexError):
        return None


def _blames_number(text: str, request: DialRequest) -> bool:
    """Tell whether the number that was called is at fault, and not the caller id.

    A doubt must end in False: a number's fault is final for the person, while a request's fault
    pauses the batch and is looked at.
    """
    words = text.lower()
    if _NAMES_FROM.search(words) or request.from_number.lstrip("+") in words:
        return False
    return bool(_NAMES_TO.search(words)) or request.to.lstrip("+") in words


def without_numbers(text: str) -> str:
    """Return the text in one line that can be stored and shown, its phone numbers masked."""
    # PostgreSQL refuses a NUL, and a terminal obeys what else cannot be printed.
    shown = "".join(char for char in " ".join(text.split()) if char.isprintable())
    return _PHONE_NUMBER.sub("[number]", shown)


def _presentable(text: str, request: DialRequest | None) -> str:
    if request is not None:
        for secret in (request.to, request.from_number):
            text = text.replace(secret, "[number]").replace(secret.lstrip("+"), "[number]")
        text = text.replace(request.agent_key, "[key]")
    return without_numbers(text)[:_TEXT_CHARS_MAX] or "(nothing)"


def clock_offset_s(said: str, read_at: datetime) -> float | None:
    """Say how far the clock behind a Date header is ahead of ours; None when it cannot be read."""
    at = _date_of(said)
    # Cut to whole seconds, so half of one is missing on average.
    return None if at is None else (at - read_at).total_seconds() + 0.5
