"""What every part of a scenario file shares.

Owns strict objects, field types, and errors that name the path in the file, what is wrong and what
would be right. Must not know any particular part.
"""

from typing import Annotated, Any, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
)

LONGEST_S = 86_400.0  # a day: nothing in a rehearsal is longer, and larger is a mistake in units


class Part(BaseModel):
    """An object of the scenario file; `about` is a comment for people, on any object."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    about: str = ""


def _rising(span: tuple[float, float]) -> tuple[float, float]:
    if span[0] > span[1]:
        raise ValueError("the first number should not be larger than the second")
    return span


def _both(wait: object) -> object:
    return (wait, wait) if isinstance(wait, int | float) else wait


def _shown(span: tuple[float, float]) -> object:
    return span[0] if span[0] == span[1] else span


def plain_number(number: str) -> str:
    """A phone number as it is compared here: without the plus."""
    return number.removeprefix("+")


def _digits(number: str) -> str:
    plain = plain_number(number)
    if not plain.isdecimal():
        raise ValueError("a phone number should be digits, with or without a leading +")
    return plain


def _number_as_text(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Seconds = Annotated[float, Field(ge=0, le=LONGEST_S)]
Share = Annotated[float, Field(ge=0, le=1)]
Span = Annotated[tuple[Seconds, Seconds], AfterValidator(_rising)]
# A number of seconds, or the least and the most of them.
Wait = Annotated[Span, BeforeValidator(_both), PlainSerializer(_shown)]
Number = Annotated[str, BeforeValidator(_number_as_text), AfterValidator(_digits)]


def complaints(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """One line per fault: the path in the file, what is wrong, what would be right."""
    lines: list[str] = []
    for fault in error.errors(include_url=False, include_input=False):
        path = ".".join(str(part) for part in fault["loc"]) or "file"
        text = fault["msg"].removeprefix("Value error, ")
        if fault["type"] == "extra_forbidden":
            known = ", ".join(sorted(_keys_at(model, fault["loc"][:-1])))
            text = f"unknown key; it should be one of {known}"
        lines.append(f"{path}: {text}")
    return lines


def _keys_at(model: type[BaseModel], path: tuple[int | str, ...]) -> set[str]:
    here: list[type[BaseModel]] = [model]
    for step in path:
        deeper = [
            found
            for part in here
            if isinstance(step, str) and step in part.model_fields
            for found in _models_in(part.model_fields[step].annotation)
        ]
        here = deeper or here  # a list position or a key of a mapping leads to the same model
    return {name for part in here for name in part.model_fields}


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for inner in get_args(annotation) for found in _models_in(inner)]
