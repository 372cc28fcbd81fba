"""What can be asked of one jambonz account, and what its answers mean for us.

It owns which request serves which purpose. It never sends a request that places a call twice, and
puts neither numbers nor keys into errors.
"""

import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Final, TypeVar
from urllib.parse import quote

import msgspec
from yarl import URL

from apollo.core.signatures import is_signed
from apollo.errors import Misconfigured, OutcomeUnknown
from apollo.ports import (
    Clock,
    DialRequest,
    HangUpAnswer,
    LiveCall,
    Placed,
    RateLimit,
    StatusEvent,
)
from apollo.telephony.jambonz import answers, calls, webhooks
from apollo.telephony.jambonz.account import Account
from apollo.telephony.jambonz.answers import Answer
from apollo.telephony.jambonz.wire import Wire, unreadable

_T = TypeVar("_T")

# One connection for each request in flight; an answer takes tens of milliseconds, so this is
# thousands of calls a second, and more would only queue at the provider instead of here.
_CONNECTIONS_MAX: Final = 100
# A SYN that was lost is sent again after 1 s: room for one loss, and DNS and TLS besides.
_CONNECT_TIMEOUT_S: Final = 3.0
# The provider answers when the INVITE is out, in tens of milliseconds; well under the lease.
_TOTAL_TIMEOUT_S: Final = 15.0
# The most jambonz allows on a page of records.
_RECORDS_PER_PAGE: Final = 500
# They are under 1 KB each; a page far above that is not from jambonz.
_PAGE_BYTES_MAX: Final = 4 * 1024 * 1024
# 10 000 records; whoever asks for more should ask for a shorter time or for one number.
_RECORD_PAGES_MAX: Final = 20
# Status webhooks are sent once unless the fragment of the hook says otherwise: 5 more times (the
# most it takes), after any failure. `ct`, its default, would not retry a 500.
_HOOK_RETRIES: Final = "#rc=5&rp=all"


