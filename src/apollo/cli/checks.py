"""The checks of `apollo doctor`, each a function from settings to findings.

A check never raises for what it looks for, and changes nothing: no database is started or
migrated, no webhook is sent, no call is placed.
"""

import os
import shutil
from collections.abc import Sequence
from http import HTTPStatus
from importlib.metadata import version
from typing import Any, Final

from apollo import embedded
from apollo.cli.findings import Finding, State, get, session
from apollo.cli.listening import fault_of_port
from apollo.config import Settings
from apollo.core import ids
from apollo.core.diagnosis.view import ALIVE_WITHIN
from apollo.core.words import stamp
from apollo.errors import ApolloError, Misconfigured
from apollo.ports import AgentRoute
from apollo.storage import agents, campaigns, heartbeats, lifecycle, recovery
from apollo.storage.database import Connection, Database
from apollo.storage.migrations import SERVER_VERSION_MIN, schema_version, schema_version_wanted
from apollo.wiring import parts

# The embedded PostgreSQL stops accepting writes when its disk is full; a million contacts with
# their calls take about this much.
_FREE_BYTES_MIN: Final = 1 << 30
# Governments change their clocks at short notice, several times a year.
_ZONES_OLD_YEARS: Final = 2
# A line that is read, not a list.
_NAMED_MAX: Final = 4


def data_directory(settings: Settings) -> list[Finding]:
    """Whether the data directory can be used, if anything of ours is kept there."""
    name, folder = "data directory", settings.data_dir
    if not folder.exists():
        return [Finding(name, State.NOTE, f"{folder} is not there yet; the first start makes it")]
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        fix = "make its owner run Apollo, or set APOLLO_DATA_DIR to a directory of this user"
        return [Finding(name, State.FAULT, f"this user may not write to {folder}", fix)]
    free = shutil.disk_usage(folder).free
    what = f"{folder}, {free / (1 << 30):.1f} GB free"
    if free < _FREE_BYTES_MIN and settings.database_url is None:
        fix = "make room, or set APOLLO_DATA_DIR to a directory on a larger disk"
        return [Finding(name, State.FAULT, what, fix)]
    return [Finding(name, State.OK, what)]


async def database(settings: Settings) -> tuple[list[Finding], dict[str, AgentRoute]]:
    """The database, its schema and the processes that report to it; also the registered agents."""
    name = "database"
    if settings.database_url is not None:
        url = settings.database_url.get_secret_value()
        fix = "start it, or correct APOLLO_DATABASE_URL"
    else:
        try:
            found = embedded.running_url(settings.data_dir)
        except Misconfigured as wrong:
            fix = "do one of the things named"
            return [Finding(name, State.FAULT, fault, fix) for fault in wrong.faults], {}
        if found is None:
            what = f"the embedded PostgreSQL in {settings.data_dir} is not running"
            fix = "start Apollo with `apollo up`, or set APOLLO_DATABASE_URL"
            return [Finding(name, State.FAULT, what, fix)], {}
        url = found
        fix = f"see {settings.data_dir}/postgres/postgres.log"
    try:
        db = await Database.connect(url, connections_max=1, name="apollo doctor")
    except ApolloError as fault:
        return [Finding(name, State.FAULT, str(fault), fix)], {}
    try:
        return await _look_into(db, has_carrier=not _is_own_rotary(settings))
    except ApolloError as fault:
        return [Finding(name, State.FAULT, str(fault), fix)], {}
    finally:
        await db.close()


