"""Lists as spreadsheets, CRMs and dialers write them: what is read, and what is refused how."""

import io
import zipfile
from collections.abc import AsyncIterator
from datetime import date, datetime
from typing import Any

import pytest
from openpyxl import Workbook
from tests.usecases.batch_world import ACME, BatchWorld, some_numbers

from apollo.core.list_header import ColumnChoice
from apollo.errors import Invalid
from apollo.usecases import read_lists, refused_rows
from apollo.usecases.check_contacts import Across, OnInvalid, OnMostlyInvalid
from apollo.usecases.read_lists import ListReader

ASHA, RAVI = "+919876500001", "+919876500002"
# A spreadsheet knows no zone.
HALF_PAST_EIGHT = datetime(2026, 5, 1, 8, 30)  # noqa: DTZ001
TWO = f"phone_number,callee_name\n{ASHA},Asha\n{RAVI},Ravi\n"


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[BatchWorld]:
    built = await BatchWorld.build(database_url)
    yield built
    await built.db.close()


class Read:
    """What a reader made of a file."""

    def __init__(self, contacts: list[Any], reading: dict[str, Any]) -> None:
        self.numbers = [one.phone_number for one in contacts]
        self.variables = [one.call_variables for one in contacts]
        self.rows = [one.row for one in contacts]
        self.areas = [one.area for one in contacts]
        self.faults = [one.fault for one in contacts]
        self.countries = [one.country.region if one.country else None for one in contacts]
        self.reading = reading


async def read(
    content: str | bytes, choice: ColumnChoice | None = None, sheet: str | None = None
) -> Read:
    content = content.encode() if isinstance(content, str) else content
    reader = ListReader(choice or ColumnChoice(), sheet)
    contacts: list[Any] = []
    try:
        for at in range(0, len(content), 37):
            contacts += reader.feed(content[at : at + 37])
        async for rows in reader.finish():
            contacts += rows
        return Read(contacts, reader.reading())
    finally:
        reader.close()


def workbook(*sheets: list[list[Any]], titles: tuple[str, ...] = ()) -> bytes:
    book = Workbook()
    for nth, rows in enumerate(sheets):
        page = book.active if nth == 0 else book.create_sheet()
        if titles:
            page.title = titles[nth]
        for row in rows:
            page.append(row)
    written = io.BytesIO()
    book.save(written)
    return written.getvalue()


@pytest.mark.parametrize(
    ("content", "encoding", "separator"),
    [
        (TWO.encode(), "UTF-8", "commas"),
        (TWO.encode("utf-8-sig"), "UTF-8", "commas"),
        (TWO.encode("utf-16"), "UTF-16", "commas"),
        (TWO.encode("utf-16-le"), "UTF-16", "commas"),
        (TWO.encode("utf-16-be"), "UTF-16", "commas"),
        (TWO.encode("utf-32"), "UTF-32", "commas"),
        (TWO.replace(",", ";").encode(), "UTF-8", "semicolons"),
        (TWO.replace(",", "\t").encode("utf-16"), "UTF-16", "tabs"),
        (TWO.replace(",", "|").encode(), "UTF-8", "pipes"),
        (("sep=;\n" + TWO.replace(",", ";")).encode(), "UTF-8", "semicolons"),
        (TWO.replace("\n", "\r").encode(), "UTF-8", "commas"),
        (TWO.replace("\n", "\r\n").encode(), "UTF-8", "commas"),
        (TWO.replace("Ravi", "José").encode("cp1252"), "Windows-1252", "commas"),
        (("\n\n" + TWO).encode(), "UTF-8", "commas"),
    ],
)
async def test_every_usual_encoding_and_separator_is_read(
    content: bytes, encoding: str, separator: str
) -> None:
    found = await read(content)
    assert found.numbers == [ASHA, RAVI]
    assert found.variables[1]["callee_name"] in {"Ravi", "José"}
    assert (found.reading["encoding"], found.reading["separator"]) == (encoding, separator)


