"""An area code in a column of its own, beside a number that may lack it.

Owns when the two are joined. Must never guess: a short number read without its area code is another
person's, so where joining does not give one number the row is refused.
"""

import re
from typing import Final

from apollo.core.numbers import Number, check_region, is_longer_than_usual, is_mobile, read_number
from apollo.core.typed_numbers import EXAMPLE

# As people write it: 030, (030), 0-30, 30, and what a spreadsheet makes of it, 30.0.
_AREA: Final = re.compile(r"[\s'(]*([0-9][0-9 -]*?)[\s)/-]*(?:\.0)?")
_FULL: Final = re.compile(r"[\s'(=\"]*(?:tel:)?[(\s]*(?:\+|00)", re.IGNORECASE)


def has_country_code(number: str) -> bool:
    """Tell whether a number begins with a plus or 00, so that nothing has to be put before it."""
    return _FULL.match(number) is not None


def read_with_area(
    number: str,
    area: str,
    column: str,
    *,
    country_codes: frozenset[int],
    default_region: str | None,
    row_region: str | None,
) -> Number:
    """Read a number whose row has an area code in `column`; ValueError says what is wrong with it.

    A number that begins with the area code already, or has a country code, is read as it is.
    """
    found = _AREA.fullmatch(area)
    if found is None:
        msg = f"column {column!r} holds no area code; write digits such as 030, or leave it empty"
        raise ValueError(msg)
    code = re.sub(r"[ -]", "", found[1])
    region = row_region or default_region
    if region is None and (not code.isdecimal() or int(code) not in country_codes):
        raise ValueError(
            f"its area code is in column {column!r}, and the country is missing; give"
            f" default_region, or write the whole number into one column, {EXAMPLE}"
        )

    def read(text: str) -> Number | str:
        try:
            return read_number(
                text,
                country_codes=country_codes,
                default_region=region and check_region(region),
            )
        except ValueError as fault:
            return str(fault)

    whole, joined = read(number), read(f"{code} {number.strip()}")
    # Behind an area code no number begins with the zero that stands before an area code.
    if number.lstrip(" '(").startswith("0"):
        joined = "the number begins with 0"
    return _chosen(whole, joined, code, column)


def _chosen(whole: Number | str, joined: Number | str, code: str, column: str) -> Number:
    """Give the one reading that the area code allows; ValueError if there is none, or two."""
    has_area = isinstance(whole, Number) and _begins_with(whole, code)
    if isinstance(joined, str):
        if isinstance(whole, Number) and has_area:
            return whole
        raise ValueError(
            f"with the area code in column {column!r} it is no valid number; correct the one that"
            f" is wrong, or write the whole number with its country code, {EXAMPLE}"
        )
    is_doubtful = (
        isinstance(whole, Number)
        and whole != joined
        and (has_area or is_mobile(whole) or is_longer_than_usual(joined))
    )
    if is_doubtful:
        raise ValueError(
            f"it can be read with the area code in column {column!r}, or without; write the whole"
            f" number with its country code, {EXAMPLE}"
        )
    return joined


def _begins_with(number: Number, area: str) -> bool:
    return number.national.lstrip("0").startswith(area.lstrip("0"))
