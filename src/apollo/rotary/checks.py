"""What jambonz accepts and how it refuses.

Owns the checks of a request's body, in jambonz's order and words. No clock, no calls. In the real
thing two programs check: the API server answers 400 with a text, the feature server behind it
refuses with a bare 500.
"""

from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import urlsplit

import msgspec

from apollo.rotary.answers import REFUSED_BY_FEATURE_SERVER, Answer, message
from apollo.rotary.hooks import Hook, read_hook
from apollo.rotary.scenario import Application, HookAddress

USUAL_TIMEOUT_S = 60  # jambonz rings this long if the request does not say, or says 0
FROM_LENGTH = 256  # longest caller id the feature server takes

SPEECH = (
    "speech_synthesis_vendor",
    "speech_synthesis_language",
    "speech_synthesis_voice",
    "speech_recognizer_vendor",
    "speech_recognizer_language",
)
KNOWN = frozenset(
    {
        *("account_sid", "application_sid", "app_json", "call_hook", "call_status_hook", *SPEECH),
        *("from", "callerName", "fromHost", "tag", "to", "headers", "timeout", "timeLimit", "amd"),
        *("dual_streams", "sipRequestWithinDialogHook", "referHook"),
    }
)
USUAL_SPEECH = ("google", "en-US", "en-US-Standard-C", "google", "en-US")  # of an application
TEXTS = (*SPEECH, "callerName", "fromHost", "sipRequestWithinDialogHook")
TO_TYPES: dict[str, type] = {
    **dict.fromkeys(("type", "number", "name", "sipUri", "trunk"), str),
    **dict.fromkeys(("tenant", "overrideTo", "proxy"), str),
    **dict.fromkeys(("headers", "auth"), dict),
    "vmail": bool,
}
AMD_TYPES: dict[str, tuple[type, ...]] = {
    "actionHook": (str, dict),
    "thresholdWordCount": (int, float),
    "digitCount": (int, float),
    "timers": (dict,),
    "recognizer": (dict,),
}
ADDRESS_OF = {"phone": "number", "teams": "number", "user": "name", "sip": "sipUri"}
UPDATES = frozenset(
    {
        *("call_hook", "child_call_hook", "call_status", "listen_status", "conf_hold_status"),
        *("conf_mute_status", "mute_status", "sip_request", "record", "tag", "dtmf", "dub"),
        *("conferenceParticipantAction", "transcribe_status", "media_path", "whisper"),
    }
)
NULL_IN_TAG = "Error: Cannot convert undefined or null to object"  # what jambonz makes of a null

Body = dict[str, object]


class Address(NamedTuple):
    """A hook as the request or the application words it."""

    url: str
    method: str = "POST"
    username: str = ""
    password: str = ""


@dataclass(frozen=True, slots=True)
class Order:
    """A request for a call that passed every check."""

    to: str
    caller_id: str
    tag: dict[str, object] | None
    timeout_s: int
    time_limit_s: int | None
    application_sid: str | None
    call_hook: Hook | None
    status_hook: Hook | None
    trunk: str | None
    speech: tuple[str, ...]
    # Where machine detection reports, if it was asked for.
    detection_hook: Hook | None = None


def read_order(body: object, applications: dict[str, Application]) -> Order | Answer:
    """The order in the body of createCall, or the refusal jambonz would answer."""
    fields: Body = body if isinstance(body, dict) else {}
    sid = fields.get("application_sid")
    application = applications.get(sid) if isinstance(sid, str) else None
    refusal = _refused_by_api(fields, application)
    if refusal is not None:
        return refusal
    fields = {name: value for name, value in fields.items() if value is not None}
    if application is not None:
        for name in ("call_hook", "call_status_hook", "app_json", *SPEECH):
            fields.pop(name, None)  # the application's own stand in their place
        hooks = (_of(application.call_hook), _of(application.call_status_hook))
    else:
        hooks = (_address(fields.get("call_hook")), _address(fields.get("call_status_hook")))
    status_method = hooks[1].method if hooks[1] is not None else "POST"
    if not _feature_server_takes(fields) or status_method not in {"GET", "POST"}:
        return REFUSED_BY_FEATURE_SERVER
    return _order(fields, application is not None, hooks)


def _order(
    fields: Body, by_application: bool, hooks: tuple[Address | None, Address | None]
) -> Order:
    to = fields["to"]
    assert isinstance(to, dict)  # noqa: S101 - both checks made sure; this tells the type checker
    tag, timeout, limit = fields.get("tag"), fields.get("timeout"), fields.get("timeLimit")
    asked = fields.get("amd")
    amd = asked if isinstance(asked, dict) else {}
    return Order(
        to=str(to[ADDRESS_OF[to["type"]]]),
        caller_id=str(fields["from"]),
        tag=reshaped_tag(tag),
        timeout_s=(int(timeout) if isinstance(timeout, int | float) else 0) or USUAL_TIMEOUT_S,
        time_limit_s=(int(limit) if isinstance(limit, int | float) else 0) or None,
        application_sid=str(fields["application_sid"]) if by_application else None,
        call_hook=_hook(hooks[0]),
        status_hook=_hook(hooks[1]),
        trunk=to.get("trunk"),
        speech=tuple(
            str(fields.get(name, usual)) for name, usual in zip(SPEECH, USUAL_SPEECH, strict=True)
        ),
        detection_hook=_hook(_address(amd.get("actionHook"))),
    )


