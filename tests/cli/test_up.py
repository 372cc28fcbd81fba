"""`apollo up` with real processes: ready, stopped, killed, and one of them dying."""

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import AnyStr

import psutil
import pytest
from scripts.ports import free_port

from apollo import cli, embedded
from apollo.cli.supervisor import Supervisor

# A start takes three seconds, on a machine with other things to do perhaps ten.
DEADLINE_S = 60.0


@dataclass
class Up:
    """A running `apollo up`, with what it says on stdout so far."""

    process: "subprocess.Popen[str]"
    said: str = ""

    def read_until(self, words: str) -> str:
        assert self.process.stdout is not None
        while words not in self.said:
            line = self.process.stdout.readline()
            assert line, f"up ended before it said {words!r}: {self.rest()}"
            self.said += line
        return self.said

    def rest(self) -> str:
        out, err = self.process.communicate(timeout=DEADLINE_S)
        return self.said + out + err

    def another(self, role: str, than: int) -> int:
        """Wait for another process of that role."""
        deadline = time.monotonic() + DEADLINE_S
        while True:
            for pid, args in self.children().items():
                if role in args and pid != than:
                    return pid
            assert time.monotonic() < deadline, f"no other {role}"

    def children(self) -> dict[int, str]:
        found = {}
        for child in psutil.Process(self.process.pid).children():
            with suppress(psutil.NoSuchProcess):  # it may end while it is looked at
                found[child.pid] = " ".join(child.cmdline())
        return {pid: args for pid, args in found.items() if "apollo.cli" in args}


def command(environ: dict[str, str], *arguments: str) -> str:
    """Run a command of `apollo` to its end; gives what it printed."""
    ran = subprocess.run(
        [sys.executable, "-P", "-m", "apollo.cli", *arguments],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE_S,
    )
    return ran.stdout


def environment(data_dir: Path) -> dict[str, str]:
    port, rotary_port = free_port(), free_port()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("APOLLO_")}
    return kept | {
        "APOLLO_DATA_DIR": str(data_dir),
        "APOLLO_PORT": str(port),
        "APOLLO_ROTARY_PORT": str(rotary_port),
        "PYTHONPATH": str(Path(cli.__file__).parents[2]),
    }


@pytest.fixture(autouse=True)
def signals_as_in_a_terminal() -> Iterator[None]:
    """A child would ignore what we ignore; what we have a handler for is as ever to it."""
    wishes = (signal.SIGINT, signal.SIGHUP)
    before = [signal.signal(wish, signal.default_int_handler) for wish in wishes]
    yield
    for wish, handler in zip(wishes, before, strict=True):
        signal.signal(wish, handler)


