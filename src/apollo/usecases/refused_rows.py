"""The rows of a list that did not become contacts, kept to be corrected and uploaded again.

Owns their form: a CSV file with the columns of the upload and, last, why each was refused. They lie
compressed in pages, so that a million of them cost a few megabytes. Must never log a row: it is a
person's.
"""

import csv
import io
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from typing import Final

from apollo.core.list_header import REASON_COLUMN
from apollo.core.safe_cells import armoured, unarmoured
from apollo.errors import Invalid, Unavailable

# One row of the table each: some 30 KB compressed.
_PAGE_CHARS: Final = 256 * 1024
# Beyond this, a few million rows, a file is to be corrected before it is uploaded.
BYTES_MAX: Final = 64 * 1024 * 1024
_SPOOL_BYTES: Final = 1024 * 1024
# Spreadsheets take a file without it for another encoding.
MARK: Final = "\ufeff"
# Of a batch that took every row.
NOTHING_REFUSED: Final = f"{MARK}phone_number,{REASON_COLUMN}\r\n".encode()


class RefusedRows:
    """Collects refused rows of one upload, in a file once they are many."""

    def __init__(self) -> None:
        self._titles: Sequence[str] = ()
        self._text = io.StringIO(newline="")
        self._spool = tempfile.SpooledTemporaryFile[bytes](max_size=_SPOOL_BYTES)
        self._bytes = 0

    def add(self, titles: Sequence[str], cells: Sequence[str], reason: str) -> None:
        """Keep a row of a list with these columns. Raises Invalid when there are too many."""
        self._titles = titles
        _write(self._text, _with_reason(titles, cells, reason))
        if self._text.tell() >= _PAGE_CHARS:
            self._turn_page()

    def pages(self) -> Iterator[bytes]:
        """Give what is to be stored: compressed pages of one CSV file; none for no row."""
        self._turn_page()
        if not self._bytes:
            return
        header = io.StringIO(newline="")
        header.write(MARK)
        _write(header, _with_reason(self._titles, self._titles, REASON_COLUMN))
        yield zlib.compress(header.getvalue().encode())
        self._spool.seek(0)
        while size := self._spool.read(4):
            yield self._spool.read(int.from_bytes(size))

    def close(self) -> None:
        """Let go of the file."""
        self._spool.close()

    def _turn_page(self) -> None:
        if not self._text.tell():
            return
        # The fastest level: a page is compressed while others wait for their calls.
        page = zlib.compress(self._text.getvalue().encode("utf-8", "replace"), 1)
        self._text = io.StringIO(newline="")
        self._bytes += len(page)
        if self._bytes > BYTES_MAX:
            msg = (
                "too many rows are bad to keep them all; correct the file first (dry_run says how)"
            )
            raise Invalid.field("rows", msg)
        try:
            self._spool.write(len(page).to_bytes(4) + page)
        except OSError as fault:
            raise Unavailable(f"the upload cannot be kept on disk: {fault.strerror}") from fault


def text_of(page: bytes) -> bytes:
    """Give the part of the CSV file that a stored page holds."""
    return zlib.decompress(page)


def _with_reason(titles: Sequence[str], cells: Sequence[str], reason: str) -> list[str]:
    """Put the reason last; the one that an earlier upload was refused for is replaced."""
    row = [armoured(unarmoured(cell)) for cell in cells]
    if REASON_COLUMN in titles:
        del row[titles.index(REASON_COLUMN) : titles.index(REASON_COLUMN) + 1]
        titles = [title for title in titles if title != REASON_COLUMN]
    return [*row, *[""] * (len(titles) - len(row)), reason]


def _write(text: io.StringIO, row: Sequence[str]) -> None:
    csv.writer(text).writerow(row)
