"""Commands that run Apollo: `up` for everything on one machine, or one process each.

Owns what `up` tells the person in front of it. Must not know how a process does its work.
"""

import asyncio
import os
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Annotated, Final

import typer
from rich.text import Text

from apollo.cli import stack
from apollo.cli.interrupts import Interrupted, until_interrupted
from apollo.cli.stack import Stack
from apollo.cli.supervisor import stop_with_parent
from apollo.cli.terminal import err, out, say
from apollo.config import Settings, configure_logging, load
from apollo.usecases.authenticate import NewToken, TokenListed

_FIRST_ORGANIZATION: Final = "org_demo"
_DEFAULT_URL: Final = "http://127.0.0.1:8000"
_ROLE_STYLES: Final = {"serve": "blue", "worker": "green", "rotary": "magenta"}

ParentPipe = Annotated[
    bool,
    typer.Option("--parent-pipe", hidden=True, help="Stop when standard input closes."),
]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (up, serve, worker, rotary, migrate):
        app.command()(command)


def up() -> None:
    """Start everything on this machine and follow it; Ctrl-C stops it cleanly."""
    asyncio.run(_up())


def serve(parent_pipe: ParentPipe = False) -> None:
    """Run one API process until Ctrl-C or SIGTERM."""
    settings = _begin(parent_pipe=parent_pipe)
    from apollo import wiring  # noqa: PLC0415 - takes a second that `apollo --help` must not wait

    wiring.run_serve(settings)


def worker(parent_pipe: ParentPipe = False) -> None:
    """Run one worker, which places the calls, until Ctrl-C or SIGTERM."""
    settings = _begin(parent_pipe=parent_pipe)
    from apollo import wiring  # noqa: PLC0415 - as above

    wiring.run_worker(settings)


def rotary(parent_pipe: ParentPipe = False) -> None:
    """Run RotaryRouter, a provider whose people are simulated, until Ctrl-C or SIGTERM."""
    settings = _begin(parent_pipe=parent_pipe)
    from apollo.rotary import RotarySettings, serve  # noqa: PLC0415 - as above

    key, secret = settings.rotary_api_key, settings.rotary_webhook_secret
    serve(
        RotarySettings(
            host=settings.host,
            port=settings.rotary_port,
            api_key=key.get_secret_value() if key else "",
            account_sid=settings.jambonz_account_sid or str(uuid.UUID(int=1)),
            webhook_secret=secret.get_secret_value() if secret else "",
            webhook_url=settings.webhook_url,
            scenario=settings.rotary_scenario,
            seed=settings.rotary_seed or 1,
            ledger_path=settings.data_dir / "rotary-ledger.jsonl",
        )
    )


def migrate() -> None:
    """Bring the database's schema to the version of this program; `up` does it by itself."""
    settings = load(os.environ)
    configure_logging(settings.log, sys.stderr)
    from apollo import wiring  # noqa: PLC0415 - as above
    from apollo.storage import database  # noqa: PLC0415 - as above

    asyncio.run(database.migrate(wiring.database_url(settings)))
    out.print(f"The schema is at version {database.schema_version_wanted()}.")


def _begin(*, parent_pipe: bool) -> Settings:
    settings = load(os.environ)
    configure_logging(settings.log, sys.stderr)
    if parent_pipe:
        stop_with_parent()
    return settings


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
        token = await running.first_token(_FIRST_ORGANIZATION)
        _announce(running, token, time.monotonic() - began)
        await running.ended()


def _follow(*, on_terminal: bool) -> Callable[[str, str], None]:
    def show(role: str, line: str) -> None:
        err.print(
            Text.assemble((f"{role:>6} │ ", _ROLE_STYLES.get(role, "")), Text.from_ansi(line)),
            soft_wrap=True,
        )

    def pass_on(_role: str, line: str) -> None:
        sys.stderr.write(line + "\n")  # for whoever collects logs: exactly as it was written

    return show if on_terminal else pass_on


def _announce(running: Stack, token: NewToken | TokenListed, took_s: float) -> None:
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
    if isinstance(token, NewToken):
        rows = {**rows, "token": f"{token.token}  (of {token.organization_id}, shown only now)"}
        shown = token.token
    else:
        note = f"{token.organization_id} has {token.shown}; `apollo token create` makes another"
        rows = {**rows, "token": note}
        shown = "gat_…"
    for name, value in rows.items():
        out.print(f"  {name:<16} {value}", soft_wrap=True, markup=False)
    out.print("\nIn another terminal:", markup=False)
    if running.url != _DEFAULT_URL:
        out.print(f"  export APOLLO_URL={running.url}", soft_wrap=True, markup=False)
    out.print(f"  export APOLLO_TOKEN={shown}", soft_wrap=True, markup=False)
    out.print("  apollo doctor\n\nCtrl-C stops everything.\n", markup=False)