async def test_the_western_encoding_is_noticed_late_in_a_file_too() -> None:
    lines = "".join(f"+9198765{n:05d},Person\n" for n in range(9000))
    found = await read(b"phone,name\n" + lines.encode() + b"+919876599999,Jos\xe9\n")
    assert found.variables[-1] == {"name": "José"}
    assert len(found.numbers) == 9001


@pytest.mark.parametrize(
    "title",
    [
        *("Phone Number", "PHONE_NUMBER", "phone number", "Phone", "MobilePhone", "Mobile"),
        *("contact_number", "Contact No.", "phone1", "Phone 1 - Value", "Cell", "Tel.", "MSISDN"),
        *("Telefon", "Telefonnummer", "Handy-Nr.", "Rufnummer", "Mobilnummer", "Telefon (mobil)"),
        *("Téléphone", "Numéro de téléphone", "N° de téléphone", "Tél. portable", "Portable"),
        *("Teléfono", "Móvil", "Número de teléfono", "Celular", "Teléfono móvil"),
        *("Telefone", "Telemóvel", "Número de telefone", "Telefono", "Cellulare"),
        *("Numero di telefono", "Telefoonnummer", "Mobiel nummer", "GSM", "Mobile Nambar"),
        *("मोबाइल नंबर", "\u200bphone_number", "\ufeffPhone", "WhatsApp Number"),
    ],
)
async def test_the_usual_names_of_the_number_are_known(title: str) -> None:
    found = await read(f"Name;{title};Note\nAsha;{ASHA};x\n")
    assert found.numbers == [ASHA]
    assert found.variables == [{"Name": "Asha", "Note": "x"}]


async def test_exact_names_win_and_of_several_others_none_is_guessed() -> None:
    assert (await read(f"Phone,phone_number\n{RAVI},{ASHA}\n")).numbers == [ASHA]
    assert (await read(f"phone,mobile_number\n{RAVI},{ASHA}\n")).numbers == [ASHA]
    with pytest.raises(Invalid, match=r"several columns .*\(Mobile, Cell\).* phone_column"):
        await read(f"Mobile,Cell\n{RAVI},{ASHA}\n")


async def test_a_client_says_which_column_is_which() -> None:
    text = f"Primary,Mobile,Vorname,callee_name\n{ASHA},{RAVI},Asha,x\n"
    choice = ColumnChoice(phone_column="primary", mapping={"callee_name": "Vorname"})
    found = await read(text, choice)
    assert found.numbers == [ASHA]
    assert found.variables == [{"Mobile": RAVI, "callee_name": "Asha"}]
    assert found.reading["variables"]["callee_name"] == "Vorname"
    assert (await read(text, ColumnChoice(mapping={"phone_number": "Mobile"}))).numbers == [RAVI]
    with pytest.raises(Invalid, match="no column 'Home', or several; it has Primary, Mobile"):
        await read(text, ColumnChoice(phone_column="Home"))
    with pytest.raises(Invalid, match="no column 'Nachname'"):
        await read(text, ColumnChoice(mapping={"a": "Nachname"}))


@pytest.mark.parametrize("first", [f"{ASHA},Ruth", "Ruth;098765 00001", '"+1 (202) 555-0143"'])
async def test_a_file_without_a_header_is_told_so_and_shows_nobody(first: str) -> None:
    with pytest.raises(Invalid, match="no header; put a row above it") as refused:
        await read(f"{first}\n{RAVI},Asha\n")
    assert "Ruth" not in str(refused.value)
    assert "555" not in str(refused.value)


async def test_a_header_that_nobody_knows_is_shown_with_what_is_invisible_in_it() -> None:
    with pytest.raises(Invalid, match=r"among: Name, Wh\\x07o, \(a cell that may"):
        await read("Name,Wh\x07o,me@example.com\n")


