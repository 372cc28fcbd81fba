"""Agents: which call hook or application stands behind an `agent_id`.

Owns the routes and the fallback to the route of the settings. Must never ask the provider.
"""

import re
import urllib.parse
from typing import Final

from apollo.errors import FieldError, Invalid
from apollo.ports import AgentRoute, Clock
from apollo.storage import agents
from apollo.storage.agents import AgentListed
from apollo.storage.database import Database

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

    async def set_route(self, agent_id: str, route: AgentRoute) -> None:
        """Register a route, or replace it; applies to the next claim. Raises Invalid."""
        _check(agent_id, route)
        async with self._db.connection() as connection:
            await agents.set_agent(connection, agent_id, route, at=self._clock.now())

    async def browse(self) -> list[AgentListed]:
        """List every registered agent, by id."""
        async with self._db.connection() as connection:
            return await agents.list_agents(connection)

    async def route_of(self, agent_id: str) -> AgentRoute | None:
        """Find how an agent is reached; the default route for an unknown one; None without one."""
        async with self._db.connection() as connection:
            return await agents.find_agent(connection, agent_id) or self._default_route


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
