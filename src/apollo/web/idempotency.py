"""The `Idempotency-Key` header: a creating request sent twice creates once.

A route with its body in memory:

    async def work(store: Store | None) -> bytes:
        ...create; inside the creating transaction, on its connection, if store is not None:
            await store(connection, answer)
        return answer

    return await answer_once(uses.answers, caller, "/campaigns", request, work)

A route that reads a stream calls `uses.answers.begin(…, None)` itself, hashes while it reads, and
ends with `replay(first, body_hash)` or `await settled(reservation, work, lambda: body_hash)`.
Must never remember a 5xx, nor an answer whose object was not committed.
"""

import hashlib
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
from fastapi import Request, Response

from apollo.errors import ApolloError, Refused
from apollo.usecases.authenticate import Principal
from apollo.usecases.remember_answers import FirstAnswer, RememberAnswers, Reservation
from apollo.web.faults import answer_to

HEADER: Final = "Idempotency-Key"
KEY_PARAMETER: Final[dict[str, Any]] = {
    "name": HEADER,
    "in": "header",
    "required": False,
    "schema": {"type": "string", "maxLength": 255},
    "description": "The same key and body within 24 h give the first answer again.",
}
_REPLAYED: Final = {"Idempotent-Replayed": "true"}
_CREATED: Final = 201
# Stores an answer (its bytes) on the connection of the creating transaction.
Store = Callable[[Any, bytes], Awaitable[None]]
Work = Callable[[Store | None], Awaitable[bytes]]


async def answer_once(
    answers: RememberAnswers,
    caller: Principal,
    path: str,
    request: Request,
    work: Work,
    *,
    query: str = "",
) -> Response:
    """Create by `work`, or repeat the first answer to this key; for bodies held in memory.

    `query` is what the request asks for outside its body: another one is another request.
    """
    key = request.headers.get(HEADER)
    if key is None:
        return json_answer(await work(None), _CREATED)
    body_hash = hashlib.sha256(query.encode() + await request.body()).digest()
    begun = await answers.begin(caller, path, key, body_hash)
    if isinstance(begun, FirstAnswer):
        return replay(begun, body_hash)
    return await settled(begun, work, lambda: body_hash)


async def settled(reservation: Reservation, work: Work, body_hash: Callable[[], bytes]) -> Response:
    """Run `work` under a reservation: remember its answer or refusal, forget everything else.

    `body_hash` is asked once the body has been read; an upload knows it only then.
    """

    async def store(connection: Any, answer: bytes) -> None:
        await reservation.store(
            connection, status_code=_CREATED, answer=answer, body_hash=body_hash()
        )

    try:
        return json_answer(await work(store), _CREATED)
    except Refused as refusal:
        answer = answer_to(refusal)
        await reservation.settle(
            status_code=answer.status_code, answer=bytes(answer.body), body_hash=body_hash()
        )
        raise
    except BaseException:
        # The process may be stopping or the database away: then the lease ends by itself.
        await _release(reservation)
        raise


async def _release(reservation: Reservation) -> None:
    try:
        await reservation.release()
    except ApolloError:
        return


def replay(first: FirstAnswer, body_hash: bytes) -> Response:
    """Give the first answer again. Raises Invalid when the body is another one."""
    again = first.replayed(body_hash)
    return json_answer(again.answer, again.status_code, _REPLAYED)


def json_answer(body: bytes, status_code: int, headers: dict[str, str] | None = None) -> Response:
    """Give JSON that is bytes already."""
    return Response(body, status_code, headers, media_type="application/json")


def to_json(answer: Any) -> bytes:
    """Write an answer's bytes; pydantic models are dumped first by their own rules."""
    return msgspec.json.encode(answer.model_dump(mode="json"))
