"""The wire to one jambonz account: one HTTP session, each request sent once.

It owns connections, timeouts and what the headers of answers tell. It never repeats a request that
places a call, follows no redirect, and puts neither numbers nor keys into errors.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from typing import Final

import aiohttp

from apollo.errors import DriverError, NotPlaced, OutcomeUnknown
from apollo.ports import Clock, RateLimit
from apollo.telephony.jambonz import answers
from apollo.telephony.jambonz.answers import Answer
from apollo.telephony.jambonz.rows import ListReader
from apollo.telephony.trouble import said_of

# Shorter than the server's own 5 s, so that we are the side that closes an idle connection: a
# POST written to a connection the server is just closing would be a call of unknown fate.
_KEEP_ALIVE_S: Final = 2.0
# An answer to one call is under 1 KB; anything near this is not from jambonz.
_ANSWER_BYTES_MAX: Final = 64 * 1024
# A list of a hundred thousand calls is 50 MB, for which the provider reads its whole store first:
# it may be silent for twice as long as before another answer, and be eight times as long in all.
_LIST_SILENCE, _LIST_TOTAL = 2.0, 8.0


class Wire:
    """Sends requests, and keeps what the last answer told about budget and clock."""

    def __init__(
        self,
        *,
        api_key: str,
        clock: Clock,
        connections_max: int,
        connect_timeout_s: float,
        total_timeout_s: float,
    ) -> None:
        self._api_key = api_key
        self._clock = clock
        self._connections_max = connections_max
        self._timeout = aiohttp.ClientTimeout(total=total_timeout_s, connect=connect_timeout_s)
        self._list_timeout = aiohttp.ClientTimeout(
            total=total_timeout_s * _LIST_TOTAL,
            connect=connect_timeout_s,
            sock_read=total_timeout_s * _LIST_SILENCE,
        )
        # With the monotonic instant at which it was said.
        self._rate_limit: tuple[RateLimit, float] | None = None
        self._dated: tuple[str | None, datetime] | None = None
        self._open_session: aiohttp.ClientSession | None = None
        # Requests allowed in so many seconds, as the last answer said; None: it did not.
        self.rate_policy: tuple[int, float] | None = None

    @property
    def rate_limit(self) -> RateLimit | None:
        """Return what is left of what the last answer said; None when it said nothing.

        Once the window is over, the next one is taken to be as its policy says.
        """
        if self._rate_limit is None:
            return None
        said, at = self._rate_limit
        ago_s = self._clock.monotonic() - at
        if ago_s < said.reset_s:
            return replace(said, reset_s=said.reset_s - ago_s, said_s_ago=ago_s)
        if self.rate_policy is None:
            return None
        limit, window_s = self.rate_policy
        return RateLimit(limit, window_s, limit, ago_s)

    @property
    def clock_offset_s(self) -> float | None:
        """Return the provider's clock minus ours, from its last answer; None if it did not say."""
        if self._dated is None:
            return None
        said, read_at = self._dated
        return None if said is None else answers.clock_offset_s(said, read_at)

    async def ask(
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
        never a POST.
        """
        async with self._answer(method, url, self._timeout, body=body, params=params) as response:
            return await _read_answer(response, bytes_max)

    async def rows(self, url: str, *, params: Mapping[str, str]) -> AsyncGenerator[bytes, None]:
        """Yield the objects of a list as they arrive. Raises DriverError, also midway."""
        async with self._answer("GET", url, self._list_timeout, params=params) as response:
            if not 200 <= response.status <= 299:  # noqa: PLR2004 - the 2xx class
                answer = await _read_answer(response, _ANSWER_BYTES_MAX)
                raise self.refusal(answer)
            reader = ListReader()
            try:
                async for piece in response.content.iter_any():
                    for row in reader.feed(piece):
                        yield row
                reader.close()
            except answers.UNREADABLE as exc:
                raise unreadable(response.status, exc) from None

    def refusal(self, answer: Answer) -> DriverError:
        """Sort an answer to a question that is not the one hoped for."""
        return answers.refusal(answer, now=self._clock.now())

    async def close(self) -> None:
        """Let go of connections; a later request opens new ones."""
        if self._open_session is not None:
            await self._open_session.close()
            self._open_session = None

    @asynccontextmanager
    async def _answer(
        self,
        method: str,
        url: str,
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - aiohttp's own, for each of its steps
        *,
        body: bytes | None = None,
        params: Mapping[str, str] | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send a request and give its answer, with every error of aiohttp turned into ours.

        Its own errors are not chained: they show the URL, and so the number in it.
        """
        try:
            async with self._session().request(
                method, url, data=body, params=params, allow_redirects=False, timeout=timeout
            ) as response:
                said = answers.rate_limit_of(response.headers)
                self._rate_limit = (said, self._clock.monotonic()) if said else None
                self.rate_policy = answers.rate_policy_of(response.headers)
                # Parsed when somebody asks: an answer costs a thousandth of a worker's second.
                self._dated = (response.headers.get("Date"), self._clock.now())
                yield response
        except aiohttp.ConnectionTimeoutError:
            raise NotPlaced(f"no answer within {timeout.connect:g} s", cause="connect") from None
        except aiohttp.ClientConnectorError as exc:
            raise NotPlaced(said_of(exc, _place(exc)), cause="connect") from None
        except TimeoutError:
            raise OutcomeUnknown(f"no answer within {timeout.total:g} s", cause="timeout") from None
        except aiohttp.ClientResponseError:
            raise OutcomeUnknown("the answer is not HTTP", cause="broken_body") from None
        except aiohttp.ClientPayloadError:
            raise OutcomeUnknown("the answer broke off", cause="broken_body") from None
        except (aiohttp.ClientError, OSError) as exc:
            raise OutcomeUnknown(said_of(exc, _place(exc)), cause="reset") from None

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
            )
        return self._open_session


def unreadable(status: int, exc: BaseException) -> OutcomeUnknown:
    """Return the error for a good answer whose body is not what jambonz sends."""
    return OutcomeUnknown(
        f"the provider's answer is not what was expected: {exc}",
        status=status,
        cause="broken_body",
    )


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


def _place(exc: BaseException) -> str:
    return f"{exc.host}:{exc.port}" if isinstance(exc, aiohttp.ClientConnectorError) else ""
