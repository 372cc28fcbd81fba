"""The embedded PostgreSQL starts once, for its owner alone, and outlives accidents."""

import asyncio
import fcntl
import os
import pwd
import select
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest

from apollo import embedded
from apollo.embedded import programs, roles
from apollo.errors import Misconfigured

START = """
import contextlib, pathlib, sys
from apollo import embedded
data_dir = pathlib.Path(sys.argv[1])
with embedded.in_use(data_dir) if sys.argv[2:] else contextlib.nullcontext():
    print(embedded.ensure_running(data_dir), flush=True)
    sys.stdin.read()
"""
WITHIN_S = 30.0  # a machine busy with the other tests


@contextmanager
def starting(
    data_dir: Path, address_space: int = -1, *, using: bool = False
) -> "Iterator[subprocess.Popen[str]]":
    """Another process that starts the server and prints its URL, with so many bytes of memory."""
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_AS, ({address_space},) * 2)"
    with subprocess.Popen(
        [sys.executable, "-c", limit + START, str(data_dir), *(["using"] if using else [])],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(embedded.__file__).parents[2])},
    ) as process:
        yield process
        process.kill()


@pytest.fixture(scope="module")
def made(server_dirs: Path) -> Path:
    """A data directory as a first start leaves it, which takes most of a second."""
    data_dir = server_dirs / uuid.uuid4().hex[:8]
    data_dir.mkdir()
    embedded.ensure_running(data_dir)
    embedded.stop(data_dir)
    (data_dir / "postgres/postgres.log").unlink()
    return data_dir


@pytest.fixture
def used_dir(data_dir: Path, made: Path) -> Path:
    """A data directory that has been used before."""
    subprocess.run(["cp", "-a", made / "postgres", data_dir], check=True)  # keeps the owner
    return data_dir


def first_line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout
    return process.stdout.readline().strip()


def kill_postmaster(data_dir: Path) -> None:
    pid = int((data_dir / "postgres/db/postmaster.pid").read_text().split()[0])
    server = os.pidfd_open(pid)
    os.kill(pid, signal.SIGKILL)
    ended, _, _ = select.select([server], [], [], WITHIN_S)
    os.close(server)
    assert ended


def socket_of(url: str) -> Path:
    return Path(parse_qs(urlsplit(url).query)["host"][0])


def starts_logged(data_dir: Path) -> int:
    return (data_dir / "postgres/postgres.log").read_text().count("ready to accept connections")


async def asked(url: str, *queries: str) -> object:
    """The first value of the last query."""
    connection = await asyncpg.connect(url)
    try:
        answers = [await connection.fetchval(query) for query in queries]
    finally:
        await connection.close()
    return answers[-1]


async def test_what_was_committed_is_there_after_a_stop_and_a_start(data_dir: Path) -> None:
    assert not embedded.is_running(data_dir)
    url = embedded.ensure_running(data_dir)
    assert embedded.is_running(data_dir)
    assert embedded.ensure_running(data_dir) == url
    await asked(url, "create table kept (n int)", "insert into kept values (7)")

    embedded.stop(data_dir)
    assert not embedded.is_running(data_dir)
    with pytest.raises(OSError):  # noqa: PT011 - refused or gone, as the system likes
        await asyncpg.connect(url)
    embedded.stop(data_dir)  # a second time is nothing

    assert await asked(embedded.ensure_running(data_dir), "select n from kept") == 7
    assert str(await asked(url, "show server_version")).startswith(f"{embedded.MAJOR_VERSION}.")


async def test_three_processes_at_once_start_one_server(data_dir: Path) -> None:
    with ExitStack() as three:
        processes = [three.enter_context(starting(data_dir)) for _ in range(3)]
        urls = {first_line(process) for process in processes}
    assert len(urls) == 1
    assert await asked(urls.pop(), "select 1") == 1
    assert starts_logged(data_dir) == 1


async def test_the_server_outlives_the_process_that_started_it(used_dir: Path) -> None:
    with starting(used_dir) as process:
        url = first_line(process)
    assert process.returncode == -signal.SIGKILL
    assert await asked(url, "select 1") == 1
    assert embedded.ensure_running(used_dir) == url
    assert starts_logged(used_dir) == 1


async def test_a_killed_server_is_started_again_with_all_that_was_committed(used_dir: Path) -> None:
    with starting(used_dir) as process:  # the dead server is its child, which it never reaps
        url = first_line(process)
        await asked(url, "create table kept (n int)", "insert into kept values (7)")
        kill_postmaster(used_dir)
        assert await asked(embedded.ensure_running(used_dir), "select n from kept") == 7

        kill_postmaster(used_dir)  # and this one is a child of ours
        assert await asked(embedded.ensure_running(used_dir), "select n from kept") == 7


