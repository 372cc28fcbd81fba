"""Creating batches over HTTP: from a JSON body, or from a CSV file that streams through.

Owns how a repeated request is recognised while its file is still coming in. Must never hold a whole
file, nor decide what is a good row.
"""

import hashlib
from collections.abc import AsyncIterator
from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, Query, Request, Response
from starlette.requests import ClientDisconnect

from apollo.core.list_header import ColumnChoice
from apollo.errors import FieldError, Invalid, Refused
from apollo.usecases.batch_views import View
from apollo.usecases.remember_answers import FirstAnswer, Reservation
from apollo.usecases.wanted_batches import NewBatch
from apollo.web.batch_shapes import BatchBody, BatchHead, CreatedBatchAnswer, UploadQuery
from apollo.web.contact_input import csv_pieces, read_batch_body
from apollo.web.idempotency import (
    HEADER,
    KEY_PARAMETER,
    Store,
    answer_once,
    json_answer,
    replay,
    settled,
)
from apollo.web.requests import (
    Caller,
    HalfTime,
    KnownQueryRoute,
    Uses,
    check_organization,
    decode_json,
)
from apollo.web.schemas import schema_of
from apollo.web.trial_shapes import TrialAnswer

_PATH: Final = "/batches"
_UPLOAD_PATH: Final = "/batches/csv"
_UPLOAD: Final = """
Create a batch from a list of up to 10 million rows: a CSV file or an Excel workbook (.xlsx), sent
as the body or as the part `file` of a form.

The first row names the columns. The number is in `phone_number`, else in `mobile_number`, else in
`phone`, else in a column that is usually called so (`Mobile`, `Handynummer`, `Phone 1 - Value`);
`phone_column` says which. A column `phone_code`, `country_code` or `country` names the country of
numbers without a plus. Every other column is a call variable; `map` renames.

UTF-8, UTF-16 and Windows-1252 are read, separated by commas, semicolons, tabs or pipes; empty rows
are skipped; rows are counted as a spreadsheet counts them, the header being row 1. Nothing is
dialled, and nothing is left behind, unless the whole file was read. `dry_run=true` shows how.
"""
_WORKBOOK: Final = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
_TRIAL: Final[dict[int | str, dict[str, Any]]] = {
    200: {"model": TrialAnswer, "description": "A dry run: nothing was created."}
}
_JSON_INPUT: Final[dict[str, Any]] = {
    "parameters": [KEY_PARAMETER],
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": schema_of(BatchBody)}},
    },
}
_CSV_INPUT: Final[dict[str, Any]] = {
    "parameters": [KEY_PARAMETER],
    "requestBody": {
        "required": True,
        "content": {
            "text/csv": {
                "schema": {"type": "string"},
                "example": "phone_number,callee_name,current_plan\n"
                "+12025550143,Rajesh Sharma,Basic Health\n",
            },
            _WORKBOOK: {"schema": {"type": "string", "format": "binary"}},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {
                            "type": "string",
                            "format": "binary",
                            "description": "The file.",
                        }
                    },
                }
            },
        },
    },
}


router = APIRouter(tags=["batches"], route_class=KnownQueryRoute)


@router.post(
    "/batches",
    status_code=201,
    response_model=CreatedBatchAnswer,
    responses=_TRIAL,
    openapi_extra=_JSON_INPUT,
    summary="Create a batch",
)
@router.post("/batches/upload", status_code=201, include_in_schema=False)
async def create_batch(request: Request, caller: Caller, uses: Uses) -> Response:
    """Create a batch and start dialling, at once or at its start. The body is at most 64 MiB."""

    async def work(store: Store | None) -> bytes:
        kind = request.headers.get("content-type", "")
        half_time: HalfTime = request.app.state.half_time
        head, contacts = await half_time.decode(
            await request.body(), lambda body: read_batch_body(body, kind, BatchHead)
        )
        given = head.model_dump()
        check_organization(caller, given.pop("organization_id"))
        created = await uses.create_batches.from_contacts(
            caller, _new_batch(given), contacts, on_created=_storing(store)
        )
        return msgspec.json.encode(created)

    if _is_dry_run(await request.body()):
        return json_answer(await work(None), 200)
    return await answer_once(uses.answers, caller, _PATH, request, work)


