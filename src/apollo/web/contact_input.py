"""Contacts as they arrive: a JSON body of up to 64 MiB, or a CSV file in pieces.

Owns how a request becomes rows without ever holding them all as objects. Must never judge a row:
`usecases/check_contacts` does.
"""

import re
from collections.abc import AsyncIterator, Iterator
from functools import cache
from typing import Any, Final

import msgspec
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from apollo.core.list_rows import GivenContact
from apollo.errors import FieldError, Invalid, TooLarge
from apollo.web.faults import SHOWN_MAX
from apollo.web.requests import decode_json
from apollo.web.schemas import unknown

# What a file is, its first bytes say; these are what clients call it.
_FILE_TYPES: Final = frozenset(
    {
        "text/csv",
        "application/csv",
        "application/vnd.ms-excel",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        "application/octet-stream",
        "text/plain",
        "text/tab-separated-values",
    }
)
# Part headers are a name and a type; python-multipart itself does not bound them.
_PART_HEADER_MAX: Final = 8 * 1024
# As large as any other body; only the contacts are many.
_HEAD_BYTES_MAX: Final = 1024 * 1024
# Some thousand contacts: a few milliseconds, and at most a few MB of elements.
_PIECE_BYTES: Final = 256 * 1024
_CONTACTS: Final = ("body", "contacts")
_FIELD_NAMED: Final = re.compile(r"`\$\.(\w+)|field `([^`]*)`")


class _Contact(msgspec.Struct, forbid_unknown_fields=True):
    phone_number: str
    call_variables: dict[str, Any] | None = None


class _Skimmed(msgspec.Struct):
    contacts: msgspec.Raw = msgspec.Raw()


_SKIMMED: Final = msgspec.json.Decoder(_Skimmed)
_OBJECT: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ARRAY: Final = msgspec.json.Decoder(list[msgspec.Raw])
_CONTACT: Final = msgspec.json.Decoder(_Contact)
_CONTACT_KEYS: Final = ("phone_number", "call_variables")


def read_batch_body(
    body: bytes, content_type: str, head: type[BaseModel]
) -> tuple[BaseModel, Iterator[GivenContact]]:
    """Split a JSON body into everything but the contacts, checked, and the contacts, unread.

    Reading a body of 100 000 contacts into models would take a second and ten times its size.
    Raises Invalid, or RequestValidationError in FastAPI's form.
    """
    if content_type.partition(";")[0].strip().lower() != "application/json":
        msg = "the body must be JSON; send Content-Type: application/json, or use /batches/csv"
        raise Invalid.field("content-type", msg, where="header")
    members = _members(body, head)
    array = bytes(members.pop("contacts", b""))
    faults = _faults_of_list(array)
    names = frozenset(head.model_fields)  # asked once: pydantic makes it a function call
    strange = [name for name in members if name not in names]
    for name in strange[SHOWN_MAX:]:
        del members[name]  # each would be modelled, only to be complained of
    checked = None
    try:
        checked = head.model_validate({name: _read(name, raw) for name, raw in members.items()})
    except ValidationError as wrong:
        faults = [{**error, "loc": ("body", *error["loc"])} for error in wrong.errors()] + faults
    if checked is None or faults:
        known = [*head.model_fields, "contacts"]
        for fault in faults:
            if fault["type"] == "extra_forbidden":
                fault["msg"] = unknown("key", fault["loc"][-1], known)
        raise RequestValidationError(faults)
    return checked, _contacts(array)


def _members(body: bytes, head: type[BaseModel]) -> dict[str, msgspec.Raw]:
    """Return the members of the body's object, unread. Raises Invalid, TooLarge."""
    try:
        try:
            skimmed = msgspec.structs.asdict(_skimmer(head).decode(body))
            members = {name: raw for name, raw in skimmed.items() if memoryview(raw)}
        except msgspec.ValidationError:  # a name that is not known: the others are wanted too
            members = {"contacts": _SKIMMED.decode(body).contacts}
            _check_size(body, members)
            members = _OBJECT.decode(body)
    except RecursionError:
        raise _body_fault("nested too deeply", "json_invalid") from None
    except msgspec.ValidationError:
        raise _body_fault("must be a JSON object", "dict_type") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as fault:
        raise _body_fault(f"not valid JSON: {fault}", "json_invalid") from None
    _check_size(body, members)
    return members


def _check_size(body: bytes, members: dict[str, msgspec.Raw]) -> None:
    if len(body) - len(memoryview(members.get("contacts", b""))) > _HEAD_BYTES_MAX:
        raise TooLarge(f"everything but the contacts is over {_HEAD_BYTES_MAX // 1024} KiB")


@cache
def _skimmer(head: type[BaseModel]) -> msgspec.json.Decoder[msgspec.Struct]:
    """Return what splits a body in one pass, which for 64 MiB is the better part of a second."""
    fields = [(name, msgspec.Raw, msgspec.Raw()) for name in (*head.model_fields, "contacts")]
    return msgspec.json.Decoder(msgspec.defstruct("Batch", fields, forbid_unknown_fields=True))


def _read(name: str, raw: msgspec.Raw) -> Any:
    try:
        return decode_json(bytes(raw))
    except Invalid as fault:
        shown = name.replace("\0", "")
        raise Invalid(
            [FieldError(("body", shown, *e.loc[1:]), e.msg, e.type) for e in fault.errors]
        ) from None


