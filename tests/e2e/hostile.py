"""Clients that do their worst, and a victim that asks meanwhile: for test_hostile_clients."""

import asyncio
import contextlib
import gzip
import io
import json
import time
import zipfile
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from functools import partial

import aiohttp
from openpyxl import Workbook

# Between two attempts of one attacker, so that what is measured is not this process's own hunger.
PAUSE_S = 0.2
Ask = Callable[[], Awaitable[int]]
# What somebody waited, and what the answer was.
Waits = list[tuple[float, int]]
# Sent at once, or piece by piece without end.
Body = bytes | Callable[[], AsyncIterator[bytes]]

GET = b"GET /livez HTTP/1.1\r\nHost: a\r\n"
HOOK = b"POST /webhooks/call-result HTTP/1.1\r\nHost: a\r\n"
BATCHES, CAMPAIGNS = "/api/v1/batches", "/api/v1/campaigns"
UPLOAD = "/api/v1/batches/csv?campaign_id=cmp_x"


async def timed(waits: Waits, ask: Ask) -> None:
    """Ask ten times a second, and note how long each answer took."""
    while True:
        began = time.monotonic()
        status = await ask()
        waits.append((time.monotonic() - began, status))
        await asyncio.sleep(0.1)


class Attack:
    """The other clients."""

    def __init__(self, url: str, token: str, campaign_id: str) -> None:
        self._url = url
        self._port = int(url.rpartition(":")[2])
        self._token = token
        self._upload = f"/api/v1/batches/csv?campaign_id={campaign_id}"
        # By attack: how often each status came back; 0 where the connection just ended.
        self.answers: defaultdict[str, Counter[int]] = defaultdict(Counter)

    def all(self, many: int) -> list[Awaitable[None]]:
        """Return every attack, `many` connections wide where it is one of many connections."""
        head = json.dumps({"campaign_id": "cmp_x", "contacts": []}).encode()[:-2]
        return [
            *self._on_the_wire(many),
            self._post("an array of zeros", BATCHES, head + b"0," * 2_000_000 + b"0]}"),
            self._post("a hundred thousand errors", BATCHES, head + b'{"x":1},' * 100_000 + b"0]}"),
            self._post("objects in objects", BATCHES, b'{"a":' * 400_000),
            self._post("arrays in arrays", CAMPAIGNS, b"[" * 900_000),
            self._post("unknown keys of a batch", BATCHES, _keys(60_000)),
            self._post("unknown keys of a campaign", CAMPAIGNS, _keys(60_000)),
            self._post(
                "wrong numbers", CAMPAIGNS, b'{"phone_numbers":[' + b"1," * 450_000 + b"1]}"
            ),
            self._post(
                "a number of 900 kB", CAMPAIGNS, b'{"metadata":{"a":' + b"9" * 900_000 + b"}}"
            ),
            self._post("1e999999999", CAMPAIGNS, b'{"metadata":{"a":1e999999999}}'),
            self._post("a body in gzip", CAMPAIGNS, gzip.compress(b" " * 50_000_000)),
            self._post(
                "a file in gzip", self._upload, gzip.compress(b"phone_number\n" * 4_000_000)
            ),
            self._post(
                "a workbook of one large cell",
                self._upload,
                _bomb(b"<v>", b"7" * (1_500_000 * many)),
            ),
            self._post(
                "a workbook of empty rows", self._upload, _bomb(b"", b"<row/>" * (100_000 * many))
            ),
            self._post("a file of quotes", self._upload, b'phone_number\n"' + b'"",\n' * 2_000_000),
            *[self._post("files that drip", UPLOAD, _dripping_file) for _ in range(20)],
            *[self._post("bodies that drip", BATCHES, _dripping_body) for _ in range(20)],
            self._get(
                "filters that multiply",
                "metadata=" + "&metadata=".join(f"k{n}=5" for n in range(60)),
            ),
        ]

    def _on_the_wire(self, many: int) -> Iterator[Awaitable[None]]:
        chunks = HOOK + b"Transfer-Encoding: chunked\r\n\r\n"
        for name, sent in {
            "a header of 8 MB": GET + b"X: " + b"a" * 8_000_000,
            "a million headers": GET + b"A: b\r\n" * 1_000_000,
            "a path of 1 MB": b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1\r\n\r\n",
            "thousands of requests at once": (GET + b"\r\n") * 3_000,
            "chunks of any size": chunks + b"FFFFFFFFFFFFFFFFFFFF\r\n" + b"a" * 100_000,
            "chunks of less than nothing": chunks + b"-1\r\n\r\n",
            "tiny chunks": chunks + b"1\r\na\r\n" * 100_000,
            "two lengths": HOOK
            + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "TLS where there is none": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
        }.items():
            yield self._raw(name, sent)
        for name, sent in {
            "connections without a word": b"",
            "heads without an end": GET + b"X: a",
            "unsigned bodies without an end": HOOK
            + b"Content-Length: 900000\r\n\r\n"
            + b"a" * 60_000,
        }.items():
            yield from (self._raw(name, sent) for _ in range(many))
        yield from (self._raw("heads that drip", GET, b"A: b\r\n") for _ in range(many))

    async def _raw(self, name: str, sent: bytes, drip: bytes = b"") -> None:
        """Send this, and `drip` twice a second, until the server has enough of it."""
        while True:
            with contextlib.suppress(ConnectionError):
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
                dripping = asyncio.create_task(_drip(writer, drip))
                try:
                    writer.write(sent)
                    said = await reader.read()
                    self.answers[name][int(said[9:12]) if said.startswith(b"HTTP/1.1 ") else 0] += 1
                finally:
                    dripping.cancel()
                    writer.transport.abort()
            await asyncio.sleep(PAUSE_S)

    async def _post(self, name: str, path: str, body: Body) -> None:
        """Send this again and again, as an organisation of its own."""
        kind = "text/csv" if "csv" in path else "application/json"
        headers = {"Content-Type": kind}
        if name.endswith("gzip"):
            headers["Content-Encoding"] = "gzip"
        given = body if callable(body) else partial(_pieces, body)
        await self._ask(name, "POST", path, headers, given)

    async def _get(self, name: str, query: str) -> None:
        await self._ask(name, "GET", f"{BATCHES}?{query}", {}, None)

    async def _ask(
        self,
        name: str,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: Callable[[], AsyncIterator[bytes]] | None,
    ) -> None:
        timeout = aiohttp.ClientTimeout(total=None)
        headers = {"Authorization": f"Bearer {self._token}", **headers}
        async with aiohttp.ClientSession(timeout=timeout, headers=headers) as http:
            while True:
                given = None if body is None else body()
                with contextlib.suppress(aiohttp.ClientError):
                    url = f"{self._url}{path}"
                    async with http.request(method, url, data=given, compress=None) as answer:
                        text = await answer.read()
                        assert len(text) < 64_000, name
                        self.answers[name][answer.status] += 1
                await asyncio.sleep(PAUSE_S)


