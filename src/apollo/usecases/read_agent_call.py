"""Whom does the voice application speak to? One call, opened by the key of that one call.

Owns the installation's secret and the rule for how long a key lives. Must never tell a wrong key
from an unknown call.
"""

import os
from datetime import timedelta
from typing import Final

from apollo.core import ids
from apollo.core.agent_keys import is_agent_key
from apollo.errors import NotFound
from apollo.storage import agents
from apollo.storage.agents import AgentCall
from apollo.storage.database import Database

__all__ = ["AgentCall", "ReadAgentCall"]

# An application may finish its notes after the call; an hour later nobody needs the number again.
_READABLE_FOR: Final = timedelta(hours=1)


class ReadAgentCall:
    """Reads one call for the voice application behind it."""

    def __init__(self, *, db: Database) -> None:
        self._db = db
        self._secret: bytes | None = None

    async def secret(self) -> bytes:
        """Give what `core.agent_keys.agent_key` makes keys from; made on first use."""
        if self._secret is None:
            async with self._db.connection() as connection:
                self._secret = await agents.agent_key_secret(connection, fresh=os.urandom(32))
        return self._secret

    async def read(self, execution_id: str, key: str) -> AgentCall:
        """Read a call with its key. Raises NotFound, also an hour after the call ended."""
        call_id = ids.parse_id("exec", execution_id)
        if call_id is not None and is_agent_key(await self.secret(), execution_id, key):
            async with self._db.connection() as connection:
                call = await agents.read_agent_call(connection, call_id, readable_for=_READABLE_FOR)
            if call is not None:
                return call
        raise NotFound("Call not found, or its key is wrong or has died")