async def _look_into(
    db: Database, *, has_carrier: bool
) -> tuple[list[Finding], dict[str, AgentRoute]]:
    async with db.connection() as connection:
        server = connection.get_server_version()
        what = f"PostgreSQL {server.major}.{server.minor} answers"
        findings = [Finding("database", State.OK, what)]
        if server.major < SERVER_VERSION_MIN:
            fix = f"upgrade it to {SERVER_VERSION_MIN} or later"
            findings = [Finding("database", State.FAULT, what, fix)]
        found, wanted = await schema_version(connection), schema_version_wanted()
        if found != wanted:
            what = f"version {found}, and this program needs {wanted}"
            fix = "run `apollo migrate`" if found < wanted else "upgrade this program"
            return [*findings, Finding("schema", State.FAULT, what, fix)], {}
        findings.append(Finding("schema", State.OK, f"version {found}"))
        if connection.get_settings().is_superuser == "on":
            what = "Apollo's role is a superuser: SQL that runs through it can read any file there"
            fix = "give Apollo a role of its own that owns its database and nothing else"
            findings.append(Finding("database role", State.NOTE, what, fix))
        alive = await heartbeats.list_alive(connection, ALIVE_WITHIN)
        registered = await agents.list_agents(connection)
        findings += await _holds(connection)
        if has_carrier:
            findings += await _hours(connection)
    findings += _workers(alive)
    return findings, {one.agent_id: one.route for one in registered}


async def _holds(connection: Connection) -> list[Finding]:
    """What keeps all of an installation, or an organisation, from dialling."""
    findings = []
    held = await recovery.read_recovery(connection)
    if held.since is not None:
        what = f"held since {stamp(held.since)}: the provider has calls that the database lacks"
        fix = "run `apollo recover`, look at them, then `apollo recover --confirm`"
        findings.append(Finding("dialling", State.FAULT, what, fix))
    for organization_id, since in await lifecycle.read_stops(connection):
        what = f"stopped for {organization_id or 'everybody'} since {stamp(since)}"
        org = f" --org {organization_id}" if organization_id else ""
        findings.append(
            Finding("dialling", State.NOTE, what, f"lift it with `apollo resume-all{org}`")
        )
    return findings


async def _hours(connection: Connection) -> list[Finding]:
    """Live campaigns that call real people at any hour of the day."""
    unbounded = await campaigns.list_without_hours(connection, at_most=_NAMED_MAX)
    if not unbounded:
        return []
    shown = ", ".join(ids.campaign_id(one) for one in unbounded[: _NAMED_MAX - 1])
    more = " and others" if len(unbounded) == _NAMED_MAX else ""
    what = f"{shown}{more} call people at any hour of the day or night"
    fix = (
        "PATCH /api/v1/campaigns/{campaign_id} with working_hours and working_hours_enforced true"
        ' (Monday: {"monday": {"start": "09:00", "end": "18:00"}})'
    )
    return [Finding("calling hours", State.NOTE, what, fix)]


def _workers(alive: Sequence[tuple[heartbeats.Process, dict[str, Any]]]) -> list[Finding]:
    workers = [(one, report) for one, report in alive if one.role == "worker"]
    if not workers:
        what = f"none has sent a heartbeat within {ALIVE_WITHIN.seconds} s, so nobody dials"
        return [Finding("workers", State.FAULT, what, "start one with `apollo worker`")]
    return [_worker(one, report) for one, report in workers] + _restarted(alive)


def _restarted(alive: Sequence[tuple[heartbeats.Process, dict[str, Any]]]) -> list[Finding]:
    """Name the processes that `apollo up` had to start again."""
    return [
        Finding(
            one.role,
            State.NOTE,
            f"the {one.role} process before {one.pid} on {one.host} {again['ending']}; started"
            f" again {again['count']} times in a row, last {stamp(one.started_at)}",
            "read what it said before it ended, in the log of `apollo up` above `process.ended`",
        )
        for one, report in alive
        if (again := report.get("restarts"))
    ]


def _worker(one: heartbeats.Process, report: dict[str, Any]) -> Finding:
    seen = report.get("provider") or {}
    what = f"process {one.pid} on {one.host}, version {one.version}"
    if (state := seen.get("state", "ok")) == "ok":
        return Finding("worker", State.OK, what)
    cause = seen.get("last_error") or seen.get("cause")
    fix = "see below what the provider answers from here"
    return Finding("worker", State.FAULT, f"{what}: provider {state} ({cause})", fix)


