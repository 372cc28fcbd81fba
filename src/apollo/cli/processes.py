"""Commands that run one process of Apollo each, or bring its schema up to date.

Each loads only what its process runs, so each imports it for itself. Must not know how a process
does its work.
"""

import os
import sys
import uuid
from typing import Annotated

import structlog
import typer

from apollo.cli.interrupts import to_its_end
from apollo.cli.supervisor import stop_with_parent
from apollo.cli.terminal import out
from apollo.config import Settings, configure_logging, load
from apollo.core.diagnosis.reported import Restarts

_log = structlog.get_logger("apollo")

ParentPipe = Annotated[
    bool,
    typer.Option("--parent-pipe", hidden=True, help="Stop when standard input closes."),
]
# How `apollo up` tells a process that it is not the first of its role.
RestartCount = Annotated[int, typer.Option(hidden=True, help="How often it was started again.")]
LastEnding = Annotated[str, typer.Option(hidden=True, help="How the one before it ended.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (serve, worker, rotary, migrate):
        app.command()(command)


def serve(
    parent_pipe: ParentPipe = False, restarts: RestartCount = 0, ending: LastEnding = ""
) -> None:
    """Run one API process until Ctrl-C or SIGTERM."""
    settings = _begin(parent_pipe=parent_pipe)
    again = _again(restarts, ending)
    from apollo.wiring.serve import run_serve  # noqa: PLC0415 - see the module

    run_serve(settings, again)


def worker(
    parent_pipe: ParentPipe = False, restarts: RestartCount = 0, ending: LastEnding = ""
) -> None:
    """Run one worker, which places the calls, until Ctrl-C or SIGTERM."""
    settings = _begin(parent_pipe=parent_pipe)
    again = _again(restarts, ending)
    from apollo.wiring.worker import run_worker  # noqa: PLC0415 - as above

    run_worker(settings, again)


def rotary(
    parent_pipe: ParentPipe = False, restarts: RestartCount = 0, ending: LastEnding = ""
) -> None:
    """Run RotaryRouter, a provider whose people are simulated, until Ctrl-C or SIGTERM."""
    settings = _begin(parent_pipe=parent_pipe)
    _again(restarts, ending)
    from apollo.rotary import RotarySettings, serve  # noqa: PLC0415 - as above

    key, secret = settings.rotary_api_key, settings.rotary_webhook_secret
    serve(
        RotarySettings(
            host=settings.rotary_host,
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
    from apollo.storage.migrations import schema_version_wanted  # noqa: PLC0415 - as above
    from apollo.wiring import parts  # noqa: PLC0415 - as above

    to_its_end(parts.migrate(settings))
    out.print(f"The schema is at version {schema_version_wanted()}.")


def _begin(*, parent_pipe: bool) -> Settings:
    settings = load(os.environ)
    configure_logging(settings.log, sys.stderr)
    if parent_pipe:
        stop_with_parent()
    else:
        warn_of_root()
    return settings


def warn_of_root() -> None:
    """Say that nothing here needs the superuser, and what it risks to be one."""
    if os.geteuid() == 0:
        _log.warning(
            "started.as_root",
            risk="a fault in Apollo or PostgreSQL would reach every file of this machine",
            remedy="run Apollo as a user of its own",
        )


def _again(restarts: int, ending: str) -> Restarts | None:
    if not restarts:
        return None
    _log.warning("process.started_again", restarts=restarts, the_one_before=ending)
    return Restarts(count=restarts, ending=ending)
