"""The signature of webhooks: HMAC-SHA256 over the raw bytes, as jambonz makes it.

`Jambonz-Signature: t=<unix seconds>,v1=<hex>`, the message being `<t>.<body>`. Agents sign their
results the same way, so that one check serves both.
"""

import hmac
from collections.abc import Mapping
from typing import Final

_HEADER: Final = "jambonz-signature"


def sign(body: bytes, secret: bytes, at: int) -> str:
    """Give the header's value for a body sent at `at` (unix seconds)."""
    return f"t={at},v1={_digest(body, secret, str(at))}"


def is_present(headers: Mapping[str, str]) -> bool:
    """Tell whether there is a signature at all; without one no body needs to be read."""
    return any(name.lower() == _HEADER for name in headers)


def is_signed(body: bytes, headers: Mapping[str, str], secret: bytes) -> bool:
    """Check a signature over the raw bytes; several v1 are tolerated, while a secret rotates."""
    header = headers.get(_HEADER)
    if header is None:
        header = next((text for name, text in headers.items() if name.lower() == _HEADER), "")
    if not header.isascii():
        return False
    parts = (part.partition("=") for part in header.split(","))
    pairs = [(name.strip(), text.strip()) for name, _, text in parts]
    sent_at = next((text for name, text in pairs if name == "t"), None)
    if sent_at is None:
        return False
    right = _digest(body, secret, sent_at)
    candidates = [text for name, text in pairs if name == "v1"]
    # Every candidate is compared, so that the time taken tells nothing about which one fits.
    return sum(hmac.compare_digest(right, candidate.lower()) for candidate in candidates) > 0


def _digest(body: bytes, secret: bytes, sent_at: str) -> str:
    return hmac.digest(secret, f"{sent_at}.".encode() + body, "sha256").hex()
