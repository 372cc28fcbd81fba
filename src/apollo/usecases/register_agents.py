"""Agents: which call hook or application stands behind an `agent_id`.

Owns the routes and the fallback to the route of the settings. Must never ask the provider.
"""

import re
import urllib.parse
from collections.abc import Sequence
from typing import Final

from apollo.core.numbers import parse_number
from apollo.errors import FieldError, Invalid
from apollo.ports import AgentRoute, Clock
from apollo.storage import agents
from apollo.storage.agents import AgentListed
from apollo.storage.database import Database
from apollo.usecases.authenticate import Principal, organization_id_of

__all__ = ["AgentListed", "RegisterAgents"]

_AGENT_ID: Final = re.compile(r"[!-~]{1,200}")  # the same width as in a campaign
_APPLICATION_SID: Final = re.compile(r"[A-Za-z0-9-]{1,100}")  # jambonz uses UUIDs
_URL_MAX: Final = 2048  # what browsers and proxies agree on
_SCHEMES: Final = frozenset({"http", "https", "ws", "wss"})  # what jambonz calls
_SYNTHESIS: Final = re.compile(r"[^,\s]+,[^,\s]+(,[^,]+)?")
_RECOGNIZER: Final = re.compile(r"[^,\s]+,[^,\s]+")


class RegisterAgents:
    """Registers, lists and finds the routes of agents."""

    def __init__(
        self, *, db: Database, clock: Clock, default_route: AgentRoute | None = None
    ) -> None:
        self._db = db
        self._clock = clock
        self._default_route = default_route

    async def set_route(
        self, agent_id: str, route: AgentRoute, *, org: str | None = None, is_shared: bool = False
    ) -> str | None:
        """Register a route, or replace it; applies to the next claim. Gives whose it is.

        It is the organisation's `org`, or everybody's if it `is_shared`. Without a word it is the
        only organisation's; before there is one, everybody's. Raises Invalid.
        """
        _check(agent_id, route)
        async with self._db.connection() as connection:
            known = await agents.list_organizations(connection)
            whose = _whose(known, org, is_shared=is_shared)
            await agents.set_agent(
                connection, agent_id, route, organization_id=whose, at=self._clock.now()
            )
        return whose

    async def browse(self) -> list[AgentListed]:
        """List every registered agent, by id."""
        async with self._db.connection() as connection:
            return await agents.list_agents(connection)

    async def browse_own(
        self, principal: Principal, *, skip: int = 0, limit: int = 100
    ) -> list[AgentListed]:
        """List the agents that an organisation can use, its own and shared ones, by id."""
        async with self._db.connection() as connection:
            return await agents.list_agents_of(
                connection, principal.organization_id, skip=skip, at_most=limit
            )

    async def route_of(self, agent_id: str, organization_id: str) -> AgentRoute | None:
        """Find how an organisation reaches an agent; else the default route; None without one."""
        async with self._db.connection() as connection:
            found = await agents.find_agent(connection, agent_id, organization_id)
        return found or self._default_route

    async def set_caller_ids(self, org: str, phone_numbers: Sequence[str]) -> None:
        """Say which numbers an organisation alone may call from; none: any that is nobody's.

        Applies to campaigns that are created or given other numbers from now on. Raises Invalid.
        """
        faults: list[FieldError] = []
        read = []
        for number in phone_numbers:
            try:
                read.append(parse_number(number))
            except ValueError as wrong:
                faults.append(FieldError(("caller_ids", number), str(wrong)))
        if faults:
            raise Invalid(faults)
        async with self._db.transaction() as connection:
            _whose(await agents.list_organizations(connection), org, is_shared=False)
            taken = await agents.set_caller_ids(connection, organization_id_of(org), read)
            if taken:
                msg = "another organisation has it already: take it from there first"
                raise Invalid([FieldError(("caller_ids", number), msg) for number in taken])

    async def browse_caller_ids(self) -> dict[str, list[str]]:
        """List the numbers of each organisation that was given any."""
        async with self._db.connection() as connection:
            return await agents.list_caller_ids(connection)


def _whose(known: Sequence[str], org: str | None, *, is_shared: bool) -> str | None:
    org = None if org is None else organization_id_of(org)
    if org is not None and is_shared:
        raise Invalid([FieldError(("agent", "org"), "give either --org ORG or --shared, not both")])
    if org is not None and org not in known:
        msg = f"there is no organisation {org}; there is {', '.join(known) or 'none yet'}"
        raise Invalid([FieldError(("agent", "org"), msg)])
    if org is None and not is_shared and len(known) > 1:
        msg = f"say whose it is: --org with one of {', '.join(known)}, or --shared for all of them"
        raise Invalid([FieldError(("agent", "org"), msg)])
    if org is None and not is_shared and known:
        return known[0]
    return org


def _check(agent_id: str, route: AgentRoute) -> None:
    faults: list[FieldError] = []

    def fault(name: str, msg: str) -> None:
        faults.append(FieldError(("agent", name), msg))

    if not _AGENT_ID.fullmatch(agent_id):
        fault("agent_id", "use 1 to 200 printable characters without spaces, such as agent_sales")
    if (route.call_hook is None) == (route.application_sid is None):
        fault("call_hook", "give either a call hook or an application sid, not both")
    if route.call_hook is not None and not _is_hook(route.call_hook):
        fault("call_hook", "not a URL; write one such as https://voice.example.com/hook")
    if route.application_sid is not None and not _APPLICATION_SID.fullmatch(route.application_sid):
        fault("application_sid", "use the sid that jambonz shows for the application")
    if route.speech_synthesis is not None and not _SYNTHESIS.fullmatch(route.speech_synthesis):
        fault("speech_synthesis", "write vendor,language,voice: google,en-US,en-US-Standard-C")
    if route.speech_recognizer is not None and not _RECOGNIZER.fullmatch(route.speech_recognizer):
        fault("speech_recognizer", "write vendor,language, such as google,en-US")
    if faults:
        raise Invalid(faults)


def _is_hook(text: str) -> bool:
    if len(text) > _URL_MAX or not text.isascii() or not text.isprintable() or " " in text:
        return False
    try:
        url = urllib.parse.urlsplit(text)
        has_port = url.port is None or url.port > 0
    except ValueError:
        return False
    return url.scheme in _SCHEMES and bool(url.hostname) and has_port and not url.fragment