@contextmanager
def ending(process: "subprocess.Popen[AnyStr]") -> Iterator["subprocess.Popen[AnyStr]"]:
    """Have it run meanwhile; a test that fails does not wait for it for ever."""
    with process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def started(environ: dict[str, str]) -> Iterator[Up]:
    with ending(
        subprocess.Popen(
            [sys.executable, "-P", "-m", "apollo.cli", "up"],
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    ) as process:
        yield Up(process)


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def until_gone(pids: list[int]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while left := [pid for pid in pids if is_alive(pid)]:
        assert time.monotonic() < deadline, f"still alive: {left}"


def test_up_is_ready_with_a_token_and_stops_cleanly(data_dir: Path) -> None:
    # For everybody to use: the API, but not RotaryRouter, whose pages show numbers without a key.
    environ = environment(data_dir) | {"APOLLO_HOST": "0.0.0.0"}
    with started(environ) as up:
        said = up.read_until("Ctrl-C stops everything.")
        # What is redirected is kept, by journald or docker, and a token must not be.
        assert re.search(r"gat_[0-9A-Za-z]", said) is None
        assert "apollo token create --org org_demo" in said
        made = command(environ, "token", "create", "--org", "org_demo")
        token = re.search(r"gat_[0-9A-Za-z]{36}", made)
        assert token is not None, made
        campaigns = urllib.request.Request(
            f"http://127.0.0.1:{environ['APOLLO_PORT']}/api/v1/campaigns/",
            headers={"Authorization": f"Bearer {token[0]}"},
        )
        with urllib.request.urlopen(campaigns) as answer:  # noqa: S310 - as above
            assert answer.read() == b"[]"
        socket.create_connection(("127.0.0.2", int(environ["APOLLO_PORT"]))).close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.2", int(environ["APOLLO_ROTARY_PORT"])))
        checked = command(environ | {"APOLLO_TOKEN": token[0]}, "doctor")
        assert "takes our key" in checked
        children = up.children()
        assert {args.split()[-2] for args in children.values()} == {"serve", "worker", "rotary"}
        up.process.send_signal(signal.SIGTERM)
        assert "Everything is stopped." in up.rest()
        assert up.process.returncode == 0
    until_gone(list(children))
    assert not embedded.is_running(data_dir)


def test_killing_up_ends_its_processes(data_dir: Path) -> None:
    with started(environment(data_dir)) as up:
        up.read_until("Ctrl-C stops everything.")
        children = list(up.children())
        assert len(children) == 3
        up.process.kill()
        until_gone(children)


def test_a_process_that_dies_is_named_and_started_again(data_dir: Path) -> None:
    environ = environment(data_dir)
    with started(environ) as up:
        up.read_until("Ctrl-C stops everything.")
        before = up.children()
        (worker,) = (pid for pid, args in before.items() if "worker" in args)
        os.kill(worker, signal.SIGKILL)
        again = up.another("worker", than=worker)
        os.kill(again, signal.SIGKILL)
        last = up.another("worker", than=again)
        deadline = time.monotonic() + DEADLINE_S
        while f"the worker process before {last}" not in (said := command(environ, "doctor")):
            assert time.monotonic() < deadline, said
        assert "was killed by SIGKILL; started again 2 times in a row" in said
        assert before.keys() - {worker} == up.children().keys() - {last}, "the others went on"
        up.process.send_signal(signal.SIGTERM)
        logged = up.rest()
        assert logged.count('"event":"process.ended"') == 2, logged
        assert up.process.returncode == 0
    until_gone([*before, again, last])


def test_a_process_is_started_again_after_longer_and_longer(tmp_path: Path) -> None:
    waits: list[tuple[str, float]] = []

    async def fail() -> None:
        supervisor = Supervisor(environment(tmp_path), lambda *_: None)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("apollo.cli.supervisor._AGAIN_AFTER_S", 0.01)
            await supervisor.start("worker")  # which has no provider, and says so
            keeping = asyncio.create_task(
                supervisor.keep_up(lambda child, wait_s: waits.append((child.ending(), wait_s)))
            )
            async with asyncio.timeout(DEADLINE_S):
                while len(waits) < 3:  # noqa: ASYNC110 - it tells of nothing else
                    await asyncio.sleep(0.01)
            keeping.cancel()
            await asyncio.wait([keeping])
        await supervisor.stop()

    asyncio.run(fail())
    assert waits[:3] == [("ended with exit code 1", wait_s) for wait_s in (0.01, 0.02, 0.04)]


def test_a_port_in_use_is_named_before_anything_starts(tmp_path: Path) -> None:
    environ = environment(tmp_path / "never")
    with socket.socket() as other:
        other.bind(("127.0.0.1", int(environ["APOLLO_ROTARY_PORT"])))
        other.listen()
        with started(environ) as up:
            said = up.rest()
    assert up.process.returncode == 1
    port = environ["APOLLO_ROTARY_PORT"]
    assert f"APOLLO_ROTARY_PORT: another program listens on port {port}" in said
    assert not (tmp_path / "never").exists()


@pytest.mark.parametrize("command", ["serve", "worker", "rotary"])
def test_a_process_without_a_provider_says_what_to_set(command: str, data_dir: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-P", "-m", "apollo.cli", command],
        env=environment(data_dir),
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE_S,
    )
    assert ran.returncode == 1
    # Where the tests run as root, a warning of that comes first.
    said = [line for line in ran.stderr.splitlines() if not line.startswith("{")]
    assert said[0].startswith("apollo: ")
    assert "Traceback" not in ran.stderr
    assert "APOLLO_" in said[0]


def apollo(data_dir: Path, *arguments: str) -> AbstractContextManager["subprocess.Popen[bytes]"]:
    return ending(
        subprocess.Popen(
            [sys.executable, "-P", "-m", "apollo.cli", *arguments],
            env=environment(data_dir),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
    )


@pytest.mark.parametrize("command", ["up", "token create --org acme"])
def test_a_command_whose_reader_is_gone_stops_what_it_started(command: str, data_dir: Path) -> None:
    with apollo(data_dir, *command.split()) as process:
        assert process.stdout is not None
        process.stdout.close()
        process.wait(DEADLINE_S)
    assert (data_dir / "postgres/db").exists()
    assert not embedded.is_running(data_dir)


@pytest.mark.parametrize("wish", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_command_that_is_interrupted_stops_what_it_started(
    wish: signal.Signals, data_dir: Path
) -> None:
    embedded.ensure_running(data_dir)
    embedded.stop(data_dir)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        ledger = f"http://127.0.0.1:{silent.getsockname()[1]}/rotary/ledger"
        with apollo(data_dir, "audit", ledger) as process:
            silent.settimeout(DEADLINE_S)
            asked, _ = silent.accept()
            with asked:
                assert embedded.is_running(data_dir)
                process.send_signal(wish)
                said, _ = process.communicate(timeout=DEADLINE_S)
    assert b"Traceback" not in said
    assert process.returncode == 130
    assert not embedded.is_running(data_dir)


@pytest.mark.parametrize(("before", "ends_by_it"), [([], True), (["nohup"], False)])
def test_a_closed_terminal_ends_a_process_unless_nohup_was_said(
    before: list[str], ends_by_it: bool, data_dir: Path
) -> None:
    environ = environment(data_dir) | {
        "APOLLO_JAMBONZ_URL": "http://127.0.0.1:9/v1",
        "APOLLO_JAMBONZ_ACCOUNT_SID": "9351f46a-678c-43f5-b8a6-d4eb58d131af",
        "APOLLO_JAMBONZ_API_KEY": "a-key-of-a-test",
        "APOLLO_JAMBONZ_WEBHOOK_SECRET": "a-secret-of-a-test",
    }
    with ending(
        subprocess.Popen(
            [*before, sys.executable, "-P", "-m", "apollo.cli", "serve"],
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    ) as process:
        assert process.stdout is not None
        while "Uvicorn running" not in (line := process.stdout.readline()):
            assert line, "serve ended before it was ready"
        process.send_signal(signal.SIGHUP)
        if not ends_by_it:
            with urllib.request.urlopen(f"http://127.0.0.1:{environ['APOLLO_PORT']}/livez") as page:
                assert page.status == 200
            process.send_signal(signal.SIGTERM)
        process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0
    assert not embedded.is_running(data_dir)


def test_a_child_is_heard_to_its_end_though_nobody_listens_to_us(tmp_path: Path) -> None:
    def gone(_role: str, _line: str) -> None:
        raise BrokenPipeError

    async def last_words() -> list[str]:
        supervisor = Supervisor(environment(tmp_path), gone)
        await supervisor.start("worker")
        child = await supervisor.first_end()
        await supervisor.stop()
        return list(child.last_lines)

    assert "APOLLO_JAMBONZ_URL" in asyncio.run(last_words())[0]  # the command line's own loop


def test_stopping_that_is_cut_short_still_leaves_no_child(tmp_path: Path) -> None:
    async def cut_short() -> tuple[bool, int | None]:
        supervisor = Supervisor(environment(tmp_path), lambda *_: None)
        child = await supervisor.start("serve")
        stopping = asyncio.create_task(supervisor.stop())
        await asyncio.sleep(0)
        stopping.cancel()
        await asyncio.wait([stopping])
        return stopping.cancelled(), child.process.returncode

    is_cancelled, code = asyncio.run(cut_short())
    assert is_cancelled
    assert code is not None