async def test_a_process_number_that_is_in_use_again_does_not_pass_for_the_server(
    used_dir: Path,
) -> None:
    embedded.ensure_running(used_dir)
    note = used_dir / "postgres/db/postmaster.pid"
    lines = note.read_text().splitlines()
    kill_postmaster(used_dir)
    note.write_text("\n".join([str(os.getpid()), *lines[1:]]))
    assert not embedded.is_running(used_dir)
    assert await asked(embedded.ensure_running(used_dir), "select 1") == 1


async def test_only_its_owner_can_reach_it(used_dir: Path) -> None:
    url = embedded.ensure_running(used_dir)
    assert await asked(url, "show listen_addresses") == ""
    socket_dir = socket_of(url)
    assert (socket_dir / ".s.PGSQL.5432").is_socket()
    assert socket_dir.stat().st_mode & 0o077 == 0
    assert socket_dir.parent.stat().st_mode & 0o077 == 0
    assert socket_dir.parent.stat().st_uid == os.geteuid()


async def test_whoever_speaks_sql_through_apollo_reads_no_file_and_runs_no_program(
    used_dir: Path,
) -> None:
    url = embedded.ensure_running(used_dir)
    for statement in (
        "select pg_read_file('/etc/hostname')",
        "copy (select 1) to program 'true'",
        "create role another superuser",
        "alter role apollo superuser",
        "set role postgres",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await asked(url, statement)
    assert await asked(url, "create table ours (n int)", "select 1") == 1
    # What the diagnosis reads of other sessions is still there.
    everything = "select bool_and(query <> '<insufficient privilege>') from pg_stat_activity"
    assert await asked(url, everything) is True


async def test_apollos_role_loses_the_superuser_of_a_cluster_that_an_earlier_version_made(
    data_dir: Path,
) -> None:
    made_before(data_dir)
    url = embedded.ensure_running(data_dir)
    is_superuser = "select rolsuper from pg_roles where rolname = current_user"
    assert await asked(url, is_superuser) is False
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await asked(url, "select pg_read_file('/etc/hostname')")
    assert await asked(url, "select name from store.people") == "Ruth"
    # It owns all it owned, so that a migration may change it.
    for statement in (
        "alter table store.people add column more text",
        "alter table store.people alter id restart with 7",
        "alter type mood add value 'odd'",
        "alter domain share set not null",
        "alter type pair add attribute c int",
        "create or replace function twice(n int) returns int language sql as 'select 2 * n'",
        "drop view names",
        "create table later (n int)",
        "drop schema store cascade",
    ):
        await asked(url, statement)
    other = url.replace("/apollo?", "/restored?")
    assert await asked(other, "alter table kept add column more text", "select n from kept") == 5
    operator = url.replace("//apollo@", "//postgres@")
    assert await asked(operator, is_superuser) is True
    embedded.stop(data_dir)
    assert await asked(embedded.ensure_running(data_dir), is_superuser) is False


async def test_a_change_of_roles_that_was_killed_midway_is_completed_by_the_next_start(
    data_dir: Path,
) -> None:
    made_before(data_dir)
    told: list[tuple[str, ...]] = []

    def tell(database: str, *statements: str) -> list[str]:
        if "do $$" in statements[0] or database == "apollo":
            raise KeyboardInterrupt
        told.append(statements)
        return roles._PRINTED.findall(single(data_dir, database, *statements))

    with pytest.raises(KeyboardInterrupt):
        roles._settle(tell)
    assert told[-1][-1] == "commit"
    url = embedded.ensure_running(data_dir)
    assert await asked(url, "alter table store.people add column more text", "select 1") == 1


def made_before(data_dir: Path) -> None:
    """Make a cluster as versions did whose role was the one that initdb made."""
    pgdata = data_dir / "postgres/db"
    pgdata.parent.mkdir(mode=0o700, parents=True)
    pgdata.mkdir()
    if (owner := _nobody()) is not None:
        os.chown(pgdata, *owner)
    initdb = [programs.program("initdb"), "-D", str(pgdata), "-U", "apollo", "--auth=trust"]
    done, said = programs.run([*programs.run_as(owner), *initdb])
    assert done, said
    single(data_dir, "template1", "create database apollo", 'create database "restored"')
    single(data_dir, "restored", "create table kept (n int)", "insert into kept values (5)")
    single(
        data_dir,
        "apollo",
        "create schema store",
        "create type mood as enum ('good')",
        "create type pair as (a int, b int)",
        "create domain share as numeric check (value >= 0)",
        "create table store.people"
        " (id int generated always as identity, old serial, name text, m mood)",
        "insert into store.people (name) values ('Ruth')",
        "create view names as select name from store.people",
        "create function twice(n int) returns int language sql as 'select 2 * n'",
    )


def single(data_dir: Path, database: str, *statements: str) -> str:
    prefix = programs.run_as(_nobody())
    done, said = roles._tell(data_dir / "postgres/db", prefix, database, statements)
    assert done, said
    return said


def _nobody() -> tuple[int, int] | None:
    if os.geteuid() != 0:
        return None
    found = pwd.getpwnam("nobody")
    return found.pw_uid, found.pw_gid


async def test_a_long_path_with_odd_characters_works(data_dir: Path) -> None:
    odd = data_dir / ("x" * 120) / 'with spaces, "quotes", $HOME and é'
    url = embedded.ensure_running(odd)
    try:
        assert await asked(url, "select 1") == 1
        outside = socket_of(url).parent
        assert outside.stat().st_mode & 0o077 == 0
    finally:
        embedded.stop(odd)
    assert not outside.exists()


async def test_a_machine_with_little_memory_gets_a_smaller_server(used_dir: Path) -> None:
    address_space = 250_000_000  # less than PostgreSQL needs beside 256 MB, more than beside 64
    with starting(used_dir, address_space) as process:
        assert await asked(first_line(process), "show shared_buffers") == "64MB"


async def test_phone_numbers_of_refused_rows_do_not_reach_the_log(used_dir: Path) -> None:
    url = embedded.ensure_running(used_dir)
    await asked(url, "create table people (number text primary key)")
    for _ in range(2):
        try:
            await asked(url, "insert into people values ('+14155552671')")
        except asyncpg.UniqueViolationError:
            break
    else:
        pytest.fail("the second row was not refused")
    log = (used_dir / "postgres/postgres.log").read_text()
    assert "violates unique constraint" in log
    assert "4155552671" not in log


def test_a_directory_left_half_made_is_made_again(data_dir: Path) -> None:
    abandoned = data_dir / "postgres/new-1234/base"
    abandoned.mkdir(parents=True)
    embedded.ensure_running(data_dir)
    assert not abandoned.parent.exists()


def test_another_major_version_is_refused_with_both_versions_and_the_mend(data_dir: Path) -> None:
    written = data_dir / "postgres/db"
    written.mkdir(parents=True)
    (written / "PG_VERSION").write_text("15\n")
    with pytest.raises(Misconfigured) as refused:
        embedded.ensure_running(data_dir)
    (line,) = refused.value.faults
    for part in ("APOLLO_DATA_DIR", str(written), "PostgreSQL 15", "brings 18", "pg_dump"):
        assert part in line


def test_a_place_that_cannot_be_written_is_named(data_dir: Path) -> None:
    (data_dir / "taken").touch()
    with pytest.raises(Misconfigured, match=r"APOLLO_DATA_DIR.*taken.*cannot be used"):
        embedded.ensure_running(data_dir / "taken")


def test_a_broken_cluster_is_reported_with_its_last_words(used_dir: Path) -> None:
    (used_dir / "postgres/db/global/pg_control").unlink()
    with pytest.raises(Misconfigured, match=r"could not start.*pg_control.*postgres\.log"):
        embedded.ensure_running(used_dir)


async def test_starting_does_not_block_on_a_server_that_runs(used_dir: Path) -> None:
    url = embedded.ensure_running(used_dir)
    with (used_dir / "postgres/lock").open("a") as lock:
        # Somebody holds the lock for minutes; who only wants to connect does not notice.
        fcntl.flock(lock, fcntl.LOCK_EX)
        again = await asyncio.wait_for(
            asyncio.to_thread(embedded.ensure_running, used_dir), WITHIN_S
        )
    assert again == url


async def test_the_last_of_its_users_stops_it_and_nobody_before(used_dir: Path) -> None:
    with starting(used_dir, using=True) as other:
        with embedded.in_use(used_dir):
            assert embedded.ensure_running(used_dir) == first_line(other)
        assert embedded.is_running(used_dir)
        other.communicate("")
        assert not embedded.is_running(used_dir)
    with starting(used_dir, using=True) as killed:
        url = first_line(killed)
    assert await asked(url, "select 1") == 1
    with embedded.in_use(used_dir):
        assert embedded.running_url(used_dir) == url
    assert embedded.running_url(used_dir) is None
