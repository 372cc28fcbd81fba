"""Rows of a list, whatever wrote them, as contacts: the number, the country, the variables.

Owns how a row's cells become a contact and what comes back of a file that Apollo itself has
written. Must never judge a phone number.
"""

import re
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec

from apollo.core.area_codes import has_country_code
from apollo.core.countries import is_calling_code, region_of
from apollo.core.ids import parse_contact_id
from apollo.core.list_header import REASON_COLUMN, ColumnChoice, Columns, read_header, refused
from apollo.core.safe_cells import unarmoured

# What a file of results says beside the variables, and what is no variable when it comes back.
RESULT_COLUMNS: Final = (
    "contact_id",
    "phone_number",
    "callee_name",
    "status",
    "retry_count",
    "follow_up_count",
    "last_attempted_at",
    "execution_id",
    "call_status",
    "attempt",
    "kind",
    "from_number",
    "started_at",
    "answered_at",
    "ended_at",
    "duration_seconds",
    "sip_status",
    "sip_reason",
    "hangup_by",
    "hangup_reason",
    "recording_url",
    "transcript",
    "summary",
    "sentiment",
    "total_cost",
)
VARIABLES_COLUMN: Final = "call_variables"
# Before a variable that has the name of another column.
VARIABLE_PREFIX: Final = "call_variables."
_VARIABLES_OF_RESULTS: Final = frozenset({"phone_number", "callee_name"})


class GivenCountry(NamedTuple):
    """A country that a row names for its number."""

    column: str
    # None: nobody knows what the cell means.
    region: str | None
    # The cell is a calling code, so that a number with a plus has to agree.
    is_code: bool


class GivenArea(NamedTuple):
    """An area code that a row has in a column of its own."""

    column: str
    code: str


class GivenContact(NamedTuple):
    """A contact as somebody sent it, and in which row; `fault`: which field, or "", and why."""

    row: int
    phone_number: str
    call_variables: dict[str, Any]
    fault: tuple[str, str] | None = None
    country: GivenCountry | None = None
    # The row as the file has it, and its columns; empty where there is no file.
    cells: Sequence[str] = ()
    columns: Columns | None = None
    area: GivenArea | None = None


class ListRows:
    """Turns the rows of one list into contacts; raises Invalid when the header cannot be used."""

    def __init__(self, choice: ColumnChoice) -> None:
        self.columns: Columns | None = None
        self._choice = choice
        self._is_own: bool | None = None
        self._used: list[tuple[str, int]] = []
        self._may_be_armoured = True

    def variables(self) -> dict[str, str]:
        """Return the columns that become call variables: `{variable: the column's name}`.

        Of a file of results, or of refused rows, that comes back: the variables of its contacts.
        """
        titles = self.columns.titles if self.columns else ()
        used = {name: titles[at] for name, at in self._used}
        if not self._is_own:
            return used
        return {
            name.removeprefix(VARIABLE_PREFIX): title
            for name, title in used.items()
            if name != VARIABLES_COLUMN
        }

    def take(
        self, row: int, cells: list[str], *, may_be_armoured: bool = True
    ) -> GivenContact | None:
        """Read a row; gives its contact, or None for the header and for a row of nothing."""
        # Spreadsheets leave rows of nothing but commas behind.
        if not "".join(cells).strip():
            return None
        if self.columns is None:
            self.columns = read_header(cells, self._choice)
            self._used = [
                (name, at) for at, name in enumerate(self.columns.variables) if name is not None
            ]
            return None
        return self._contact(row, cells, self.columns, may_be_armoured)

    def _contact(
        self, row: int, cells: list[str], columns: Columns, may_be_armoured: bool
    ) -> GivenContact:
        width = len(columns.titles)
        if len(cells) > width:
            if "".join(cells[width:]).strip():
                found = f"the row has {len(cells)} cells, the header {width}"
                fault = ("cells", f"{found}; put quotes around text with separators in it")
                number = cells[columns.number]
                return GivenContact(row, number, {}, fault, None, cells, columns)
            del cells[width:]
        elif len(cells) < width:
            cells += [""] * (width - len(cells))
        for at in columns.unnamed:
            if cells[at].strip():
                msg = f"column {at + 1} has no name, and row {row} has a cell there; name it"
                raise refused(("header",), msg)
        if self._is_own is None:
            self._settle_origin(cells, columns)
        variables: dict[str, Any] = {name: cells[at] for name, at in self._used}
        if may_be_armoured:
            for name, text in variables.items():
                if "'" in text:
                    variables[name] = unarmoured(text)
        if self._is_own:
            variables = _as_they_were(variables)
        country = self._country(cells, columns) if columns.countries or columns.areas else None
        area = self._area(cells, columns) if columns.areas else None
        number = cells[columns.number]
        return GivenContact(row, number, variables, None, country, cells, columns, area)

    def _settle_origin(self, cells: list[str], columns: Columns) -> None:
        """Tell by the first contact's id whether Apollo itself wrote the file."""
        titles = columns.titles
        has_results = "contact_id" in titles and (
            parse_contact_id(cells[titles.index("contact_id")].strip()) is not None
        )
        self._is_own = has_results or {REASON_COLUMN, VARIABLES_COLUMN} <= set(titles)
        if has_results:
            left_out = frozenset(RESULT_COLUMNS) - _VARIABLES_OF_RESULTS
            self._used = [(name, at) for name, at in self._used if titles[at] not in left_out]

    def _country(self, cells: list[str], columns: Columns) -> GivenCountry | None:
        """Give the first country that the row names and that is known; else one that is not."""
        unknown = None
        abroad = [at for at in columns.areas if has_country_code(cells[at])]
        for at in (*abroad, *columns.countries):
            if text := cells[at].strip():
                region = region_of(text)
                given = GivenCountry(columns.titles[at], region, is_calling_code(text))
                if region is not None:
                    return given
                unknown = unknown or given
        return unknown

    def _area(self, cells: list[str], columns: Columns) -> GivenArea | None:
        for at in columns.areas:
            if (text := cells[at].strip()) and not has_country_code(text):
                return GivenArea(columns.titles[at], text)
        return None


def _as_they_were(variables: dict[str, Any]) -> dict[str, Any]:
    """Give the variables of a row that Apollo wrote: as JSON has them, with what was changed.

    A cell says less than JSON does: 5 and "5" look the same. So a cell counts if it differs.
    """
    try:
        known = msgspec.json.decode(variables.pop(VARIABLES_COLUMN, "{}") or "{}")
    except (msgspec.DecodeError, RecursionError):
        known = {}
    if not isinstance(known, dict):
        known = {}
    for title, text in variables.items():
        name = title.removeprefix(VARIABLE_PREFIX)
        if text != as_text(known.get(name)):
            known[name] = text
    return known


def as_text(value: object) -> str:
    """Write a variable or a result in a cell; times and objects look as they do in JSON."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return re.sub(r'^"|"$', "", msgspec.json.encode(value).decode())
