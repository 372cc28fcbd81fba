"""Checks contacts one by one as they come in and keeps the good ones aside, ready to be copied.

Owns which rows of a request or a file become contacts, and what is said about the others. Memory is
the same for ten rows and for ten million: accepted rows wait in a file, numbers already seen in a
table on disk. Must never touch the database: nothing is locked while a slow client sends.
"""

import contextlib
import enum
import sqlite3
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Self

import msgspec

from apollo.core.area_codes import has_country_code, read_with_area
from apollo.core.elsewhere import Elsewhere, HoursIn
from apollo.core.list_header import COLUMNS_MAX, Columns
from apollo.core.list_rows import (
    VARIABLES_COLUMN,
    GivenArea,
    GivenContact,
    as_text,
)
from apollo.core.numbers import Number, country_code_of_region, read_number
from apollo.core.reach import Reach, fault_of
from apollo.errors import FieldError, Invalid, TooLarge, Unavailable
from apollo.usecases.refused_rows import RefusedRows

# A batch's positions have room for more; beyond this an upload is a mistake more often than a plan.
ROWS_MAX: Final = 10_000_000
# What is said about one person fits a prompt; 64 KiB is a small book.
VARIABLES_BYTES_MAX: Final = 64 * 1024
# Real variables nest two or three deep; every level costs a stack frame here and in PostgreSQL.
_DEPTH_MAX: Final = 20
# Enough to see the pattern of what is wrong, and still an answer a person can read.
BAD_ROWS_NAMED_MAX: Final = 100
# Kept with the batch and shown with every reading of it.
REJECTED_SHOWN_MAX: Final = 1000
# Few real numbers end so; all that a spreadsheet has shortened do.
_ZEROS: Final = "00000"
# A refused contact that came as JSON, as the row that would become the same.
_TITLES_OF_JSON: Final = ("phone_number", VARIABLES_COLUMN)
# One COPY each: large enough that its round trip does not count, small enough for any memory.
_FRAME_ROWS: Final = 2000
_FRAME_BYTES: Final = 1024 * 1024
# Small requests never touch the disk.
_SPOOL_BYTES: Final = 4 * 1024 * 1024


# Why some of these numbers are left out, by their place among those asked for.
FindReasons = Callable[[Sequence[str]], Awaitable[Mapping[int, str]]]


class OnInvalid(enum.StrEnum):
    """What a bad row does."""

    REJECT = "reject"  # nothing is created; every bad row is named, up to 100
    SKIP = "skip"  # it is left out, and listed in `rejected`


class OnDuplicate(enum.StrEnum):
    """What a number does that came before, in the same batch or in another one."""

    SKIP = "skip"  # it is left out, and listed in `rejected`
    KEEP = "keep"  # the person is called once for each row


class OnMostlyInvalid(enum.StrEnum):
    """What a list does of which more than half of the rows are bad."""

    REJECT = "reject"  # nothing is created: the list is another one than was meant, or read wrongly
    ACCEPT = "accept"  # the good rows are called


class Across(enum.StrEnum):
    """Where else a number may have come before."""

    NONE = "none"  # only in the batch itself
    CAMPAIGN = "campaign"  # in the campaign's live batches
    ORGANIZATION = "organization"  # in those of all its campaigns


