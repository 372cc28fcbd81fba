"""The witness: one entry per call with everything that really happened to it.

Owns the truth about calls, the file it is kept in over restarts, and the counts drawn from it. Must
never be told what the router's clients believe.
"""

import os
import tempfile
from asyncio import AbstractEventLoop, TimerHandle
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import msgspec

from apollo.errors import Misconfigured
from apollo.rotary.schema import plain_number

FLUSH_S = 0.05  # what a kill can lose of a call that is up; many changes share a write
JOURNAL_BYTES = 8 << 20  # then the journal of open calls is written anew: some 10 000 lines
CHUNK_LINES = 256  # read and sent in one piece: short enough not to hold up the calls
CUT_OFF = 487  # the phone of somebody who had not answered yet rings no more
REMEMBERED_CALLS = 100_000  # call-detail records after a restart; about 1 kB each in memory


class Attempt(msgspec.Struct):
    """One request to a webhook and what came of it."""

    at: datetime
    took_ms: float
    status: int | None = None
    error: str | None = None


class Webhook(msgspec.Struct):
    """One status event. `fate`: pending, delivered, failed, or why it was never sent."""

    event: str
    sip_status: int
    at: datetime
    fate: str = "pending"
    attempts: list[Attempt] = []


class Entry(msgspec.Struct, kw_only=True):
    """One request for a call. A stage it never reached has no time: without placed_at, no call."""

    call_sid: str
    call_id: str
    trace_id: str
    account_sid: str
    application_sid: str | None = None
    tag: dict[str, object] | None = None
    to: str
    from_: str = msgspec.field(name="from")
    trunk: str | None = None
    nth_request: int  # how many requests for this number there were, this one included
    nth_call: int = 0  # the same for calls that were placed; 0: this one was not
    does: str = ""  # what the person was going to do
    faults: list[str] = []
    requested_at: datetime
    reply: str | None = None  # what the client was answered: 201, 500 or dropped
    placed_at: datetime | None = None
    rang_at: datetime | None = None
    answered_at: datetime | None = None
    ended_at: datetime | None = None
    reached_carrier: bool = False  # false: refused before it left, so without call-detail record
    sip_status: int | None = None
    call_status: str | None = None
    terminated_by: str | None = None  # caller: the person hung up; jambonz: our side did
    duration: int | None = None  # whole simulated seconds since the answer
    cut_short: bool = False  # the router itself stopped or died while the call was up
    webhook_url: str | None = None
    webhooks: list[Webhook] = []
    live_at_placing: int = 0  # calls up at once just after this one was placed, itself included
    live_for_number: int = 0  # the same, to this number alone

    @property
    def number(self) -> str:
        """The called number without its plus."""
        return plain_number(self.to)


class _Requested(msgspec.Struct):
    requested_at: datetime


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Entry).decode
_decode_requested = msgspec.json.Decoder(_Requested).decode


