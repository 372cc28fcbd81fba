"""What RotaryRouter is started with.

Owns the settings and what makes them impossible. Reads no environment and has no default secrets.
"""

from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

from yarl import URL

from apollo.errors import Misconfigured

HIGHEST_PORT = 65_535


@dataclass(frozen=True, kw_only=True, slots=True)
class RotarySettings:
    """One running RotaryRouter; port 0 takes any free port, no ledger path keeps it nowhere."""

    api_key: str = field(repr=False)
    account_sid: str
    webhook_secret: str = field(repr=False)
    host: str = "127.0.0.1"
    port: int = 9000
    webhook_url: str | None = None
    scenario: Path | None = None
    seed: int = 1
    ledger_path: Path | None = None

    def check(self) -> None:
        """Raise Misconfigured with one line for each setting that cannot work."""
        faults: list[str] = []
        if not self.api_key:
            faults.append("api_key: is empty; set APOLLO_ROTARY_API_KEY to any secret word")
        if not self.webhook_secret:
            faults.append("webhook_secret: is empty; set APOLLO_ROTARY_WEBHOOK_SECRET")
        if not is_uuid(self.account_sid):
            faults.append(
                f"account_sid: {self.account_sid!r} is not a UUID; jambonz names accounts so, "
                "for example 9351f46a-678c-43f5-b8a6-d4eb58d131af"
            )
        if not 0 <= self.port <= HIGHEST_PORT:
            faults.append(f"port: {self.port} is no port; give one from 0 to {HIGHEST_PORT}")
        if self.webhook_url is not None and not is_absolute_http(self.webhook_url):
            faults.append(
                "webhook_url: is not an absolute http(s) address; APOLLO_WEBHOOK_URL should "
                "look like http://127.0.0.1:8000/webhooks/call-status"
            )
        if faults:
            raise Misconfigured(faults)


def is_uuid(text: str) -> bool:
    """Whether the text is a UUID in its usual form of 36 characters."""
    try:
        return str(UUID(text)) == text.lower()
    except ValueError:
        return False


def is_absolute_http(text: str) -> bool:
    """Whether the text is a whole http or https address."""
    try:
        url = URL(text)
    except ValueError:
        return False
    return url.scheme in {"http", "https"} and bool(url.host)
