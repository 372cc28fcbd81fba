"""Pieces that the shapes of requests and answers share.

Owns how a time, a page and an error look. Must never hold a rule of its own: use-cases do.
"""

from datetime import datetime
from typing import Annotated, Any, Final

import msgspec
from fastapi import Query, Response
from pydantic import BaseModel, ConfigDict, PlainSerializer, WithJsonSchema

from apollo.core.diagnosis.words import stamp

SKIP_MAX: Final = 10**9  # the schema's positions end before

Timestamp = Annotated[
    datetime,
    PlainSerializer(stamp, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time", "examples": ["2026-05-10T09:05:00Z"]}),
]
Skip = Annotated[int, Query(ge=0, le=SKIP_MAX, description="Leave out so many from the start.")]
PageLimit = Annotated[int, Query(ge=1, le=500, description="Give at most so many.")]
OrganizationQuery = Annotated[
    str | None, Query(description="The token's own organisation; another one is a 403.")
]


def answered(view: Any) -> Response:
    """Answer with what a use-case gave, as it is: its shape is the answer's."""
    return Response(msgspec.json.encode(view), media_type="application/json")


class Body(BaseModel):
    """A request body: unknown keys and values of another type are refused."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Answer(BaseModel):
    """An answer: built by us, so not checked again."""

    model_config = ConfigDict(frozen=True)


class Problem(Answer):
    """Any error but 422: one sentence."""

    detail: str


class Fault(Answer):
    """One wrong field."""

    loc: list[str | int]
    msg: str
    type: str


class Faults(Answer):
    """A 422: every wrong field, and what would be right."""

    detail: list[Fault]


ERRORS: Final[dict[int | str, dict[str, Any]]] = {
    401: {"model": Problem, "description": "No token, or one that is unknown or revoked."},
    403: {"model": Problem, "description": "Another organisation was named."},
    404: {"model": Problem, "description": "No such object in this organisation."},
    409: {"model": Problem, "description": "Its present state forbids this; says what to do."},
    413: {"model": Problem, "description": "The body is too large."},
    422: {"model": Faults, "description": "Malformed; names each field and what would be right."},
    503: {"model": Problem, "description": "Nothing was done; send it again after Retry-After."},
}
