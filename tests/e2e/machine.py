"""One Apollo in real processes: started, killed, stopped and started again; and its API."""

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from scripts.ports import free_port
from tests.e2e import provider
from tests.e2e.provider import Jambonz

import apollo
from apollo.config import load
from apollo.wiring.office import open_office

ROOT = Path(__file__).parents[2]
SRC = Path(apollo.__file__).parents[1]
# Nothing here takes a fifth of this, even on a machine that is busy with other things.
DEADLINE_S = 60.0


async def until(
    is_so: Callable[[], Awaitable[bool]], what: str, within_s: float = DEADLINE_S
) -> float:
    """Wait for a condition; gives the seconds it took."""
    began = time.monotonic()
    while not await is_so():
        assert time.monotonic() - began < within_s, f"after {within_s} s: not {what}"
        await asyncio.sleep(0.02)
    return time.monotonic() - began


@dataclass
class Machine:
    """The processes of one Apollo and a session with its API."""

    environ: dict[str, str]
    logs: Path
    url: str
    http: aiohttp.ClientSession
    token: str = ""
    processes: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    def start(self, role: str, *, name: str = "", entry: tuple[str, ...] = ()) -> None:
        """Start a process; `entry` names a module of the tests instead of the command line."""
        name = name or role
        module = entry or ("apollo.cli", role, "--parent-pipe")
        with (self.logs / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-P", "-m", *module],
                env=self.environ,
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
            )

    def tell(self, name: str, wish: signal.Signals) -> None:
        self.processes[name].send_signal(wish)

    def kill(self, name: str) -> None:
        """End a process as a power cut would."""
        self.processes[name].kill()
        self.reap(name)

    def reap(self, name: str) -> None:
        """Wait for the end of a process that was killed, and let go of it."""
        process = self.processes.pop(name)
        process.wait(DEADLINE_S)
        assert process.stdin is not None
        process.stdin.close()

    def has_ended(self, name: str) -> bool:
        return self.processes[name].poll() is not None

    def log(self, name: str) -> str:
        return (self.logs / f"{name}.log").read_text(errors="replace")

    def stop(self) -> None:
        """Stop everything in good order; a process that hangs is a failure."""
        for process in self.processes.values():
            process.send_signal(signal.SIGCONT)
            process.terminate()
        for name, process in self.processes.items():
            try:
                process.wait(DEADLINE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                raise AssertionError(f"{name} does not stop:\n{self.log(name)[-3000:]}") from None
            finally:
                if process.stdin is not None:
                    process.stdin.close()

    async def command(self, *arguments: str) -> tuple[int, str]:
        """Run a command of the command line: its exit code and what it printed."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "apollo.cli", *arguments),
            env=self.environ,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        assert process.returncode is not None
        assert b"Traceback" not in err, err.decode()
        return process.returncode, out.decode() or err.decode()

    def tails(self) -> str:
        """The last of every log, and what is telling in them."""
        parts = []
        for name in sorted(path.stem for path in self.logs.glob("*.log")):
            lines = [line[:300] for line in self.log(name).splitlines()[-4:]]
            parts += [f"--- {name}", *lines]
        return "\n".join([*parts, *self.surprises()[:5]]) + "\n"

    async def is_ready(self) -> bool:
        try:
            async with self.http.get(f"{self.url}/readyz") as answer:
                return answer.status == 200
        except (aiohttp.ClientError, OSError, TimeoutError):
            return False

    async def ask(
        self, method: str, path: str, *, token: str | None = None, **more: Any
    ) -> tuple[int, Any]:
        """One request to the API: the status, and the body as JSON."""
        headers = {"Authorization": f"Bearer {token or self.token}"}
        async with self.http.request(
            method, f"{self.url}/api/v1{path}", headers=headers, **more
        ) as answer:
            kind = answer.headers.get("Content-Type", "")
            is_json = kind.startswith("application/json")
            return answer.status, await (answer.json() if is_json else answer.text())

    async def get(self, path: str) -> Any:
        status, body = await self.ask("GET", path)
        assert status == 200, body
        return body

    async def post(self, path: str, body: Any = None) -> Any:
        status, answer = await self.ask("POST", path, json=body)
        assert status in {200, 201}, answer
        return answer

    def surprises(self) -> list[str]:
        """Lines of the log that speak of a defect: no fault of the world explains them."""
        telling = re.compile(r"Traceback|loop\.failed|place\.failed|call\.surprise|request_broke")
        return [
            f"{path.stem}: {line[:2000]}"
            for path in sorted(self.logs.glob("*.log"))
            for line in path.read_text(errors="replace").splitlines()
            if telling.search(line) and "asyncpg.pool" not in line
        ]


@asynccontextmanager
async def machine(
    jambonz: Jambonz | str,
    *,
    logs: Path,
    database_url: str | None = None,
    data_dir: Path | None = None,
    makes_token: bool = True,
    settings: Mapping[str, str] | None = None,
) -> AsyncIterator[Machine]:
    """An Apollo that knows this provider; nothing is started yet."""
    port = free_port()
    base = jambonz if isinstance(jambonz, str) else jambonz.base_url
    kept = {name: value for name, value in os.environ.items() if not name.startswith("APOLLO_")}
    ours: Mapping[str, str | None] = {
        "APOLLO_DATA_DIR": str(data_dir or logs),
        "APOLLO_DATABASE_URL": database_url,
        "APOLLO_PORT": str(port),
        "APOLLO_JAMBONZ_URL": base,
        "APOLLO_JAMBONZ_ACCOUNT_SID": provider.ACCOUNT,
        "APOLLO_JAMBONZ_API_KEY": provider.API_KEY,
        "APOLLO_JAMBONZ_WEBHOOK_SECRET": provider.SECRET,
        "APOLLO_RESULT_SECRET": provider.RESULT_SECRET,
        "APOLLO_DEFAULT_CALL_HOOK": "https://agent.example.com/call",
        "APOLLO_LOG": "json",
        # People are asked for again by one test after the other.
        "APOLLO_NUMBER_GAP": "0",
        **(settings or {}),
    }
    given = {name: value for name, value in ours.items() if value is not None}
    environ = kept | given | {"PYTHONPATH": os.pathsep.join((str(SRC), str(ROOT)))}
    # No proxy of the machine's between two processes on it.
    environ |= {"NO_PROXY": "*", "no_proxy": "*"}
    timeout = aiohttp.ClientTimeout(total=20)
    async with aiohttp.ClientSession(timeout=timeout) as http:
        one = Machine(environ=environ, logs=logs, url=f"http://127.0.0.1:{port}", http=http)
        if makes_token:
            async with open_office(load(given)) as office:
                one.token = (await office.authenticate.create_token("acme", "tests")).token
        if isinstance(jambonz, Jambonz):
            jambonz.api_url = one.url
            jambonz.application_hook = f"{one.url}/webhooks/call-status#rc=5&rp=all"
        try:
            yield one
        except BaseException:
            sys.stderr.write(one.tails())
            raise
        finally:
            await asyncio.to_thread(one.stop)