async def api(settings: Settings) -> list[Finding]:
    """Whether the API answers, is ready, and takes the token of the environment."""
    name, url = "API", settings.url
    async with session() as client:
        ready = await get(client, f"{url}/readyz")
        if isinstance(ready, str):
            findings = [
                Finding(
                    name,
                    State.FAULT,
                    f"nothing answers at {url} ({ready})",
                    "start it with `apollo up` or `apollo serve`, or correct APOLLO_URL",
                )
            ]
            return findings + _ports(settings)
        if ready.status != 200:  # noqa: PLR2004 - HTTP's own number
            what = f"{url} answers {ready.status} to /readyz"
            fix = "see its log; `apollo migrate` if its schema is old"
            return [Finding(name, State.FAULT, what, fix)]
        findings = [Finding(name, State.OK, f"{url} is ready")]
        if settings.token is None:
            what = "APOLLO_TOKEN is unset, so `apollo batch` and `apollo debug` cannot ask"
            fix = "set it to what `apollo token create --org ORG` prints"
            return [*findings, Finding("token", State.NOTE, what, fix)]
        bearer = {"Authorization": f"Bearer {settings.token.get_secret_value()}"}
        asked = await get(client, f"{url}/api/v1/campaigns/?limit=1", bearer)
        if not isinstance(asked, str) and asked.status == 200:  # noqa: PLR2004 - as above
            return [*findings, Finding("token", State.OK, "the API takes APOLLO_TOKEN")]
        answered = asked if isinstance(asked, str) else asked.status
        what = f"the API does not take APOLLO_TOKEN ({answered})"
        fix = "set it to what `apollo token create --org ORG` prints"
        return [*findings, Finding("token", State.FAULT, what, fix)]


def _ports(settings: Settings) -> list[Finding]:
    wanted = [("APOLLO_PORT", settings.host, settings.port)]
    if _is_own_rotary(settings):
        wanted.append(("APOLLO_ROTARY_PORT", settings.rotary_host, settings.rotary_port))
    return [_port(*one) for one in wanted]


def _port(setting: str, host: str, port: int) -> Finding:
    fault = fault_of_port(host, port)
    if fault is None:
        return Finding("port", State.OK, f"{host}:{port} is free")
    fix = f"stop what listens there, or set {setting} to a free port"
    return Finding("port", State.FAULT, f"{host}:{port} cannot be used ({fault.strerror})", fix)


def _is_own_rotary(settings: Settings) -> bool:
    return settings.rotary_api_key is not None or settings.jambonz_url is None


async def webhooks(settings: Settings) -> list[Finding]:
    """Whether the address that the provider reports to leads to our status hook, from here.

    A GET proves the way and is answered by Apollo alone with its own sentence; a POST would count
    as a wrongly signed webhook.
    """
    name, url = "status webhooks", f"{settings.public_url}/webhooks/call-status"
    async with session() as client:
        answer = await get(client, url)
    if isinstance(answer, str):
        fix = "set APOLLO_PUBLIC_URL to where the provider reaches `apollo serve`"
        return [Finding(name, State.FAULT, f"nothing answers at {url} ({answer})", fix)]
    if answer.status != HTTPStatus.OK or "This is Apollo" not in await answer.text():
        what = f"{url} answers {answer.status} to GET, and not with Apollo's own sentence"
        fix = "let the proxy pass /webhooks/ on unchanged, or correct APOLLO_PUBLIC_URL"
        return [Finding(name, State.FAULT, what, fix)]
    if settings.webhook_url is not None and settings.webhook_url != url:
        what = f"APOLLO_WEBHOOK_URL sends RotaryRouter's webhooks to {settings.webhook_url}"
        return [Finding(name, State.FAULT, what, f"unset APOLLO_WEBHOOK_URL, or set it to {url}")]
    return [Finding(name, State.OK, f"{url} is reached from here")]


def packages() -> list[Finding]:
    """How old the knowledge of time zones and phone numbers is."""
    zones, numbers = version("tzdata"), version("phonenumbers")
    what = f"tzdata {zones}, phonenumbers {numbers}"
    year = int(zones.partition(".")[0])
    if parts.SystemClock().now().year - year >= _ZONES_OLD_YEARS:
        fix = "upgrade the packages tzdata and phonenumbers: calling hours depend on them"
        return [Finding("packages", State.NOTE, what, fix)]
    return [Finding("packages", State.OK, what)]
