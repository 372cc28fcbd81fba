"""`apollo up`: everything of one Apollo on this machine, in one terminal.

Owns what it tells the person in front of it. What runs, and in which order, is `stack`'s.
"""

import asyncio
import os
import shlex
import sys
import time
from collections.abc import Callable, Mapping
from typing import Final

import structlog
import typer
from rich.text import Text

from apollo.cli import stack
from apollo.cli.interrupts import Interrupted, until_interrupted
from apollo.cli.processes import warn_of_root
from apollo.cli.stack import Stack
from apollo.cli.supervisor import Child
from apollo.cli.terminal import err, out, say
from apollo.config import configure_logging, load
from apollo.usecases.authenticate import NewToken, TokenListed

_log = structlog.get_logger("apollo.up")
_FIRST_ORGANIZATION: Final = "org_demo"
_DEFAULT_URL: Final = "http://127.0.0.1:8000"
# What a second terminal has to know as well: commands that ask database or provider read these.
_SHOWN_IF_SET: Final = (
    "APOLLO_DATA_DIR",
    "APOLLO_HOST",
    "APOLLO_PORT",
    "APOLLO_ROTARY_HOST",
    "APOLLO_ROTARY_PORT",
    "APOLLO_JAMBONZ_URL",
    "APOLLO_JAMBONZ_ACCOUNT_SID",
)
_SECRET_IF_SET: Final = (
    "APOLLO_DATABASE_URL",
    "APOLLO_JAMBONZ_API_KEY",
    "APOLLO_JAMBONZ_WEBHOOK_SECRET",
    "APOLLO_ROTARY_API_KEY",
    "APOLLO_ROTARY_WEBHOOK_SECRET",
)
_ROLE_STYLES: Final = {"serve": "blue", "worker": "green", "rotary": "magenta"}


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(up)


def up() -> None:
    """Start everything on this machine and follow it; Ctrl-C stops it cleanly."""
    asyncio.run(_up())


async def _up() -> None:
    try:
        await until_interrupted(_run_all())
    except Interrupted:
        say("Everything is stopped.")


async def _run_all() -> None:
    began = time.monotonic()
    # Faults of the configuration are ours to tell: nothing is started yet.
    settings = load(os.environ)
    configure_logging(settings.log, sys.stderr)
    on_terminal = err.is_terminal
    environ: dict[str, str] = dict(os.environ)
    if on_terminal:
        # The children write to our pipe and could not know that a person reads it.
        environ.setdefault("APOLLO_LOG", "text")
        say("Starting Apollo …")
    async with stack.started(environ, _follow(on_terminal=on_terminal)) as running:
        # What is redirected is kept, by journald or `docker logs`, and a token is shown only once.
        is_seen = out.is_terminal
        token = await running.first_token(_FIRST_ORGANIZATION) if is_seen else None
        _announce(running, token, time.monotonic() - began)
        warn_of_root()
        await running.supervisor.keep_up(_tell_of_end)


def _tell_of_end(child: Child, wait_s: float) -> None:
    """Say which process ended and how; its last words stand above, as it wrote them."""
    _log.error(
        "process.ended", role=child.role, ending=child.ending(), starts_again_in_s=round(wait_s)
    )


def _follow(*, on_terminal: bool) -> Callable[[str, str], None]:
    def show(role: str, line: str) -> None:
        err.print(
            Text.assemble((f"{role:>6} │ ", _ROLE_STYLES.get(role, "")), Text.from_ansi(line)),
            soft_wrap=True,
        )

    def pass_on(_role: str, line: str) -> None:
        sys.stderr.write(line + "\n")  # for whoever collects logs: exactly as it was written

    return show if on_terminal else pass_on


def _announce(running: Stack, token: NewToken | TokenListed | None, took_s: float) -> None:
    out.print(f"\n[bold green]Apollo is ready[/] ({took_s:.1f} s)\n")
    rows: Mapping[str, str] = {
        "API": f"{running.url}/api/v1",
        "its description": f"{running.url}/docs",
        "telephony": (
            f"RotaryRouter at {running.rotary_url}: its people are simulated, no phone rings"
            if running.rotary_url
            else str(running.settings.jambonz_url)
        ),
    }
    shown = "gat_…"
    if token is None:
        rows = {**rows, "token": f"make one: apollo token create --org {_FIRST_ORGANIZATION}"}
    elif isinstance(token, NewToken):
        rows = {**rows, "token": f"{token.token}  (of {token.organization_id}, shown only now)"}
        shown = token.token
    else:
        note = f"{token.organization_id} has {token.shown}; `apollo token create` makes another"
        rows = {**rows, "token": note}
    for name, value in rows.items():
        out.print(f"  {name:<16} {value}", soft_wrap=True, markup=False)
    out.print("\nIn another terminal:", markup=False)
    if running.url != _DEFAULT_URL:
        out.print(f"  export APOLLO_URL={running.url}", soft_wrap=True, markup=False)
    for name in _SHOWN_IF_SET:
        if name in os.environ:
            line = f"  export {name}={shlex.quote(os.environ[name])}"
            out.print(line, soft_wrap=True, markup=False)
    if secret := [name for name in _SECRET_IF_SET if name in os.environ]:
        out.print(f"  and {', '.join(secret)} as here", soft_wrap=True, markup=False)
    out.print(f"  export APOLLO_TOKEN={shown}", soft_wrap=True, markup=False)
    out.print("  apollo doctor\n\nCtrl-C stops everything.\n", markup=False)
