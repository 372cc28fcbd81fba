"""Whether somebody listens at an address, without saying anything to them.

A connection is opened and closed again. Must never send a byte: a voice application takes a request
for a call.
"""

import asyncio
from typing import Final

from yarl import URL

from apollo.telephony.trouble import said_of

# A host on another continent answers within half a second.
_WITHIN_S: Final = 3.0


async def reach(url: str) -> str:
    """Say why nobody answers at an address; empty when somebody does. Never raises."""
    try:
        place = URL(url)
        port = place.port or (443 if place.scheme in {"https", "wss"} else 80)
    except ValueError as e:
        return f"not an address: {e}"
    try:
        async with asyncio.timeout(_WITHIN_S):
            _, writer = await asyncio.open_connection(place.host, port)
        writer.close()
    except TimeoutError:
        return f"no answer within {_WITHIN_S:g} s"
    except OSError as e:
        return said_of(e, f"{place.host}:{port}")
    return ""
