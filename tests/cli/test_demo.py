"""`make demo` leaves nothing behind when it is interrupted in the middle of its batch."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil

from apollo import demo

# It begins to dial after three seconds, on a machine with other things to do perhaps fifteen.
DEADLINE_S = 90.0


def test_an_interrupted_demo_leaves_no_process_and_no_file(tmp_path: Path) -> None:
    environ = os.environ | {
        "PYTHONPATH": str(Path(demo.__file__).parents[1]),
        "TMPDIR": str(tmp_path),
        # What an operator may have set: a demo must not follow it to a real provider.
        "APOLLO_JAMBONZ_URL": "https://jambonz.example.com/v1",
    }
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "apollo.demo"],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        said = ""
        while "on a call" not in said:
            line = process.stdout.readline()
            assert line, said
            said += line
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 130, said + rest
    assert list(tmp_path.iterdir()) == []
    running = [one.info["cmdline"] or () for one in psutil.process_iter(["cmdline"])]
    assert not [args for args in running if str(tmp_path) in " ".join(args)]