class Ledger:
    """Entries of calls, open ones in memory and in a journal, finished ones in the file."""

    def __init__(self, path: Path | None = None) -> None:
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self._wanted = path
        self.live_now = 0
        self.live_max = 0
        self.live_max_per_number = 0
        self.calls_placed = 0
        self.overlapping: dict[str, int] = {}  # numbers that ever had two calls at once
        self.recent: deque[Entry] = deque(maxlen=REMEMBERED_CALLS)  # only from before this start
        self._journal_bytes = 0
        self._open: dict[str, Entry] = {}
        self._changed: dict[str, Entry] = {}
        self._settled: list[bytes] = []
        self._calls_of: dict[str, int] = {}
        self._requests_of: dict[str, int] = {}
        self._live_of: dict[str, int] = {}
        self._loop: AbstractEventLoop | None = None
        self._timer: TimerHandle | None = None
        self._file = -1
        self._journal_file = -1

    def open(self, loop: AbstractEventLoop, now: datetime) -> None:
        """Read what an earlier run left; calls it had up are settled as cut short at `now`."""
        self._loop = loop
        self.path = self._wanted or self._scratch_path()
        self._journal = self.path.with_suffix(self.path.suffix + ".open")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        left_open = self._read_journal()
        for entry in self._read_file():
            left_open.pop(entry.call_sid, None)
            self._remember(entry)
        flags = os.O_CREAT | os.O_WRONLY | os.O_APPEND
        private = 0o600  # it holds whole phone numbers
        self._file = os.open(self.path, flags, private)
        self._journal_file = os.open(self._journal, flags, private)
        for entry in left_open.values():
            self._cut(entry, now)
            self.settle(entry)
            self._remember(entry)
        self.flush()

    def close(self, now: datetime) -> None:
        """Settle what is still open as cut short, write everything and let go of the files."""
        for entry in list(self._open.values()):
            self._cut(entry, now)
            self.settle(entry)
        self.flush()
        self._loop = None
        for file in (self._file, self._journal_file):
            os.close(file)
        self._journal.unlink(missing_ok=True)
        if self._scratch is not None:
            self._scratch.cleanup()

    def next_request_for(self, number: str) -> int:
        """Count one more request for a call to the number (no plus); the first is 1."""
        nth = self._requests_of.get(number, 0) + 1
        self._requests_of[number] = nth
        return nth

    def placed(self, entry: Entry) -> None:
        """The call is up: count it among the calls to its number and among the live ones.

        Written at once, before anybody can hear of it: no kill makes a call that was answered for
        one that never was.
        """
        number = entry.number
        entry.nth_call = self._calls_of[number] = self._calls_of.get(number, 0) + 1
        live_here = self._live_of.get(number, 0) + 1
        self._live_of[number] = live_here
        self.live_now += 1
        entry.live_at_placing = self.live_now
        entry.live_for_number = live_here
        self._count_maxima(entry)
        self.note(entry)
        self.flush()

    def ended(self, entry: Entry) -> None:
        """The call is over: it no longer counts as live."""
        number = entry.number
        self.live_now -= 1
        left = self._live_of[number] - 1
        if left:
            self._live_of[number] = left
        else:
            del self._live_of[number]
        self.note(entry)

    def note(self, entry: Entry) -> None:
        """Something about an open entry changed; it reaches the journal within FLUSH_S."""
        self._open[entry.call_sid] = entry
        self._changed[entry.call_sid] = entry
        self._flush_soon()

    def settle(self, entry: Entry) -> None:
        """Nothing more will happen to the entry: it becomes its one line in the file."""
        self._open.pop(entry.call_sid, None)
        self._changed.pop(entry.call_sid, None)
        self._settled.append(_encode(entry))
        self._flush_soon()

    def flush(self) -> None:
        """Write what is buffered; a kill after this loses none of it."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._settled:
            _write(self._file, self._settled)
            self._settled.clear()
        if self._changed:
            self._journal_bytes += _write(
                self._journal_file, [_encode(entry) for entry in self._changed.values()]
            )
            self._changed.clear()
        if self._journal_bytes > (JOURNAL_BYTES if self._open else 0):
            self._renew_journal()

    def chunks(self, since: datetime | None) -> Iterator[bytes]:
        """All entries as JSON lines, open ones last; `since` leaves out earlier requests."""
        self.flush()
        with self.path.open("rb") as file:
            end = os.fstat(file.fileno()).st_size  # lines settled while we read come another time
            open_now = [_encode(entry) + b"\n" for entry in self._open.values()]
            while file.tell() < end and (lines := _take(file, CHUNK_LINES)):
                yield _since(lines, since)
        yield _since(open_now, since)

    def _scratch_path(self) -> Path:
        self._scratch = tempfile.TemporaryDirectory(prefix="rotary-")
        return Path(self._scratch.name) / "ledger.jsonl"

    def _flush_soon(self) -> None:
        if self._timer is None and self._loop is not None:
            self._timer = self._loop.call_later(FLUSH_S, self._flush_by_timer)

    def _flush_by_timer(self) -> None:
        self._timer = None
        self.flush()

    def _renew_journal(self) -> None:
        fresh = self._journal.with_suffix(".new")
        file = os.open(fresh, os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_TRUNC, 0o600)
        self._journal_bytes = _write(file, [_encode(entry) for entry in self._open.values()])
        fresh.replace(self._journal)
        os.close(self._journal_file)
        self._journal_file = file

    def _read_journal(self) -> dict[str, Entry]:
        found: dict[str, Entry] = {}
        with suppress(FileNotFoundError), self._journal.open("rb") as file:
            for line in file:
                with suppress(msgspec.DecodeError):  # the last line may be torn by a kill
                    entry = _decode(line)
                    found[entry.call_sid] = entry
        return found

    def _read_file(self) -> Iterator[Entry]:
        whole = 0
        with suppress(FileNotFoundError), self.path.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    break  # torn by a kill; its call is still in the journal
                try:
                    yield _decode(line)
                except msgspec.DecodeError as error:
                    cure = "name another file or move this one away"
                    raise Misconfigured(
                        [f"ledger_path: {self.path} is not a ledger ({error}); {cure}"]
                    ) from error
                whole += len(line)
            if file.seek(0, os.SEEK_END) > whole:
                os.truncate(self.path, whole)

    def _remember(self, entry: Entry) -> None:
        number = entry.number
        self._calls_of[number] = max(self._calls_of.get(number, 0), entry.nth_call)
        self._requests_of[number] = max(self._requests_of.get(number, 0), entry.nth_request)
        if entry.placed_at is not None:
            self._count_maxima(entry)
        entry.webhooks = []  # the file has them; here they would only fill memory
        self.recent.append(entry)

    def _count_maxima(self, entry: Entry) -> None:
        self.calls_placed += 1
        self.live_max = max(self.live_max, entry.live_at_placing)
        self.live_max_per_number = max(self.live_max_per_number, entry.live_for_number)
        if entry.live_for_number > 1:
            known = self.overlapping.get(entry.number, 0)
            self.overlapping[entry.number] = max(known, entry.live_for_number)

    def _cut(self, entry: Entry, now: datetime) -> None:
        for webhook in entry.webhooks:
            if webhook.fate == "pending":
                webhook.fate = "router stopped"
        if entry.ended_at is None and entry.placed_at is not None:
            entry.ended_at = now
            entry.cut_short = entry.reached_carrier = True  # or it would have been refused
            entry.terminated_by = "jambonz"
            entry.call_status, entry.sip_status = (
                ("no-answer", CUT_OFF) if entry.answered_at is None else ("completed", 200)
            )


def _write(file: int, lines: list[bytes]) -> int:
    block = b"".join(line + b"\n" for line in lines)
    rest = memoryview(block)
    while rest:
        rest = rest[os.write(file, rest) :]
    return len(block)


def _take(file: Iterable[bytes], most: int) -> list[bytes]:
    return [line for _, line in zip(range(most), file, strict=False)]


def _since(lines: list[bytes], since: datetime | None) -> bytes:
    if since is not None:
        lines = [line for line in lines if _decode_requested(line).requested_at >= since]
    return b"".join(lines)
