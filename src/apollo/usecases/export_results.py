"""Results as a CSV file: one line per contact, with its last call.

Owns the columns and what a spreadsheet must not run as a formula. Must never read anything.
"""

import csv
import io
import re
import uuid
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from apollo.core import ids
from apollo.core.ids import ContactKey
from apollo.storage.database import Record
from apollo.usecases.batch_views import View, view_of_call, whole

# A page is a few hundred kilobytes; a larger one would only be held longer.
PAGE_ROWS: Final = 1000

_OF_CONTACT: Final = (
    "contact_id",
    "phone_number",
    "callee_name",
    "status",
    "retry_count",
    "follow_up_count",
    "last_attempted_at",
)
_OF_CALL: Final = (
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
# What spreadsheets take for a formula, full-width forms too, at the start of a cell or of a line
# within it (some split there). Quoting does not help; an apostrophe does.
_FORMULA: Final = re.compile("(^|[\r\n])([=+\\-@\t\r\0\uff1d\uff0b\uff0d\uff20])")


def header_line() -> bytes:
    """Name the columns."""
    return _written([(*_OF_CONTACT, *_OF_CALL, "call_variables", "reached")])


def lines_of(
    batch_id: uuid.UUID,
    rows: Sequence[Record],
    calls: Mapping[int, Sequence[Record]],
    *,
    is_raw: bool,
) -> bytes:
    """Write contacts and their last calls; `is_raw` leaves cells that look like formulas."""
    lines = []
    for r in rows:
        own = calls.get(r["position"])
        call: View = view_of_call(own[-1]) if own else {}
        cells = [
            ids.contact_id(ContactKey(batch_id, r["position"])),
            r["phone_number"],
            r["call_variables"].get("callee_name"),
            r["status"],
            r["retry_count"],
            r["follow_up_count"],
            whole(r["last_attempted_at"]),
            *(call.get(name) for name in _OF_CALL),
            r["call_variables"],
            call.get("reached"),
        ]
        lines.append([_cell(cell, is_raw=is_raw) for cell in cells])
    return _written(lines)


def _cell(value: object, *, is_raw: bool) -> str:
    if value is None:
        return ""
    # Times and objects look as they do in the API's JSON.
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode().strip('"')
    return text if is_raw else _FORMULA.sub(r"\1'\2", text)


def _written(lines: Sequence[Sequence[str]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(lines)
    return text.getvalue().encode()
