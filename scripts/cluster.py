"""The topology of deploy/compose.yaml as plain processes, under fire: `make cluster`.

PostgreSQL, a broker, two API processes, three workers and RotaryRouter. A worker is killed again
and again and the broker is restarted, while a batch is dialled; then the ledger is judged. Where
something is wrong, the logs, the ledger and the database stay, and the last line says where.
"""

import argparse
import asyncio
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import aiohttp
from confluent_kafka import Producer
from scripts.brokers import JARS, Broker, make_broker
from scripts.cluster_plan import Fault, Plan, Result
from scripts.ledger_checks import Line, longest_silence, placed, silence_at, violations
from scripts.ports import free_port

from apollo import embedded

ROOT: Final = Path(__file__).parents[1]
_SID: Final = "9351f46a-678c-43f5-b8a6-d4eb58d131af"
_READY_WITHIN_S: Final = 40.0
_ATTEMPTS: Final = 3
# A request whose worker died in it may never have arrived: such a call is looked for this long, the
# shortest Apollo allows, and then given up. With ten minutes the batch would outlast the run.
_QUARANTINE: Final = "120s"
# Of one command, and of one answer of the API: what takes longer hangs.
_COMMAND_WITHIN_S: Final = 120.0
_ANSWER_WITHIN_S: Final = 30.0
_DISPATCH: Final = "apollo.batch.dispatch"
_PARTITIONS: Final = 12


class Cluster:
    """The processes, and a session with the API."""

    def __init__(self, folder: Path, plan: Plan, broker: Broker | None) -> None:
        self.plan = plan
        self.broker = broker
        self.ports = [free_port() for _ in range(plan.serves)]
        self.rotary_port = free_port()
        self.token = ""
        self._folder = folder
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._environ = self._settings(embedded.ensure_running(folder))

    @property
    def url(self) -> str:
        """The API of the first process."""
        return f"http://127.0.0.1:{self.ports[0]}"

    def start(self) -> None:
        """Start everything but what is running already."""
        self._command("migrate")
        made = self._command("token", "create", "--org", "org_cluster", "--json")
        self.token = json.loads(made)["token"]
        self.run("rotary")
        for port in self.ports:
            self.run("serve", f"serve-{port}", APOLLO_PORT=str(port))
        for number in range(self.plan.workers):
            self.run("worker", f"worker-{number}")

    def run(self, role: str, name: str = "", **more: str) -> None:
        """Start one process."""
        with (self._folder / f"{name or role}.log").open("ab") as log:
            self._processes[name or role] = subprocess.Popen(  # noqa: S603 - our own command
                [sys.executable, "-P", "-m", "apollo.cli", role, "--parent-pipe"],
                env=self._environ | more,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
            )

    def kill(self, name: str) -> None:
        """End one as a power cut would."""
        process = self._processes.pop(name)
        process.kill()
        process.wait()
        if process.stdin is not None:
            process.stdin.close()

    def audit(self, lines: Sequence[Line]) -> list[dict[str, Any]]:
        """What `apollo audit` says of this ledger, invariant by invariant."""
        ledger = self._folder / "ledger.jsonl"
        ledger.write_text("".join(json.dumps(line) + "\n" for line in lines))
        said = self._command("audit", str(ledger), "--json", may_fail=True)
        findings: list[dict[str, Any]] = json.loads(said)["findings"]
        return findings

    def last_words(self) -> str:
        """The ends of all logs, for whoever looks for a fault."""
        logs = sorted(self._folder.glob("*.log"))
        return "".join(f"\n--- {one.name}\n{one.read_text()[-1500:]}" for one in logs)

    def stop(self) -> None:
        """End everything in good order."""
        for process in self._processes.values():
            process.terminate()
        for process in self._processes.values():
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdin is not None:
                process.stdin.close()
        if self.broker is not None:
            self.broker.stop()
        embedded.stop(self._folder)

    def _command(self, *arguments: str, may_fail: bool = False) -> bytes:
        command = [sys.executable, "-P", "-m", "apollo.cli", *arguments]
        ran = subprocess.run(  # noqa: S603 - our own command
            command,
            env=self._environ,
            check=False,
            capture_output=True,
            timeout=_COMMAND_WITHIN_S,
        )
        if ran.returncode and not may_fail:
            raise RuntimeError(f"{arguments}: {ran.stderr.decode(errors='replace')[-2000:]}")
        return ran.stdout

    def _settings(self, database_url: str) -> dict[str, str]:
        scenario = self._folder / "scenario.json"
        mix = {"answer": 6, "no_answer": 2, "busy": 1, "decline": 1}
        people = {"preset": "instant", "mix": mix, "ring_s": [0.1, 0.5], "talk_s": [0.3, 1.0]}
        scenario.write_text(json.dumps({"people": people}))
        settings = {
            "DATA_DIR": str(self._folder),
            "DATABASE_URL": database_url,
            "HOST": "127.0.0.1",
            "PUBLIC_URL": self.url,
            "JAMBONZ_URL": f"http://127.0.0.1:{self.rotary_port}/v1",
            "JAMBONZ_ACCOUNT_SID": _SID,
            "JAMBONZ_API_KEY": "cluster-key",
            "JAMBONZ_WEBHOOK_SECRET": "cluster-secret",
            "ROTARY_PORT": str(self.rotary_port),
            "ROTARY_API_KEY": "cluster-key",
            "ROTARY_WEBHOOK_SECRET": "cluster-secret",
            "ROTARY_SCENARIO": str(scenario),
            "ROTARY_SEED": str(self.plan.seed),
            "DEFAULT_CALL_HOOK": "http://127.0.0.1:9/call",
            "QUARANTINE": _QUARANTINE,
            "LOG": "json",
        }
        if self.broker is not None:
            settings["KAFKA_BOOTSTRAP_SERVERS"] = self.broker.address
        inherited = {key: value for key, value in os.environ.items() if key[:7] != "APOLLO_"}
        path = os.pathsep.join(filter(None, [str(ROOT / "src"), inherited.get("PYTHONPATH")]))
        ours = {f"APOLLO_{name}": value for name, value in settings.items()}
        return inherited | ours | {"PYTHONPATH": path}


