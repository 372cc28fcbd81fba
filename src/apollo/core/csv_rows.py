"""CSV uploads: bytes in pieces of any size to rows with a number and variables.

Owns how a file of text is divided into rows, and how these are counted: as a spreadsheet counts
them, the header being row 1. Keeps one block and one unfinished row, whatever the size of the file.
Must never go on when it cannot tell where a row ends: half a file read as one cell would be people
who are silently not called, and whose numbers are in another one's prompt.
"""

import csv
import io
import re
from collections.abc import Iterator
from itertools import chain
from typing import Any, Final

from apollo.core.list_header import ColumnChoice, refused
from apollo.core.list_rows import GivenContact, ListRows
from apollo.core.list_text import SEPARATORS, NoText, TextDecoder, named_separator, separator_of
from apollo.errors import Invalid

# Small pieces are collected up to this, so that a client that trickles costs no more than another.
_BLOCK_BYTES: Final = 64 * 1024
# A row that does not end within this is a quote that was never closed, or no CSV at all.
_RECORD_CHARS_MAX: Final = 1024 * 1024
# A line within a cell with such a cell in the number's place is a row that a quote has swallowed.
_NUMBER_LIKE: Final = re.compile(r"\D*(?:\d\D{0,3}){6,}")
# The module's own limit of 128 KiB is for the whole process, and nobody else here reads CSV.
csv.field_size_limit(_RECORD_CHARS_MAX)


class _Incomplete(Exception):
    """The row goes on in bytes that are not there yet."""


class CsvReader:
    """Reads one file; raises Invalid, naming the row, when the rest of it cannot be trusted."""

    def __init__(self, choice: ColumnChoice | None = None) -> None:
        self.rows = ListRows(choice or ColumnChoice())
        self._decoder = TextDecoder()
        self._separator: str | None = None
        self._bytes = bytearray()
        self._text = ""
        self._lines: list[str] = []
        self._rows_read = 0

    def feed(self, piece: bytes) -> Iterator[GivenContact]:
        """Take the next bytes; gives the rows that are complete."""
        self._bytes += piece
        if len(self._bytes) >= _BLOCK_BYTES:
            yield from self._read(is_last=False)

    def finish(self) -> Iterator[GivenContact]:
        """Say that no more bytes come; gives the remaining rows."""
        yield from self._read(is_last=True)
        if self.rows.columns is None:
            msg = "the file is empty; its first row must name the columns, one of them phone_number"
            raise refused(("header",), msg)

    def reading(self) -> dict[str, Any]:
        """Say as what the file was read: `{format, encoding, separator}`."""
        separator = SEPARATORS.get(self._separator or ",", self._separator)
        return {"format": "csv", "encoding": self._decoder.encoding, "separator": separator}

    def _read(self, *, is_last: bool) -> Iterator[GivenContact]:
        block = bytes(self._bytes)
        self._bytes.clear()
        try:
            text = self._decoder.decode(block, is_last=is_last)
        except NoText as fault:
            if self._rows_read == 0 and not fault.before:
                raise refused(("file",), str(fault)) from None
            yield from self._split(fault.before, is_last=False)
            raise self._refused_next(str(fault)) from None
        yield from self._split(text, is_last=is_last)

    def _split(self, text: str, *, is_last: bool) -> Iterator[GivenContact]:
        text = self._text + text
        end = len(text)
        if not is_last:
            # A final \r may be half of \r\n.
            end = max(text.rfind("\n"), text.rfind("\r", 0, -1)) + 1
        self._text = text[end:]
        may_be_armoured = "'" in text
        # Not splitlines(): it also splits at characters that are ordinary inside a cell.
        lines = self._lines + list(io.StringIO(text[:end], newline=""))
        self._settle_separator(lines)
        row_began_at = 0

        def end_of_lines() -> Iterator[str]:
            if row_began_at < len(lines):
                raise _Incomplete
            yield from ()

        # Strict: a quote that ends in the middle of a cell is no quote, and where it opened the
        # rows after it may have been swallowed.
        separator = self._separator or ","
        rows = csv.reader(chain(lines, end_of_lines()), delimiter=separator, strict=True)
        while True:
            try:
                cells = next(rows, None)
            except _Incomplete:
                break
            except csv.Error as fault:
                raise self._refused_next(_fault_of(fault)) from None
            if cells is None:
                break
            if rows.line_num - row_began_at > 1:
                self._refuse_swallowed(cells, separator)
            row_began_at = rows.line_num
            self._rows_read += 1
            contact = self.rows.take(self._rows_read, cells, may_be_armoured=may_be_armoured)
            if contact is not None:
                yield contact
        self._lines = lines[row_began_at:]
        if is_last and self._lines:
            raise self._refused_next("opens a quote that is never closed")
        if sum(map(len, self._lines)) + len(self._text) > _RECORD_CHARS_MAX:
            raise self._refused_next("does not end within 1 MiB; is a quote never closed?")

    def _settle_separator(self, lines: list[str]) -> None:
        while self._separator is None and lines:
            if not lines[0].strip():
                lines.pop(0)
                self._rows_read += 1
                continue
            named = named_separator(lines[0]) if self._rows_read == 0 else None
            if named is not None:
                lines.pop(0)
                self._rows_read += 1
            self._separator = named or separator_of(lines[0])

    def _refuse_swallowed(self, cells: list[str], separator: str) -> None:
        """Refuse a cell that holds another row: two stray quotes have swallowed what is between."""
        columns = self.rows.columns
        if columns is None:
            return
        width = len(columns.titles)
        for cell in cells:
            for line in re.split(r"\r\n|\r|\n", cell)[1:]:
                inner = line.split(separator)
                is_row = len(inner) == width and (width > 1 or cell is cells[columns.number])
                if is_row and _NUMBER_LIKE.match(inner[columns.number]):
                    msg = "opens a quote that holds other rows; a quote too many, or one missing"
                    raise self._refused_next(msg)

    def _refused_next(self, msg: str) -> Invalid:
        row = self._rows_read + 1
        return refused(("rows", row), f"row {row} {msg}")


def _fault_of(fault: csv.Error) -> str:
    if "field limit" in str(fault):
        return "has a cell of over 1 MiB"
    return (
        "opens a quote that ends in the middle of a cell, so that rows may be lost; remove the"
        ' quote, or write a quote within a quoted cell twice ("")'
    )
