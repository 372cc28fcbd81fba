"""Lists as files: text with separators, or an Excel workbook, told apart by their first bytes.

Owns how a workbook is read: on disk, row by row, and within bounds, because a small archive may
unpack to any size. Must never judge a row.
"""

import asyncio
import contextlib
import lzma
import struct
import tempfile
import zipfile
import zlib
from collections.abc import AsyncIterator, Iterable, Iterator
from datetime import datetime, time
from itertools import islice
from typing import Any, Final

from apollo.core.csv_rows import CsvReader
from apollo.core.list_header import COLUMNS_MAX, ColumnChoice, refused
from apollo.core.list_rows import GivenContact, ListRows
from apollo.errors import Unavailable

_ZIP: Final = b"PK\x03\x04"
# Beyond this a list is to be a CSV file: a workbook of it takes minutes to open anywhere.
_FILE_BYTES_MAX: Final = 100 * 1024 * 1024
_UNPACKED_BYTES_MAX: Final = 1024 * 1024 * 1024
# The texts of all cells, which stand in memory while the rows are read.
_TEXTS_BYTES_MAX: Final = 32 * 1024 * 1024
_PARTS_MAX: Final = 1000
# Sheets whose rows are all alike unpack to 10 to 17 times their size, as measured; bombs to 1000.
_RATIO_MAX: Final = 100
_SMALL_BYTES: Final = 4 * 1024 * 1024
# As many as a spreadsheet may have. Rows of nothing count: reading them takes as long.
_ROWS_MAX: Final = 1_048_576
# Read at a time beside the event loop; a few milliseconds.
_BLOCK_ROWS: Final = 500
_SPOOL_BYTES: Final = 4 * 1024 * 1024
# An integer of a spreadsheet is exact up to here; no phone number is longer.
_EXACT_MAX: Final = 10**15
# All that zipfile, its decompressors, the XML parser and openpyxl raise for a file that is broken,
# encrypted, or made by hand. None of them promises less.
_BROKEN: Final = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, struct.error),
    *(SyntaxError, LookupError, AttributeError, ValueError, TypeError),
    *(ArithmeticError, AssertionError, RuntimeError, MemoryError),
)
_TOO_LARGE: Final = "is too large for a workbook; save the sheet as CSV UTF-8"


class ListReader:
    """Reads one file of either kind; raises Invalid when it cannot be trusted."""

    def __init__(self, choice: ColumnChoice, sheet: str | None = None) -> None:
        self._choice = choice
        self._sheet = sheet
        self._start = b""
        self._reader: CsvReader | _Workbook | None = None

    def feed(self, piece: bytes) -> Iterator[GivenContact]:
        """Take the next bytes; gives the rows that are complete."""
        if self._reader is None:
            self._start += piece
            if len(self._start) < len(_ZIP):
                return
            self._settle()
            piece = self._start
        if self._reader is not None:
            yield from self._reader.feed(piece)

    async def finish(self) -> AsyncIterator[Iterable[GivenContact]]:
        """After the last byte: give the remaining rows, in blocks.

        A workbook is opened and read beside the event loop: any of its rows may take seconds.
        """
        if self._reader is None:
            yield self._settle().feed(self._start)
        if isinstance(self._reader, _Workbook):
            await asyncio.to_thread(self._reader.open, self._sheet)
            while (block := await asyncio.to_thread(self._reader.next_block)) is not None:
                yield block
        elif self._reader is not None:
            yield self._reader.finish()

    def reading(self) -> dict[str, Any]:
        """Say how the file was read: `{format, …, number_column, country_columns, variables}`."""
        if self._reader is None:
            return {}
        columns = self._reader.rows.columns
        if columns is None:
            return self._reader.reading()
        titles = columns.titles
        return {
            **self._reader.reading(),
            "number_column": titles[columns.number],
            "country_columns": [titles[at] for at in (*columns.countries, *columns.areas)],
            "variables": self._reader.rows.variables(),
        }

    def close(self) -> None:
        """Let go of the file on disk."""
        if isinstance(self._reader, _Workbook):
            self._reader.close()

    def _settle(self) -> "CsvReader | _Workbook":
        is_workbook = self._start.startswith(_ZIP)
        self._reader = _Workbook(self._choice) if is_workbook else CsvReader(self._choice)
        return self._reader


