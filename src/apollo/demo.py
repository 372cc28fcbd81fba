"""`make demo`: a whole campaign on this machine, from nothing to the last call, in a minute.

It is its own user: it starts what `apollo up` starts, then speaks to the HTTP API as anybody would.
It leaves nothing behind, however it ends, and no phone rings: RotaryRouter simulates the people.
"""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import aiohttp
from rich.rule import Rule

from apollo import embedded
from apollo.cli.api_client import ApiClient, Query
from apollo.cli.batches import follow, print_created, upload
from apollo.cli.interrupts import Interrupted, until_interrupted
from apollo.cli.render import diagnosis
from apollo.cli.stack import Stack, started
from apollo.cli.terminal import err, out, print_fault, print_in_any_locale
from apollo.errors import ApolloError, Misconfigured, Unavailable
from apollo.usecases.authenticate import NewToken

_CONTACTS: Final = "examples/contacts.csv"
# A laptop needs half a minute; a batch that is not through after this never will be.
_COMPLETE_WITHIN_S: Final = 80.0
# People who ring and talk for about a second: everyday life at forty times its pace.
_SCENARIO: Final[Mapping[str, Any]] = {
    "people": {
        "preset": "everyday",
        "ring_s": [0.2, 0.8],
        "talk_s": [0.5, 1.8],
        "unanswered_s": [0.6, 1.2],
    }
}
# The same people do the same things in every demo.
_SEED: Final = 7
_CAMPAIGN: Final[Mapping[str, Any]] = {
    "name": "Insurance renewals",
    "agent_id": "agent_renewals",
    # Of the country of most contacts: a number without a plus is read as one of theirs.
    "phone_numbers": ["+12025550100", "+12025550101"],
    # Some of them are in Britain.
    "allowed_countries": ["US", "GB"],
    "phone_number_strategy": "least_loaded",
    # A second try at once, where a real campaign would wait for half an hour.
    "retry_policy": {"max_retries": 1, "strategy": "fixed", "cooldown_minutes": 0},
    "default_call_variables": {"company": "Harbour Insurance"},
    "metadata": {"concurrency_limit": 100},
}
_SWEEP: Final = "--sweep"
_INTERRUPTED: Final = 130


def main() -> None:
    """Run the demo and exit: 0 when the campaign went through, 130 after Ctrl-C, else 1."""
    if sys.argv[1:2] == [_SWEEP]:
        _sweep(Path(sys.argv[2]))
        return
    print_in_any_locale()
    try:
        asyncio.run(until_interrupted(_demo(time.monotonic())))
    except Interrupted:
        err.print("Everything is stopped.")
        sys.exit(_INTERRUPTED)
    except ApolloError as fault:
        print_fault(fault)
        sys.exit(1)


async def _demo(began: float) -> None:
    contacts = _contacts_file()
    with _swept_folder() as folder:
        _title("Starting PostgreSQL, the API, a worker and RotaryRouter")
        async with started(_environment(folder), _ignore) as running:
            out.print(f"Ready after {time.monotonic() - began:.1f} s at {running.url}")
            token = await running.first_token("org_demo")
            if not isinstance(token, NewToken):
                raise Unavailable("the demo's database is not new; remove it and try again")
            async with ApiClient(running.url, token.token) as api:
                await running.unless_ended(_campaign(running, api, contacts))
        _title("Everything is stopped")
    out.print(f"The demo took {time.monotonic() - began:.0f} s. Next: `apollo up`, then README.md.")


async def _campaign(running: Stack, api: ApiClient, contacts: Path) -> None:
    _title("A campaign, and its contacts from a file")
    campaign = await api.send("/api/v1/campaigns/", _CAMPAIGN)
    out.print(f"Campaign {campaign['campaign_id']} “{campaign['name']}” is {campaign['status']}.")
    query = {"campaign_id": campaign["campaign_id"], "on_invalid": "skip"}
    batch = await upload(api, contacts, query, str(uuid.uuid4()))
    print_created(batch)

    _title("The batch, live")
    path = f"/api/v1/batches/{batch['batch_id']}"
    try:
        async with asyncio.timeout(_COMPLETE_WITHIN_S):
            batch = await follow(api, batch["batch_id"])
    except TimeoutError:
        out.print(diagnosis(await api.read(f"{path}/debug")))
        late = f"the batch is not completed after {_COMPLETE_WITHIN_S:.0f} s; above is why"
        raise Unavailable(late) from None

    _title("What /debug says, counting every contact again")
    out.print(diagnosis(await _read_patiently(api, f"{path}/debug", {"verify": "true"})))

    _title("What it came to")
    stats = await _read_patiently(api, f"/api/v1/campaigns/{campaign['campaign_id']}/stats")
    await _sum_up(running, batch, stats)