@pytest.mark.parametrize(
    ("text", "row"),
    [
        (f'phone,name\n{ASHA},R\n{RAVI},"Asha\n{ASHA},Mo\n{ASHA},"Lee\n', 3),
        (f'phone,name\n{ASHA},"R" x\n', 2),
        (f'phone,name\n{ASHA},R\n{RAVI},"Asha\n{ASHA},Mo\n{ASHA},Lee"\n', 3),
        (f'name,phone\n"Asha,{ASHA}\nMo,{RAVI}"\n', 2),
        (f'name,phone\nAsha,"{ASHA}\nMo,{RAVI}\n', 2),
    ],
)
async def test_broken_quotes_name_the_row_where_they_opened(text: str, row: int) -> None:
    with pytest.raises(Invalid, match=f"row {row} opens a quote"):
        await read(text)


async def test_a_cell_may_have_lines_of_its_own() -> None:
    found = await read(f'phone,note\n{ASHA},"first, line\nsecond ""line"""\n{RAVI},x\n')
    assert found.variables[0] == {"note": 'first, line\nsecond "line"'}
    assert found.rows == [2, 3]


async def test_empty_columns_at_the_end_are_nothing() -> None:
    found = await read(f"phone,name,,\n{ASHA},A,,\n{RAVI},R,,,,\n{ASHA}\n")
    assert found.variables == [{"name": "A"}, {"name": "R"}, {"name": ""}]
    assert found.faults == [None] * 3
    assert (await read(f"phone,,name\n{ASHA},,A\n")).variables == [{"name": "A"}]
    assert (await read(f"phone,name\n{ASHA},A,,more\n")).faults[0] is not None


async def test_a_file_of_results_says_which_variables_come_back() -> None:
    batch, place = "con_30liKeb3fEhF44xmO3Sw1F", "00001"
    found = await read(
        "contact_id,phone_number,callee_name,status,execution_id,policy,call_variables.status,"
        "call_variables\n"
        f'{batch}{place},{ASHA},Ruth,no_answer,exec_1,P-1,new,"{{""policy"":""P-1""}}"\n'
    )
    assert found.variables == [{"policy": "P-1", "callee_name": "Ruth", "status": "new"}]
    assert found.reading["variables"] == {
        "callee_name": "callee_name",
        "policy": "policy",
        "status": "call_variables.status",
    }


async def test_a_workbook_is_read_as_its_spreadsheet_shows_it() -> None:
    content = workbook(
        [
            ["Name", "Mobile", "Since", "Amount", "Is new", None],
            ["Asha", 919876500001, date(2026, 5, 1), 12.5, True],
            [],
            ["Ravi", RAVI, HALF_PAST_EIGHT, 3.0, None],
        ]
    )
    found = await read(content)
    assert found.numbers == ["919876500001", RAVI]
    assert found.rows == [2, 4]
    assert found.variables == [
        {"Name": "Asha", "Since": "2026-05-01", "Amount": "12.5", "Is new": "TRUE"},
        {"Name": "Ravi", "Since": "2026-05-01 08:30:00", "Amount": "3", "Is new": ""},
    ]
    assert found.reading["format"] == "xlsx"
    assert found.reading["sheet"] == "Sheet"


async def test_of_several_sheets_with_rows_one_is_to_be_named() -> None:
    rows = [["phone"], [ASHA]]
    two = workbook(rows, [["phone"], [RAVI]], [], titles=("Old", "New", "Empty"))
    with pytest.raises(Invalid, match=r"several sheets have rows \(Old, New\); say which"):
        await read(two)
    assert (await read(two, sheet="New")).numbers == [RAVI]
    with pytest.raises(Invalid, match="no sheet 'Newer'; it has Old, New, Empty"):
        await read(two, sheet="Newer")
    assert (await read(workbook([], rows))).numbers == [ASHA]
    with pytest.raises(Invalid, match="the sheet is empty"):
        await read(workbook([]))


