"""What a voice application may ask: whom one call is for. No bearer token; the call's own key."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import Field

from apollo.core import ids
from apollo.core.states import CallKind
from apollo.web.requests import Uses
from apollo.web.schemas import Answer, Problem

router = APIRouter(tags=["agents"])
_NOT_FOUND: dict[int | str, dict[str, Any]] = {
    404: {"model": Problem, "description": "No such call, or its key is wrong or has died."}
}


class AgentCallAnswer(Answer):
    """One call, as the voice application needs it."""

    execution_id: str
    contact_id: str
    batch_id: str
    campaign_id: str
    agent_id: str
    to: str
    from_: str = Field(serialization_alias="from")
    attempt: int
    kind: CallKind
    variables: dict[str, Any]
    call_context: dict[str, Any]


@router.get("/agent/calls/{execution_id}", responses=_NOT_FOUND)
async def read_agent_call(
    execution_id: str,
    k: Annotated[str, Query(description="The key that came with the call.", max_length=200)],
    uses: Uses,
    response: Response,
) -> AgentCallAnswer:
    """Read whom a call is for; the key dies one hour after the call has ended."""
    call = await uses.agent_calls.read(execution_id, k)
    # A person's number and name: no proxy may keep them.
    response.headers["Cache-Control"] = "no-store"
    return AgentCallAnswer(
        execution_id=ids.execution_id(call.id),
        contact_id=ids.contact_id(call.contact),
        batch_id=ids.batch_id(call.contact.batch_id),
        campaign_id=ids.campaign_id(call.campaign_id),
        agent_id=call.agent_id,
        to=call.phone_number,
        from_=call.from_number,
        attempt=call.attempt,
        kind=call.kind,
        variables=call.default_call_variables | call.call_variables,
        call_context=call.call_context,
    )