@asynccontextmanager
async def a_cluster(
    folder: Path, plan: Plan
) -> AsyncIterator[tuple[Cluster, aiohttp.ClientSession]]:
    """Start a cluster, wait until it answers, and stop it."""
    broker = None
    if plan.bus == "kafka":
        (folder / "broker").mkdir()
        broker = make_broker(folder / "broker")
        broker.start()
    cluster = Cluster(folder, plan, broker)
    try:
        await asyncio.to_thread(cluster.start)
        headers = {"Authorization": f"Bearer {cluster.token}"}
        patience = aiohttp.ClientTimeout(total=_ANSWER_WITHIN_S)
        async with aiohttp.ClientSession(headers=headers, timeout=patience) as http:
            await _ready(cluster, http)
            yield cluster, http
    finally:
        await asyncio.to_thread(cluster.stop)


async def under_fire(folder: Path, plan: Plan) -> Result:
    """Dial one batch to its end while workers die and the broker comes and goes."""
    async with a_cluster(folder, plan) as (cluster, http):
        campaign_id, batch_id = await _create_batch(cluster, http)
        path = f"{cluster.url}/api/v1/batches/{batch_id}"
        began = time.monotonic()
        nemesis = Nemesis(cluster)
        shooting = asyncio.gather(nemesis.run(), nemesis.flood(campaign_id))
        completed, batch = False, await _ask(http, path)
        while not completed and time.monotonic() - began < plan.within_s:
            if shooting.done():
                await shooting  # it fails, or has nothing left to do
            await asyncio.sleep(0.25)
            batch = await _ask(http, path)
            completed = batch["status"] == "completed"
        seconds = time.monotonic() - began
        shooting.cancel()
        await asyncio.gather(shooting, return_exceptions=True)
        diagnosis = (await _ask(http, f"{path}/debug?verify=true"))["diagnostics"]
        lines = await _ledger(cluster, http)
        audit = await asyncio.to_thread(cluster.audit, lines)
    calls = placed(lines)
    found = {one["invariant"]: one["violations"] for one in audit}
    return Result(
        seconds=round(seconds, 1),
        completed=completed,
        contacts={name: count for name, count in batch["counters"].items() if count},
        calls=len(calls),
        silence_s=round(longest_silence(calls).total_seconds(), 1),
        faults=[
            replace(one, silence_s=round(silence_at(calls, one.at).total_seconds(), 1))
            for one in nemesis.faults
        ],
        violations=violations(lines, limit=plan.limit, attempts_max=_ATTEMPTS)
        + [f"{name}: {one['what']}" for name, faults in found.items() for one in faults],
        invariants={
            one["invariant"]: f"{one['checked']} {one['unit']}, {len(one['violations'])} violations"
            if one["unit"]
            else f"not judged: {one['left_out']}"
            for one in audit
        },
        reasons=[f"{one['code']}: {one['fix']}" for one in diagnosis["reasons"]],
    )