class _Workbook:
    """An .xlsx file on disk, and the rows of its one sheet."""

    def __init__(self, choice: ColumnChoice) -> None:
        self.rows = ListRows(choice)
        self._file = tempfile.SpooledTemporaryFile[bytes](max_size=_SPOOL_BYTES)
        self._bytes = 0
        self._book: Any = None
        self._sheet: Any = None
        self._numbered: Iterator[tuple[int, list[str]]] = iter(())
        self._is_closed = False

    def feed(self, piece: bytes) -> Iterator[GivenContact]:
        """Keep the next bytes; there are no rows before the last."""
        self._bytes += len(piece)
        if self._bytes > _FILE_BYTES_MAX:
            raise refused(("file",), f"the file {_TOO_LARGE}")
        try:
            self._file.write(piece)
        except OSError as fault:
            raise Unavailable(f"the upload cannot be kept on disk: {fault.strerror}") from fault
        yield from ()

    def open(self, sheet: str | None) -> None:
        """Open the sheet with this name, or the only one with rows. Raises Invalid."""
        from openpyxl import load_workbook  # noqa: PLC0415 - a fifth of a second, needed by few

        self._file.seek(0)
        try:
            self._refuse_bombs()
            # Values, not formulas; row by row.
            self._book = load_workbook(self._file, read_only=True, data_only=True, keep_links=False)
            self._sheet = self._chosen(sheet)
        except _BROKEN as fault:
            raise _unreadable() from fault
        self._numbered = enumerate(self._rows_of(self._sheet), 1)

    def next_block(self) -> list[GivenContact] | None:
        """Give the next rows of the sheet, counted as the spreadsheet counts them; None: no more.

        A block may be empty where the sheet is. Raises Invalid.
        """
        block = list(islice(self._numbered, _BLOCK_ROWS))
        found = [self.rows.take(row, cells) for row, cells in block]
        if not block and self.rows.columns is None:
            msg = (
                "the sheet is empty; its first row must name the columns, one of them phone_number"
            )
            raise refused(("header",), msg)
        return [one for one in found if one is not None] if block else None

    def reading(self) -> dict[str, Any]:
        """Say as what the file was read: `{format, sheet}`."""
        return {"format": "xlsx", "sheet": self._sheet.title if self._sheet else None}

    def close(self) -> None:
        """Let go of the file; what still reads it in another thread ends at its next row."""
        self._is_closed = True
        if self._book is not None:
            with contextlib.suppress(OSError, ValueError):
                self._book.close()
        self._file.close()

    def _refuse_bombs(self) -> None:
        with zipfile.ZipFile(self._file) as archive:
            parts = archive.infolist()
        if not any(part.filename == "xl/workbook.xml" for part in parts):
            msg = (
                "the file is a zip archive and no .xlsx workbook; save it as .xlsx or as CSV UTF-8"
            )
            raise refused(("file",), msg)
        texts = sum(p.file_size for p in parts if p.filename.lower().endswith("sharedstrings.xml"))
        unpacked = sum(part.file_size for part in parts)
        is_bomb = any(
            part.file_size > max(_SMALL_BYTES, _RATIO_MAX * part.compress_size) for part in parts
        )
        is_large = unpacked > _UNPACKED_BYTES_MAX or texts > _TEXTS_BYTES_MAX
        if is_bomb or is_large or len(parts) > _PARTS_MAX:
            raise refused(("file",), f"the file {_TOO_LARGE}")
        self._file.seek(0)

    def _chosen(self, name: str | None) -> Any:
        sheets = {one.title: one for one in self._book.worksheets}
        if name is not None:
            if name not in sheets:
                shown = ", ".join(title[:40] for title in list(sheets)[:20])
                raise refused(
                    ("sheet",), f"the workbook has no sheet {name[:40]!r}; it has {shown}"
                )
            return sheets[name]
        filled = [
            title for title, one in sheets.items() if any(map(_is_filled, self._rows_of(one)))
        ]
        if len(filled) > 1:
            shown = ", ".join(title[:40] for title in filled[:20])
            msg = f"several sheets have rows ({shown}); say which with sheet"
            raise refused(("sheet",), msg)
        return sheets[filled[0]] if filled else self._book.worksheets[0]

    def _rows_of(self, sheet: Any) -> Iterator[list[str]]:
        # What a sheet says of its own size is often wrong.
        sheet.reset_dimensions()
        # One column more than a list may have, so that a wider one is noticed.
        rows = iter(sheet.iter_rows(values_only=True, max_col=COLUMNS_MAX + 1))
        for _ in range(_ROWS_MAX):
            if self._is_closed:
                return
            try:
                values = next(rows, None)
            except _BROKEN as fault:
                raise _unreadable() from fault
            if values is None:
                return
            width = len(values)
            while width and values[width - 1] is None:
                width -= 1
            yield [_text_of(value) for value in values[:width]]
        raise refused(("file",), f"the file {_TOO_LARGE}")


def _is_filled(cells: list[str]) -> bool:
    return any(cell.strip() for cell in cells)


def _text_of(value: object) -> str:
    """Write a cell's value as its spreadsheet would show it, without any format."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT_MAX:
        return str(int(value))
    if isinstance(value, datetime) and value.time() == time():
        return value.date().isoformat()
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="seconds")
    return str(value)


def _unreadable() -> Exception:
    return refused(("file",), "the workbook cannot be read; open it, and save it as CSV UTF-8")
