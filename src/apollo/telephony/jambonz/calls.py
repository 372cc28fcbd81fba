"""The shapes of calls: what is sent to place one, and how the provider lists them.

Only the fields that jambonz documents are sent, for it answers any other with a bare 500. Reading
is strict about what names a call, since a list that cannot be read must not look empty, and lenient
about the rest: an odd value counts as unknown, so that the call it came with still ends.
"""

import math
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any, Final
from urllib.parse import urlencode, urlsplit, urlunsplit

import msgspec

from apollo.core import bounds
from apollo.errors import WillNeverWork
from apollo.ports import AgentRoute, DialRequest, LiveCall

_AwareTime = Annotated[datetime, msgspec.Meta(tz=True)]
# As long as an id of any provider; ours are UUIDs.
_ID_CHARS_MAX: Final = 64

# Who hung up, in our words. jambonz calls the far end "caller" in its status events, whichever
# way the call went; our agent, a REST request and the time limit are all "jambonz".
CALLEE: Final = "callee"
AGENT: Final = "agent"
HANGUP_BY: Final = {"caller": CALLEE, "jambonz": AGENT}
# Call-detail records are written by the border element, for which jambonz is the caller.
_TERMINATED_BY: Final = {"called party hungup": CALLEE, "caller hungup": AGENT}
# The word jambonz itself gives to a call that was not answered, by its final SIP code.
_WORD_FOR: Final = {486: "busy", 603: "busy", 487: "no-answer"}


def call_body(request: DialRequest, status_hook_url: str) -> bytes:
    """Write the request that places one call; raises WillNeverWork when the route is unusable.

    With an application jambonz throws away every hook and speech field of the body, so none is
    sent. The tag is one opaque id: a null inside would come back as a text.
    """
    body: dict[str, object] = {
        "from": request.from_number,
        "to": {"type": "phone", "number": request.to},
        "tag": {"execution_id": request.execution_id},
        "timeout": request.ring_timeout_s,
        "timeLimit": request.time_limit_s,
    }
    if request.detects_machines:
        # Its events come to the status hook, signed like any other; an empty answer lets the
        # application go on.
        body["amd"] = {"actionHook": status_hook_url}
    route = request.route
    if route.call_hook is not None:
        body["call_hook"] = {"url": _call_hook_url(route.call_hook, request), "method": "POST"}
        body["call_status_hook"] = {"url": status_hook_url, "method": "POST"}
        body.update(_speech(route))
    elif route.application_sid is not None:
        body["application_sid"] = route.application_sid
    else:
        raise WillNeverWork(
            "the agent has neither a call hook nor an application: register one of them",
            cause="request",
        )
    return msgspec.json.encode(body)


def read_live(body: bytes) -> LiveCall | None:
    """Read one live call; None for the empty object of an expired one. Raises ValueError."""
    return _as_live(_ROW.decode(body))


def read_row(row: bytes) -> LiveCall | None:
    """Read a row of the live list; None for expired and inbound ones. Raises ValueError."""
    read = _ROW.decode(row)
    return None if read.direction == "inbound" else _as_live(read)


def read_record_page(body: bytes) -> tuple[int, list[LiveCall]]:
    """Read one page of call-detail records: rows on the page, and our calls among them."""
    rows = msgspec.json.decode(body, type=_RecordPage, strict=False).data
    return len(rows), list(_as_records(rows))


def read_status_hook(body: bytes) -> tuple[str, str] | None:
    """Read an application's status hook as (url, method); None without one. Raises ValueError."""
    hook = msgspec.json.decode(body, type=_Application).call_status_hook
    return None if hook is None or not hook.url else (hook.url, (hook.method or "POST").upper())


class _Live(msgspec.Struct):
    # Everything may be missing: entries that expired are listed as `{}`.
    call_sid: str = ""
    call_status: str = ""
    direction: str | None = None
    to: str = ""
    from_number: str = msgspec.field(default="", name="from")
    sip_status: Any = None
    sip_reason: Any = None
    duration: Any = None
    call_termination_by: Any = None


_ROW: Final = msgspec.json.Decoder(_Live, strict=False)


