"""The header of a list: which column holds the number, which the country, which are variables.

Owns what is said when that cannot be told. Must never show the cells of a row that may be a
person's.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from apollo.core.list_names import (
    AREA_KEYS,
    CODE_KEYS,
    COUNTRY_KEYS,
    NUMBER_COLUMNS,
    NUMBER_KEYS,
    has_number_column,
    key_of,
)
from apollo.core.typed_numbers import without_invisible
from apollo.errors import FieldError, Invalid

# A person's variables, not a table: an agent's prompt has room for far fewer.
COLUMNS_MAX: Final = 200
# In the file of refused rows; not a variable when that file comes back.
REASON_COLUMN: Final = "rejected_reason"
NAME_VARIABLE: Final = "callee_name"
# A file that names many of its columns in an error helps nobody.
_COLUMNS_SHOWN: Final = 20
_NAME_SHOWN: Final = 40
# A cell with as many digits is a number, or another person's detail; no column is named so.
_DIGITS_OF_DATA: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnChoice:
    """What a client says of a file's columns; `mapping`: the variable's name to the column's."""

    phone_column: str | None = None
    mapping: Mapping[str, str] = field(default_factory=dict)


class Columns(NamedTuple):
    """How the cells of a row are used."""

    # As the file writes them, without empty ones at the end; "" where a column has no name.
    titles: tuple[str, ...]
    # The variable that each column becomes; None for the number and what is left out.
    variables: tuple[str | None, ...]
    number: int
    # In the order in which they are asked.
    countries: tuple[int, ...]
    # Where the code of a town or an operator may stand.
    areas: tuple[int, ...]
    unnamed: tuple[int, ...]


def read_header(cells: Sequence[str], choice: ColumnChoice) -> Columns:
    """Say how a file's columns are used. Raises Invalid, naming the column and the parameter."""
    titles = [without_invisible(cell).strip() for cell in cells]
    while titles and not titles[-1]:
        titles.pop()
    if len(titles) > COLUMNS_MAX:
        raise refused(("header",), f"{len(titles)} columns; at most {COLUMNS_MAX} are allowed")
    mapping = dict(choice.mapping)
    phone_column = choice.phone_column or mapping.pop("phone_number", None)
    if phone_column is None and _looks_like_a_contact(titles):
        msg = (
            "the first row looks like a contact, so the file has no header; put a row above it"
            " that names the columns, such as phone_number,callee_name"
        )
        raise refused(("header",), msg)
    _refuse_repeated(titles)
    number = _number_at(titles) if phone_column is None else _found(titles, phone_column)
    if number is None:
        raise refused(("header",), _no_number_column(titles, phone_column))
    variables = _variables(titles, number, mapping)
    keys = [key_of(title) for title in titles]
    countries = [at for at, key in enumerate(keys) if key in CODE_KEYS]
    countries += [at for at, key in enumerate(keys) if key in COUNTRY_KEYS]
    return Columns(
        tuple(titles),
        tuple(variables),
        number,
        tuple(countries),
        tuple(at for at, key in enumerate(keys) if key in AREA_KEYS),
        tuple(at for at, title in enumerate(titles) if not title),
    )


def refused(where: tuple[str | int, ...], msg: str) -> Invalid:
    """Build the error for a place in a file."""
    return Invalid([FieldError(("body", *where), msg)])


def _number_at(titles: list[str]) -> int | None:
    for name in NUMBER_COLUMNS:
        if name in titles:
            return titles.index(name)
    keys = [key_of(title) for title in titles]
    groups = [*({key_of(name)} for name in NUMBER_COLUMNS), NUMBER_KEYS]
    for known in groups:
        found = [at for at, key in enumerate(keys) if key in known]
        if len(found) > 1:
            shown = ", ".join(_shown(titles[at]) for at in found)
            msg = f"several columns may hold the number ({shown}); say which with phone_column"
            raise refused(("header",), msg)
        if found:
            return found[0]
    return None


def _found(titles: list[str], wanted: str) -> int | None:
    """Find a column that a client names, as it is written or else whatever its spelling."""
    if wanted in titles:
        return titles.index(wanted)
    key = key_of(wanted)
    found = [at for at, title in enumerate(titles) if title and key_of(title) == key]
    return found[0] if len(found) == 1 else None


def _variables(titles: list[str], number: int, mapping: Mapping[str, str]) -> list[str | None]:
    variables: list[str | None] = [title or None for title in titles]
    variables[number] = None
    for at, title in enumerate(titles):
        if title == REASON_COLUMN:
            variables[at] = None
        elif key_of(title) == key_of(NAME_VARIABLE) and NAME_VARIABLE not in titles:
            variables[at] = NAME_VARIABLE
    for name, column in mapping.items():
        at_ = _found(titles, column)
        if at_ is None:
            msg = f"the file has no column {column[:_NAME_SHOWN]!r}; it has {_listed(titles)}"
            raise refused(("map",), msg)
        if at_ == number:
            msg = f"column {column[:_NAME_SHOWN]!r} holds the number, which every agent is given"
            raise refused(("map",), msg)
        if name in variables and variables.index(name) != at_:
            variables[variables.index(name)] = None
        variables[at_] = name
    return variables


def _refuse_repeated(titles: list[str]) -> None:
    seen: set[str] = set()
    for title in titles:
        if title and title in seen:
            raise refused(("header",), f"two columns are named {_shown(title)!r}; rename one")
        seen.add(title)


def _no_number_column(titles: list[str], phone_column: str | None) -> str:
    if phone_column is not None:
        missing = f"the file has no column {phone_column[:_NAME_SHOWN]!r}, or several"
        return f"{missing}; it has {_listed(titles)}"
    return (
        f"no column is known to hold the number among: {_listed(titles)}; name it phone_number, or"
        " say which it is with phone_column"
    )


def _listed(titles: list[str]) -> str:
    shown = [_shown(title) for title in titles if title]
    more = len(shown) - _COLUMNS_SHOWN
    return ", ".join(shown[:_COLUMNS_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _shown(title: str) -> str:
    """Show a column's name, escaping what is not visible in it, and no person's details."""
    if _may_be_personal(title):
        return "(a cell that may be a person's)"
    shown = title[:_NAME_SHOWN]
    return shown if shown.isprintable() else shown.encode("unicode_escape").decode()


def _may_be_personal(title: str) -> bool:
    return "@" in title or sum(map(str.isdecimal, title)) >= _DIGITS_OF_DATA


def _looks_like_a_contact(titles: list[str]) -> bool:
    return not has_number_column(titles) and any(
        re.fullmatch(r"[\s'\"=(+]*[0-9][0-9\s()./+-]*[0-9\"]", title) and _may_be_personal(title)
        for title in titles
    )
