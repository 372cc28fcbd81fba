"""The key with which a voice application reads whom one call is for.

Owns how the key is made from the installation's secret; anybody who has the key of one call learns
nothing about another. Must never see the secret's storage or the clock.
"""

import base64
import hashlib
import hmac
from typing import Final

# 24 of the 32 bytes: 192 bits, and 32 characters without padding in a URL.
_KEY_BYTES: Final = 24


def agent_key(secret: bytes, execution_id: str) -> str:
    """Give the key of one call: 32 characters that need no escaping in a URL."""
    digest = hmac.digest(secret, execution_id.encode(), hashlib.sha256)
    return base64.urlsafe_b64encode(digest[:_KEY_BYTES]).decode()


def is_agent_key(secret: bytes, execution_id: str, key: str) -> bool:
    """Whether this is the key of that call, told in constant time."""
    expected = agent_key(secret, execution_id).encode()
    return hmac.compare_digest(expected, key.encode(errors="replace"))
