"""What a check of `apollo doctor` gives, and how it asks over HTTP."""

import enum
from dataclasses import dataclass
from typing import Final

import aiohttp

from apollo.telephony.trouble import said_of

_ASK_S: Final = 5.0


class State(enum.StrEnum):
    """What a check found."""

    OK = "ok"  # as it should be
    NOTE = "note"  # worth knowing; Apollo works
    FAULT = "fault"  # Apollo does not work, or not fully, until it is put right


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report; `fix` says what to do."""

    name: str
    state: State
    what: str
    fix: str = ""

    def as_json(self) -> dict[str, str]:
        """The finding as `--json` shows it."""
        return {"name": self.name, "state": self.state, "what": self.what, "fix": self.fix}


def session() -> aiohttp.ClientSession:
    """Open a session whose requests have an answer within seconds, or none."""
    return aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_ASK_S))


async def get(
    client: aiohttp.ClientSession, url: str, headers: dict[str, str] | None = None
) -> aiohttp.ClientResponse | str:
    """Return the answer, or in a word why there is none."""
    try:
        async with client.get(url, headers=headers, allow_redirects=False) as response:
            await response.read()
            return response
    except TimeoutError:
        return "no answer in time"
    except (aiohttp.ClientError, OSError) as fault:
        return said_of(fault)
