"""CSV uploads: bytes in pieces of any size to rows with a number and variables.

Owns what a contact file may look like and how its rows are counted: as a spreadsheet counts them,
the header being row 1. Keeps one block and one unfinished row, whatever the size of the file. Must
never judge a phone number, and never go on when it cannot tell where a row ends: half a file
read as one cell would be people who are silently not called.
"""

import codecs
import csv
import io
from collections.abc import Iterator
from itertools import chain
from typing import Any, Final, NamedTuple

from apollo.errors import FieldError, Invalid

# The column that holds the number; the first of these that the header has.
NUMBER_COLUMNS: Final = ("phone_number", "mobile_number", "phone")
# A person's variables, not a table: an agent's prompt has room for far fewer.
COLUMNS_MAX: Final = 200
# Small pieces are collected up to this, so that a client that trickles costs no more than another.
_BLOCK_BYTES: Final = 64 * 1024
# A row that does not end within this is a quote that was never closed, or no CSV at all.
_RECORD_CHARS_MAX: Final = 1024 * 1024
# The module's own limit of 128 KiB is for the whole process, and nobody else here reads CSV.
csv.field_size_limit(_RECORD_CHARS_MAX)


class GivenContact(NamedTuple):
    """A contact as somebody sent it, and in which row; `fault`: which field, or "", and why."""

    row: int
    phone_number: str
    call_variables: dict[str, Any]
    fault: tuple[str, str] | None = None


class _Incomplete(Exception):
    """The row goes on in bytes that are not there yet."""


class CsvReader:
    """Reads one file; raises Invalid, naming the row, when the rest of it cannot be trusted."""

    def __init__(self) -> None:
        self._decode = codecs.getincrementaldecoder("utf-8-sig")().decode
        self._bytes = bytearray()
        self._text = ""
        self._lines: list[str] = []
        self._rows_read = 0
        self._columns: list[str] = []
        self._number_column = 0

    def feed(self, piece: bytes) -> Iterator[GivenContact]:
        """Take the next bytes; gives the rows that are complete."""
        self._bytes += piece
        if len(self._bytes) >= _BLOCK_BYTES:
            yield from self._read(is_last=False)

    def finish(self) -> Iterator[GivenContact]:
        """Say that no more bytes come; gives the remaining rows."""
        yield from self._read(is_last=True)
        if not self._columns:
            raise _refused(
                ("header",),
                "the file is empty; its first row must name the columns, one of them phone_number",
            )

    def _read(self, *, is_last: bool) -> Iterator[GivenContact]:
        block = bytes(self._bytes)
        self._bytes.clear()
        try:
            text = self._decode(block, is_last)
        except UnicodeDecodeError as fault:
            before = fault.object[: fault.start].decode("utf-8-sig")
            yield from self._split(before, is_last=False)
            msg = "is not UTF-8; save the file as CSV UTF-8"
            raise self._refused_next(msg) from None
        yield from self._split(text, is_last=is_last)

    def _split(self, text: str, *, is_last: bool) -> Iterator[GivenContact]:
        text = self._text + text
        end = len(text)
        if not is_last:
            # A final \r may be half of \r\n.
            end = max(text.rfind("\n"), text.rfind("\r", 0, -1)) + 1
        self._text = text[end:]
        # Not splitlines(): it also splits at characters that are ordinary inside a cell.
        lines = self._lines + list(io.StringIO(text[:end], newline=""))
        row_began_at = 0

        def end_of_lines() -> Iterator[str]:
            if row_began_at < len(lines):
                raise _Incomplete
            yield from ()

        rows = csv.reader(chain(lines, end_of_lines()))
        while True:
            try:
                cells = next(rows, None)
            except _Incomplete:
                break
            except csv.Error:
                raise self._refused_next("has a cell of over 1 MiB") from None
            if cells is None:
                break
            row_began_at = rows.line_num
            self._rows_read += 1
            if row := self._row(cells):
                yield row
        self._lines = lines[row_began_at:]
        if is_last and self._lines:
            raise self._refused_next("opens a quote that is never closed")
        if sum(map(len, self._lines)) + len(self._text) > _RECORD_CHARS_MAX:
            raise self._refused_next("does not end within 1 MiB; is a quote never closed?")

    def _row(self, cells: list[str]) -> GivenContact | None:
        # Spreadsheets leave rows of nothing but commas behind.
        if not "".join(cells).strip():
            return None
        if not self._columns:
            self._read_header(cells)
            return None
        missing = len(self._columns) - len(cells)
        if missing < 0:
            found = f"the row has {len(cells)} cells, the header {len(self._columns)}"
            fault = ("cells", f"{found}; put quotes around text with commas")
            return GivenContact(self._rows_read, cells[self._number_column], {}, fault)
        if missing:
            cells += [""] * missing
        variables = dict(zip(self._columns, cells, strict=True))
        number = variables.pop(self._columns[self._number_column])
        return GivenContact(self._rows_read, number, variables)

    def _read_header(self, cells: list[str]) -> None:
        names = [cell.strip() for cell in cells]
        if len(names) > COLUMNS_MAX:
            raise _refused(("header",), f"{len(names)} columns; at most {COLUMNS_MAX} are allowed")
        for at, name in enumerate(names):
            if not name:
                raise _refused(("header",), f"column {at + 1} has no name")
            if name in names[:at]:
                raise _refused(("header",), f"two columns are named {name[:60]!r}")
        found = [names.index(name) for name in NUMBER_COLUMNS if name in names]
        if not found:
            shown = ", ".join(name[:40] for name in names[:20])
            hint = "separate columns with commas" if len(names) == 1 else "names are case-sensitive"
            msg = f"no column {' or '.join(NUMBER_COLUMNS)} among: {shown}; {hint}"
            raise _refused(("header",), msg)
        self._columns, self._number_column = names, found[0]

    def _refused_next(self, msg: str) -> Invalid:
        row = self._rows_read + 1
        return _refused(("rows", row), f"row {row} {msg}")


def _refused(where: tuple[str | int, ...], msg: str) -> Invalid:
    return Invalid([FieldError(("body", *where), msg)])
