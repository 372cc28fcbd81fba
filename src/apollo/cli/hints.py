"""What to do about what the provider answered: one remedy for each kind of answer."""

import re
from typing import Final

from apollo.errors import DriverError, NotPlaced

# Where jambonz keeps what, by the usual port of the store.
_STORES: Final = {
    "3306": "MySQL (accounts and keys)",
    "6379": "Redis (live calls)",
    "8086": "InfluxDB (call-detail records and alerts)",
}
_PORT: Final = re.compile(r"ECONNREFUSED \S*:(\d+)")

_BY_CAUSE: Final = {
    "connect": "start the provider, or correct the host and port of APOLLO_JAMBONZ_URL; look at DNS"
    " and firewall on the way",
    "unauthorised": "correct APOLLO_JAMBONZ_API_KEY; it must be a key of the account in"
    " APOLLO_JAMBONZ_ACCOUNT_SID, not one of the service provider",
    "no_capacity": "start a feature server, or find out why none is registered: jambonz takes no"
    " calls without one",
    "redirect": "set APOLLO_JAMBONZ_URL to the address it redirects to: no redirect is followed",
    "request": "correct APOLLO_JAMBONZ_URL (it ends in /v1) and APOLLO_JAMBONZ_ACCOUNT_SID",
    "timeout": "see what keeps the provider from answering: its load, its database, its Redis",
    "reset": "see in the provider's log, or that of the proxy before it, why it breaks connections",
    "broken_body": "see that APOLLO_JAMBONZ_URL is a jambonz API, not its portal or a proxy's page",
    "too_many": "ask for a shorter time",
}


def hint_for(error: DriverError) -> str:
    """Return what to do about this answer, in one sentence."""
    if isinstance(error, NotPlaced) and error.cause == "rate_limited":
        return (
            f"wait {error.retry_after_s:.0f} s and try again; raise RATE_LIMIT_MAX_PER_WINDOW of"
            " the jambonz API server if that happens often"
        )
    if error.cause == "store_down":
        port = _PORT.search(str(error))
        what = _STORES.get(port[1], f"what listens on port {port[1]}") if port else "its store"
        return f"start {what} of the provider, or correct where jambonz looks for it"
    return _BY_CAUSE.get(error.cause, "see in the provider's log what went wrong there")
