"""Whatever stands in a file, a query, a header or a setting: read, or refused, never a crash.

Workbooks are tried as whole ones that were changed: a few bytes of the archive, or of a sheet in
it.
"""

import asyncio
import io
import json
import warnings
import zipfile
from collections.abc import Iterator
from datetime import datetime

from hypothesis import assume, example, given
from hypothesis import strategies as st
from openpyxl import Workbook
from starlette.requests import Request
from tests.properties.foreign import PIECE, many, objects, read_by

from apollo.config import load, settings_table
from apollo.core import ids
from apollo.core.csv_rows import CsvReader
from apollo.core.list_header import ColumnChoice
from apollo.core.numbers import parse_number
from apollo.core.states import BatchStatus
from apollo.core.tokens import is_token
from apollo.core.zones import check_timezone
from apollo.errors import ApolloError, Invalid, Misconfigured
from apollo.rotary.checks import read_order
from apollo.usecases.audit_ledger import read_ledger
from apollo.usecases.read_lists import ListReader
from apollo.web import listing
from apollo.web.contact_input import csv_pieces

# ----------------------------------------------------------------------------------------- files

CELLS = st.sampled_from(
    [
        *("phone_number", "+919876500001", "0044", "1e9", '"', '""', "a,b", "=1+1", "\0", "\u202e"),
        *("x" * 9_000, "\ufeff", "\r", "\n", "Name", "country", "", ";", "\t", "sep=,"),
    ]
)
TABLE = st.lists(st.lists(CELLS | st.text(max_size=5), max_size=5), max_size=6)
TEXT = st.tuples(TABLE, st.sampled_from(",;\t|"), st.sampled_from(["\n", "\r\n", "\r"])).map(
    lambda file: "phone_number,a" + file[2] + file[2].join(file[1].join(row) for row in file[0])
)
ENCODED = st.tuples(
    TEXT, st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1252"])
).map(lambda file: file[0].encode(file[1], "replace"))


@many
@given(st.binary() | ENCODED, st.integers(1, 40))
def test_any_file_of_text_is_read_or_refused(file: bytes, size: int) -> None:
    assume(not file.startswith(b"PK\x03\x04"))
    with read_by("list as text", Invalid):
        reader = CsvReader(ColumnChoice())
        rows = [row for piece in _in_pieces(file, size) for row in reader.feed(piece)]
        rows += reader.finish()
        assert all(isinstance(row.phone_number, str) for row in rows)


def _in_pieces(file: bytes, size: int) -> Iterator[bytes]:
    return (file[at : at + size] for at in range(0, len(file), size))


def _workbook() -> bytes:
    book = Workbook()
    sheet = book.active
    sheet.append(["phone_number", "name", "when"])
    sheet.append(["+919876500001", "Asha", datetime(2026, 5, 10, 9, 5)])  # noqa: DTZ001 - as a cell holds it
    sheet.append([919876500002, None, 12.5])
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()


BOOK = _workbook()
PARTS = [
    *("xl/worksheets/sheet1.xml", "xl/workbook.xml", "xl/sharedStrings.xml", "xl/styles.xml"),
    *("[Content_Types].xml", "xl/_rels/workbook.xml.rels"),
]
CHANGES = st.lists(st.tuples(st.integers(0, len(BOOK) - 1), st.integers(0, 255)), max_size=6)
ODD_XML = st.sampled_from(
    [
        *("<v>9999999999999999</v>", "<v>1e999</v>", "<v>NaN</v>", "<v>" + "9" * 5000 + "</v>"),
        *(' encoding="no-such-encoding"', ' r="ZZZZ9999999999"', ' r="A0"', ' r=""', ' t="d"', "<"),
        *(' t="s"', ' t="e"', ' s="99999"', "&no;", '<row r="-1">', "<c/>", "</row>", "<v>-5</v>"),
    ]
)


@many
@given(CHANGES)
@example([])
def test_a_workbook_of_which_bytes_are_changed_is_read_or_refused(
    changes: list[tuple[int, int]],
) -> None:
    file = bytearray(BOOK)
    for at, byte in changes:
        file[at] = byte
    _read_workbook("workbook, bytes changed", bytes(file))


@many
@given(
    st.sampled_from(PARTS),
    st.lists(st.tuples(st.floats(0, 1), ODD_XML | st.text(max_size=4)), max_size=4),
)
@example("xl/worksheets/sheet1.xml", [(0.0, "<?xml version='1.0' encoding='no-such'?>")])
def test_a_workbook_with_odd_parts_is_read_or_refused(
    part: str, changes: list[tuple[float, str]]
) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(BOOK)) as old, zipfile.ZipFile(file, "w") as new:
        for name in old.namelist():
            text = old.read(name).decode()
            for share, odd in changes if name == part else ():
                at = int(share * len(text))
                at = max(text.rfind("<", 0, at), 0) if odd.startswith("<") else at
                text = text[:at] + odd + text[at:]
            new.writestr(name, text.encode("utf-8", "replace"))
    _read_workbook("workbook, parts changed", file.getvalue())