def _archive(**parts: bytes) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return written.getvalue()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"PK\x03\x04 and no archive", "the workbook cannot be read"),
        (_archive(**{"a.csv": TWO.encode()}), "a zip archive and no .xlsx"),
        (_archive(**{"xl/workbook.xml": b"<"}), "the workbook cannot be read"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "Excel workbook of before 2007"),
        (b"\x1f\x8b\x08", "compressed with gzip"),
        (b"%PDF-1.7", "a PDF"),
    ],
)
async def test_a_file_that_is_no_list_is_named_as_what_it_is(content: bytes, says: str) -> None:
    with pytest.raises(Invalid, match=says):
        await read(content)


async def test_a_workbook_that_unpacks_without_end_is_not_unpacked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bomb = _archive(**{"xl/workbook.xml": b"<", "xl/sharedStrings.xml": b"0" * 40 * 1024 * 1024})
    assert len(bomb) < 100_000
    with pytest.raises(Invalid, match="too large for a workbook"):
        await read(bomb)
    monkeypatch.setattr(read_lists, "_FILE_BYTES_MAX", 1000)
    with pytest.raises(Invalid, match="too large for a workbook"):
        await read(workbook([["phone"], [ASHA]]))
    wide = workbook([["phone", *[f"c{n}" for n in range(300)]]])
    monkeypatch.undo()
    with pytest.raises(Invalid, match="at most 200 are allowed"):
        await read(wide)