async def _read_patiently(api: ApiClient, path: str, query: Query | None = None) -> Any:
    """Read what a machine with other things to do may not answer the first time."""
    for pause_s in (0.5, 1.0, 2.0, 4.0):
        try:
            return await api.read(path, query)
        except Unavailable:
            await asyncio.sleep(pause_s)
    return await api.read(path, query)


async def _sum_up(running: Stack, batch: Mapping[str, Any], stats: Mapping[str, Any]) -> None:
    counters, total = batch["counters"], batch["total_contacts"]
    out.print(
        f"{total:,} people were called with {stats['total_call_attempts']:,} calls;"
        f" {batch['rejected_count']} rows of the file were left out."
    )
    words = ", ".join(f"{count:,} {name}" for name, count in counters.items() if count)
    out.print(f"Outcomes: {words}.")
    # RotaryRouter saw every call and knows nothing of Apollo's books.
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{running.rotary_url}/rotary/stats") as answer,
    ):
        seen = await answer.json()
    overlapping = seen["numbers_called_twice_at_once"]
    out.print(
        f"RotaryRouter, the witness: {seen['calls_placed']:,} calls, at most"
        f" {seen['calls_live_max']} at once, and {len(overlapping) or 'no'} number was called twice"
        " at a time."
    )
    if overlapping:
        raise Unavailable("a number was called while it was already on a call")
    if seen["calls_placed"] != stats["total_call_attempts"]:
        raise Unavailable("the calls that Apollo counted are not those that were placed")
    if sum(counters.values()) != total:
        raise Unavailable("the counters do not add up to the contacts")


def _contacts_file() -> Path:
    for root in (Path(__file__).resolve().parents[2], Path.cwd()):
        if (root / _CONTACTS).is_file():
            return root / _CONTACTS
    raise Misconfigured([f"{_CONTACTS}: is not here; run the demo in a checkout of Apollo"])


def _environment(folder: Path) -> dict[str, str]:
    """An environment of its own: nothing the operator has set may lead a demo to a real phone."""
    port, rotary_port = _free_ports(2)
    scenario = folder / "scenario.json"
    scenario.write_text(json.dumps(_SCENARIO), encoding="utf-8")
    environ = {name: value for name, value in os.environ.items() if not name.startswith("APOLLO_")}
    return environ | {
        "APOLLO_DATA_DIR": str(folder),
        "APOLLO_PORT": str(port),
        "APOLLO_ROTARY_PORT": str(rotary_port),
        "APOLLO_ROTARY_SCENARIO": str(scenario),
        "APOLLO_ROTARY_SEED": str(_SEED),
        "APOLLO_LOG": "text",
    }


def _free_ports(count: int) -> list[int]:
    """Ports that are free now, all different."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


@contextlib.contextmanager
def _swept_folder() -> Iterator[Path]:
    """A private folder that is gone afterwards, with the database in it, `kill -9` included.

    A process of its own waits for the end of its standard input, which is our end, and sweeps.
    """
    folder = Path(tempfile.mkdtemp(prefix="apollo-demo-"))
    with subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-P", "-m", "apollo.demo", _SWEEP, str(folder)],
        stdin=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C ends the demo, not the one that sweeps up after it
    ) as sweeper:
        try:
            yield folder
        finally:
            sweeper.communicate()


def _sweep(folder: Path) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    sys.stdin.read()
    embedded.stop(folder)
    shutil.rmtree(folder, ignore_errors=True)


def _ignore(_role: str, _line: str) -> None:
    """What the processes log is shown only when one of them ends by itself."""


def _title(text: str) -> None:
    out.print()
    out.print(Rule(text, align="left", style="bold"))


if __name__ == "__main__":
    main()