class JambonzDriver:
    """A `ports.TelephonyDriver` for jambonz, and for RotaryRouter, which speaks the same."""

    def __init__(
        self,
        *,
        base_url: str,
        account_sid: str,
        api_key: str,
        webhook_secret: str,
        public_url: str,
        clock: Clock,
        connections_max: int = _CONNECTIONS_MAX,
        connect_timeout_s: float = _CONNECT_TIMEOUT_S,
        total_timeout_s: float = _TOTAL_TIMEOUT_S,
    ) -> None:
        """Take the connection's settings; raises Misconfigured, and opens nothing yet."""
        _check(base_url, account_sid, api_key, webhook_secret, public_url)
        self._base_url = base_url.rstrip("/")
        self._account = f"{self._base_url}/Accounts/{account_sid}"
        self._account_sid = account_sid
        self._secret = webhook_secret.encode()
        self._status_hook_url = f"{public_url.rstrip('/')}/webhooks/call-status{_HOOK_RETRIES}"
        self._clock = clock
        self._wire = Wire(
            api_key=api_key,
            clock=clock,
            connections_max=connections_max,
            connect_timeout_s=connect_timeout_s,
            total_timeout_s=total_timeout_s,
        )
        self._ask = self._wire.ask
        # What `apollo doctor` and the diagnosis read of the account itself.
        self.account = Account(self._wire, self._base_url, self._account)

    @property
    def provider(self) -> str:
        """Name the connection: the account, which is one wherever its server moves."""
        return f"jambonz:{self._account_sid.lower()}"

    @property
    def rate_limit(self) -> RateLimit | None:
        """Tell what the last answer said about the request budget; None when it said nothing."""
        return self._wire.rate_limit

    @property
    def rate_policy(self) -> tuple[int, float] | None:
        """Give the requests that are allowed in so many seconds; None when it did not say."""
        return self._wire.rate_policy

    @property
    def clock_offset_s(self) -> float | None:
        """Give the provider's clock minus ours, from its last answer; None when it did not say."""
        return self._wire.clock_offset_s

    @property
    def status_hook_url(self) -> str:
        """Name the URL for status webhooks, with the retries jambonz reads from its fragment."""
        return self._status_hook_url

    async def place(self, request: DialRequest) -> Placed:
        """Send the request once; raises NotPlaced, WillNeverWork or OutcomeUnknown."""
        body = calls.call_body(request, self._status_hook_url)
        answer = await self._ask("POST", f"{self._account}/Calls", body=body)
        if answer.status == answers.CREATED:
            return answers.placed(answer)
        raise answers.refusal(answer, now=self._clock.now(), request=request)

    async def hang_up(self, provider_call_id: str, *, was_answered: bool) -> HangUpAnswer:
        """End a call; returns what the provider said to that. Raises DriverError.

        jambonz wants another word for a ringing call than for an answered one, and the call may
        have been answered meanwhile: the other word is tried once. DELETE would only make the
        provider forget a call that goes on.
        """
        words = ("completed", "no-answer") if was_answered else ("no-answer", "completed")
        for word in words:
            body = msgspec.json.encode({"call_status": word})
            answer = await self._ask("PUT", self._call(provider_call_id), body=body)
            if answer.is_success:
                return HangUpAnswer.ENDED
            if answer.status == answers.NOT_FOUND:
                return HangUpAnswer.NOT_KNOWN
            said = answer.text if answer.status == answers.UNPROCESSABLE else ""
            if "is gone" in said:
                return HangUpAnswer.GONE
            if "incompatible" not in said:
                raise self._wire.refusal(answer)
        raise OutcomeUnknown(
            "the provider would hang the call up neither as ringing nor as answered",
            status=answers.UNPROCESSABLE,
            cause="server_error",
        )

    async def read_call(self, provider_call_id: str) -> LiveCall | None:
        """Look one call up; None when the provider does not know it. Raises DriverError."""
        answer = await self._ask("GET", self._call(provider_call_id))
        if answer.status == answers.NOT_FOUND:
            return None
        return self._read(answer, calls.read_live)

    async def list_live(
        self, to: str | None = None, *, keep: Callable[[LiveCall], bool] | None = None
    ) -> list[LiveCall]:
        """List live outbound calls, to one number or all. Raises DriverError.

        The provider filters too, but ignores a filter it does not know: a call to somebody else
        must never be taken for the one that was looked for.
        """
        params = {"direction": "outbound"} | ({} if to is None else {"to": to})
        kept = []
        async with aclosing(self._wire.rows(f"{self._account}/Calls", params=params)) as rows:
            async for row in rows:
                try:
                    call = calls.read_row(row)
                except answers.UNREADABLE as exc:
                    raise unreadable(answers.OK, exc) from None
                if call is None or (to is not None and call.to.lstrip("+") != to.lstrip("+")):
                    continue
                if keep is None or keep(call):
                    kept.append(call)
        return kept

    async def list_records(self, since: datetime, *, matching: str | None) -> list[LiveCall]:
        """List call-detail records, newest first, of one number or call id, or all.

        Raises DriverError, also when there are more than 10 000: a list cut short would look as
        if a call had never been. New records may push old ones to the next page while we read,
        so a call may be seen twice, and is listed once.
        """
        params = {"count": str(_RECORDS_PER_PAGE), "direction": "outbound"}
        params["start"] = since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        if matching is not None:
            params["filter"] = matching.lstrip("+")
        found: dict[str, LiveCall] = {}
        for page in range(1, _RECORD_PAGES_MAX + 1):
            answer = await self._ask(
                "GET",
                f"{self._account}/RecentCalls",
                params={"page": str(page), **params},
                bytes_max=_PAGE_BYTES_MAX,
            )
            rows, records = self._read(answer, calls.read_record_page)
            for record in records:
                found.setdefault(record.provider_call_id, record)
            if rows < _RECORDS_PER_PAGE:
                return sorted(found.values(), key=_attempted_at, reverse=True)
        raise OutcomeUnknown(
            f"more than {_RECORD_PAGES_MAX * _RECORDS_PER_PAGE} call-detail records since {since}: "
            "ask for a shorter time or for one number",
            cause="too_many",
        )

    async def probe(self) -> None:
        """Look up a call that cannot exist: a 404 proves address, key and account. Raises."""
        answer = await self._ask("GET", self._call(str(uuid.uuid4())))
        if not (answer.is_success or answer.status == answers.NOT_FOUND):
            raise self._wire.refusal(answer)

    async def application_hook(self, application_sid: str) -> tuple[str, str] | None:
        """Read where an application reports to, as (url, method); None when it does not.

        Calls placed by application report there and nowhere else. Raises DriverError, which is
        WillNeverWork when the provider does not know the application.
        """
        sid = quote(application_sid, safe="")
        answer = await self._ask("GET", f"{self._base_url}/Applications/{sid}")
        return self._read(answer, calls.read_status_hook)

    def verify_status(self, body: bytes, headers: Mapping[str, str]) -> bool:
        """Check a webhook's signature over its raw bytes, of whatever age."""
        return is_signed(body, headers, self._secret)

    def read_status(self, body: bytes, received_at: datetime) -> StatusEvent:
        """Read a verified webhook; raises ValueError that names the field."""
        return webhooks.read_status(body, received_at)

    async def close(self) -> None:
        """Let go of connections; a later request opens new ones."""
        await self._wire.close()

    def _call(self, provider_call_id: str) -> str:
        return f"{self._account}/Calls/{quote(provider_call_id, safe='')}"

    def _read(self, answer: Answer, decode: Callable[[bytes], _T]) -> _T:
        """Decode a whole 2xx answer; anything else raises, for part of a list is no list."""
        if not (answer.is_success and answer.is_whole):
            raise self._wire.refusal(answer)
        try:
            return decode(answer.body)
        except answers.UNREADABLE as exc:
            raise unreadable(answer.status, exc) from None


def _attempted_at(record: LiveCall) -> datetime:
    return record.attempted_at or datetime.min.replace(tzinfo=UTC)


def _check(
    base_url: str, account_sid: str, api_key: str, webhook_secret: str, public_url: str
) -> None:
    faults: Sequence[str | None] = (
        None
        if _is_http(base_url) and base_url.rstrip("/").endswith("/v1")
        else "base_url: should be http(s), end in /v1 and hold no user or password, "
        "for example https://jambonz.example.com/v1",
        None
        if _is_uuid(account_sid)
        else f"account_sid: {account_sid!r} should be a UUID, as the provider's portal shows it",
        None
        if re.fullmatch(r"[!-~]+", api_key)
        else "api_key: should be the provider's key, printable and without spaces",
        None
        if webhook_secret
        else "webhook_secret: is empty, so anybody could sign; take the account's wh_secret_…",
        None
        if _is_http(public_url)
        else f"public_url: {public_url!r} should be the http(s) address the provider reaches us at",
    )
    if any(faults):
        raise Misconfigured([fault for fault in faults if fault])


def _is_http(text: str) -> bool:
    """Ask the parser that will send it; a user in it would clash with our own header."""
    try:
        url = URL(text)
    except ValueError:
        return False
    return url.scheme in {"http", "https"} and bool(url.host) and url.user is None


def _is_uuid(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text.lower()
    except ValueError:
        return False
