"""How a call ended, read from the SIP code first and from the provider's word only without one.

jambonz calls everything but 486, 603 and 487 "failed", which would make a person who was out of
coverage look like a broken trunk. The code says who is to blame, and so whether to call again.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from apollo.core.events import Reached
from apollo.core.sip import Family
from apollo.core.states import Outcome


class Blame(enum.StrEnum):
    """Whose doing it was, which decides what may follow."""

    NOBODY = "nobody"  # it was answered
    PERSON = "person"  # not reached this time: a retry, out of the person's budget
    CARRIER = "carrier"  # provider or network: a retry that costs the person nothing
    NUMBER = "number"  # this number must not be called again


@dataclass(frozen=True, slots=True)
class Ending:
    """What a final SIP code means."""

    outcome: Outcome
    blame: Blame
    reason: str


_ANSWERED: Final = Ending(Outcome.COMPLETED, Blame.NOBODY, "answered")
BAD_NUMBER: Final = Ending(Outcome.FAILED, Blame.NUMBER, "bad_number")
_DECLINED: Final = Ending(Outcome.BUSY, Blame.NUMBER, "declined")
_REFUSED: Final = Ending(Outcome.FAILED, Blame.CARRIER, "carrier_refused")
WRONG_PERSON: Final = "wrong_person"
# What an answered call came to, by who picked up; None: nobody said.
ANSWERED_BY: Final[Mapping[Reached | None, Ending]] = {
    None: _ANSWERED,
    Reached.PERSON: _ANSWERED,
    Reached.MACHINE: Ending(Outcome.VOICEMAIL, Blame.PERSON, "voicemail"),
    Reached.WRONG_PERSON: Ending(Outcome.FAILED, Blame.NUMBER, WRONG_PERSON),
}

_BY_SIP_STATUS: Final = {
    486: Ending(Outcome.BUSY, Blame.PERSON, "busy"),
    600: Ending(Outcome.BUSY, Blame.PERSON, "busy"),
    487: Ending(Outcome.NO_ANSWER, Blame.PERSON, "rang_out"),
    480: Ending(Outcome.NO_ANSWER, Blame.PERSON, "unreachable"),
    408: Ending(Outcome.NO_ANSWER, Blame.PERSON, "unreachable"),
    603: _DECLINED,
    404: BAD_NUMBER,
    410: BAD_NUMBER,
    484: BAD_NUMBER,
    604: BAD_NUMBER,
    607: Ending(Outcome.FAILED, Blame.NUMBER, "unwanted"),
    608: Ending(Outcome.FAILED, Blame.NUMBER, "unwanted"),
    # Our account, login, caller id or its signature: no doing of whoever was called.
    401: _REFUSED,
    402: _REFUSED,
    403: _REFUSED,
    407: _REFUSED,
    428: _REFUSED,
    436: _REFUSED,
    437: _REFUSED,
    438: _REFUSED,
}
_BY_WORD: Final = {
    "completed": _ANSWERED,
    "busy": Ending(Outcome.BUSY, Blame.PERSON, "busy"),
    "no-answer": Ending(Outcome.NO_ANSWER, Blame.PERSON, "rang_out"),
}
_FAILED: Final = Ending(Outcome.FAILED, Blame.PERSON, "call_failed")
_CARRIER_FAILED: Final = Ending(Outcome.FAILED, Blame.CARRIER, "carrier_failed")
# What an ending means when one number after the other has it before it rings: the set-up's fault.
OF_SET_UP: Final[Mapping[Family, Ending]] = {
    Family.NUMBER: Ending(Outcome.FAILED, Blame.CARRIER, "no_route"),
    Family.CODEC: Ending(Outcome.FAILED, Blame.CARRIER, "no_codec"),
    Family.DECLINED: Ending(Outcome.FAILED, Blame.CARRIER, "no_carrier"),
}
SET_UP_REASONS: Final = frozenset(one.reason for one in OF_SET_UP.values())
_ALL: Final = (
    *ANSWERED_BY.values(),
    _CARRIER_FAILED,
    *OF_SET_UP.values(),
    *_BY_SIP_STATUS.values(),
)
# What a call came to after which nobody is called again, and what used up no try of the person.
NEVER_AGAIN: Final = frozenset(one.reason for one in _ALL if one.blame is Blame.NUMBER)
CARRIERS: Final = frozenset(one.reason for one in _ALL if one.blame is Blame.CARRIER)


def classify(*, call_status: str, sip_status: int | None, was_answered: bool) -> Ending:
    """Say how one call ended, taken by itself."""
    if was_answered or call_status == "completed":
        return _ANSWERED
    if sip_status in _BY_SIP_STATUS:
        return _BY_SIP_STATUS[sip_status]
    if sip_status is not None and 500 <= sip_status <= 599:  # noqa: PLR2004 - the 5xx class
        return _CARRIER_FAILED
    return _BY_WORD.get(call_status, _FAILED)
