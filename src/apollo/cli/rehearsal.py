"""The RotaryRouter that `apollo up` brings: its secrets, and the settings that lead Apollo to it.

Owns `rotary.json` in the data directory, which only its owner may read. Must never start anything.
"""

import os
import secrets
import tempfile
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from apollo.config import Settings, load
from apollo.errors import Misconfigured

_FILE: Final = "rotary.json"
_SECRET_BYTES: Final = 24  # 192 bits: nobody guesses it, and it still fits on a line


class Secrets(msgspec.Struct, frozen=True):
    """What Apollo and its RotaryRouter share; kept, so that a restart finds the calls again."""

    account_sid: str
    api_key: str
    webhook_secret: str


def kept_secrets(data_dir: Path) -> Secrets | None:
    """The secrets of the data directory; None before the first `up`. Raises Misconfigured."""
    path = data_dir / _FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=Secrets)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as fault:
        mend = "remove the file; `apollo up` makes a new one"
        raise Misconfigured([f"APOLLO_DATA_DIR: {path} cannot be read ({fault}); {mend}"]) from None


def keep_secrets(data_dir: Path) -> Secrets:
    """The secrets of the data directory, made now if there are none. Raises Misconfigured.

    Of several processes that begin at once one makes them, and the others find those.
    """
    kept = kept_secrets(data_dir)
    if kept is not None:
        return kept
    made = Secrets(
        account_sid=str(uuid.uuid4()),
        api_key=secrets.token_urlsafe(_SECRET_BYTES),
        webhook_secret=secrets.token_urlsafe(_SECRET_BYTES),
    )
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        # mkstemp makes it 0600; the link appears whole or not at all.
        descriptor, name = tempfile.mkstemp(prefix=_FILE, dir=data_dir)
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.encode(made))
        with suppress(FileExistsError):
            os.link(name, data_dir / _FILE)
        Path(name).unlink()
    except OSError as fault:
        mend = "name a directory that this user owns"
        raise Misconfigured([f"APOLLO_DATA_DIR: {fault}; {mend}"]) from None
    return kept_secrets(data_dir) or made


def rotary_url(settings: Settings) -> str:
    """Where this machine reaches RotaryRouter, wherever it listens."""
    return load({"APOLLO_HOST": settings.rotary_host, "APOLLO_PORT": str(settings.rotary_port)}).url


def connected(environ: Mapping[str, str], settings: Settings, shared: Secrets) -> dict[str, str]:
    """The environment in which Apollo dials through the RotaryRouter of this machine."""
    rotary = rotary_url(settings)
    key, secret = settings.rotary_api_key, settings.rotary_webhook_secret
    api_key = key.get_secret_value() if key else shared.api_key
    webhook_secret = secret.get_secret_value() if secret else shared.webhook_secret
    connected = {
        **environ,
        "APOLLO_JAMBONZ_URL": f"{rotary}/v1",
        "APOLLO_JAMBONZ_ACCOUNT_SID": shared.account_sid,
        "APOLLO_JAMBONZ_API_KEY": api_key,
        "APOLLO_JAMBONZ_WEBHOOK_SECRET": webhook_secret,
        "APOLLO_ROTARY_API_KEY": api_key,
        "APOLLO_ROTARY_WEBHOOK_SECRET": webhook_secret,
    }
    if settings.default_call_hook is None and settings.default_application_sid is None:
        connected["APOLLO_DEFAULT_CALL_HOOK"] = f"{rotary}/rotary/hook"
    return connected


def settings_in_force(environ: Mapping[str, str]) -> Settings:
    """The settings; without a provider of one's own, those that `apollo up` makes of them."""
    settings = load(environ)
    if settings.jambonz_url is None:
        shared = kept_secrets(settings.data_dir)
        if shared is not None:
            return load(connected(environ, settings, shared))
    return settings
