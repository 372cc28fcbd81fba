"""What the live list costs with an hour of finished calls in it: memory and time of one look.

jambonz lists a call for an hour after its end and does not page the list. RotaryRouter does the
same: it runs in a process of its own and places that many calls first. Then the driver reads its
list, in a fresh process each time: once keeping nothing but the calls that are up, as the watch
does, and once keeping all. Prints the peak memory of the reader beyond what it had before, its
time and its processor time, and asks one call by its number for comparison.

    python benchmarks/live_list.py [calls] [connections]
"""

import asyncio
import contextlib
import json
import multiprocessing
import re
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import uvloop

from apollo.errors import DriverError
from apollo.ports import AgentRoute, DialRequest
from apollo.rotary import RotarySettings, serve
from apollo.telephony.jambonz import JambonzDriver

ACCOUNT = "9351f46a-678c-43f5-b8a6-d4eb58d131af"
KEY, SECRET = "benchmark-key", "benchmark-secret"
PORT = 9873
# An application without a status hook: webhooks are not what is measured.
SILENT = "5a9d43a8-9c1c-4f0e-8d0f-0a4bb4a6f7d2"
# The last calls end a moment after they were placed; this is for a machine gone mad.
SETTLE_S = 60.0
# A look may take as long as the provider needs to read its store.
TIMEOUT_S = 120.0
UP = frozenset({"trying", "ringing", "early-media", "in-progress"})


class Clock:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()


def _driver(connections: int = 2) -> JambonzDriver:
    return JambonzDriver(
        base_url=f"http://127.0.0.1:{PORT}/v1",
        account_sid=ACCOUNT,
        api_key=KEY,
        webhook_secret=SECRET,
        public_url="http://127.0.0.1:9",
        clock=Clock(),
        connections_max=connections,
        total_timeout_s=TIMEOUT_S,
    )


def _number(n: int) -> str:
    return f"+9198{n:08d}"


async def _fill(calls: int, connections: int) -> None:
    """Place calls to people who refuse at once, and wait until all are over."""
    driver = _driver(connections)
    route = AgentRoute(application_sid=SILENT)

    async def lane(numbers: range) -> None:
        for n in numbers:
            request = DialRequest(
                f"{n:032x}", _number(n), "+14155552671", route, "agent-key", 30, 600
            )
            # On a machine gone mad a request may be lost: then the list is one call shorter.
            with contextlib.suppress(DriverError):
                await driver.place(request)

    await _until_up()
    await asyncio.gather(*(lane(range(one, calls, connections)) for one in range(connections)))
    async with asyncio.timeout(SETTLE_S):
        while await driver.list_live(keep=lambda call: call.call_status in UP):
            await asyncio.sleep(0.5)
    await driver.close()


async def _until_up() -> None:
    async with aiohttp.ClientSession() as session:
        for _ in range(500):
            try:
                async with session.get(f"http://127.0.0.1:{PORT}/rotary/health") as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.02)
    raise SystemExit("RotaryRouter did not start")


def _peak_kb() -> int:
    """Read the most memory this program ever had, in kB; what it was started from is left out."""
    return int(re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[0])


def _look(what: str, sender: "multiprocessing.connection.Connection") -> None:
    """Look once, and send what it took: calls kept, MB, seconds, seconds of processor time."""

    async def look() -> tuple[int, float]:
        driver = _driver()
        await driver.probe()  # what any request needs is there before the figure begins
        before = _peak_kb()
        match what:
            case "up":
                kept = await driver.list_live(keep=lambda call: call.call_status in UP)
            case "all":
                kept = await driver.list_live()
            case _:
                kept = await driver.list_live(_number(0))
        peak = _peak_kb()
        await driver.close()
        return len(kept), (peak - before) / 1024

    begun, used = time.perf_counter(), time.process_time()
    kept, megabytes = uvloop.run(look())
    sender.send((kept, megabytes, time.perf_counter() - begun, time.process_time() - used))


def main() -> None:
    calls = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    connections = int(sys.argv[2]) if len(sys.argv) > 2 else 32
    # Not forked: a child would begin with its parent's memory.
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        scenario = Path(folder) / "instant.json"
        people = {"mix": {"busy": 1}, "dial_s": [0, 0], "unanswered_s": [0, 0]}
        scenario.write_text(json.dumps({"people": people, "applications": {SILENT: {}}}))
        settings = RotarySettings(
            api_key=KEY,
            account_sid=ACCOUNT,
            webhook_secret=SECRET,
            port=PORT,
            scenario=scenario,
            ledger_path=Path(folder) / "ledger.jsonl",
        )
        router = context.Process(target=serve, args=(settings,), daemon=True)
        router.start()
        try:
            begun = time.perf_counter()
            uvloop.run(_fill(calls, connections))
            print(f"{calls} calls placed and over in {time.perf_counter() - begun:.0f} s")
            print(f"{'read':<26}{'kept':>9}{'peak MB':>9}{'seconds':>9}{'of processor':>14}")
            for what, shown in (
                ("up", "list, calls that are up"),
                ("all", "list, every call"),
                ("number", "one number"),
            ):
                receiver, sender = context.Pipe(duplex=False)
                reader = context.Process(target=_look, args=(what, sender))
                reader.start()
                kept, megabytes, wall_s, used_s = receiver.recv()
                reader.join()
                print(f"{shown:<26}{kept:>9}{megabytes:>9.1f}{wall_s:>9.2f}{used_s:>14.2f}")
        finally:
            router.terminate()
            router.join()


if __name__ == "__main__":
    main()
