"""What a final SIP code means on a telephone line, and what to do about it: the one table.

Outcomes, the carrier's gates, the diagnosis and the command line read it. It knows no call, no
table and no clock.
"""

import enum
from collections.abc import Mapping
from typing import Final, NamedTuple


class Family(enum.StrEnum):
    """Endings without ringing that mean the same when one number after the other has them."""

    NUMBER = "number"  # "no such number": of all numbers, it is the route or the form
    CODEC = "codec"  # no common codec: of all numbers, it is the trunk's setting
    DECLINED = "declined"  # 603 before it rang: of all numbers, no carrier takes the calls


class SipCode(NamedTuple):
    """One code: its name, what it means for one call, what to do when it is the end of many."""

    name: str
    meaning: str
    remedy: str
    family: Family | None = None


_ASK: Final = "Ask the carrier what this code means there, and look into the provider's log."
_TRUNK_LOGIN: Final = "Correct user name and password of the trunk at the provider."
_IDENTITY: Final = (
    "Ask the carrier which caller ids the account may show and how they must be signed"
    " (STIR/SHAKEN)."
)
_CODECS: Final = "Compare the codecs of the trunk with those that the carrier accepts."
_FORM: Final = (
    "Check at the carrier that the trunk is active, paid and has a route for these numbers; then"
    " compare the form it wants (with or without the plus, a prefix) with what the provider sends."
)
_LIMIT: Final = (
    "Raise the limit of calls at once or per second at the carrier, or lower the concurrency limit."
)
_OUTAGE: Final = "Look at the carrier's status page; if it shows nothing, ask its support."

SIP: Final[Mapping[int, SipCode]] = {
    400: SipCode("Bad Request", "the carrier could not read the request", _ASK),
    401: SipCode("Unauthorized", "the carrier does not know the trunk's login", _TRUNK_LOGIN),
    402: SipCode(
        "Payment Required", "the carrier wants to be paid", "Top up the account at the carrier."
    ),
    403: SipCode(
        "Forbidden",
        "the carrier does not allow this call",
        "Ask the carrier whether the caller id is on the trunk and the destination is allowed.",
    ),
    404: SipCode("Not Found", "the carrier knows no such number", _FORM, Family.NUMBER),
    405: SipCode("Method Not Allowed", "the carrier takes no calls at this address", _ASK),
    407: SipCode(
        "Proxy Authentication Required",
        "the carrier does not accept the trunk's login",
        _TRUNK_LOGIN,
    ),
    408: SipCode("Request Timeout", "the phone or its network did not answer in time", _OUTAGE),
    410: SipCode("Gone", "the number is no longer in use", _FORM, Family.NUMBER),
    415: SipCode(
        "Unsupported Media Type", "the other side has no such codec", _CODECS, Family.CODEC
    ),
    428: SipCode("Use Identity Header", "the caller id is not signed", _IDENTITY),
    433: SipCode(
        "Anonymity Disallowed",
        "the person takes no calls from hidden numbers",
        "Let the trunk show the caller id.",
    ),
    436: SipCode("Bad Identity Info", "the caller id's signature could not be checked", _IDENTITY),
    437: SipCode("Unsupported Credential", "the caller id's signature is not trusted", _IDENTITY),
    438: SipCode("Invalid Identity Header", "the caller id's signature is wrong", _IDENTITY),
    480: SipCode(
        "Temporarily Unavailable",
        "the phone is switched off, out of reach or was not picked up",
        "Nothing: Apollo calls again. If nearly every call ends so, ask the carrier for the route.",
    ),
    484: SipCode("Address Incomplete", "digits of the number are missing", _FORM, Family.NUMBER),
    486: SipCode("Busy Here", "the line was busy", "Nothing: Apollo calls again."),
    487: SipCode("Request Terminated", "it rang out", "Nothing: Apollo calls again."),
    488: SipCode("Not Acceptable Here", "no common codec", _CODECS, Family.CODEC),
    500: SipCode("Server Internal Error", "the carrier had an error of its own", _OUTAGE),
    501: SipCode("Not Implemented", "the carrier does not offer this kind of call", _ASK),
    502: SipCode("Bad Gateway", "the carrier could not reach the next network", _OUTAGE),
    503: SipCode("Service Unavailable", "the carrier is overloaded or at a limit", _LIMIT),
    504: SipCode("Server Time-out", "the next network did not answer the carrier", _OUTAGE),
    600: SipCode(
        "Busy Everywhere", "every line of the person was busy", "Nothing: Apollo calls again."
    ),
    603: SipCode(
        "Decline",
        "the person declined, or, without ringing, no carrier took the call",
        "If no phone rang: check at the provider that a carrier is set for outbound calls, and at"
        " the carrier that the trunk is active.",
        Family.DECLINED,
    ),
    604: SipCode("Does Not Exist Anywhere", "there is no such number", _FORM, Family.NUMBER),
    606: SipCode("Not Acceptable", "no common codec", _CODECS, Family.CODEC),
    607: SipCode(
        "Unwanted",
        "the person has marked the caller id as unwanted",
        "Use another caller id, and call less often from it.",
    ),
    608: SipCode(
        "Rejected",
        "a spam filter in the network rejected the caller id",
        "Use another caller id, and register it with the analytics services of the carriers.",
    ),
}
_OTHER: Final = SipCode("", "a code that is not in the table", _ASK)


def read(code: int | None) -> SipCode:
    """Give what is known of a code; for an unknown one, whom to ask."""
    return SIP.get(code or 0, _OTHER)


def spoken(code: int | None, said: str | None = None) -> str:
    """Give a code as it is shown: `404 Not Found`, with the carrier's own words if it had any."""
    if code is None:
        return "no SIP code"
    name = said or read(code).name
    return f"{code} {name}" if name else str(code)
