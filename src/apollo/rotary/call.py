"""One call as a feature server knows it, and the record of it that GET shows.

Only state and shape: what happens to a call is decided in exchange.py.
"""

import asyncio
from dataclasses import dataclass
from enum import Enum, auto
from math import inf

from apollo.rotary.checks import Order
from apollo.rotary.ledger import Entry
from apollo.rotary.people import Conduct
from apollo.rotary.records import FEATURE_SERVER, SERVICE_URL
from apollo.rotary.webhooks import Line

TRYING, RINGING, EARLY_MEDIA, OK, CANCELLED = 100, 180, 183, 200, 487
BYE_HEADERS = {"user_agent": "RotaryRouter", "reason": "Q.850;cause=16"}


class Hangup(Enum):
    """What came of a request to end a call."""

    DONE = auto()  # the call ends
    INCOMPATIBLE = auto()  # ringing calls are cancelled, answered ones completed
    GONE = auto()  # the session is over, or its feature server died


@dataclass(slots=True, eq=False)
class Call:
    """A call as the feature server knows it; `entry` is what really happened."""

    entry: Entry
    order: Order
    conduct: Conduct
    line: Line
    customer: dict[str, object] | None
    timer: asyncio.Handle | None = None
    sbc_callid: str | None = None
    sip_status: int = TRYING
    sip_reason: str = "Trying"
    call_status: str = "trying"
    terminated_by: str | None = None
    duration: int | None = None
    cancelling: bool = False
    expires_at: float = inf  # of the record, by the loop's clock
    indexed: bool = True  # in the list of calls
    recreated: bool = False  # the record came back after it was gone, without service_url

    def shown(self) -> dict[str, object]:
        """The fields jambonz shows of a call, in its order."""
        entry = self.entry
        fields: dict[str, object] = {
            "call_sid": entry.call_sid,
            "direction": "outbound",
            "from": entry.from_,
            "to": entry.to,
            "call_id": entry.call_id,
        }
        if self.sbc_callid is not None:
            fields["sbc_callid"] = self.sbc_callid
        fields["sip_status"] = self.sip_status
        fields["sip_reason"] = self.sip_reason
        fields["call_status"] = self.call_status
        fields["account_sid"] = entry.account_sid
        fields["trace_id"] = entry.trace_id
        if entry.application_sid is not None:
            fields["application_sid"] = entry.application_sid
        fields["fs_sip_address"] = FEATURE_SERVER
        if self.terminated_by is not None:
            fields["call_termination_by"] = self.terminated_by
        if self.duration is not None:
            fields["duration"] = self.duration
        return fields

    def record(self) -> dict[str, object]:
        """What GET /Calls/{sid} answers."""
        return self.shown() if self.recreated else {"service_url": SERVICE_URL, **self.shown()}

    def payload(self) -> dict[str, object]:
        """What a status webhook says, keys as jambonz writes them."""
        fields = self.shown()
        if self.customer is not None:
            fields["customerData"] = self.customer
        if self.terminated_by == "caller":
            fields["headers"] = BYE_HEADERS
        return fields

    def session_gone(self) -> bool:
        """Whether no feature server holds this call any more."""
        return self.line.silent or self.cancelling or self.entry.ended_at is not None

    def stop_timer(self) -> None:
        """Whatever was to happen next does not."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