@router.post(
    "/batches/csv",
    status_code=201,
    response_model=CreatedBatchAnswer,
    responses=_TRIAL,
    openapi_extra=_CSV_INPUT,
    summary="Create a batch from a CSV file",
    description=_UPLOAD,
)
async def upload_batch(
    request: Request,
    caller: Caller,
    uses: Uses,
    query: Annotated[UploadQuery, Query()],
) -> Response:
    """Create a batch from a CSV file."""
    given = query.model_dump()
    check_organization(caller, given.pop("organization_id"))
    for name in ("call_context", "metadata"):
        given[name] = _object_in_query(name, given[name])
    given["columns"] = _columns(given.pop("phone_column"), given.pop("map"))
    key = None if query.dry_run else request.headers.get(HEADER)
    reservation = None
    # A dry run creates nothing that a repeat could create twice.
    if key is not None:
        begun = await uses.answers.begin(caller, _UPLOAD_PATH, key, None)
        if isinstance(begun, FirstAnswer):
            upload = _Upload(csv_pieces(request), None)
            await upload.read_rest()
            return replay(begun, upload.digest(request))
        reservation = begun
    upload = _Upload(csv_pieces(request), reservation)

    async def work(store: Store | None) -> bytes:
        try:
            created = await uses.create_batches.from_csv(
                caller,
                _new_batch(given),
                upload.pieces(),
                on_created=_storing(store),
                keep=None if reservation is None else reservation.keep,
            )
        except Refused as refusal:
            if reservation is not None:
                await upload.read_rest()
            raise _in_query(refusal) from None
        return msgspec.json.encode(created)

    try:
        if reservation is None:
            return json_answer(await work(None), 200 if query.dry_run else 201)
        return await settled(reservation, work, lambda: upload.digest(request))
    except ClientDisconnect:
        # Nothing is left behind, and nobody is there to be told.
        return Response(status_code=400)


class _Upload:
    """A file on its way through, hashed, its idempotency key kept alive meanwhile."""

    def __init__(self, pieces: AsyncIterator[bytes], reservation: Reservation | None) -> None:
        self._pieces = pieces
        self._reservation = reservation
        self._hash = hashlib.sha256()

    async def pieces(self) -> AsyncIterator[bytes]:
        """Give the file."""
        async for piece in self._pieces:
            self._hash.update(piece)
            if self._reservation is not None:
                await self._reservation.keep()
            yield piece

    async def read_rest(self) -> None:
        """Hash what nobody wants to read any more."""
        async for _ in self.pieces():
            pass

    def digest(self, request: Request) -> bytes:
        """Give the hash of the file and of what the query asks for with it."""
        whole = self._hash.copy()
        whole.update(request.url.query.encode())
        return whole.digest()


def _is_dry_run(body: bytes) -> bool:
    """Tell whether a body asks for a dry run, before it is checked."""
    if b'"dry_run"' not in body:
        return False
    try:
        return msgspec.json.decode(body, type=_Asked).dry_run is True
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False


class _Asked(msgspec.Struct):
    dry_run: Any = False


def _columns(phone_column: str | None, mapped: list[str]) -> ColumnChoice:
    mapping = {}
    for one in mapped:
        name, sign, column = one.partition("=")
        if not (sign and name.strip() and column.strip()):
            msg = "must be variable=column, such as callee_name=First Name"
            raise Invalid.field("map", msg, where="query")
        mapping[name.strip()] = column.strip()
    return ColumnChoice(phone_column=phone_column, mapping=mapping)


def _new_batch(given: dict[str, Any]) -> NewBatch:
    return NewBatch(**{name: value for name, value in given.items() if value is not None})


def _storing(store: Store | None) -> Any:
    if store is None:
        return None

    async def on_created(connection: Any, created: View) -> None:
        await store(connection, msgspec.json.encode(created))

    return on_created


def _object_in_query(name: str, text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    try:
        value = decode_json(text.encode(errors="replace"))
    except Invalid as fault:
        raise Invalid.field(name, fault.errors[0].msg, where="query") from None
    if not isinstance(value, dict):
        raise Invalid.field(name, 'must be a JSON object, such as {"a":1}', where="query")
    return value


def _in_query(refusal: Refused) -> Refused:
    """Name the fields of an upload where they stand: in the query, unless they are the file's."""
    if not isinstance(refusal, Invalid):
        return refusal
    return Invalid(
        [
            FieldError(("query", *e.loc[1:]), e.msg, e.type)
            if e.loc[:1] == ("body",) and e.loc[1:2] and e.loc[1] in UploadQuery.model_fields
            else e
            for e in refusal.errors
        ]
    )
