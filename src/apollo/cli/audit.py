"""`apollo audit`: has the provider's own record judge the database, invariant by invariant.

Owns where the record comes from and how the findings are shown. It reads only, and never judges.
"""

import os
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final

import aiohttp
import typer
from rich.text import Text

from apollo.cli.interrupts import to_its_end
from apollo.cli.operating import asking_provider
from apollo.cli.rehearsal import settings_in_force
from apollo.cli.terminal import AsJson, out, print_json, say
from apollo.config import Settings, configure_logging, load
from apollo.core.audit import Finding, WitnessedCall
from apollo.errors import Misconfigured, Unavailable
from apollo.usecases.audit_ledger import AuditLedger, read_ledger, read_records
from apollo.wiring import parts
from apollo.wiring.office import open_office

# A screenful of one invariant; all of them are in --json.
_SHOWN_MAX: Final = 20
# A ledger of a million calls is a gigabyte from the same machine.
_FETCH_S: Final = 600.0

Ledger = Annotated[
    str | None,
    typer.Argument(
        metavar="[LEDGER]",
        help="A ledger's file or address; without it the one RotaryRouter keeps in the data"
        " directory, or the call-detail records of the configured provider.",
    ),
]
Days = Annotated[
    int, typer.Option("--days", min=1, max=365, help="How far back call-detail records are read.")
]


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(audit)


def audit(ledger: Ledger = None, days: Days = 1, as_json: AsJson = False) -> None:
    """Compare the provider's record of calls with the database; exit 1 on a violation."""
    settings = load(os.environ)
    configure_logging(settings.log, sys.stderr)  # stdout is for the result alone
    name, witnessed, findings = to_its_end(_audit(settings, ledger, days))
    if as_json:
        print_json(
            {
                "ledger": name,
                "calls": len(witnessed),
                "findings": [_as_json(one) for one in findings],
            }
        )
    else:
        say(f"{name}: {len(witnessed)} calls")
        for one in findings:
            _show(one)
    if any(one.violations for one in findings):
        sys.exit(1)


async def _audit(
    settings: Settings, ledger: str | None, days: int
) -> tuple[str, list[WitnessedCall], list[Finding]]:
    async with open_office(settings) as office:
        if ledger is not None and ledger.startswith(("http://", "https://")):
            name, witnessed = ledger, read_ledger(await _fetched(ledger), ledger)
        elif ledger is not None or settings.jambonz_url is None:
            path = Path(ledger) if ledger else settings.data_dir / "rotary-ledger.jsonl"
            name, witnessed = str(path), _read_file(path)
        else:
            return await _audit_records(AuditLedger(db=office.db), settings, days)
        return name, witnessed, await AuditLedger(db=office.db).run(witnessed)


def _read_file(path: Path) -> list[WitnessedCall]:
    # Calls that are not over stand in a journal beside it, and come first: their end replaces them.
    journal = path.with_name(path.name + ".open")
    files = [one for one in (journal, path) if one == path or one.exists()]
    try:
        lines = [line for one in files for line in one.read_bytes().splitlines()]
    except OSError as e:
        mend = "name a ledger: `apollo audit FILE`, or the address of RotaryRouter's /rotary/ledger"
        raise Misconfigured([f"{path} cannot be read ({e.strerror}); {mend}"]) from e
    return read_ledger(lines, str(path))


async def _fetched(url: str) -> list[bytes]:
    try:
        async with aiohttp.ClientSession() as session:
            timeout = aiohttp.ClientTimeout(total=_FETCH_S, sock_connect=5)
            async with session.get(url, timeout=timeout, raise_for_status=True) as answer:
                return [line async for line in _lines(answer)]
    except (aiohttp.ClientError, TimeoutError, ValueError) as e:
        what = getattr(e, "message", "") or str(e) or type(e).__name__
        raise Unavailable(f"{url} gives no ledger ({what}); name one that answers") from e


async def _lines(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    rest = b""
    async for piece in answer.content.iter_any():
        *whole, rest = (rest + piece).split(b"\n")
        for line in whole:
            yield line
    if rest:
        yield rest


async def _audit_records(
    audit_ledger: AuditLedger, settings: Settings, days: int
) -> tuple[str, list[WitnessedCall], list[Finding]]:
    clock = parts.SystemClock()
    driver = parts.make_driver(settings_in_force(os.environ), clock)
    try:
        since = clock.now() - timedelta(days=days)
        with asking_provider(settings):
            witnessed = read_records(await driver.list_records(since, matching=None))
            findings = await audit_ledger.run(witnessed, driver)
    finally:
        await driver.close()
    return f"call-detail records of {settings.jambonz_url}", witnessed, findings


def _as_json(finding: Finding) -> dict[str, Any]:
    return {
        "invariant": finding.invariant,
        "rule": finding.rule,
        "checked": finding.checked,
        "unit": finding.unit,
        "violations": [{"ids": one.ids, "what": one.what} for one in finding.violations],
        "left_out": finding.left_out,
    }


def _show(finding: Finding) -> None:
    count = len(finding.violations)
    if not finding.unit:
        mark, style, found = "-", "grey58", finding.left_out
    else:
        mark, style = ("FAULT", "bold red") if count else ("ok", "green")
        found = f"{finding.checked:,} {finding.unit}, {count} violations"
        if finding.left_out:
            found += f"; not judged: {finding.left_out}"
    head = Text.assemble(
        (f"{mark:<6}", style), (f"{finding.invariant:<4}", "bold"), finding.rule, ": ", found
    )
    out.print(head, soft_wrap=True)
    for one in finding.violations[:_SHOWN_MAX]:
        out.print(f"          {one.what}: {' '.join(one.ids)}", markup=False, soft_wrap=True)
    if count > _SHOWN_MAX:
        out.print(f"          … and {count - _SHOWN_MAX} more; --json has them all", markup=False)