class Nemesis:
    """Kills one worker after the other, and the broker now and then."""

    def __init__(self, cluster: Cluster) -> None:
        self.faults: list[Fault] = []
        self._cluster = cluster
        self._random = random.Random(cluster.plan.seed)  # noqa: S311 - repeatable, not secret

    async def run(self) -> None:
        """Go on until cancelled."""
        plan = self._cluster.plan
        nth = restarted = 0
        until = time.monotonic() + plan.fire_s
        while plan.kill_every_s and time.monotonic() + plan.kill_every_s < until:
            await asyncio.sleep(plan.kill_every_s)
            name = f"worker-{self._random.randrange(plan.workers)}"
            self._note(f"{name} killed")
            await asyncio.to_thread(self._cluster.kill, name)
            nth += 1
            broker = self._cluster.broker
            # Spread over the whole fire.
            due = (restarted + 1) * plan.fire_s / (plan.broker_restarts + 1)
            if broker and restarted < plan.broker_restarts and nth * plan.kill_every_s >= due:
                restarted += 1
                self._note("broker restarted")
                await asyncio.to_thread(broker.kill)
                await asyncio.sleep(1)
                await asyncio.to_thread(broker.start)
            self._cluster.run("worker", name)

    def _note(self, what: str) -> None:
        self.faults.append(Fault(datetime.now(UTC), what))  # noqa: TID251 - the hand on the clock

    async def flood(self, campaign_id: str) -> None:
        """Wake everybody for nothing, again and again, until cancelled."""
        broker = self._cluster.broker
        if broker is None or not self._cluster.plan.floods:
            return
        producer = Producer({"bootstrap.servers": broker.address, "log_level": 0})
        pointer = {"campaign_id": campaign_id, "reason": "flood", "at": "2026-05-10T09:00:00Z"}
        while True:
            for _ in range(50):
                partition = self._random.randrange(_PARTITIONS)
                producer.produce(_DISPATCH, json.dumps(pointer), partition=partition)
            producer.poll(0)
            await asyncio.sleep(0.1)


async def _ready(cluster: Cluster, http: aiohttp.ClientSession) -> None:
    deadline = time.monotonic() + _READY_WITHIN_S
    for port in [*cluster.ports, cluster.rotary_port]:
        while True:
            try:
                async with http.get(f"http://127.0.0.1:{port}/readyz") as answer:
                    if answer.status in {200, 404}:
                        break
            except aiohttp.ClientError:
                pass
            if time.monotonic() > deadline:
                raise RuntimeError(f"nobody answers on port {port}: {cluster.last_words()}")
            await asyncio.sleep(0.05)


async def _create_batch(cluster: Cluster, http: aiohttp.ClientSession) -> tuple[str, str]:
    plan, url = cluster.plan, f"{cluster.url}/api/v1"
    campaign = {
        "name": "Under fire",
        "agent_id": "agent_x",
        "phone_numbers": ["+912261234567"],
        "metadata": {"concurrency_limit": plan.limit},
        "retry_policy": {
            "max_retries": _ATTEMPTS - 1,
            "strategy": "fixed",
            "cooldown_minutes": 0,
        },
    }
    made = await _send(http, f"{url}/campaigns/", campaign)
    contacts = [
        {"phone_number": f"+9198765{n:05d}", "call_variables": {"callee_name": f"Person {n}"}}
        for n in range(plan.contacts)
    ]
    batch = {"campaign_id": made["campaign_id"], "contacts": contacts}
    created = await _send(http, f"{url}/batches/", batch)
    return str(made["campaign_id"]), str(created["batch_id"])


async def _ledger(cluster: Cluster, http: aiohttp.ClientSession) -> list[dict[str, Any]]:
    url = f"http://127.0.0.1:{cluster.rotary_port}/rotary/ledger"
    async with http.get(url, headers={"Authorization": "Bearer cluster-key"}) as answer:
        answer.raise_for_status()
        return [json.loads(line) for line in (await answer.text()).splitlines()]


async def _ask(http: aiohttp.ClientSession, url: str) -> dict[str, Any]:
    async with http.get(url) as answer:
        answer.raise_for_status()
        found: dict[str, Any] = await answer.json()
        return found


async def _send(http: aiohttp.ClientSession, url: str, body: Any) -> dict[str, Any]:
    async with http.post(url, json=body) as answer:
        made: dict[str, Any] = await answer.json()
        if answer.status not in {200, 201}:
            raise RuntimeError(f"{url}: {answer.status} {made}")
        return made


def main() -> None:
    """Run it and exit: 0 when everything held."""
    told = argparse.ArgumentParser(description=__doc__)
    for name in ("contacts", "limit", "workers", "serves", "broker-restarts", "seed"):
        told.add_argument(f"--{name}", type=int, default=getattr(Plan, name.replace("-", "_")))
    for name in ("kill-every-s", "fire-s", "within-s"):
        told.add_argument(f"--{name}", type=float, default=getattr(Plan, name.replace("-", "_")))
    told.add_argument("--bus", choices=("kafka", "postgres"), default=Plan.bus)
    plan = Plan(**vars(told.parse_args()))
    folder = Path(tempfile.mkdtemp(prefix="apollo-cluster-"))
    wrongs = ["it broke off"]
    try:
        result = asyncio.run(under_fire(folder, plan))
        said = json.dumps({"bus": _bus(plan)} | asdict(result), indent=2, default=str)
        sys.stdout.write(f"{said}\n")
        wrongs = result.wrongs()
    finally:
        if wrongs:
            listed = "".join(f"\n  {one}" for one in wrongs)
            kept = f"its logs, ledger and database are kept: {folder}"
            sys.stderr.write(f"The cluster did not hold:{listed}\n{kept}\n")
        else:
            shutil.rmtree(folder)
    sys.exit(1 if wrongs else 0)


def _bus(plan: Plan) -> str:
    return plan.bus if plan.bus == "postgres" else "Apache Kafka" if JARS in os.environ else "Tansu"


if __name__ == "__main__":
    main()
