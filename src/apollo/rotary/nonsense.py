"""Answers that no provider should give: odd values, odd headers, and bodies that are no JSON.

Owns what is odd, drawn by seed. Ids and the words for the state of a call stay true, so that a
client who takes all the rest for unknown still learns what became of every call.
"""

from typing import Any, Final

import msgspec

from apollo.rotary.answers import Answer, Headers
from apollo.rotary.dice import throws

# Nothing that could be meant: a code of 486 would be a lie, which no client can see through.
_NUMBERS: Final[tuple[object, ...]] = (
    *(70_000, -5, 10**12, 10**30, 1.5, "70000", ""),
    *(True, None, [], {"a": 1}),
)
_TEXTS: Final[tuple[object, ...]] = (
    "a\0b",
    "x" * 9_000,
    "\u202e",
    5,
    1e300,
    None,
    [["a"]],
    {"a": {"b": []}},
)
# Those fields of calls and of their records that name neither the call nor its state.
_ODD: Final = {
    "sip_status": _NUMBERS,
    "duration": _NUMBERS,
    "sip_reason": _TEXTS,
    "call_termination_by": _TEXTS,
    "termination_reason": _TEXTS,
    "attempted_at": _TEXTS,
    "answered_at": _TEXTS,
    "terminated_at": _TEXTS,
    "sbc_callid": _TEXTS,
    "callId": _TEXTS,
}
_BODIES: Final = (
    b"",
    b"null",
    b"[" * 50_000,
    b'{"data":[{"call_sid":5}]}',
    b'[{},[],5,"a"]',
    b'"\xff\xfe\x00"',
    b"<html>a page of a proxy</html>",
    b'{"total":1e999,"data":{}}',
    b"0" * 60_000,
)
_DATES: Final = (
    b"Mon, 01 Jan 99999999999 00:00:00 GMT",
    b"Fri, 31 Dec 9999 23:59:59 -1200",
    b"Mon, 01 Jan 0001 00:00:00 +1400",
    b"Mon, 01 Jan 2026 00:00:00 +9999999999",
    b"," * 90,
    b"yesterday",
)
_COUNTS: Final = (b"", b"-1", b"NaN", b"1e9", b"9" * 400, b"7;w=x", b"0x10", b"\xb2")

_encode: Final = msgspec.json.Encoder().encode


def odd_answer(answer: Answer, seed: int, *words: object) -> tuple[Answer, Headers]:
    """Make an answer of the same status odd, and give the headers to send with it."""
    which, nth, date, count = throws(seed, "nonsense", *words)[:4]
    headers: Headers = (
        (b"date", _pick(_DATES, date)),
        (b"ratelimit-policy", _pick(_COUNTS, count)),
        (b"ratelimit-remaining", _pick(_COUNTS, nth)),
        (b"ratelimit-reset", _pick(_COUNTS, which)),
    )
    if which < 0.3:  # noqa: PLR2004 - the others keep their ids, and so end calls
        return answer._replace(body=_pick(_BODIES, nth)), headers
    return answer._replace(body=_odd(answer.body, seed, words)), headers


def odd_body(body: bytes, seed: int, *words: object) -> bytes:
    """Make the values of one webhook odd."""
    return _encode(_odd(msgspec.json.decode(body), seed, words))


def _odd(value: object, seed: int, words: tuple[object, ...]) -> object:
    """Replace odd fields at any depth; a body that is no JSON stays as it is."""
    if isinstance(value, list):
        return [_odd(one, seed, (*words, nth)) for nth, one in enumerate(value)]
    if not isinstance(value, dict):
        return value
    made: dict[str, object] = {}
    for name, inner in value.items():
        made[name] = _odd(inner, seed, words)
        if name in _ODD:
            made[name] = _pick(_ODD[name], throws(seed, "nonsense", name, *words)[0])
    return made


def _pick(choices: tuple[Any, ...], chance: float) -> Any:
    return choices[int(chance * len(choices))]