def _read_workbook(name: str, file: bytes) -> None:
    reader = ListReader(ColumnChoice())
    with warnings.catch_warnings(), read_by(name, Invalid):
        warnings.simplefilter("ignore")
        try:
            asyncio.run(_read_whole(reader, file))
        finally:
            reader.close()


async def _read_whole(reader: ListReader, file: bytes) -> None:
    list(reader.feed(file))
    async for rows in reader.finish():
        list(rows)


@many
@given(
    st.sampled_from(["text/csv", "multipart/form-data; boundary=b", "a/b", ""]) | st.text(),
    st.lists(
        st.binary(max_size=40)
        | st.sampled_from(
            [
                *(b"--b\r\n", b"--b--\r\n", b"\r\n", b"\r\n\r\n"),
                b'Content-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\n',
                b"Content-Disposition: form-data; name=" + b"x" * 9000,
            ]
        ),
        max_size=8,
    ),
)
def test_any_form_is_read_or_refused(kind: str, pieces: list[bytes]) -> None:
    header = (b"content-type", kind.encode("latin-1", "replace"))
    scope = {"type": "http", "method": "POST", "path": "/", "headers": [header]}
    messages = [{"type": "http.request", "body": one, "more_body": True} for one in pieces]
    messages.append({"type": "http.request", "body": b"", "more_body": False})

    async def read() -> None:
        async def receive() -> dict[str, object]:
            return messages.pop(0)

        async for piece in csv_pieces(Request(scope, receive)):
            assert isinstance(piece, bytes)

    with read_by("upload by form", Invalid):
        asyncio.run(read())


# --------------------------------------------------------------------------------------- queries

WORDS = st.text(max_size=40) | st.sampled_from(
    [
        *("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00", "2026-02-30", "2026-05-10"),
        *("2026-05-10T24:00:00Z", "10000-01-01", "2026-05-10 09:00", "a=5", "a=1.5", "=", "a=\0"),
        *("+919876500001", "1" * 5000, "completed", "completed,", "0", "-1", "a=1e999"),
    ]
)


@many
@given(WORDS, st.lists(WORDS, max_size=40))
@example("", [f"k{n}=5" for n in range(40)])
def test_any_query_is_read_or_refused(word: str, several: list[str]) -> None:
    with read_by("time in a query", Invalid):
        at = listing.instant("updated_since", word)
        assert at is not None
        assert 1970 <= at.year < 9999
    with read_by("metadata in a query", Invalid):
        assert len(listing.metadata(several)) <= 64
    with read_by("statuses in a query", Invalid):
        listing.statuses(several, BatchStatus)
    with read_by("number in a query", Invalid):
        listing.number(word)
    with read_by("number", ValueError):
        parse_number(word)
    with read_by("time zone", ApolloError, ValueError):
        check_timezone(word)


@many
@given(
    WORDS | st.text(alphabet="0123456789ABCabcxyz_", max_size=60), st.sampled_from(["exec", "btc"])
)
def test_any_text_may_stand_where_an_id_or_a_token_is_expected(text: str, prefix: str) -> None:
    for given_id in (text, f"{prefix}_{text}", f"con_{text}"):
        with read_by("id"):
            found = ids.parse_id(prefix, given_id)
            assert found is None or ids.public_id(prefix, found) == given_id
            ids.parse_contact_id(given_id)
    with read_by("token"):
        assert not is_token(text)
        assert not is_token(f"gat_{text}")


# ------------------------------------------------------------------------ settings and ledgers

NAMES = [name for name, _, _ in settings_table()]


@many
@given(st.dictionaries(st.sampled_from(NAMES), WORDS | PIECE, max_size=4))
def test_any_setting_is_read_or_named(given_settings: dict[str, str]) -> None:
    with read_by("settings", Misconfigured):
        try:
            load(given_settings)
        except Misconfigured as refused:
            assert all(any(name in line for name in NAMES) for line in refused.faults)  # noqa: PT017 - each line
            raise


@many
@given(st.lists(st.binary(max_size=60) | PIECE.map(str.encode), max_size=4))
def test_any_ledger_is_read_or_refused(lines: list[bytes]) -> None:
    with read_by("ledger", Misconfigured):
        read_ledger(lines, "ledger")


@many
@given(PIECE.map(str) | objects("from", "to", "tag", "timeout", "call_hook", "application_sid"))
def test_rotary_answers_any_order_for_a_call(body: str) -> None:
    with read_by("order at RotaryRouter", ValueError):
        read_order(json.loads(body), {})
