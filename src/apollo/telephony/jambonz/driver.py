"""The wire to one jambonz account: one HTTP session, each request sent once.

It owns connections, timeouts and the tracking of the request budget. It never repeats a request
that places a call, follows no redirect, and puts neither numbers nor keys into errors.
"""

import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final, TypeVar
from urllib.parse import quote

import aiohttp
import msgspec
from yarl import URL

from apollo.core.signatures import is_signed
from apollo.errors import DriverError, Misconfigured, NotPlaced, OutcomeUnknown
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
from apollo.telephony.jambonz.answers import Answer

_T = TypeVar("_T")

# Shorter than the server's own 5 s, so that we are the side that closes an idle connection: a
# POST written to a connection the server is just closing would be a call of unknown fate.
_KEEP_ALIVE_S: Final = 2.0
# One connection for each request in flight; an answer takes tens of milliseconds, so this is
# thousands of calls a second, and more would only queue at the provider instead of here.
_CONNECTIONS_MAX: Final = 100
# A SYN that was lost is sent again after 1 s: room for one loss, and DNS and TLS besides.
_CONNECT_TIMEOUT_S: Final = 3.0
# The provider answers when the INVITE is out, in tens of milliseconds; well under the lease.
_TOTAL_TIMEOUT_S: Final = 15.0
# An answer to one call is under 1 KB; anything near this is not from jambonz.
_ANSWER_BYTES_MAX: Final = 64 * 1024
# The live list is not paged: about 600 bytes a call, so room for 50 000 calls.
_LIST_BYTES_MAX: Final = 32 * 1024 * 1024
# The most jambonz allows on a page of records.
_RECORDS_PER_PAGE: Final = 500
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
        self._api_key = api_key
        self._secret = webhook_secret.encode()
        self._status_hook_url = f"{public_url.rstrip('/')}/webhooks/call-status{_HOOK_RETRIES}"
        self._clock = clock
        self._connections_max = connections_max
        self._timeout = aiohttp.ClientTimeout(total=total_timeout_s, connect=connect_timeout_s)
        # With the monotonic instant at which it was said.
        self._rate_limit: tuple[RateLimit, float] | None = None
        # Requests allowed in so many seconds.
        self._rate_policy: tuple[int, float] | None = None
        self._dated: tuple[str | None, datetime] | None = None
        self._open_session: aiohttp.ClientSession | None = None

    @property
    def provider(self) -> str:
        """Name the connection: the account, which is one wherever its server moves."""
        return f"jambonz:{self._account_sid.lower()}"

    @property
    def rate_limit(self) -> RateLimit | None:
        """Tell what is left of what the last answer said; None when it said nothing.

        Once the window is over, the next one is taken to be as its policy says.
        """
        if self._rate_limit is None:
            return None
        said, at = self._rate_limit
        ago_s = self._clock.monotonic() - at
        if ago_s < said.reset_s:
            return replace(said, reset_s=said.reset_s - ago_s, said_s_ago=ago_s)
        if self._rate_policy is None:
            return None
        limit, window_s = self._rate_policy
        return RateLimit(limit, window_s, limit, ago_s)

    @property
    def rate_policy(self) -> tuple[int, float] | None:
        """Give the requests that are allowed in so many seconds; None when it did not say."""
        return self._rate_policy

    @property
    def clock_offset_s(self) -> float | None:
        """Give the provider's clock minus ours, from its last answer; None when it did not say."""
        if self._dated is None:
            return None
        said, read_at = self._dated
        return None if said is None else answers.clock_offset_s(said, read_at)

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
                raise self._refusal(answer)
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

    async def list_live(self, to: str | None = None) -> list[LiveCall]:
        """List live outbound calls, to one number or all. Raises DriverError."""
        params = {"direction": "outbound"} | ({} if to is None else {"to": to})
        answer = await self._ask(
            "GET", f"{self._account}/Calls", params=params, bytes_max=_LIST_BYTES_MAX
        )
        return self._read(answer, lambda body: calls.read_live_list(body, to))

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
                bytes_max=_LIST_BYTES_MAX,
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
            raise self._refusal(answer)

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
        if self._open_session is not None:
            await self._open_session.close()
            self._open_session = None

    def _call(self, provider_call_id: str) -> str:
        return f"{self._account}/Calls/{quote(provider_call_id, safe='')}"

    def _session(self) -> aiohttp.ClientSession:
        if self._open_session is None:
            self._open_session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=self._connections_max, keepalive_timeout=_KEEP_ALIVE_S
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={
                    "Authorization": f"Bearer {self._api_key}",
                    "Content-Type": "application/json",
                    "User-Agent": "apollo",
                },
                timeout=self._timeout,
            )
        return self._open_session

    async def _ask(
        self,
        method: str,
        url: str,
        *,
        body: bytes | None = None,
        params: Mapping[str, str] | None = None,
        bytes_max: int = _ANSWER_BYTES_MAX,
    ) -> Answer:
        """Send one request; raises NotPlaced only when no byte of it can have left.

        aiohttp repeats a GET or PUT that met a dead kept-alive connection, which is harmless, and
        never a POST. Its own errors are not chained: they show the URL, and so the number in it.
        """
        try:
            async with self._session().request(
                method, url, data=body, params=params, allow_redirects=False
            ) as response:
                said = answers.rate_limit_of(response.headers)
                self._rate_limit = (said, self._clock.monotonic()) if said else None
                self._rate_policy = answers.rate_policy_of(response.headers)
                # Parsed when somebody asks: an answer costs a thousandth of a worker's second.
                self._dated = (response.headers.get("Date"), self._clock.now())
                return await _read_answer(response, bytes_max)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as exc:
            raise NotPlaced(f"no connection: {_why(exc)}", cause="connect") from None
        except TimeoutError:
            raise OutcomeUnknown(
                f"no answer within {self._timeout.total:g} s", cause="timeout"
            ) from None
        except (aiohttp.ClientResponseError, aiohttp.ClientPayloadError) as exc:
            raise OutcomeUnknown(f"not HTTP: {_why(exc)}", cause="broken_body") from None
        except (aiohttp.ClientError, OSError) as exc:
            raise OutcomeUnknown(f"the connection broke: {_why(exc)}", cause="reset") from None

    def _refusal(self, answer: Answer) -> DriverError:
        return answers.refusal(answer, now=self._clock.now())

    def _read(self, answer: Answer, decode: Callable[[bytes], _T]) -> _T:
        """Decode a whole 2xx answer; anything else raises, for part of a list is no list."""
        if not (answer.is_success and answer.is_whole):
            raise self._refusal(answer)
        try:
            return decode(answer.body)
        except answers.UNREADABLE as exc:
            raise OutcomeUnknown(
                f"the provider's answer is not what was expected: {exc}",
                status=answer.status,
                cause="broken_body",
            ) from None


async def _read_answer(response: aiohttp.ClientResponse, bytes_max: int) -> Answer:
    """Read the body as far as it comes; the status alone already decides for a 201."""
    chunks: list[bytes] = []
    room = bytes_max
    try:
        async for chunk in response.content.iter_any():
            chunks.append(chunk[:room])
            room -= len(chunk)
            if room < 0:
                break
    except (aiohttp.ClientError, OSError):  # a timeout is an OSError too
        room = -1
    return Answer(response.status, response.headers, b"".join(chunks), is_whole=room >= 0)


def _why(exc: BaseException) -> str:
    """Name an error of aiohttp by its type and its cause: its own text shows the URL."""
    cause = str(exc.__cause__) if isinstance(exc.__cause__, OSError) else ""
    return f"{type(exc).__name__} ({cause})" if cause else type(exc).__name__


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
