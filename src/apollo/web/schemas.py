"""Pieces that the shapes of requests and answers share.

Owns how a time, a page and an error look. Must never hold a rule of its own: use-cases do.
"""

from collections.abc import Sequence
from datetime import datetime
from difflib import get_close_matches
from typing import Annotated, Any, ClassVar, Final

import msgspec
from fastapi import Query, Response
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from apollo.core.words import stamp
from apollo.errors import FieldError, Invalid

SKIP_MAX: Final = 10**9  # the schema's positions end before
# Longer than any name of ours; a longer one is not compared whole.
_NAME_MAX: Final = 80
ROWS_MAX: Final = 1000  # contacts or calls of one answer

Timestamp = Annotated[
    datetime,
    PlainSerializer(stamp, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time", "examples": ["2026-05-10T09:05:00Z"]}),
]
Skip = Annotated[int, Query(ge=0, le=SKIP_MAX, description="How many items to skip.")]
PageLimit = Annotated[int, Query(ge=1, le=500, description="The most items to return.")]


def _within_a_page(limit: int) -> int:
    if limit > ROWS_MAX:
        text = "must be at most 1000; a whole batch is in GET /api/v1/batches/{id}/results.csv"
        raise PydanticCustomError("less_than_equal", "{text}", {"text": text})
    return limit


RowsLimit = Annotated[
    int,
    Query(ge=1, description="The most items to return.", json_schema_extra={"maximum": ROWS_MAX}),
    AfterValidator(_within_a_page),
]
OrganizationQuery = Annotated[
    str | None, Query(description="The token's own organisation; another one is a 403.")
]


# Models that FastAPI does not read itself, since the bodies that they describe are read in pieces.
DESCRIBED: Final[list[type[BaseModel]]] = []


def schema_of(model: type[BaseModel]) -> dict[str, str]:
    """Return a reference to a model's schema, and have the description define it."""
    DESCRIBED.append(model)
    return {"$ref": f"#/components/schemas/{model.__name__}"}


def unknown(what: str, name: str, known: Sequence[str]) -> str:
    """Return the sentence for a name that is not known here, with the one that may be meant."""
    if not known:
        return f"unknown {what}; none is taken here"
    near = get_close_matches(name[:_NAME_MAX], known, n=1)
    meant = f"; did you mean {near[0]}?" if near else ";"
    return f"unknown {what}{meant} it takes {', '.join(known)}".replace("? it", "? It")


def answered(view: Any) -> Response:
    """Answer with what a use-case gave, as it is: its shape is the answer's."""
    return Response(msgspec.json.encode(view), media_type="application/json")


class Body(BaseModel):
    """A request body: unknown keys and values of another type are refused."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Answer(BaseModel):
    """An answer: built by us, so not checked again."""

    model_config = ConfigDict(frozen=True)


ReadOnly = Annotated[
    Any, Field(default=None, description="Read-only: the value that was read is accepted.")
]


class Changes(Body):
    """A body of PATCH: keys that may be changed, and read-only ones that a client sends back.

    So that the body of a GET, edited, is a body of PATCH. Some read-only values move by themselves
    and are ignored; one of `fixed` is refused when it is not the object's own.
    """

    fixed: ClassVar[frozenset[str]] = frozenset()
    moving: ClassVar[frozenset[str]] = frozenset()

    def settings(self) -> dict[str, Any]:
        """Return the keys to change that the client gave."""
        return self.model_dump(exclude_unset=True, exclude={*self.fixed, *self.moving})

    def check_fixed(self, view: Any) -> None:
        """Raise Invalid for each read-only value that differs from the object's own answer."""
        shown = msgspec.json.decode(msgspec.json.encode(view))
        given = self.model_dump(include=set(self.fixed & self.model_fields_set))
        wrong = [
            FieldError(("body", key), f"cannot be changed from {shown[key]!r}; leave it out")
            for key, value in given.items()
            if value is not None and value != shown[key]
        ]
        if wrong:
            raise Invalid(wrong)


class Problem(Answer):
    """Any error but 422: one sentence."""

    detail: str = Field(description="What is wrong and what to do.")


class Fault(Answer):
    """One wrong field."""

    loc: list[str | int] = Field(description="Where: `body`, `query` or `header`, then the keys.")
    msg: str = Field(description="What is wrong and what would be right.")
    type: str = Field(description="The kind of fault.")


class Faults(Answer):
    """A 422: every wrong field, and what would be right."""

    detail: list[Fault] = Field(description="Each wrong field, up to 100.")


ERRORS: Final[dict[int | str, dict[str, Any]]] = {
    401: {"model": Problem, "description": "No token, or one that is unknown or revoked."},
    403: {"model": Problem, "description": "Another organisation was named."},
    404: {"model": Problem, "description": "No such object in this organisation."},
    409: {"model": Problem, "description": "Its present state forbids this; says what to do."},
    413: {"model": Problem, "description": "The body is too large."},
    422: {"model": Faults, "description": "Malformed; names each field and what would be right."},
    503: {"model": Problem, "description": "Nothing was done; send it again after Retry-After."},
}


class Warned(Answer):
    """Something that is allowed and may not be meant."""

    code: str = Field(description="Which warning it is.", examples=["no_calling_hours"])
    text: str = Field(description="What it means and how to change it.")