class CheckedContact(NamedTuple):
    """A contact that will be called: its row, `+E.164`, and its variables as JSON."""

    row: int
    phone_number: str
    call_variables: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What a batch asks of its rows; `rows_are` is how an error names them: contacts, rows."""

    reach: Reach
    default_region: str | None
    on_invalid: OnInvalid
    on_duplicate: OnDuplicate
    on_mostly_invalid: OnMostlyInvalid = OnMostlyInvalid.REJECT
    hours_in: HoursIn | None = None
    rows_are: str


class Intake:
    """The contacts of one batch on their way in; a context manager, so that no file stays."""

    def __init__(self, rules: Rules) -> None:
        self.accepted = 0
        self.rejected: list[dict[str, Any]] = []
        self.rejected_count = 0
        self.refused = RefusedRows()
        self._columns: Columns | None = None
        self._rules = rules
        self.elsewhere = Elsewhere(rules.hours_in)
        # Bad rows, and those that share a number which a spreadsheet may have shortened; numbers
        # that only came before are neither.
        self.invalid = self._shortened = 0
        self._bad_rows: list[FieldError] = []
        self._seen = _SeenNumbers()
        self._encode = msgspec.json.Encoder().encode
        self._frame: list[tuple[int, str, bytes]] = []
        # By place among those accepted: 1 for whom the database had a reason to leave out.
        self._left_out = bytearray()
        self._frame_bytes = 0
        self._spool = tempfile.SpooledTemporaryFile[bytes](max_size=_SPOOL_BYTES)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._seen.close()
        self._spool.close()
        self.refused.close()

    def add(self, given: GivenContact) -> None:
        """Check one contact. Raises TooLarge after ten million, Unavailable on a full disk."""
        if self.accepted + self.rejected_count >= ROWS_MAX:
            msg = f"more than {ROWS_MAX} rows; split the file into several batches"
            raise TooLarge(msg)
        self._columns = given.columns
        if given.fault is not None:
            self._refuse(given, *given.fault)
            return
        try:
            number = self._number_of(given)
        except ValueError as fault:
            self._refuse(given, "phone_number", str(fault))
            return
        variables = self._encode(given.call_variables)
        if fault_text := fault_of_variables(given.call_variables, variables):
            self._refuse(given, "call_variables", fault_text)
        elif self._rules.on_duplicate is OnDuplicate.SKIP and not self._seen.add(number):
            self._shortened += number.endswith(_ZEROS)
            self._reject(given, "the same number came before in this batch")
        else:
            self._keep(given.row, number, variables)

    def close_books(self) -> None:
        """Say that nothing more comes. Raises Invalid for bad rows, or if nothing is left."""
        if fault := self.fault():
            raise fault
        self._flush()

    def fault(self) -> Invalid | None:
        """Say why what came in is no batch; None if it is one."""
        if self._bad_rows:
            return Invalid(self._bad_rows)
        first = self.rejected[0]["reason"] if self.rejected else ""
        msg = ""
        if not self.accepted:
            left = f"; all rows were left out ({self.rejected_count:,}), the first because {first}"
            msg = "a batch needs at least one contact" + (left if first else "")
        elif self._rules.on_mostly_invalid is OnMostlyInvalid.REJECT:
            msg = self._doubt(first)
        return Invalid.field(self._rules.rows_are, msg) if msg else None

    def _doubt(self, first: str) -> str:
        rows = self.accepted + self.rejected_count
        todo = "correct the list (dry_run shows how it is read), or send on_mostly_invalid=accept"
        if self._shortened:
            return (
                f"{self._shortened:,} rows repeat a number that ends in zeros, as if a spreadsheet"
                " had shortened them (9.19877E+11); format the column as text and export again, or"
                " send on_mostly_invalid=accept"
            )
        if 2 * self.invalid > rows:
            return f"{self.invalid:,} of {rows:,} rows are bad, the first because {first}; {todo}"
        return ""

    def _number_of(self, given: GivenContact) -> str:
        """Read a contact's number, in the country that its row names; ValueError says why not."""
        rules, country = self._rules, given.country
        if country is None and given.area is None:
            read = read_number(
                given.phone_number,
                country_codes=rules.reach.country_codes,
                default_region=rules.default_region,
            )
        else:
            read = _read_with_columns(given, rules)
        if reason := fault_of(read, rules.reach):
            raise ValueError(reason)
        return read.e164

    async def leave_out(self, find: FindReasons) -> None:
        """Leave out accepted contacts for reasons that only the database knows.

        `find` is asked piece by piece. Raises Invalid if nothing is left.
        """
        if not self._left_out:
            self._left_out = bytearray(self.accepted)
        nth = 0
        for frame in self._all_frames():
            asked = [n for n in range(len(frame)) if not self._left_out[nth + n]]
            reasons = await find([frame[n].phone_number for n in asked])
            for place, reason in reasons.items():
                contact = frame[asked[place]]
                self._left_out[nth + asked[place]] = 1
                self.accepted -= 1
                self._reject(self._given_again(contact), reason)
            nth += len(frame)
        if fault := self.fault():
            raise fault

    def _given_again(self, contact: CheckedContact) -> GivenContact:
        """Return an accepted contact as it was given, as far as that is known still."""
        variables = msgspec.json.decode(contact.call_variables)
        cells: list[str] = []
        if self._columns is not None:
            cells = [
                "" if name is None else as_text(variables.get(name))
                for name in self._columns.variables
            ]
            cells[self._columns.number] = contact.phone_number
        return GivenContact(
            contact.row, contact.phone_number, variables, cells=cells, columns=self._columns
        )

    def frames(self) -> Iterator[list[CheckedContact]]:
        """Return what was accepted and not left out, in order, in pieces; may be asked again."""
        if not self._left_out:
            yield from self._all_frames()
            return
        nth = 0
        for frame in self._all_frames():
            is_out = self._left_out[nth : nth + len(frame)]
            nth += len(frame)
            yield [contact for contact, out in zip(frame, is_out, strict=True) if not out]

    def _all_frames(self) -> Iterator[list[CheckedContact]]:
        decode = msgspec.msgpack.Decoder(list[CheckedContact]).decode
        self._spool.seek(0)
        while size := self._spool.read(4):
            yield decode(self._spool.read(int.from_bytes(size)))

    def _refuse(self, given: GivenContact, field: str, reason: str) -> None:
        self.invalid += 1
        if self._rules.on_invalid is OnInvalid.SKIP:
            self._reject(given, f"{field}: {reason}" if field else reason)
            return
        self.rejected_count += 1
        if len(self._bad_rows) < BAD_ROWS_NAMED_MAX:
            where = ("body", self._rules.rows_are, given.row)
            self._bad_rows.append(FieldError((*where, field) if field else where, reason))
        if len(self._bad_rows) == BAD_ROWS_NAMED_MAX:
            raise Invalid(self._bad_rows)  # nothing after it would be named

    def _reject(self, given: GivenContact, reason: str) -> None:
        self.rejected_count += 1
        if given.columns is not None:
            self.refused.add(given.columns.titles, given.cells, reason)
        else:
            variables = self._encode(given.call_variables).decode()
            self.refused.add(_TITLES_OF_JSON, (given.phone_number, variables), reason)
        if len(self.rejected) < REJECTED_SHOWN_MAX:
            # jsonb cannot hold NUL, and nobody needs more to find the row.
            shown = given.phone_number[:40].replace("\0", "\ufffd")
            row = {"index": given.row, "phone_number": shown, "reason": reason}
            self.rejected.append(row)

    def _keep(self, row: int, number: str, variables: bytes) -> None:
        self.accepted += 1
        self.elsewhere.add(number)
        if self._bad_rows:
            return  # the request is refused already; only its faults are still wanted
        self._frame.append((row, number, variables))
        self._frame_bytes += len(variables)
        if len(self._frame) >= _FRAME_ROWS or self._frame_bytes >= _FRAME_BYTES:
            self._flush()

    def _flush(self) -> None:
        if not self._frame:
            return
        frame = msgspec.msgpack.encode(self._frame)
        try:
            self._spool.write(len(frame).to_bytes(4) + frame)
        except OSError as fault:
            raise Unavailable(f"the upload cannot be kept on disk: {fault.strerror}") from fault
        self._frame, self._frame_bytes = [], 0


