"""What a voice application may ask, with its call's own key; and the agents of an organisation."""

import urllib.parse
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response
from pydantic import Field

from apollo.core import ids
from apollo.core.states import CallKind
from apollo.web.requests import Caller, Uses
from apollo.web.schemas import Answer, Faults, PageLimit, Problem, Skip, Timestamp

router = APIRouter(tags=["agents"])
behind_the_token = APIRouter(tags=["agents"])
_NOT_FOUND: dict[int | str, dict[str, Any]] = {
    404: {"model": Problem, "description": "No such call, or its key is wrong or has expired."},
    422: {"model": Faults, "description": "Malformed; names each field and what would be right."},
}


class AgentCallAnswer(Answer):
    """One call, as the voice application needs it."""

    execution_id: str = Field(description="The call, `exec_…`.")
    contact_id: str = Field(description="The contact, `con_…`.")
    batch_id: str = Field(description="Its batch, `btc_…`.")
    campaign_id: str = Field(description="Its campaign, `cmp_…`.")
    agent_id: str = Field(description="The agent that speaks.")
    to: str = Field(description="The number called, E.164.")
    from_: str = Field(serialization_alias="from", description="The caller id, E.164.")
    attempt: int = Field(description="Which call to this contact it is, from 1.")
    kind: CallKind = Field(description="Whether it is a first call, a retry or a follow-up.")
    variables: dict[str, Any] = Field(
        description="The contact's variables over the campaign's defaults."
    )
    call_context: dict[str, Any] = Field(description="The batch's own context.")


class AgentAnswer(Answer):
    """An agent that campaigns may name."""

    agent_id: str = Field(description="What a campaign names it by.", examples=["agent_renewals"])
    is_shared: bool = Field(description="Whether every organisation of this Apollo may use it.")
    call_hook: str | None = Field(
        description="Where the provider asks what to say, without the query; null: an application."
    )
    application_sid: str | None = Field(
        description="The application at the provider, instead of a call hook."
    )
    updated_at: Timestamp = Field(description="When it was last registered.")


@behind_the_token.get("/agents")
async def list_agents(
    uses: Uses, caller: Caller, skip: Skip = 0, limit: PageLimit = 50
) -> list[AgentAnswer]:
    """List the agents of the organisation and the shared ones, by id."""
    found = await uses.agents.browse_own(caller, skip=skip, limit=limit)
    return [
        AgentAnswer(
            agent_id=one.agent_id,
            is_shared=one.organization_id is None,
            call_hook=_without_query(one.route.call_hook),
            application_sid=one.route.application_sid,
            updated_at=one.updated_at,
        )
        for one in found
    ]


def _without_query(hook: str | None) -> str | None:
    """Leave out what may be a secret: a query, a name and a password."""
    if hook is None:
        return None
    url = urllib.parse.urlsplit(hook)
    host = url.netloc.rpartition("@")[2]
    return urllib.parse.urlunsplit((url.scheme, host, url.path, "", ""))


@router.get("/agent/calls/{execution_id}", responses=_NOT_FOUND)
async def read_agent_call(
    execution_id: Annotated[str, Path(description="The call, `exec_…`.")],
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
