"""Starting and stopping, and what may be read by whom."""

import asyncio
import json
import os
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path
from urllib.request import urlopen

import pytest
from scripts.ports import free_port
from tests.rotary.world import ACCOUNT, KEY, PATIENCE_S, SECRET, World, until

from apollo.errors import Misconfigured
from apollo.rotary import RotaryRouter, RotarySettings
from apollo.rotary.wire import Request

PROGRAM = """
import sys
from contextlib import suppress
from pathlib import Path
from apollo.rotary import RotarySettings, serve
serve(RotarySettings(port=int(sys.argv[1]), api_key="k", webhook_secret="s",
    account_sid="9351f46a-678c-43f5-b8a6-d4eb58d131af", ledger_path=Path(sys.argv[2])))
print("stopped")
"""


async def test_a_port_in_use_is_named_with_the_mend() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        settings = RotarySettings(
            port=port, api_key=KEY, account_sid=ACCOUNT, webhook_secret=SECRET
        )
        with pytest.raises(Misconfigured, match=rf"127\.0\.0\.1:{port}.*APOLLO_ROTARY_PORT"):
            async with RotaryRouter.started(settings):
                pass


@pytest.mark.parametrize("wish", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_stops_it_cleanly(tmp_path: Path, wish: signal.Signals) -> None:
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-c", PROGRAM, str(port), str(tmp_path / "ledger.jsonl")),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        await until(lambda: answers(port), "the router's health")
        process.send_signal(wish)
        async with asyncio.timeout(PATIENCE_S):
            output, _ = await process.communicate()
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    assert (process.returncode, output.decode()) == (0, "stopped\n")
    assert (tmp_path / "ledger.jsonl").exists()


def answers(port: int) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{port}/rotary/health", timeout=2) as answer:
            return bool(json.load(answer)["status"] == "ok")
    except OSError:
        return False


async def test_reading_is_free_on_this_machine_and_changing_is_not(world: World) -> None:
    for page in ("ledger", "deliveries", "stats", "health", "faults", "hook"):
        assert (await world.ask("GET", f"/rotary/{page}", key=None)).status == 200, page
    for method, page in (("POST", "faults"), ("DELETE", "faults"), ("POST", "crash")):
        assert (await world.ask(method, f"/rotary/{page}", key=None)).status == 401, page


@pytest.mark.parametrize(
    ("client", "local"), [("127.0.0.1", True), ("::1", True), ("192.0.2.7", False)]
)
def test_only_loopback_counts_as_this_machine(client: str, local: bool) -> None:
    scope = {
        "method": "GET",
        "path": "/rotary/ledger",
        "headers": [],
        "query_string": b"",
        "client": (client, 40_000),
    }
    assert Request(scope).is_local is local


async def test_statistics_hold_what_happened(world: World) -> None:
    await world.called()
    await world.ask("POST", "Calls", {})
    stats = (await world.ask("GET", "/rotary/stats")).body
    assert (stats["calls_placed"], stats["calls_live_now"], stats["calls_live_max"]) == (1, 0, 1)
    assert (stats["webhooks_delivered"], stats["webhooks_failed"]) == (4, 0)
    assert (stats["answers"]["201"], stats["answers"]["400"]) == (1, 1)


async def test_many_calls_at_once_each_keep_their_own_order(world: World) -> None:
    sids = await asyncio.gather(*(world.call() for _ in range(200)))
    await until(lambda: not world.router.exchange.unsettled)
    assert len(set(sids)) == 200
    for sid in sids:
        events = world.receiver.events(sid)
        assert events == ["trying", "ringing", "in-progress", "completed"]


@pytest.mark.parametrize(
    ("host", "is_ours"),
    [
        ("127.0.0.1:9000", True),
        ("localhost", True),
        ("[::1]:9000", True),
        ("evil.example:9000", False),
        ("127.0.0.1.evil.example", False),
        ("localhost.evil.example:9000", False),
        ("", False),
    ],
)
async def test_numbers_are_shown_without_a_key_only_under_a_name_of_this_machine(
    world: World, host: str, is_ours: bool
) -> None:
    async with world.session.get(
        world.router.url.replace("/v1", "/rotary/ledger"), headers={"Host": host}
    ) as answer:
        assert answer.status == (200 if is_ours else 401)
    health = world.router.url.replace("/v1", "/rotary/health")
    async with world.session.get(health, headers={"Host": host}) as answer:
        assert answer.status == 200
