"""What a jambonz account says about itself: its secret, carriers, alerts and record store.

It reads only, for `apollo doctor` and the diagnosis. An account key may read all of it. Releases
differ in what they show beside these fields, so everything but the shape of a list may be missing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import urlencode

import msgspec

from apollo.core import bounds
from apollo.telephony.jambonz import answers
from apollo.telephony.jambonz.wire import Wire, unreadable

_T = TypeVar("_T")

# Carriers, gateways and alerts are under 2 KB each, and an account has tens of them.
_BYTES_MAX = 1024 * 1024
# The newest are what explains something now.
_ALERTS_MAX = 25
_ALERT_CHARS_MAX = 300


@dataclass(frozen=True, slots=True)
class Carrier:
    """A carrier of the account; `gateways`: active outbound ones, None when not to be seen."""

    name: str
    gateways: int | None


@dataclass(frozen=True, slots=True)
class Alert:
    """Something that went wrong at the provider, in its own words."""

    at: datetime | None
    kind: str
    text: str


class _Secret(msgspec.Struct):
    webhook_secret: str | None = None


class _Carrier(msgspec.Struct):
    voip_carrier_sid: str = ""
    name: str = ""
    # MySQL's booleans are 0 and 1.
    is_active: Any = True


class _Gateway(msgspec.Struct):
    outbound: Any = True
    is_active: Any = True


class _Alert(msgspec.Struct):
    time: Any = None
    alert_type: Any = ""
    message: Any = ""
    url: Any = None
    detail: Any = None


class _Alerts(msgspec.Struct):
    data: list[_Alert] = []


class Account:
    """One account, read over a wire."""

    def __init__(self, wire: Wire, base_url: str, account_url: str) -> None:
        self._wire = wire
        self._base_url = base_url
        self._account_url = account_url

    async def webhook_secret(self) -> str:
        """Read the secret that webhooks are signed with. Raises DriverError."""
        found = await self._get(f"{self._account_url}/WebhookSecret", _decoded(_Secret))
        return found.webhook_secret or ""

    async def check_records(self) -> None:
        """Read one call-detail record, if there is any. Raises DriverError."""
        await self._get(f"{self._account_url}/RecentCalls?page=1&count=1", lambda _: None)

    async def carriers(self) -> list[Carrier]:
        """Read the active carriers, with their gateways as far as those can be seen."""
        rows = await self._get(f"{self._account_url}/VoipCarriers", _decoded(list[_Carrier]))
        return [
            Carrier(bounds.text(row.name) or "?", await self._gateways(row.voip_carrier_sid))
            for row in rows
            if row.is_active
        ]

    async def alerts(self) -> list[Alert]:
        """Read the newest alerts of the last day. Raises DriverError."""
        query = urlencode({"page": 1, "count": _ALERTS_MAX, "days": 1})
        found = await self._get(f"{self._account_url}/Alerts?{query}", _decoded(_Alerts))
        return [_alert(row) for row in found.data]

    async def _gateways(self, carrier_sid: str) -> int | None:
        query = urlencode({"voip_carrier_sid": carrier_sid})
        answer = await self._wire.ask(
            "GET", f"{self._base_url}/SipGateways?{query}", bytes_max=_BYTES_MAX
        )
        if not (answer.is_success and answer.is_whole):
            return None  # an account key may not see those of the service provider
        rows = _read(answer.status, answer.body, _decoded(list[_Gateway]))
        return sum(bool(row.outbound and row.is_active) for row in rows)

    async def _get(self, url: str, decode: Callable[[bytes], _T]) -> _T:
        answer = await self._wire.ask("GET", url, bytes_max=_BYTES_MAX)
        if not (answer.is_success and answer.is_whole):
            raise self._wire.refusal(answer)
        return _read(answer.status, answer.body, decode)


def _decoded(kind: type[_T]) -> Callable[[bytes], _T]:
    return msgspec.json.Decoder(kind).decode


def _read(status: int, body: bytes, decode: Callable[[bytes], _T]) -> _T:
    try:
        return decode(body)
    except answers.UNREADABLE as exc:
        raise unreadable(status, exc) from None


def _alert(row: _Alert) -> Alert:
    parts = [bounds.text(one) for one in (row.message, row.url, row.detail)]
    words = dict.fromkeys(answers.without_numbers(part) for part in parts if part)
    text = "; ".join(words)[:_ALERT_CHARS_MAX]
    return Alert(_time(row.time), bounds.text(row.alert_type) or "alert", text)


def _time(value: object) -> datetime | None:
    try:
        at = msgspec.convert(value, datetime)
        return None if at.tzinfo is None else bounds.instant(at)
    except (ValueError, OverflowError):
        return None
