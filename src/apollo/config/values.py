"""How the value of a setting is read: each function takes it as written, or raises ValueError.

The text of the fault stands beside the setting, so these say nothing. Must never show a value.
"""

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, SecretStr

_UNITS_S: Final = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def duration(value: object) -> timedelta:
    """Read `30s`, `10m` or a number of seconds. Raises ValueError."""
    # Nine digits: more than any deadline, less than what timedelta overflows at.
    written = re.fullmatch(r"(\d{1,9}(?:\.\d{1,6})?)(ms|s|m|h|d|)", str(value).strip())
    if not written or not float(written[1]):
        raise ValueError
    return timedelta(seconds=float(written[1]) * _UNITS_S[written[2]])


def gap(value: object) -> timedelta:
    """Read a duration, or 0 for none. Raises ValueError."""
    return timedelta() if re.fullmatch(r"0+(ms|s|m|h|d|)", str(value).strip()) else duration(value)


def whole_seconds(value: object) -> int:
    """Read a duration that has no fraction. Raises ValueError."""
    seconds = duration(value).total_seconds()
    if not seconds.is_integer():
        raise ValueError  # the provider answers 500 to anything but an integer
    return int(seconds)


def address(value: str, *schemes: str) -> str:
    """Check an address of one of these schemes, without a password in it. Raises ValueError."""
    parts = urlsplit(value)
    # A password in an address would be printed with it.
    known = parts.scheme in schemes and parts.hostname and "@" not in parts.netloc
    if not known or parts.port == 0 or re.search(r"\s", value):
        raise ValueError
    return value


def base_url(value: str) -> str:
    """Check an address to which paths are added. Raises ValueError."""
    address(value, "http", "https")
    if "?" in value or "#" in value:
        raise ValueError
    return value.rstrip("/")


def jambonz_url(value: str) -> str:
    """Check the base of jambonz's calls API. Raises ValueError."""
    base = base_url(value)
    if not base.endswith("/v1"):
        raise ValueError
    return base


def database_url(value: SecretStr) -> SecretStr:
    """Check an address of PostgreSQL. Raises ValueError."""
    url = value.get_secret_value()
    if urlsplit(url).scheme not in {"postgresql", "postgres"} or re.search(r"\s", url):
        raise ValueError
    return value


def parts(count: int) -> AfterValidator:
    """Check a list of so many values with commas between."""

    def checked(value: str) -> str:
        parts = [part.strip() for part in value.split(",")]
        if len(parts) != count or not all(parts):
            raise ValueError
        return ",".join(parts)

    return AfterValidator(checked)


def local_url(known: Mapping[str, Any]) -> str:
    """Give the address of the API as seen from its own machine."""
    # A wildcard is a place to listen, not one to call.
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(known.get("host", ""), known.get("host", ""))
    return f"http://{f'[{host}]' if ':' in host else host}:{known.get('port')}"
