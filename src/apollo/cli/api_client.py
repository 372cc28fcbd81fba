"""Talks to Apollo's HTTP API for the command line and the demo.

Owns how an answer that is not a success becomes a sentence. It never repeats a request that
changes something, and never shows the token.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from json import JSONDecodeError
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import aiohttp

from apollo.config import Settings
from apollo.errors import ApolloError, Misconfigured, Unavailable

# A busy API answers in milliseconds; after this it is away, not slow.
_CONNECT_TIMEOUT_S: Final = 5.0
_READ_TIMEOUT_S: Final = 30.0
# Ten million rows take minutes to check and store after the last byte was sent.
_UPLOAD_TIMEOUT_S: Final = 1800.0
# More lines would push the first of them off the screen.
_FAULTS_SHOWN: Final = 10

Query = Mapping[str, str | int | list[str] | None]
_SUCCESS: Final = range(200, 300)
_UNAUTHORISED: Final = 401
_SERVER_ERROR: Final = 500
# What the web framework itself says; our own texts name the object that was not found.
_NO_SUCH_ROUTE: Final = "Not Found"


class RefusedByApi(ApolloError):
    """The API answered that it will not do this; asking again will not help."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


class BrokenUpload(Unavailable):
    """The connection broke during an upload, so nobody here knows whether it was stored."""


class ApiClient:
    """One session with the API; use it as an async context manager."""

    def __init__(self, url: str, token: str) -> None:
        self.url = url
        self._token = token
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {self._token}"},
            timeout=aiohttp.ClientTimeout(total=_READ_TIMEOUT_S, sock_connect=_CONNECT_TIMEOUT_S),
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def read(self, path: str, query: Query | None = None) -> Any:
        """GET a path below the API's address; raises RefusedByApi or Unavailable."""
        return await self._ask("GET", path, query)

    async def send(
        self,
        path: str,
        body: Any = None,
        query: Query | None = None,
        *,
        idempotency_key: str | None = None,
    ) -> Any:
        """POST a JSON body, once; raises RefusedByApi or Unavailable."""
        headers = {} if idempotency_key is None else {"Idempotency-Key": idempotency_key}
        return await self._ask("POST", path, query, json=body, headers=headers)

    async def change(self, path: str, body: Any) -> Any:
        """PATCH with a JSON body; raises RefusedByApi or Unavailable."""
        return await self._ask("PATCH", path, json=body)

    async def download(self, path: str, query: Query, write: Callable[[bytes], Any]) -> None:
        """GET a file piece by piece; raises RefusedByApi or Unavailable."""

        async def write_all(response: aiohttp.ClientResponse) -> None:
            async for piece in response.content.iter_any():
                write(piece)

        await self._ask("GET", path, query, reads=write_all)

    async def download_to(self, file: Path, path: str, query: Query) -> None:
        """Write a GET's answer to a file, which is there only once it is whole."""
        part = file.with_name(f"{file.name}.part")
        try:
            with part.open("wb") as opened:
                await self.download(path, query, opened.write)
            part.replace(file)
        finally:
            part.unlink(missing_ok=True)

    async def upload_csv(
        self, path: str, chunks: AsyncIterator[bytes], query: Query, idempotency_key: str
    ) -> Any:
        """Stream a file to the API; raises BrokenUpload when its fate is unknown."""
        try:
            return await self._ask(
                "POST",
                path,
                query,
                data=chunks,
                headers={"Content-Type": "text/csv", "Idempotency-Key": idempotency_key},
                timeout=aiohttp.ClientTimeout(
                    total=_UPLOAD_TIMEOUT_S, sock_connect=_CONNECT_TIMEOUT_S
                ),
            )
        except _LostContact as fault:
            raise BrokenUpload(str(fault)) from fault

    async def _ask(
        self,
        method: str,
        path: str,
        query: Query | None = None,
        *,
        reads: Callable[[aiohttp.ClientResponse], Awaitable[Any]] | None = None,
        **parts: Any,
    ) -> Any:
        if self._session is None:
            raise RuntimeError("ApiClient is an async context manager")
        params = _params(query or {})
        try:
            async with self._session.request(
                method, f"{self.url}{path}", params=params, allow_redirects=False, **parts
            ) as response:
                is_good = response.status in _SUCCESS
                answer = await (reads if reads and is_good else _content)(response)
                if not is_good:
                    said = _sentence(self.url, path, response.status, answer)
                    if response.status >= _SERVER_ERROR:
                        raise Unavailable(said)
                    raise RefusedByApi(response.status, said)
                return answer
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as fault:
            raise nobody_answers(self.url) from fault
        except (aiohttp.ClientError, TimeoutError, OSError) as fault:
            why = "it took too long" if isinstance(fault, TimeoutError) else type(fault).__name__
            raise _LostContact(
                f"the connection to {self.url} broke before it had answered ({why})"
            ) from fault


def _params(query: Query) -> list[tuple[str, str]]:
    """Write a query; a list is repeated, and None left out."""
    return [
        (name, str(one))
        for name, value in query.items()
        for one in (value if isinstance(value, list) else [value])
        if one is not None
    ]


class _LostContact(Unavailable):
    """The request may have arrived; no answer did."""


def connect(settings: Settings) -> ApiClient:
    """Make a client from APOLLO_URL and APOLLO_TOKEN; raises Misconfigured without a token."""
    if settings.token is None:
        mend = "set it to a token that `apollo token create --org ORG` printed"
        raise Misconfigured([f"APOLLO_TOKEN: unset; {mend}"])
    return ApiClient(settings.url, settings.token.get_secret_value())


def nobody_answers(url: str) -> Unavailable:
    """The fault of an API that is not there."""
    return Unavailable(f"no Apollo answers at {url}: start it with `apollo up` or set APOLLO_URL")


async def _content(response: aiohttp.ClientResponse) -> Any:
    try:
        return await response.json(content_type=None)
    except (JSONDecodeError, UnicodeDecodeError):
        return None


def _sentence(url: str, path: str, status: int, answer: Any) -> str:
    """Word a refusal: FastAPI's `detail`, which is a text or a list of wrong fields."""
    detail = answer.get("detail") if isinstance(answer, dict) else None
    if status == _UNAUTHORISED:
        mend = "set APOLLO_TOKEN to one that `apollo token create --org ORG` printed"
        return f"Apollo at {url} does not take this token ({detail}): {mend}"
    if detail == _NO_SUCH_ROUTE:
        return f"Apollo at {url} does not know {path}; is it of another version than this program?"
    if isinstance(detail, list):
        lines = [_wrong_field(field) for field in detail]
        more = len(lines) - _FAULTS_SHOWN
        rest = [f"… and {more} more"] if more > 0 else []
        return "\n  ".join(["Apollo refuses the request:", *lines[:_FAULTS_SHOWN], *rest])
    if detail is None:
        return f"{url} answered {status} without a reason; is it Apollo? Check APOLLO_URL"
    return str(detail)


def _wrong_field(field: Any) -> str:
    if not isinstance(field, dict):
        return str(field)
    where = ".".join(str(step) for step in field.get("loc", ()) if step not in {"body", "query"})
    return f"{where}: {field.get('msg')}" if where else str(field.get("msg"))
