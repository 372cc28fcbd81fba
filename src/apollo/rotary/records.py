"""What the router can be asked about calls that were.

Owns the shape of call-detail records and the words that go with SIP codes. Only shapes; the calls
themselves live elsewhere.
"""

from datetime import UTC, datetime, timedelta

from apollo.rotary.ledger import Entry
from apollo.rotary.schema import plain_number

FEATURE_SERVER = "10.0.0.5:5060"  # the addresses jambonz shows; nothing listens there
SERVICE_URL = "http://10.0.0.5:3000"
BORDER_CONTROLLER = "10.0.0.9"
GATEWAY = "198.51.100.7"
SERVICE_PROVIDER = "2708b1b3-2736-40ea-b502-c53d8396247f"
TRUNK = "rotary"
NEVER = "1970-01-01T00:00:00.000Z"  # answered_at of a call that was not

REASONS = {
    100: "Trying",
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    402: "Payment Required",
    403: "Forbidden",
    404: "Not Found",
    408: "Request Timeout",
    410: "Gone",
    480: "Temporarily Unavailable",
    482: "Loop Detected",
    484: "Address Incomplete",
    486: "Busy Here",
    487: "Request Terminated",
    488: "Not Acceptable Here",
    500: "Server Internal Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Server Time-out",
    600: "Busy Everywhere",
    603: "Decline",
    604: "Does Not Exist Anywhere",
    607: "Unwanted",
    608: "Rejected",
}
STATUS_OF = {486: "busy", 603: "busy", 487: "no-answer"}  # everything else is "failed"


def reason_of(sip_status: int) -> str:
    """The phrase that goes with a SIP code."""
    return REASONS.get(sip_status, "Unknown")


def detail_record(entry: Entry, offset_s: float) -> dict[str, object]:
    """One line of RecentCalls, written by a clock that is `offset_s` off."""
    answered = entry.answered_at is not None
    lasted = (
        int((entry.ended_at - entry.answered_at).total_seconds())
        if entry.ended_at is not None and entry.answered_at is not None
        else 0
    )
    return {
        "attempted_at": _shown(entry.placed_at, offset_s),
        "account_sid": entry.account_sid,
        "answered": answered,
        "answered_at": _shown(entry.answered_at, offset_s),
        "application_sid": entry.application_sid or "",
        "call_sid": entry.call_sid,
        "direction": "outbound",
        "duration": entry.duration if entry.duration is not None else lasted,
        "from": plain_number(entry.from_),
        "host": BORDER_CONTROLLER,
        "remote_host": GATEWAY,
        "service_provider_sid": SERVICE_PROVIDER,
        "sip_callid": entry.call_id,
        "sip_status": entry.sip_status,
        "terminated_at": _shown(entry.ended_at, offset_s),
        "termination_reason": _termination(entry),
        "to": entry.number,
        "trace_id": entry.trace_id,
        "trunk": entry.trunk or TRUNK,
    }


def _termination(entry: Entry) -> str:
    if entry.answered_at is not None:
        return "caller hungup" if entry.terminated_by == "jambonz" else "called party hungup"
    return "caller abandoned" if entry.sip_status == 487 else "failed"  # noqa: PLR2004 - SIP


def _shown(moment: datetime | None, offset_s: float) -> str:
    if moment is None:
        return NEVER
    shifted = (moment + timedelta(seconds=offset_s)).astimezone(UTC)
    return shifted.isoformat(timespec="milliseconds").replace("+00:00", "Z")
