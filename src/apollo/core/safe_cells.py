"""Cells that a spreadsheet must not run as a formula, and the same cells when they come back.

Quoting does not help; an apostrophe does. Must be undone exactly: what is exported and uploaded
again is what it was.
"""

import re
from typing import Final

# What spreadsheets take for a formula, full-width forms too, at the start of a cell or of a line
# within it (some split there).
_SIGNS: Final = "=+\\-@\t\r\0\uff1d\uff0b\uff0d\uff20"
_FORMULA: Final = re.compile(f"(^|[\r\n])('*[{_SIGNS}])")
_ARMOURED: Final = re.compile(f"(^|[\r\n])'('*[{_SIGNS}])")
# A number is no formula, and must stay one: +12025550143, -5, +3,50.
_NUMBER: Final = re.compile(r"[+-][0-9]+(?:[.,][0-9]+)?")


def armoured(text: str) -> str:
    """Put an apostrophe before what would run as a formula."""
    if _NUMBER.fullmatch(text):
        return text
    return _FORMULA.sub(r"\1'\2", text)


def unarmoured(text: str) -> str:
    """Take off the apostrophes that `armoured` put on."""
    return _ARMOURED.sub(r"\1\2", text)
