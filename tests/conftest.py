"""What every test may ask for: a database of its own, on a PostgreSQL of the run's own.

The server is started by the first test that wants one, shared by all worker processes, and ended by
a watcher that notices the end of the run however it comes, `kill -9` included.
"""

import asyncio
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from asyncio import AbstractEventLoop
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Protocol

import asyncpg
import pytest
import uvloop
from scripts.postgres import promote

from apollo import embedded

# Durability is what the fault tests measure, with servers of their own; here it is only slow.
THROWAWAY = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "autovacuum": "off",  # a database lives for a tenth of a second
    "shared_buffers": "128MB",
    "max_wal_size": "256MB",
}
# Ends when its standard input does, that is with the process that holds the other end.
WATCHER = """
import pathlib, shutil, sys
from apollo import embedded
folder = pathlib.Path(sys.argv[1])
sys.stdin.read()
for one in [folder, *folder.glob("servers/*")]:
    embedded.stop(one)
shutil.rmtree(folder, ignore_errors=True)
"""
FOLDER = pytest.StashKey[Path]()
WATCHED_BY = pytest.StashKey["subprocess.Popen[bytes]"]()


class _WorkerNode(Protocol):
    """The part of an xdist node used here."""

    config: pytest.Config
    workerinput: dict[str, object]


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], AbstractEventLoop]]:
    """Run every test on the loop that production runs on."""
    return {"uvloop": uvloop.new_event_loop}


def pytest_configure(config: pytest.Config) -> None:
    """Name the folder of the run's server; the first process also sets the watcher."""
    worker_input: dict[str, str] | None = getattr(config, "workerinput", None)
    if worker_input is not None:
        config.stash[FOLDER] = Path(worker_input["postgres_folder"])
        return
    folder = Path(tempfile.mkdtemp(prefix="apollo-tests-", dir=_roomy_memory()))
    config.stash[FOLDER] = folder
    config.stash[WATCHED_BY] = subprocess.Popen(
        [sys.executable, "-c", WATCHER, str(folder)],
        stdin=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(embedded.__file__).parents[2])},
        start_new_session=True,  # Ctrl-C ends the run, not the one that cleans up after it
    )


def _roomy_memory() -> str | None:
    """Thousands of small files are made and dropped, in memory ten times faster; None: on disk."""
    try:
        free = os.statvfs("/dev/shm")  # noqa: S108 - mkdtemp makes a private folder in it
    except OSError:
        return None
    # A run needs half a gigabyte; containers often have only 64 MB there.
    return "/dev/shm" if free.f_bavail * free.f_frsize > 2 << 30 else None  # noqa: S108 - as above


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: _WorkerNode) -> None:
    """Tell an xdist worker where the shared server is."""
    node.workerinput["postgres_folder"] = str(node.config.stash[FOLDER])


def pytest_unconfigure(config: pytest.Config) -> None:
    """End the server now rather than a moment after the run."""
    if watcher := config.stash.get(WATCHED_BY, None):
        watcher.communicate()


def _database(server_url: str, name: str) -> str:
    return server_url.replace("/apollo?", f"/{name}?")


async def _make_template(server_url: str) -> None:
    from apollo.storage.migrations import migrate  # noqa: PLC0415 - only tests with a database need it

    await promote(server_url)
    connection = await asyncpg.connect(server_url)
    try:
        if await connection.fetchval("select true from pg_database where datname = 'template_new'"):
            await connection.execute("drop database template_new")  # a worker died over it
        await connection.execute("create database template_new")
        await migrate(_database(server_url, "template_new"))
        await connection.execute("alter database template_new rename to apollo_template")
    finally:
        await connection.close()


@pytest.fixture(scope="session")
def server_url(pytestconfig: pytest.Config) -> str:
    """The run's PostgreSQL, with the migrated database `apollo_template` to copy."""
    folder = pytestconfig.stash[FOLDER]
    with (folder / "template.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        url = embedded.ensure_running(folder, THROWAWAY)
        made = folder / "template.made"
        if not made.exists():
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(_make_template(url))
            made.touch()
    return url


@pytest.fixture(scope="session")
def server_dirs(pytestconfig: pytest.Config) -> Path:
    """Where data directories go whose servers shall end with the run, however it ends."""
    folder = pytestconfig.stash[FOLDER] / "servers"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture
def data_dir(server_dirs: Path) -> Iterator[Path]:
    """A place for a server of a test's own, which ends with the test."""
    folder = server_dirs / uuid.uuid4().hex[:8]
    folder.mkdir()
    yield folder
    embedded.stop(folder)
    shutil.rmtree(folder)


@pytest.fixture
async def database_url(server_url: str) -> AsyncIterator[str]:
    """A migrated, empty database for one test."""
    name = f"test_{uuid.uuid4().hex}"
    connection = await asyncpg.connect(server_url)
    try:
        await connection.execute(
            f'create database "{name}" template apollo_template strategy file_copy'
        )
        yield _database(server_url, name)
        await connection.execute(f'drop database "{name}" with (force)')
    finally:
        await connection.close()