class _SeenNumbers:
    """Numbers that came before, on disk: a set of ten million would need 600 MB.

    SQLite's own temporary database holds them in 25 MB of memory at 3.5 µs each (a set: 0.2 µs,
    checking a number: 28 µs, all on one machine).
    """

    def __init__(self) -> None:
        # The empty name is a file that SQLite deletes at once.
        self._connection = sqlite3.connect("", isolation_level=None)
        # Nothing in it outlives the request, so no journal and no flushing; 16 MB of cache.
        for setting in ("journal_mode = off", "synchronous = off", "cache_size = -16384"):
            self._connection.execute(f"pragma {setting}")
        self._connection.execute("create table seen (number integer primary key)")
        self._connection.execute("begin")

    def add(self, number: str) -> bool:
        """Note a `+E.164` number; False when it was there."""
        try:
            noted = self._connection.execute(
                "insert or ignore into seen values (?)", (int(number[1:]),)
            )
        except sqlite3.OperationalError as fault:
            raise Unavailable(f"the upload cannot be kept on disk: {fault}") from fault
        return noted.rowcount > 0

    def close(self) -> None:
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()


def _read_with_columns(given: GivenContact, rules: Rules) -> Number:
    """Read a number whose row has its country or its area code in columns of their own."""
    text, country = given.phone_number, given.country
    is_explicit = has_country_code(text)
    region = None if country is None else country.region
    if country is not None and region is None and not is_explicit:
        raise ValueError(
            f"nobody knows the country in column {country.column!r}; write two letters such as"
            " GB, or a calling code such as 44, or the number with a plus"
        )
    read = _read_in_region(text, region, None if is_explicit else given.area, rules)
    if country is None or region is None:
        return read
    is_bound = country.is_code or not is_explicit
    if is_bound and country_code_of_region(region) != read.country_code:
        raise ValueError(
            f"it is a number of {read.region}, and column {country.column!r} says"
            f" {region}; correct the one that is wrong"
        )
    return read


