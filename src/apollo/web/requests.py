"""What a route may ask of a request: who is asking, the use-cases, a body that can be stored.

Owns how a body is read: JSON that PostgreSQL could not keep is refused here, with the place of the
fault, and never reaches a use-case. Must never know a route.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Final, TypeVar

import msgspec
from fastapi import Depends, Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic import BaseModel

from apollo.errors import FieldError, Forbidden, Invalid
from apollo.usecases.authenticate import Authenticate, Principal
from apollo.usecases.change_batches import ChangeBatches
from apollo.usecases.change_contacts import ChangeContacts
from apollo.usecases.change_lifecycle import ChangeLifecycle
from apollo.usecases.check_readiness import CheckReadiness
from apollo.usecases.create_batches import (
    CreateBatches,
)
from apollo.usecases.explain_batch import ExplainBatch
from apollo.usecases.explain_contact import ExplainContact
from apollo.usecases.extend_batches import ExtendBatches
from apollo.usecases.manage_campaigns import ManageCampaigns
from apollo.usecases.preview_campaign import PreviewCampaign
from apollo.usecases.read_agent_call import ReadAgentCall
from apollo.usecases.read_batches import ReadBatches
from apollo.usecases.read_history import ReadHistory
from apollo.usecases.register_agents import RegisterAgents
from apollo.usecases.remember_answers import RememberAnswers
from apollo.usecases.replay_dead_letters import ReplayDeadLetters
from apollo.usecases.schedule_follow_ups import ScheduleFollowUps
from apollo.usecases.set_contacts_back import SetContactsBack
from apollo.web.schemas import unknown

# Real variables nest two or three deep; every level costs a stack frame here and in PostgreSQL.
DEPTH_MAX: Final = 20
# As many faults of one kind as a reader takes in; a client may send thousands.
_FAULTS_MAX: Final = 100
# Longer than any name of ours.
_NAME_MAX: Final = 80
_EXTRA: Final = "extra_forbidden"
# The longest list there is, of contacts to preview, has 10 000.
MEMBERS_MAX: Final = 10_000
# Decoded within a millisecond.
_LARGE_BYTES: Final = 64 * 1024
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class UseCases:
    """Everything the web can ask for, built by the wiring."""

    authenticate: Authenticate
    campaigns: ManageCampaigns
    create_batches: CreateBatches
    read_batches: ReadBatches
    extend_batches: ExtendBatches
    change_batches: ChangeBatches
    change_contacts: ChangeContacts
    follow_ups: ScheduleFollowUps
    lifecycle: ChangeLifecycle
    set_back: SetContactsBack
    explain_batch: ExplainBatch
    explain_contact: ExplainContact
    history: ReadHistory
    preview: PreviewCampaign
    answers: RememberAnswers
    agents: RegisterAgents
    agent_calls: ReadAgentCall
    readiness: CheckReadiness
    # None where Kafka is not the bus: then there are no messages to set aside.
    dead_letters: ReplayDeadLetters | None = None


async def use_cases(request: Request) -> UseCases:
    """Give the use-cases of the running application."""
    found: UseCases = request.app.state.use_cases
    return found


async def principal(request: Request) -> Principal:
    """Give who is asking; the shell has checked the token before any route runs."""
    found: Principal = request.state.principal
    return found


Uses = Annotated[UseCases, Depends(use_cases)]
Caller = Annotated[Principal, Depends(principal)]


def check_organization(caller: Principal, organization_id: str | None) -> None:
    """Raise Forbidden when a request names another organisation than its token's."""
    if organization_id is not None and organization_id != caller.organization_id:
        raise Forbidden("The token belongs to another organization_id: leave it out")


class KnownQueryRoute(APIRoute):
    """A route that refuses an unknown query parameter: a misspelt filter would filter nothing."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler, with the names of the query compared before anything is read."""
        answer = super().get_route_handler()
        known = sorted(_query_names(self.dependant))

        async def compare_then_answer(request: Request) -> Response:
            names = sorted(set(request.query_params) - set(known))[:_FAULTS_MAX]
            if names:
                raise Invalid(
                    [
                        FieldError(
                            ("query", name[:_NAME_MAX]), unknown("parameter", name, known), _EXTRA
                        )
                        for name in names
                    ]
                )
            return await answer(request)

        return compare_then_answer


