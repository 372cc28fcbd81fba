"""Agents: how each is reached, the secret behind their keys, and the call an agent may read."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from apollo.core.ids import ContactKey
from apollo.core.states import CallKind
from apollo.ports import AgentRoute
from apollo.storage.database import Connection, Record, load_queries

_Q = load_queries("agents")


@dataclass(frozen=True, slots=True)
class AgentListed:
    """A registered agent as an operator sees it in a list."""

    agent_id: str
    # None: shared by all.
    organization_id: str | None
    route: AgentRoute
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class AgentCall:
    """What the voice application learns about one call."""

    id: uuid.UUID
    contact: ContactKey
    campaign_id: uuid.UUID
    agent_id: str
    phone_number: str
    from_number: str
    attempt: int
    kind: CallKind
    default_call_variables: dict[str, Any]
    call_variables: dict[str, Any]
    call_context: dict[str, Any]


async def set_agent(
    connection: Connection,
    agent_id: str,
    route: AgentRoute,
    *,
    organization_id: str | None,
    at: datetime,
) -> None:
    """Register an agent's route for an organisation, or for all (None), or replace it."""
    await _Q["set_agent"].run(
        connection,
        agent_id=agent_id,
        organization_id=organization_id,
        call_hook=route.call_hook,
        application_sid=route.application_sid,
        speech_synthesis=route.speech_synthesis,
        speech_recognizer=route.speech_recognizer,
        at=at,
    )


async def find_agent(
    connection: Connection, agent_id: str, organization_id: str
) -> AgentRoute | None:
    """Find the route of the agent that an organisation means: its own, else the shared one."""
    row = await _Q["find_agent"].row(connection, agent_id=agent_id, organization_id=organization_id)
    return None if row is None else _route(row)


async def list_agents(connection: Connection) -> list[AgentListed]:
    """List every registered agent."""
    return [_listed(r) for r in await _Q["list_agents"].rows(connection)]


async def list_agents_of(
    connection: Connection, organization_id: str, *, skip: int, at_most: int
) -> list[AgentListed]:
    """List the agents that an organisation can use, by id."""
    rows = await _Q["list_agents_of"].rows(
        connection, organization_id=organization_id, skip=skip, at_most=at_most
    )
    return [_listed(r) for r in rows]


async def list_organizations(connection: Connection) -> list[str]:
    """List the ids of all organisations."""
    return [r["id"] for r in await _Q["list_organizations"].rows(connection)]


async def set_caller_ids(
    connection: Connection, organization_id: str, phone_numbers: Sequence[str]
) -> list[str]:
    """Say which numbers an organisation may call from; gives those that are another one's."""
    await _Q["drop_caller_ids"].run(connection, organization_id=organization_id)
    await _Q["allow_caller_ids"].run(
        connection, organization_id=organization_id, phone_numbers=list(phone_numbers)
    )
    return await find_foreign_caller_ids(connection, organization_id, phone_numbers)


async def list_caller_ids(connection: Connection) -> dict[str, list[str]]:
    """List the numbers of each organisation that was given any."""
    found: dict[str, list[str]] = {}
    for r in await _Q["list_caller_ids"].rows(connection):
        found.setdefault(r["organization_id"], []).append(r["phone_number"])
    return found


async def find_foreign_caller_ids(
    connection: Connection, organization_id: str, phone_numbers: Sequence[str]
) -> list[str]:
    """Find which of these numbers an organisation may not call from."""
    rows = await _Q["find_foreign_caller_ids"].rows(
        connection, organization_id=organization_id, phone_numbers=list(phone_numbers)
    )
    return [r["phone_number"] for r in rows]


def _listed(r: Record) -> AgentListed:
    return AgentListed(r["agent_id"], r["organization_id"], _route(r), r["updated_at"])


async def agent_key_secret(connection: Connection, *, fresh: bytes) -> bytes:
    """Read the installation's secret; `fresh` becomes it if there is none yet."""
    await _Q["keep_agent_key_secret"].run(connection, fresh=fresh)
    secret: bytes = await _Q["read_agent_key_secret"].value(connection)
    return secret


async def read_agent_call(
    connection: Connection, call_id: uuid.UUID, *, readable_for: timedelta
) -> AgentCall | None:
    """Read whom a call is for; None once it was released or is over for `readable_for`."""
    row = await _Q["read_agent_call"].row(connection, call_id=call_id, readable_for=readable_for)
    if row is None:
        return None
    return AgentCall(
        id=row["id"],
        contact=ContactKey(row["batch_id"], row["position"]),
        campaign_id=row["campaign_id"],
        agent_id=row["agent_id"],
        phone_number=row["phone_number"],
        from_number=row["from_number"],
        attempt=row["attempt"],
        kind=CallKind(row["kind"]),
        default_call_variables=row["default_call_variables"],
        call_variables=row["call_variables"],
        call_context=row["call_context"],
    )


def _route(row: Record) -> AgentRoute:
    return AgentRoute(
        call_hook=row["call_hook"],
        application_sid=row["application_sid"],
        speech_synthesis=row["speech_synthesis"],
        speech_recognizer=row["speech_recognizer"],
    )
