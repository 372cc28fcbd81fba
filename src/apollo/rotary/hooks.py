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
    """Where webhooks go and how."""

    shown: str  # the address without fragment and credentials
    place: tuple[str, str, int]  # scheme, host, port
    method: Literal["GET", "POST"]
    head: bytes = field(repr=False)  # request line and the headers that are always the same
    retries: int
    retry_on: frozenset[str]

    def request(self, body: bytes, signed: str, trace: str) -> bytes:
        """The whole request on the wire; a GET carries no body, but the signature of it."""
        if self.method == "GET":
            return self.head + f"Jambonz-Signature: {signed}\r\nb3: {trace}\r\n\r\n".encode()
        varying = (
            f"Jambonz-Signature: {signed}\r\nb3: {trace}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return self.head + varying.encode() + body


@lru_cache(maxsize=4096)  # one per call in flight when every call has an address of its own
def read_hook(url: str, method: str = "POST", username: str = "", password: str = "") -> Hook:
    """A hook from its parts; retries are read from the fragment, as `#rc=5&rp=all`."""
    whole = URL(url)  # quotes what could break out of a header line
    wanted = parse_qs(whole.raw_fragment)
    count = wanted.get("rc", ["0"])[0]
    policies = ",".join(wanted.get("rp", ["ct"])).split(",")
    verb: Literal["GET", "POST"] = "GET" if method.upper() == "GET" else "POST"
    lines = [
        f"{verb} {whole.raw_path_qs} HTTP/1.1",
        f"Host: {whole.host_port_subcomponent}",
        "User-Agent: jambonz",
    ]
    if verb == "POST":
        lines.append("Content-Type: application/json")
    if username and password:
        pair = b64encode(f"{username}:{password}".encode()).decode()
        lines.append(f"Authorization: Basic {pair}")
    return Hook(
        shown=str(whole.with_fragment(None).with_user(None)),
        place=(whole.scheme, whole.host or "", whole.port or 0),
        method=verb,
        head="".join(f"{line}\r\n" for line in lines).encode(),
        retries=min(int(count), RETRIES_MAX) if count.isdecimal() else 0,
        retry_on=frozenset(policy.strip().lower() for policy in policies),
    )


def signature(secret: bytes, body: bytes, at: datetime) -> str:
    """The Jambonz-Signature header for these raw bytes, as of `at`."""
    stamp = int(at.timestamp())
    mac = hmac.digest(secret, b"%d." % stamp + body, hashlib.sha256)
    return f"t={stamp},v1={mac.hex()}"
