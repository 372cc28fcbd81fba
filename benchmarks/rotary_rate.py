"""How many calls a second RotaryRouter takes: instant people, four signed webhooks a call.

RotaryRouter runs in a process of its own; the caller and the sink for webhooks share this one.
Prints calls per second of wall time and of RotaryRouter's own processor time: on a machine with
few cores the first is held down by the caller, the second is what one whole core would do.

    python benchmarks/rotary_rate.py [calls] [connections]
"""

import asyncio
import multiprocessing
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import cast

import aiohttp
import httptools
import uvloop

from apollo.rotary import RotarySettings, serve

ACCOUNT = "9351f46a-678c-43f5-b8a6-d4eb58d131af"
KEY = "benchmark-key"
PORT = 9871
EVENTS_PER_CALL = 4  # trying, ringing, in-progress, completed
SETTLE_S = 60.0  # the last webhooks come within a moment; this is for a machine gone mad
URL = f"http://127.0.0.1:{PORT}/v1/Accounts/{ACCOUNT}/Calls"
NO_CONTENT = b"HTTP/1.1 204 No Content\r\n\r\n"


class Sink(asyncio.Protocol):
    """Answers 204 to everything and counts."""

    received = 0
    expected = 0
    all_heard = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.parser = httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_message_complete(self) -> None:
        Sink.received += 1
        if Sink.received == Sink.expected:
            Sink.all_heard.set()
        self.transport.write(NO_CONTENT)


def _processor_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def _place(session: aiohttp.ClientSession, numbers: range, hook: str) -> None:
    for number in numbers:
        body = {
            "from": "+14155552671",
            "to": {"type": "phone", "number": f"+9198{number:08d}"},
            "call_hook": f"http://127.0.0.1:{PORT}/rotary/hook",
            "call_status_hook": hook,
            "speech_synthesis_vendor": "google",
            "speech_synthesis_language": "en-US",
            "speech_synthesis_voice": "en-US-Standard-C",
            "speech_recognizer_vendor": "google",
            "speech_recognizer_language": "en-US",
            "tag": {"execution_id": f"{number:032x}"},
            "timeout": 30,
            "timeLimit": 600,
        }
        async with session.post(URL, json=body) as answer:
            text = await answer.text()  # read to the end, or the connection cannot be used again
            if answer.status != 201:
                raise SystemExit(f"refused: {answer.status} {text}")


async def _until_up(session: aiohttp.ClientSession) -> None:
    for _ in range(500):
        try:
            async with session.get(f"http://127.0.0.1:{PORT}/rotary/health") as answer:
                if answer.status == 200:
                    return
        except aiohttp.ClientConnectionError:
            await asyncio.sleep(0.02)
    raise SystemExit("RotaryRouter did not start")


async def _measure(pid: int, calls: int, connections: int) -> None:
    Sink.expected = calls * EVENTS_PER_CALL
    server = await asyncio.get_running_loop().create_server(Sink, "127.0.0.1", 0)
    hook = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/webhooks/call-status"
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"}) as session:
        await _until_up(session)
        begun, used = time.perf_counter(), _processor_s(pid)
        await asyncio.gather(
            *(_place(session, range(lane, calls, connections), hook) for lane in range(connections))
        )
        placed_s = time.perf_counter() - begun
        async with asyncio.timeout(SETTLE_S):
            await Sink.all_heard.wait()
        whole_s, used_s = time.perf_counter() - begun, _processor_s(pid) - used
    server.close()
    print(f"calls                         {calls:>10}")
    print(f"webhooks received             {Sink.received:>10}")
    print(f"requests answered per second  {calls / placed_s:>10.0f}")
    print(f"calls to their end per second {calls / whole_s:>10.0f}")
    print(f"processor time per call       {used_s / calls * 1e6:>10.0f} µs")
    print(f"calls per second of one core  {calls / used_s:>10.0f}")


def main() -> None:
    calls = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    connections = int(sys.argv[2]) if len(sys.argv) > 2 else 32
    with tempfile.TemporaryDirectory() as folder:
        scenario = Path(folder) / "instant.json"
        scenario.write_text('{"people": {"preset": "instant"}}')
        settings = RotarySettings(
            port=PORT,
            api_key=KEY,
            account_sid=ACCOUNT,
            webhook_secret="benchmark-secret",  # noqa: S106 - nobody's
            scenario=scenario,
            ledger_path=Path(folder) / "ledger.jsonl",
        )
        router = multiprocessing.get_context("spawn").Process(target=serve, args=(settings,))
        router.start()
        try:
            uvloop.run(_measure(router.pid or 0, calls, connections))
        finally:
            router.terminate()
            router.join()


if __name__ == "__main__":
    main()