def _keys(count: int) -> bytes:
    return json.dumps({f"key{n}": 1 for n in range(count)}).encode()


def _bomb(cell: bytes, filling: bytes) -> bytes:
    """Make a workbook of a few hundred kB of which one sheet unpacks to a thousand times that."""
    book, whole, bomb = Workbook(), io.BytesIO(), io.BytesIO()
    book.save(whole)
    with zipfile.ZipFile(whole) as old, zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            if not name.endswith("sheet1.xml"):
                new.writestr(name, old.read(name))
        inner = b'<row r="1"><c r="A1">' + cell + filling + b"</v></c></row>" if cell else filling
        space = b"http://schemas.openxmlformats.org/spreadsheetml/2006/main"
        sheet = b'<worksheet xmlns="%s"><sheetData>%s</sheetData></worksheet>' % (space, inner)
        new.writestr("xl/worksheets/sheet1.xml", sheet)
    return bomb.getvalue()


async def _drip(writer: asyncio.StreamWriter, drop: bytes) -> None:
    with contextlib.suppress(ConnectionError):
        while drop and not writer.transport.is_closing():
            await asyncio.sleep(0.5)
            writer.write(drop)


async def _pieces(body: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(body), 65_536):
        yield body[at : at + 65_536]


async def _dripping_file() -> AsyncIterator[bytes]:
    yield b"phone_number\n"
    while True:
        await asyncio.sleep(0.5)
        yield b"+12025550143\n"


async def _dripping_body() -> AsyncIterator[bytes]:
    yield b'{"campaign_id":"'
    while True:
        await asyncio.sleep(0.5)
        yield b"x"


async def measure(
    asked: Mapping[str, Ask], beside: list[Awaitable[None]], for_s: float
) -> dict[str, Waits]:
    """Ask for some time, with this beside; gives the waits by name."""
    waits: dict[str, Waits] = {name: [] for name in asked}
    tasks = [asyncio.ensure_future(one) for one in beside]
    tasks += [asyncio.create_task(timed(waits[name], ask)) for name, ask in asked.items()]
    done, left = await asyncio.wait(tasks, timeout=for_s, return_when=asyncio.FIRST_EXCEPTION)
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
    for task in done:
        task.result()
    return waits