def _refused_by_api(fields: Body, application: Application | None) -> Answer | None:
    if not fields.get("from"):
        return message(400, "missing from parameter")
    to = fields.get("to")
    if not _named(to):
        shown = msgspec.json.encode(to).decode() if "to" in fields else "undefined"
        return message(400, f"missing or invalid to property: {shown}")
    if application is not None:
        return None
    return _refused_inline(fields)


def _refused_inline(fields: Body) -> Answer | None:
    if sid := fields.get("application_sid"):
        return message(400, f"application_sid not found {sid}")
    if not all(fields.get(name) for name in SPEECH):
        return message(400, f"either application_sid or set of {', '.join(SPEECH)} required")
    if not fields.get("call_hook"):
        return message(400, "either call_hook or application_sid required")
    return _bad_hook("call_hook", fields) or _bad_hook("call_status_hook", fields)


def _named(to: object) -> bool:
    if not isinstance(to, dict):
        return False
    kind = to.get("type")
    return (
        isinstance(kind, str) and kind in ADDRESS_OF and isinstance(to.get(ADDRESS_OF[kind]), str)
    )


def _bad_hook(name: str, fields: Body) -> Answer | None:
    hook = fields.get(name)
    if hook is None:
        return None
    address = _address(hook)
    if address is None:
        return message(400, f"{name} must be string or an object containing a url property")
    parts = _split(address.url)
    if parts is None:
        return message(400, f"{name} url be an absolute url")
    return None


def _split(url: str) -> tuple[str, str] | None:
    try:
        parts = urlsplit(url)
        usable = parts.scheme.lower() in {"http", "https", "ws", "wss"} and bool(parts.hostname)
        _ = parts.port  # raises if it is no number
    except ValueError:
        return None
    return (parts.scheme, parts.netloc) if usable else None


def _address(hook: object) -> Address | None:
    if isinstance(hook, str):
        return Address(hook)
    if not isinstance(hook, dict) or not isinstance(hook.get("url"), str):
        return None
    return Address(
        url=hook["url"],
        method=str(hook.get("method") or "POST").upper(),
        username=str(hook.get("username") or ""),
        password=str(hook.get("password") or ""),
    )


def _of(hook: HookAddress | None) -> Address | None:
    return Address(hook.url, hook.method, hook.username, hook.password) if hook else None


def _hook(address: Address | None) -> Hook | None:
    if address is None or not address.url.lower().startswith(("http:", "https:")):
        return None  # ws(s): the socket opens only with the call, and this router opens none
    return read_hook(address.url, address.method, address.username, address.password)


def _feature_server_takes(fields: Body) -> bool:
    to, amd = fields["to"], fields.get("amd", {"actionHook": ""})
    return (
        fields.keys() <= KNOWN
        and isinstance(fields["from"], str)
        and len(fields["from"]) <= FROM_LENGTH
        and all(_whole(fields.get(name, 0)) for name in ("timeout", "timeLimit"))
        and all(isinstance(fields.get(name, {}), dict) for name in ("tag", "headers"))
        and all(isinstance(fields.get(name, ""), str) for name in TEXTS)
        and isinstance(fields.get("dual_streams", False), bool)
        and isinstance(fields.get("referHook", ""), str | dict)
        and isinstance(to, dict)
        and all(isinstance(value, TO_TYPES.get(name, ())) for name, value in to.items())
        and to["type"] != "teams"  # nobody has set up a Teams tenant here
        and (to["type"] != "user" or "@" in to["name"])  # nor a SIP realm
        and isinstance(amd, dict)
        and "actionHook" in amd
        and all(isinstance(value, AMD_TYPES.get(name, ())) for name, value in amd.items())
    )


def _whole(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return value >= 0 and value == int(value)


def reshaped_tag(tag: object) -> dict[str, object] | None:
    """A tag as it comes back in webhooks: trimmed strings, whole URLs normalised, no nulls."""
    if not isinstance(tag, dict):
        return None
    return {name: _reshaped(inner) for name, inner in tag.items()}


def _reshaped(value: object) -> object:
    if isinstance(value, str):
        return _normalised(value.strip())
    if isinstance(value, dict):
        return reshaped_tag(value)
    if isinstance(value, list):
        return [_reshaped(inner) for inner in value]
    return NULL_IN_TAG if value is None else value


def _normalised(words: str) -> str:
    if "://" not in words or (split := _split(words)) is None or " " in words:
        return words
    scheme, host = split
    rest = words[len(scheme) + len("://") + len(host) :]
    return f"{scheme.lower()}://{host.lower()}{rest if rest.startswith('/') else '/' + rest}"


def read_update(body: object) -> tuple[str, object] | Answer:
    """The one thing an updateCall asks for, or the refusal."""
    fields: Body = body if isinstance(body, dict) else {}
    asked = [name for name in fields if name in UPDATES]
    if not asked:
        return message(400, "no valid options supplied to updateCall")
    if len(asked) > 1:
        return message(400, "multiple options are not allowed in updateCall")
    name = asked[0]
    if name == "call_status" and fields[name] not in ("completed", "no-answer"):
        return message(400, "invalid call_status")
    return name, fields[name]