def _faults_of_list(array: bytes) -> list[Any]:
    if not array:
        return [{"loc": _CONTACTS, "msg": "Field required", "type": "missing"}]
    if array[:1] != b"[":
        msg = 'must be an array of objects: [{"phone_number": "+14155550123"}]'
        return [{"loc": _CONTACTS, "msg": msg, "type": "list_type"}]
    if not array[1:-1].strip():
        return [{"loc": _CONTACTS, "msg": "needs at least one contact", "type": "too_short"}]
    return []


def _contacts(array: bytes) -> Iterator[GivenContact]:
    for row, raw in enumerate(_elements(array)):
        try:
            contact = _CONTACT.decode(raw)
        except RecursionError:
            yield GivenContact(row, "", {}, ("call_variables", "nested too deeply"))
        except (msgspec.DecodeError, UnicodeDecodeError) as fault:
            yield GivenContact(row, "", {}, _named(str(fault)))
        else:
            yield GivenContact(row, contact.phone_number, contact.call_variables or {})


def _elements(array: bytes) -> Iterator[msgspec.Raw]:
    """Yield the elements of a JSON array that is known to be one, a piece of it at a time.

    All of them at once would be thirty times as large as an array of zeros. A piece ends at a comma
    that is the array's own: exactly there what lies before it is an array too.
    """
    at, end, size = 1, len(array) - 1, _PIECE_BYTES
    while at < end:
        for cut in _cuts(array, at, at + size):
            try:
                found = _ARRAY.decode(b"[" + array[at:cut] + b"]")
            except msgspec.DecodeError:
                continue
            yield from found
            at, size = cut + 1, _PIECE_BYTES
            break
        else:
            size *= 2  # one element is longer than a piece


def _cuts(array: bytes, at: int, until: int) -> Iterator[int]:
    """Yield where a piece from `at` may end: at the array's end, else at a likely comma."""
    if until >= len(array) - 1:
        yield len(array) - 1
        return
    cut = until
    for _ in range(3):  # a comma after a bracket may also be inside of a contact
        cut = array.rfind(b"},", at, cut) + 1
        if not cut:
            break
        yield cut
    if (comma := array.rfind(b",", at, until)) >= 0:
        yield comma


def _named(fault: str) -> tuple[str, str]:
    found = _FIELD_NAMED.search(fault)
    field = ((found[1] or found[2]) if found else "")[:100].replace("\0", "")
    if fault.startswith("Object contains unknown field"):
        return field, unknown("key", field, _CONTACT_KEYS)
    return field, fault.partition(" - at ")[0][:200].replace("\0", "")


def _body_fault(msg: str, kind: str) -> Invalid:
    return Invalid([FieldError(("body",), msg, kind)])


def csv_pieces(request: Request) -> AsyncIterator[bytes]:
    """Give a CSV file as it comes in: a `text/csv` body, or the part `file` of a form.

    Raises Invalid for another kind of body.
    """
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind.decode("latin-1").lower() in _FILE_TYPES:
        return request.stream()
    if kind.lower() == b"multipart/form-data" and (boundary := options.get(b"boundary")):
        return _file_of_form(request, boundary)
    msg = "send the file as Content-Type: text/csv, or as the part `file` of a multipart form"
    raise Invalid.field("content-type", msg, where="header")


async def _file_of_form(request: Request, boundary: bytes) -> AsyncIterator[bytes]:
    form = _Form()
    try:
        parser = MultipartParser(boundary, form.callbacks())
        async for piece in request.stream():
            parser.write(piece)
            for part in form.take():
                yield part
        parser.finalize()
    except FormParserError as fault:
        raise _body_fault(f"not a readable multipart form: {fault}", "form_invalid") from None
    if form.files != 1:
        found = "none" if form.files == 0 else "more than one"
        msg = f"the form must have exactly one part named file; {found} was found"
        raise Invalid.field("file", msg)


class _Form:
    """Lets the bytes of the part `file` through and forgets every other part."""

    def __init__(self) -> None:
        self.files = 0
        self._pieces: list[bytes] = []
        self._is_file = False
        self._name = self._value = b""

    def callbacks(self) -> Any:
        """Name what the parser is to call."""
        return {
            "on_part_begin": self._begin_part,
            "on_header_field": self._add_name,
            "on_header_value": self._add_value,
            "on_header_end": self._end_header,
            "on_part_data": self._add_piece,
        }

    def take(self) -> list[bytes]:
        """Give what has come in of the file since the last time."""
        pieces, self._pieces = self._pieces, []
        return pieces

    def _begin_part(self) -> None:
        self._is_file = False

    def _add_name(self, piece: bytes, start: int, end: int) -> None:
        self._name = (self._name + piece[start:end])[:_PART_HEADER_MAX]

    def _add_value(self, piece: bytes, start: int, end: int) -> None:
        self._value = (self._value + piece[start:end])[:_PART_HEADER_MAX]

    def _end_header(self) -> None:
        if self._name.lower() == b"content-disposition":
            _, options = parse_options_header(self._value)
            if options.get(b"name") == b"file":
                self._is_file = True
                self.files += 1
        self._name = self._value = b""

    def _add_piece(self, piece: bytes, start: int, end: int) -> None:
        # A second file is refused at the end; until then it must not be read as part of the first.
        if self._is_file and self.files == 1:
            self._pieces.append(piece[start:end])