def _query_names(dependant: Dependant) -> Iterator[str]:
    for field in dependant.query_params:
        model = field.field_info.annotation
        if isinstance(model, type) and issubclass(model, BaseModel):
            yield from model.model_fields
        else:
            yield field.alias
    for one in dependant.dependencies:
        yield from _query_names(one)


class StrictRoute(KnownQueryRoute):
    """A route whose body is read by `decode_json`; errors keep the place of the fault."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Read the body before FastAPI does, which would turn our errors into a bare 400."""
        answer = super().get_route_handler()
        if self.body_field is None:
            return answer

        async def read_then_answer(request: Request) -> Response:
            strict = _StrictRequest(request.scope, request.receive)
            await strict.read()
            return await answer(strict)

        return read_then_answer


class HalfTime:
    """Large bodies are decoded one after the other, and at most half of the time.

    Nothing else runs while one is, so that many of them at once would leave nobody a turn.
    """

    def __init__(self) -> None:
        self._turn = asyncio.Lock()

    async def decode(self, body: bytes, decode: Callable[[bytes], _T]) -> _T:
        """Return what `decode` makes of a body; raises what it raises."""
        if len(body) <= _LARGE_BYTES:
            return decode(body)
        async with self._turn:
            began = time.perf_counter()
            try:
                return decode(body)
            finally:
                await asyncio.sleep(time.perf_counter() - began)


class _StrictRequest(Request):
    _decoded: Any = None

    async def read(self) -> None:
        body = await self.body()
        if body:
            kind = self.headers.get("content-type", "").partition(";")[0].strip().lower()
            if kind != "application/json":
                msg = "the body must be JSON; send Content-Type: application/json"
                raise Invalid.field("content-type", msg, where="header")
            half_time: HalfTime = self.app.state.half_time
            self._decoded = await half_time.decode(body, _decode_small)

    async def json(self) -> Any:
        return self._decoded


def _decode_small(body: bytes) -> Any:
    value = decode_json(body)
    _refuse_crowds(value, ())
    return value


def decode_json(body: bytes) -> Any:
    """Read JSON that PostgreSQL can keep. Raises Invalid with the place of the fault.

    Refused besides bad syntax: NaN, half a surrogate pair, NUL, more than 20 levels.
    """
    try:
        value = msgspec.json.decode(body)
    except RecursionError:
        raise _fault("nested too deeply") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as wrong:
        raise _fault(f"not valid JSON: {wrong}") from None
    if b"\\u0000" in body:
        _refuse_nul(value, ())
    if body.count(b"{") + body.count(b"[") > DEPTH_MAX:
        _refuse_depth(value, DEPTH_MAX)
    return value


def _refuse_crowds(value: Any, place: tuple[str | int, ...]) -> None:
    """Refuse long lists and objects before each of their members is checked, and complained of."""
    if not isinstance(value, dict | list):
        return
    if len(value) > MEMBERS_MAX:
        msg = f"has {len(value)} members; at most {MEMBERS_MAX} are allowed"
        raise Invalid([FieldError(("body", *place), msg, "too_long")])
    for name, inner in value.items() if isinstance(value, dict) else enumerate(value):
        _refuse_crowds(inner, (*place, name))


def _refuse_depth(value: Any, levels: int) -> None:
    if isinstance(value, dict | list):
        if levels == 0:
            raise _fault(f"nested more than {DEPTH_MAX} levels deep")
        for inner in value.values() if isinstance(value, dict) else value:
            _refuse_depth(inner, levels - 1)


def _refuse_nul(value: Any, place: tuple[str | int, ...]) -> None:
    if len(place) > DEPTH_MAX:
        raise _fault(f"nested more than {DEPTH_MAX} levels deep")
    if isinstance(value, str) and "\0" in value:
        raise Invalid([FieldError(("body", *place), "must not contain the NUL character")])
    if isinstance(value, dict):
        for key, inner in value.items():
            _refuse_nul(key, place)
            _refuse_nul(inner, (*place, key.replace("\0", "")))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            _refuse_nul(inner, (*place, index))


def _fault(msg: str) -> Invalid:
    return Invalid([FieldError(("body",), msg, "json_invalid")])