class _Record(msgspec.Struct):
    call_sid: str = ""
    direction: str | None = None
    to: str = ""
    from_number: str = msgspec.field(default="", name="from")
    answered: bool = False
    sip_status: Any = None
    duration: Any = None
    termination_reason: Any = None
    attempted_at: Any = None
    answered_at: Any = None
    terminated_at: Any = None


class _RecordPage(msgspec.Struct):
    data: list[_Record]


class _Hook(msgspec.Struct):
    url: str | None = None
    method: str | None = None


class _Application(msgspec.Struct):
    call_status_hook: _Hook | None = None


def _as_live(row: _Live) -> LiveCall | None:
    if not (row.call_sid and row.call_status):
        return None
    return LiveCall(
        provider_call_id=_kept_id(row.call_sid),
        to=bounds.text(row.to) or "",
        from_number=bounds.text(row.from_number) or "",
        call_status=row.call_status,
        sip_status=bounds.whole(row.sip_status, bounds.SIP_STATUSES),
        sip_reason=bounds.text(row.sip_reason),
        duration_s=bounds.whole(row.duration, bounds.DURATIONS_S),
        hangup_by=HANGUP_BY.get(bounds.text(row.call_termination_by) or ""),
    )


def _kept_id(call_sid: str) -> str:
    """Return an id that can be stored; an odd one still stands for a call that there is."""
    return bounds.text(call_sid, _ID_CHARS_MAX) or "?"


def _as_records(rows: list[_Record]) -> Iterator[LiveCall]:
    for row in rows:
        if not row.call_sid or row.direction == "inbound":
            continue
        sip_status = bounds.whole(row.sip_status, bounds.SIP_STATUSES)
        word = "completed" if row.answered else _WORD_FOR.get(sip_status or 0, "failed")
        ended_by = bounds.text(row.termination_reason) or ""
        yield LiveCall(
            provider_call_id=_kept_id(row.call_sid),
            to=_with_plus(row.to),
            from_number=_with_plus(row.from_number),
            call_status=word,
            sip_status=sip_status,
            duration_s=_seconds(row.duration) if row.answered else None,
            hangup_by=_TERMINATED_BY.get(ended_by) if row.answered else None,
            attempted_at=_utc(row.attempted_at),
            # An unanswered call's record says 1970 here.
            answered_at=_utc(row.answered_at) if row.answered else None,
            ended_at=_utc(row.terminated_at),
        )


def _with_plus(number: str) -> str:
    """Put back the plus that call-detail records lose; names and SIP addresses have none."""
    number = bounds.text(number) or ""
    return f"+{number}" if number.isdecimal() else number


def _utc(at: object) -> datetime | None:
    """Read a record's time; None for what is no time, or none that can be stored."""
    try:
        return None if at is None else bounds.instant(msgspec.convert(at, _AwareTime, strict=True))
    except (ValueError, OverflowError):
        return None


def _seconds(value: object) -> int | None:
    """Cut a duration to whole seconds; records count in fractions."""
    if isinstance(value, float) and math.isfinite(value):
        value = int(value)
    return bounds.whole(value, bounds.DURATIONS_S)


def _call_hook_url(hook: str, request: DialRequest) -> str:
    parts = urlsplit(hook)
    ours = urlencode({"execution_id": request.execution_id, "k": request.agent_key})
    return urlunsplit(parts._replace(query=f"{parts.query}&{ours}" if parts.query else ours))


def _speech(route: AgentRoute) -> dict[str, str]:
    synthesis = _split_speech(route.speech_synthesis, ("vendor", "language", "voice"))
    recognizer = _split_speech(route.speech_recognizer, ("vendor", "language"))
    if synthesis is None or recognizer is None:
        raise WillNeverWork(
            "an agent with a call hook needs speech_synthesis as vendor,language,voice and "
            "speech_recognizer as vendor,language",
            cause="request",
        )
    return {f"speech_synthesis_{name}": value for name, value in synthesis.items()} | {
        f"speech_recognizer_{name}": value for name, value in recognizer.items()
    }


def _split_speech(text: str | None, names: tuple[str, ...]) -> dict[str, str] | None:
    values = [value.strip() for value in (text or "").split(",", len(names) - 1)]
    return (
        dict(zip(names, values, strict=True)) if len(values) == len(names) and all(values) else None
    )
