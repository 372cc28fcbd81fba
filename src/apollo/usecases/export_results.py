"""Results as a CSV file: one line per contact, with its last call.

Owns the columns. The file opens in a spreadsheet as it is, joins with the list it came from by the
number and by each of the caller's own columns, and can be uploaded again. Must never read anything.
"""

import csv
import io
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from apollo.core import ids
from apollo.core.ids import ContactKey
from apollo.core.list_rows import RESULT_COLUMNS, VARIABLE_PREFIX, VARIABLES_COLUMN, as_text
from apollo.core.safe_cells import armoured
from apollo.errors import Invalid
from apollo.storage.database import Record
from apollo.usecases.batch_views import View, view_of_call, whole
from apollo.usecases.refused_rows import MARK

# A page is a few hundred kilobytes; a larger one would only be held longer.
PAGE_ROWS: Final = 1000
_COLUMNS_SHOWN: Final = 60
# It came later than `call_variables`, and clients may count columns.
_LAST_COLUMN: Final = "reached"


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultsForm:
    """How a client wants the file; without `columns`, all of them."""

    columns: Sequence[str] = ()
    # Cells that look like formulas are left as they are.
    is_raw: bool = False
    # Begins with a byte-order mark, without which spreadsheets garble names.
    has_mark: bool = True


class ResultsSheet:
    """The columns of one file of results, and its lines."""

    def __init__(self, batch_id: uuid.UUID, form: ResultsForm, first: Sequence[Record]) -> None:
        """Settle the columns by the first contacts. Raises Invalid for one that is not there.

        Variables that only later contacts have are in `call_variables`, with all others.
        """
        self.batch_id = batch_id
        self._form = form
        own = dict.fromkeys(name for r in first for name in r["call_variables"])
        variables = {_title(name): name for name in own if name != "callee_name"}
        first_ones = [column for column in RESULT_COLUMNS if column != _LAST_COLUMN]
        known = [*first_ones, *variables, VARIABLES_COLUMN, _LAST_COLUMN]
        self._columns = list(form.columns) or known
        self._variables = {"callee_name": "callee_name", **variables}
        for column in self._columns:
            if column in known:
                continue
            if not column.startswith(VARIABLE_PREFIX):
                shown = ", ".join(one[:40] for one in known[:_COLUMNS_SHOWN])
                msg = f"no column {column[:40]!r}; the file has {shown}"
                raise Invalid.field("columns", msg, where="query")
            self._variables[column] = column.removeprefix(VARIABLE_PREFIX)

    def header(self) -> bytes:
        """Name the columns."""
        mark = MARK if self._form.has_mark else ""
        return mark.encode() + self._written([self._columns])

    def lines(self, rows: Sequence[Record], calls: Mapping[int, Sequence[Record]]) -> bytes:
        """Write contacts and their last calls."""
        lines = []
        for r in rows:
            own = calls.get(r["position"])
            call: View = view_of_call(own[-1]) if own else {}
            cells = call | self._of_contact(r)
            variables = r["call_variables"]
            lines.append(
                [
                    as_text(
                        variables.get(self._variables[column])
                        if column in self._variables
                        else cells.get(column)
                    )
                    for column in self._columns
                ]
            )
        return self._written(lines)

    def _of_contact(self, r: Record) -> dict[str, Any]:
        return {
            "contact_id": ids.contact_id(ContactKey(self.batch_id, r["position"])),
            "phone_number": r["phone_number"],
            "status": r["status"],
            "retry_count": r["retry_count"],
            "follow_up_count": r["follow_up_count"],
            "last_attempted_at": whole(r["last_attempted_at"]),
            VARIABLES_COLUMN: r["call_variables"],
        }

    def _written(self, lines: Sequence[Sequence[str]]) -> bytes:
        if not self._form.is_raw:
            lines = [[armoured(cell) for cell in line] for line in lines]
        text = io.StringIO(newline="")
        csv.writer(text).writerows(lines)
        return text.getvalue().encode("utf-8", "replace")


def _title(variable: str) -> str:
    """Name a variable's column: as the variable, unless another column is called so."""
    is_taken = variable in {*RESULT_COLUMNS, VARIABLES_COLUMN} or variable.startswith(
        VARIABLE_PREFIX
    )
    return f"{VARIABLE_PREFIX}{variable}" if is_taken else variable
