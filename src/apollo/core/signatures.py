"""The signature of webhooks: HMAC-SHA256 over the raw bytes, as jambonz makes it.

`Jambonz-Signature: t=<unix seconds>,v1=<hex>`, the message being `<t>.<body>`. Agents sign their
results the same way, so that one check serves both.
"""

import hmac
import re
from collections.abc import Mapping
from typing import Final

_HEADER: Final = "jambonz-signature"
# Nothing else may stand before the dot of the message: with any text allowed there, a byte could be
# moved from the body to the time. Twelve digits last for thirty thousand years.
_SECONDS: Final = re.compile(r"[0-9]{1,12}", re.ASCII)


def sign(body: bytes, secret: bytes, at: int) -> str:
    """Give the header's value for a body sent at `at` (unix seconds)."""
    return f"t={at},v1={_digest(body, secret, str(at))}"


def is_present(headers: Mapping[str, str]) -> bool:
    """Tell whether there is a signature at all; without one no body needs to be read."""
    return any(name.lower() == _HEADER for name in headers)


def is_signed(body: bytes, headers: Mapping[str, str], secret: bytes) -> bool:
    """Check a signature over the raw bytes, of whatever age."""
    return signed_at(body, headers, secret) is not None


def signed_at(body: bytes, headers: Mapping[str, str], secret: bytes) -> int | None:
    """Give the time (unix seconds) of a signature that fits the raw bytes; None when none does.

    Several v1 are tolerated, while a secret rotates.
    """
    header = headers.get(_HEADER)
    if header is None:
        header = next((text for name, text in headers.items() if name.lower() == _HEADER), "")
    if not header.isascii():
        return None
    parts = (part.partition("=") for part in header.split(","))
    pairs = [(name.strip(), text.strip()) for name, _, text in parts]
    times = [text for name, text in pairs if name == "t"]
    if len(times) != 1 or not _SECONDS.fullmatch(times[0]):
        return None
    sent_at = times[0]
    right = _digest(body, secret, sent_at)
    candidates = [text for name, text in pairs if name == "v1"]
    # Every candidate is compared, so that the time taken tells nothing about which one fits.
    fits = sum(hmac.compare_digest(right, candidate) for candidate in candidates) > 0
    return int(sent_at) if fits else None


def _digest(body: bytes, secret: bytes, sent_at: str) -> str:
    return hmac.digest(secret, f"{sent_at}.".encode() + body, "sha256").hex()
