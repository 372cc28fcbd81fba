"""How a call ended, read from the SIP code first and from the provider's word only without one.

jambonz calls everything but 486, 603 and 487 "failed", which would make a person who was out of
coverage look like a broken trunk. The code says who is to blame, and so whether to call again.
"""

import enum
from dataclasses import dataclass
from typing import Final

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
# Told apart by whether it rang.
DECLINED: Final = "declined"
NO_CARRIER: Final = "no_carrier"
_DECLINED: Final = Ending(Outcome.BUSY, Blame.NUMBER, DECLINED)
_NO_CARRIER: Final = Ending(Outcome.FAILED, Blame.CARRIER, NO_CARRIER)

_BY_SIP_STATUS: Final = {
    486: Ending(Outcome.BUSY, Blame.PERSON, "busy"),
    600: Ending(Outcome.BUSY, Blame.PERSON, "busy"),
    487: Ending(Outcome.NO_ANSWER, Blame.PERSON, "rang_out"),
    480: Ending(Outcome.NO_ANSWER, Blame.PERSON, "unreachable"),
    408: Ending(Outcome.NO_ANSWER, Blame.PERSON, "unreachable"),
    404: Ending(Outcome.FAILED, Blame.NUMBER, "bad_number"),
    410: Ending(Outcome.FAILED, Blame.NUMBER, "bad_number"),
    484: Ending(Outcome.FAILED, Blame.NUMBER, "bad_number"),
    604: Ending(Outcome.FAILED, Blame.NUMBER, "bad_number"),
    607: Ending(Outcome.FAILED, Blame.NUMBER, "unwanted"),
    608: Ending(Outcome.FAILED, Blame.NUMBER, "unwanted"),
    402: Ending(Outcome.FAILED, Blame.CARRIER, "carrier_refused"),
    403: Ending(Outcome.FAILED, Blame.CARRIER, "carrier_refused"),
}
_BY_WORD: Final = {
    "completed": _ANSWERED,
    "busy": Ending(Outcome.BUSY, Blame.PERSON, "busy"),
    "no-answer": Ending(Outcome.NO_ANSWER, Blame.PERSON, "rang_out"),
}
_FAILED: Final = Ending(Outcome.FAILED, Blame.PERSON, "call_failed")
_CARRIER_FAILED: Final = Ending(Outcome.FAILED, Blame.CARRIER, "carrier_failed")
_ALL: Final = (_DECLINED, _NO_CARRIER, _CARRIER_FAILED, *_BY_SIP_STATUS.values())
# What a call came to after which nobody is called again, and what used up no try of the person.
NEVER_AGAIN: Final = frozenset(one.reason for one in _ALL if one.blame is Blame.NUMBER)
CARRIERS: Final = frozenset(one.reason for one in _ALL if one.blame is Blame.CARRIER)
# 603 without ringing for this many numbers in a row is "no carrier found", not three refusals.
DECLINES_MEAN_NO_CARRIER: Final = 3


def classify(
    *,
    call_status: str,
    sip_status: int | None,
    was_answered: bool,
    rang: bool,
    declines_before: int,
) -> Ending:
    """Say how a call ended.

    `declines_before` counts the numbers that ended 603 without ringing just before this one.
    """
    if was_answered or call_status == "completed":
        return _ANSWERED
    if sip_status == 603:  # noqa: PLR2004 - a SIP code is its own name
        no_carrier = not rang and declines_before + 1 >= DECLINES_MEAN_NO_CARRIER
        return _NO_CARRIER if no_carrier else _DECLINED
    if sip_status in _BY_SIP_STATUS:
        return _BY_SIP_STATUS[sip_status]
    if sip_status is not None and 500 <= sip_status <= 599:  # noqa: PLR2004 - the 5xx class
        return _CARRIER_FAILED
    return _BY_WORD.get(call_status, _FAILED)


def is_silent_decline(*, sip_status: int | None, rang: bool) -> bool:
    """Tell whether this ending adds to the row of declines that may mean "no carrier"."""
    return sip_status == 603 and not rang  # noqa: PLR2004 - a SIP code is its own name
