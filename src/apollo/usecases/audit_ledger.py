"""Reads a ledger and has it judge the database: which invariants hold, and how much was looked at.

A ledger is RotaryRouter's (JSON lines), or the provider's own call-detail records, which tell less.
It reads only, and asks the provider for records at most.
"""

import uuid
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import msgspec

from apollo.core import ids
from apollo.core.audit import Books, Finding, ListedCall, WitnessedCall, judge
from apollo.errors import Misconfigured
from apollo.ports import LiveCall, TelephonyDriver
from apollo.storage import audit as storage
from apollo.storage.database import Database

_AwareTime = Annotated[datetime, msgspec.Meta(tz=True)]
_EVER: Final = datetime(1970, 1, 1, tzinfo=UTC)


class _Line(msgspec.Struct):
    call_sid: str
    to: str
    requested_at: _AwareTime
    tag: dict[str, Any] | None = None
    placed_at: _AwareTime | None = None
    rang_at: _AwareTime | None = None
    answered_at: _AwareTime | None = None
    ended_at: _AwareTime | None = None
    call_status: str | None = None
    sip_status: int | None = None


_LINE: Final = msgspec.json.Decoder(_Line)


def read_ledger(lines: Iterable[bytes], name: str) -> list[WitnessedCall]:
    """Read a ledger of JSON lines; raises Misconfigured naming the line that is none."""
    calls = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            read = _LINE.decode(line)
        except msgspec.DecodeError as e:
            mend = "name a ledger as RotaryRouter writes it: GET /rotary/ledger, or its file"
            raise Misconfigured([f"{name}: line {number} is no ledger entry ({e}); {mend}"]) from e
        # A line of an open call is followed by the one of its end.
        calls[read.call_sid] = _witnessed(read)
    return list(calls.values())


def _witnessed(line: _Line) -> WitnessedCall:
    tag = (line.tag or {}).get("execution_id")
    execution: uuid.UUID | None = ids.parse_id("exec", tag) if isinstance(tag, str) else None
    return WitnessedCall(
        provider_call_id=line.call_sid,
        execution_id=execution,
        number=line.to,
        requested_at=line.requested_at,
        placed_at=line.placed_at,
        rang_at=line.rang_at,
        answered_at=line.answered_at,
        ended_at=line.ended_at,
        call_status=line.call_status,
        sip_status=line.sip_status,
    )


def read_records(records: Sequence[LiveCall]) -> list[WitnessedCall]:
    """Read call-detail records as a ledger: without tags, and only of calls that are over."""
    return [
        WitnessedCall(
            provider_call_id=one.provider_call_id,
            execution_id=None,
            number=one.to,
            requested_at=one.attempted_at,
            placed_at=one.attempted_at,
            rang_at=None,
            answered_at=one.answered_at,
            ended_at=one.ended_at,
            call_status=one.call_status,
            sip_status=one.sip_status,
            from_number=one.from_number,
        )
        for one in records
        if one.attempted_at is not None
    ]


class AuditLedger:
    """Compares a ledger with the database."""

    def __init__(self, *, db: Database) -> None:
        self._db = db

    async def run(
        self, witnessed: Sequence[WitnessedCall], driver: TelephonyDriver | None = None
    ) -> list[Finding]:
        """Judge every invariant that the ledger can witness.

        With a driver the witness is the provider's own records, which are not complete; its live
        list is asked as well. Raises DriverError when it cannot be.
        """
        before = None if driver is None else await driver.list_live()
        async with self._db.transaction(snapshot=True) as connection:
            books = await storage.read_books(connection, _EVER)
        if driver is None or before is None:
            return judge(witnessed, books)
        # What was listed before must be in the books; what is listed after them may be new.
        known = {one.provider_call_id for one in before}
        after = [x for x in await driver.list_live() if x.provider_call_id in known]
        return judge(witnessed, books, [_listed(one) for one in after])


def judge_records(records: Sequence[LiveCall], books: Books, listed: Sequence[LiveCall]) -> Finding:
    """Return I7 alone, judged from a provider's records and its live list."""
    shown = [_listed(one) for one in listed]
    return next(x for x in judge(read_records(records), books, shown) if x.invariant == "I7")


def _listed(call: LiveCall) -> ListedCall:
    return ListedCall(call.provider_call_id, call.from_number, call.call_status, call.sip_status)
