"""What the account says about itself: carriers, gateways and alerts, in jambonz's shapes.

Only shows what the router has anyhow: one carrier, one gateway, the webhooks that failed.
"""

from collections.abc import Iterable
from datetime import UTC, datetime

from apollo.rotary.answers import Answer, message
from apollo.rotary.records import TRUNK

CARRIER_SID = "7d0c1b6e-52f1-4a94-9a55-5f3b1c2d9e01"
COUNT_MAX = 500  # alerts on a page
DELIVERED = frozenset({200, 202, 204})


def carriers(account_sid: str) -> list[dict[str, object]]:
    """The one carrier; MySQL writes booleans as 0 and 1."""
    return [
        {
            "voip_carrier_sid": CARRIER_SID,
            "name": TRUNK,
            "account_sid": account_sid,
            "is_active": 1,
        }
    ]


def gateways_of(query: dict[str, str]) -> list[dict[str, object]]:
    """The one gateway of the one carrier; none of any other."""
    if query.get("voip_carrier_sid", CARRIER_SID) != CARRIER_SID:
        return []
    return [
        {
            "sip_gateway_sid": "0d6a3c52-6f0e-4f0b-8a55-1c2d3e4f5a02",
            "voip_carrier_sid": CARRIER_SID,
            "ipv4": "192.0.2.10",
            "port": 5060,
            "inbound": 0,
            "outbound": 1,
            "is_active": 1,
        }
    ]


def alerts(
    deliveries: Iterable[dict[str, object]], account_sid: str, query: dict[str, str]
) -> Answer:
    """The webhooks that failed, the newest first: refused, or nobody was there."""
    page, count = query.get("page", ""), query.get("count", "")
    if not page.isdecimal() or int(page) < 1:
        return message(400, 'missing or invalid "page" query arg')
    if not count.isdecimal() or not 1 <= int(count) <= COUNT_MAX:
        return message(400, 'missing or invalid "count" query arg')
    failed = [one for one in deliveries if one["status"] not in DELIVERED]
    failed.reverse()
    first = (int(page) - 1) * int(count)
    rows = [_alert(one, account_sid) for one in failed[first : first + int(count)]]
    return Answer(200, {"total": len(failed), "page_size": count, "page": page, "data": rows})


def _alert(delivery: dict[str, object], account_sid: str) -> dict[str, object]:
    status, url, at = delivery["status"], delivery["url"], delivery["at"]
    answered = status is not None
    return {
        "time": at.astimezone(UTC).isoformat() if isinstance(at, datetime) else at,
        "account_sid": account_sid,
        "alert_type": "webhook-failure" if answered else "webhook-connection-failure",
        "message": f"{url} returned {status}" if answered else f"failed to connect to {url}",
    }