def _read_in_region(text: str, region: str | None, area: GivenArea | None, rules: Rules) -> Number:
    codes, default = rules.reach.country_codes, rules.default_region
    if area is None:
        return read_number(text, country_codes=codes, default_region=default, row_region=region)
    return read_with_area(
        text,
        area.code,
        area.column,
        country_codes=codes,
        default_region=default,
        row_region=region,
    )


def fault_of_variables(value: dict[str, Any], encoded: bytes) -> str | None:
    """Say why these variables, and their JSON, cannot be stored; None when they can."""
    if len(encoded) > VARIABLES_BYTES_MAX:
        return f"{len(encoded)} bytes as JSON; at most {VARIABLES_BYTES_MAX} are allowed"
    if len(value) > COLUMNS_MAX:
        return f"{len(value)} variables; at most {COLUMNS_MAX} are allowed"
    # Most rows end here; text may contain brackets, and a backslash before u0000 may be escaped.
    may_be_deep = encoded.count(b"{") + encoded.count(b"[") > _DEPTH_MAX
    if may_be_deep or b"\\u0000" in encoded:
        return _fault_inside(value, _DEPTH_MAX)
    return None


def check_object(field: str, value: dict[str, Any]) -> None:
    """Hold any other object a client may attach to the same limits. Raises Invalid."""
    if fault := fault_of_variables(value, msgspec.json.encode(value)):
        raise Invalid.field(field, fault)


def _fault_inside(value: object, levels: int) -> str | None:
    if isinstance(value, str) and "\0" in value:
        return "contains the character NUL (\\u0000), which cannot be stored"
    if not isinstance(value, dict | list):
        return None
    if levels == 0:
        return f"nested more than {_DEPTH_MAX} levels deep"
    inner = [*value, *value.values()] if isinstance(value, dict) else value
    faults = (_fault_inside(one, levels - 1) for one in inner)
    return next(filter(None, faults), None)
