"""What a webhook address means and how a webhook is signed.

Pure: no requests are made here.
"""

import hashlib
import hmac
from base64 import b64encode
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Literal
from urllib.parse import parse_qs

from yarl import URL

WAITS_S = (0.5, 1.0, 2.0, 4.0, 6.0)  # before retry 1 to 5
RETRIES_MAX = len(WAITS_S)


@dataclass(frozen=True, slots=True)
class Hook:
    """Where webhooks go and how: no fragment, no credentials in the address."""

    url: URL
    shown: str  # the address as text
    method: Literal["GET", "POST"] = "POST"
    authorization: str | None = field(default=None, repr=False)
    retries: int = 0
    retry_on: frozenset[str] = frozenset({"ct"})


@lru_cache(maxsize=4096)  # one per call in flight when every call has an address of its own
def read_hook(url: str, method: str = "POST", username: str = "", password: str = "") -> Hook:
    """A hook from its parts; retries are read from the fragment, as `#rc=5&rp=all`."""
    whole = URL(url)
    wanted = parse_qs(whole.raw_fragment)
    count = wanted.get("rc", ["0"])[0]
    policies = ",".join(wanted.get("rp", ["ct"])).split(",")
    pair = b64encode(f"{username}:{password}".encode()).decode()
    address = whole.with_fragment(None).with_user(None)
    return Hook(
        url=address,
        shown=str(address),
        method="GET" if method.upper() == "GET" else "POST",
        authorization=f"Basic {pair}" if username and password else None,
        retries=min(int(count), RETRIES_MAX) if count.isdecimal() else 0,
        retry_on=frozenset(policy.strip().lower() for policy in policies),
    )


def signature(secret: bytes, body: bytes, at: datetime) -> str:
    """The Jambonz-Signature header for these raw bytes, as of `at`."""
    stamp = int(at.timestamp())
    mac = hmac.digest(secret, b"%d." % stamp + body, hashlib.sha256)
    return f"t={stamp},v1={mac.hex()}"