async def test_a_sheet_of_more_rows_than_a_spreadsheet_has_is_refused_though_they_are_empty(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows: list[list[Any]] = [["phone"], *[[] for _ in range(1_200)], [ASHA]]
    assert (await read(workbook(rows))).numbers == [ASHA]
    monkeypatch.setattr(read_lists, "_ROWS_MAX", 1_000)
    with pytest.raises(Invalid, match="too large for a workbook"):
        await read(workbook(rows))


async def test_a_sheet_that_unpacks_to_hundreds_of_times_its_size_is_not_unpacked() -> None:
    sheet = b"<row/>" * 1_000_000
    with pytest.raises(Invalid, match="too large for a workbook"):
        await read(_archive(**{"xl/workbook.xml": b"<", "xl/worksheets/sheet1.xml": sheet}))


async def test_a_country_in_a_column_of_its_own_is_used(world: BatchWorld) -> None:
    campaign = await world.campaign(allowed_countries=["*"])
    text = (
        "phone_code,phone_number,country\n44,2079460018,\n1,2025550143,\n"
        "91,9876500001,\n,2079460018,United Kingdom\n,612345678,Francia\n1,+12025550144,GB\n"
    )
    batch = await world.upload(campaign, text, default_region="US", on_invalid=OnInvalid.SKIP)
    assert await world.phone_numbers(batch) == [
        *("+442079460018", "+12025550143", "+919876500001", "+33612345678", "+12025550144")
    ]
    wrong = (
        "phone_code,phone_number,country\n44,+12025550143,\n,2025550144,Atlantis\n,12025550145,IN\n"
    )
    with pytest.raises(Invalid) as refused:
        await world.upload(campaign, wrong, default_region="US")
    said = [error.msg for error in refused.value.errors]
    assert "it is a number of US, and column 'phone_code' says GB" in said[0]
    assert "nobody knows the country in column 'country'" in said[1]
    assert len(said) == 3


async def test_an_area_code_in_a_column_of_its_own_is_joined_or_the_row_refused(
    world: BatchWorld,
) -> None:
    campaign = await world.campaign(allowed_countries=["*"])
    text = (
        "Vorwahl,Telefon,Land\n030,231250,\n30,231251,\n(0151),23456780,\n030,030231252,\n"
        "030,+49 89 231253,\n,030231254,\n+44,2079460018,\n020,79460019,GB\n"
    )
    batch = await world.upload(campaign, text, default_region="DE", on_invalid=OnInvalid.REJECT)
    assert await world.phone_numbers(batch) == [
        *("+4930231250", "+4930231251", "+4915123456780", "+4930231252", "+4989231253"),
        *("+4930231254", "+442079460018", "+442079460019"),
    ]
    wrong = (
        "area_code,phone\n202,4155550123\n030,0891234567\n030,15123456789\n030,8912345678\n"
        "211,2112345\nBerlin,231250\n"
    )
    with pytest.raises(Invalid) as refused:
        await world.upload(campaign, wrong, default_region="DE", on_invalid=OnInvalid.REJECT)
    said = [error.msg for error in refused.value.errors]
    assert len(said) == 6
    assert all("area code" in one and "'area_code'" in one for one in said)
    with pytest.raises(Invalid, match="the country is missing; give default_region"):
        await world.upload(campaign, "prefijo,telefono\n030,2345678\n")


@pytest.mark.parametrize(
    "name",
    ["Vorwahl", "area_code", "Area Code", "Indicatif régional", "prefijo", "DDD", "Prefisso"],
)
async def test_a_short_number_is_never_read_without_its_area_code(name: str) -> None:
    found = await read(f"{name},phone\n030,231250\n".encode())
    assert found.areas == [(name, "030")]


async def test_a_list_that_is_mostly_bad_is_refused_unless_said_otherwise(
    world: BatchWorld,
) -> None:
    campaign = await world.campaign()
    text = f"phone_number\n{ASHA}\n12\n13\n"
    with pytest.raises(Invalid, match="2 of 3 rows are bad, the first because phone_number"):
        await world.upload(campaign, text, on_invalid=OnInvalid.SKIP)
    assert await world.sql("select from batches") == []
    batch = await world.upload(
        campaign,
        text,
        on_invalid=OnInvalid.SKIP,
        on_mostly_invalid=OnMostlyInvalid.ACCEPT,
    )
    assert (batch["total_contacts"], batch["rejected_count"]) == (1, 2)
    half = await world.upload(
        campaign, f"phone\n{RAVI}\n{RAVI}\n{RAVI}\n12\n", on_invalid=OnInvalid.SKIP
    )
    assert half["total_contacts"] == 1, "repeats are no bad rows"
    shared = "phone\n+919877000000\n+919877000000\n"
    with pytest.raises(Invalid, match="repeat a number that ends in zeros"):
        await world.upload(campaign, shared)


async def _rejected(world: BatchWorld, batch: dict[str, Any]) -> bytes:
    pages = await world.read.rejected(ACME, batch["batch_id"])
    return b"".join([page async for page in pages])


async def test_all_refused_rows_are_kept_to_be_corrected_and_uploaded_again(
    world: BatchWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refused_rows, "_PAGE_CHARS", 2000)
    campaign = await world.campaign()
    good = "".join(f"{n},ok,=1\n" for n in some_numbers(1600))
    bad = "".join(f"98765{n:05d}7777,Bad {n},=2\n" for n in range(1500))
    batch = await world.upload(
        campaign, f"phone_number,Name,note\n{good}{bad}", on_invalid=OnInvalid.SKIP
    )
    assert (len(batch["rejected"]), batch["rejected_count"]) == (1000, 1500)
    kept = (await _rejected(world, batch)).decode()
    lines = kept.split("\r\n")
    assert lines[0] == "\ufeffphone_number,Name,note,rejected_reason"
    assert len(lines) == 1502
    assert lines[1].startswith("98765000007777,Bad 0,'=2,")
    assert len(await world.sql("select from refused_rows")) > 2
    corrected = kept.replace("7777,", ",").replace("98765", "+9198766")
    again = await world.upload(campaign, corrected)
    assert again["total_contacts"] == 1500
    shown = await world.read.contacts(ACME, again["batch_id"], limit=1)
    assert shown[0]["call_variables"] == {"Name": "Bad 0", "note": "=2"}
    still = await world.upload(
        campaign,
        f"{corrected}12,x,y,old\r\n",
        on_invalid=OnInvalid.SKIP,
        across=Across.NONE,
    )
    assert (await _rejected(world, still)).decode().count("rejected_reason") == 1
    assert "old" not in (await _rejected(world, still)).decode()
    assert (await _rejected(world, again)).startswith(b"\xef\xbb\xbfphone_number,rejected_reason")


async def test_refused_contacts_of_a_body_come_back_with_their_variables(world: BatchWorld) -> None:
    campaign = await world.campaign()
    batch = await world.batch(campaign, [ASHA, "12"], on_invalid=OnInvalid.SKIP)
    kept = (await _rejected(world, batch)).decode()
    assert '12,"{""callee_name"":""Person 1""}",' in kept
    again = await world.upload(campaign, kept.replace("12,", f"{RAVI},"))
    shown = await world.read.contacts(ACME, again["batch_id"])
    assert shown[0]["call_variables"] == {"callee_name": "Person 1"}


async def test_repeats_from_another_batch_are_kept_as_rows_of_their_file(world: BatchWorld) -> None:
    campaign = await world.campaign()
    await world.upload(campaign, f"phone\n{ASHA}\n")
    text = f"Name;Phone;note\nAsha;{ASHA};=x\nRavi;{RAVI};y\n"
    trial = await world.upload(campaign, text, dry_run=True)
    assert (trial["total_contacts"], trial["rejected_count"]) == (1, 1)
    batch = await world.upload(campaign, text)
    kept = (await _rejected(world, batch)).decode().split("\r\n")
    assert kept[0] == "\ufeffName,Phone,note,rejected_reason"
    assert kept[1].startswith(f"Asha,{ASHA},'=x,the number is still to be called in batch btc_")


async def test_too_many_refused_rows_to_keep_are_a_refusal(
    world: BatchWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refused_rows, "_PAGE_CHARS", 10)
    monkeypatch.setattr(refused_rows, "BYTES_MAX", 100)
    text = f"phone_number\n{ASHA}\n" + "12\n" * 20
    with pytest.raises(Invalid, match="too many rows are bad to keep them all"):
        await world.upload(await world.campaign(), text, on_invalid=OnInvalid.SKIP)


async def test_a_dry_run_says_what_would_be_and_creates_nothing(world: BatchWorld) -> None:
    campaign = await world.campaign()
    text = f"Handy;Vorname\n{ASHA};Asha\n{ASHA};Asha\n12;R\n"
    choice = ColumnChoice(mapping={"callee_name": "Vorname"})
    trial = await world.upload(campaign, text, dry_run=True, columns=choice)
    assert (trial["dry_run"], trial["total_contacts"], trial["rejected_count"]) == (True, 1, 2)
    assert "on_invalid=skip" in trial["would_be_refused"]
    assert trial["read_as"] == {
        "format": "csv",
        "encoding": "UTF-8",
        "separator": "semicolons",
        "number_column": "Handy",
        "country_columns": [],
        "variables": {"callee_name": "Vorname"},
    }
    skipped = await world.upload(campaign, text, dry_run=True, on_invalid=OnInvalid.SKIP)
    assert skipped["would_be_refused"] is None
    body = await world.batch(campaign, ["12"], dry_run=True, on_invalid=OnInvalid.SKIP)
    assert "all rows were left out (1), the first because" in body["would_be_refused"]
    for table in ("batches", "contacts", "refused_rows", "actions"):
        assert await world.sql(f"select from {table}") == []
    assert world.bus.woken == []


async def test_whom_a_campaign_may_call_is_its_own_setting(world: BatchWorld) -> None:
    numbers = ["+919876500001", "+12025550143", "+449098790000", "+919876543210"]
    batch = await world.batch(
        await world.campaign(),
        numbers,
        on_invalid=OnInvalid.SKIP,
        on_mostly_invalid=OnMostlyInvalid.ACCEPT,
    )
    reasons = [row["reason"] for row in batch["rejected"]]
    assert "add US to its allowed_countries" in reasons[0]
    assert "add premium_rate to its allowed_number_types" in reasons[1]
    assert "own caller ids" in reasons[2]
    allowed = await world.campaign(
        allowed_countries=["IN", "US", "GB"], allowed_number_types=["premium_rate", "own_caller_id"]
    )
    assert (await world.batch(allowed, numbers))["total_contacts"] == 4
