"""What every list of the API can be asked for: several statuses, a time, what a row carries.

Owns how filters are read from a query, and what is said about one that cannot be read. Must never
know a table.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Final, Literal, TypeVar

from fastapi import Query, Response

from apollo.core.numbers import parse_number
from apollo.errors import Invalid
from apollo.usecases.list_filters import Listed, ListFilter
from apollo.web.schemas import PageLimit, Skip, answered

_Status = TypeVar("_Status", bound=StrEnum)
_SHOWN_MAX: Final = 60
_WHEN: Final = re.compile(
    r"\d{4}-\d\d-\d\d(?:[Tt ]\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?(?:[Zz]|[+-]\d\d:\d\d)?)?"
)
# PostgreSQL and Python both know these years.
_YEARS: Final = range(1970, 9999)
_KEY_MAX: Final = 100
# Each value may be meant in two ways, and every combination is looked for: 64 of them at most.
_PAIRS_MAX: Final = 6
TOTAL: Final = "X-Total-Count"

Statuses = Annotated[
    list[str] | None,
    Query(description="Only in these statuses: `a,b`, or the parameter several times."),
]
CreatedAfter = Annotated[
    str | None, Query(description="Created at or after this time; without an offset UTC.")
]
CreatedBefore = Annotated[
    str | None, Query(description="Created before this time; without an offset UTC.")
]
UpdatedSince = Annotated[
    str | None, Query(description="Changed at or after this time; without an offset UTC.")
]
Metadata = Annotated[
    list[str] | None,
    Query(
        alias="metadata",
        description="Only with this value in the metadata, as `key=value`; several must all hold.",
        examples=[["source=crm"]],
    ),
]
After = Annotated[
    str | None,
    Query(description="Begin behind this object: the last id of the page before. Not with `skip`."),
]
Sort = Annotated[
    Literal["created_at", "-created_at"],
    Query(description="`-created_at` is the newest first, `created_at` the oldest."),
]
Count = Annotated[
    bool, Query(description="With the header `X-Total-Count`: how many the filters let through.")
]


def statuses(given: Sequence[str] | None, known: type[_Status]) -> list[str] | None:
    """Return the statuses asked for, None for all. Raises Invalid naming those there are."""
    if given is None:
        return None
    asked = [one.strip() for part in given for one in part.split(",")]
    unknown = [one for one in asked if one not in set(known)]
    if unknown or not asked:
        shown = ", ".join(repr(one[:_SHOWN_MAX]) for one in unknown[:3])
        msg = f"{shown} is not a status; use one or more of {', '.join(known)}"
        raise Invalid.field("status", msg, where="query")
    return list(dict.fromkeys(asked))


def instant(name: str, given: str | None) -> datetime | None:
    """Return the instant asked for. Raises Invalid naming the right form."""
    if given is None:
        return None
    # A plus that nobody escaped arrives as a space.
    text = re.sub(r" (\d\d:\d\d)$", r"+\1", given.strip())
    at = _instant(text) if _WHEN.fullmatch(text) else None
    if at is None or at.year not in _YEARS:
        msg = f"{given[:_SHOWN_MAX]!r} is not a time; write 2026-05-10, or 2026-05-10T09:00:00Z"
        raise Invalid.field(name, msg, where="query")
    return at


def _instant(text: str) -> datetime | None:
    try:
        at = datetime.fromisoformat(text.upper())
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def span(after: str | None, before: str | None) -> tuple[datetime | None, datetime | None]:
    """Return the two ends of `created_after` and `created_before`. Raises Invalid."""
    begins, ends = instant("created_after", after), instant("created_before", before)
    if begins is not None and ends is not None and begins >= ends:
        msg = "must be after created_after; nothing lies between"
        raise Invalid.field("created_before", msg, where="query")
    return begins, ends


def metadata(given: Sequence[str] | None) -> list[dict[str, Any]]:
    """Return what the metadata must contain, one object for each reading of a value.

    `n=5` is looked for as the text "5" and as the number. Raises Invalid.
    """
    given = given or ()
    if len(given) > _PAIRS_MAX:
        msg = f"is given {len(given)} times; at most {_PAIRS_MAX} values can be asked for at once"
        raise Invalid.field("metadata", msg, where="query")
    pairs = [_pair(one) for one in given]
    readings: list[dict[str, Any]] = [{}]
    for key, value in pairs:
        readings = [{**one, key: read} for one in readings for read in _readings(value)]
    return readings if pairs else []


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key or len(key) > _KEY_MAX or "\0" in text:
        msg = f"{text[:_SHOWN_MAX]!r} is no pair; write metadata=key=value"
        raise Invalid.field("metadata", msg, where="query")
    return key, value


def _readings(value: str) -> Iterable[Any]:
    yield value
    if value in {"true", "false"}:
        yield value == "true"
    elif value == "null":
        yield None
    elif re.fullmatch(r"-?(0|[1-9]\d{0,14})", value):
        yield int(value)
    elif re.fullmatch(r"-?(0|[1-9]\d{0,14})\.\d{1,14}", value):
        yield float(value)


def number(given: str | None) -> str | None:
    """Return the `+E.164` number asked for. Raises Invalid."""
    if given is None:
        return None
    # In a query string a plus that nobody escaped arrives as a space.
    typed = given.strip()
    try:
        return parse_number(typed if typed.startswith("+") else f"+{typed}")
    except ValueError as fault:
        raise Invalid.field("phone_number", str(fault), where="query") from None


def one_way(after: str | None, skip: int) -> None:
    """Refuse two ways of paging at once. Raises Invalid."""
    if after is not None and skip:
        msg = "cannot be given with skip; go on with the last id of the page before"
        raise Invalid.field("after", msg, where="query")


def listed_by(known: type[StrEnum]) -> Callable[..., ListFilter]:
    """Return what reads the filters of a list of batches or campaigns."""

    def read(
        status: Statuses = None,
        created_after: CreatedAfter = None,
        created_before: CreatedBefore = None,
        updated_since: UpdatedSince = None,
        phone_number: Annotated[
            str | None, Query(description="Only with this number among theirs.")
        ] = None,
        wanted_metadata: Metadata = None,
        sort: Sort = "-created_at",
        after: After = None,
        count: Count = False,
        skip: Skip = 0,
        limit: PageLimit = 50,
    ) -> ListFilter:
        one_way(after, skip)
        begins, ends = span(created_after, created_before)
        return ListFilter(
            statuses=statuses(status, known),
            created_after=begins,
            created_before=ends,
            updated_since=instant("updated_since", updated_since),
            phone_number=number(phone_number),
            metadata=metadata(wanted_metadata),
            after=after,
            oldest_first=sort == "created_at",
            with_total=count,
            skip=skip,
            limit=limit,
        )

    return read


def page(listed: Listed) -> Response:
    """Answer with a page, and how many rows there are in all if that was asked for."""
    answer = answered(listed.rows)
    if listed.total is not None:
        answer.headers[TOTAL] = str(listed.total)
    return answer
