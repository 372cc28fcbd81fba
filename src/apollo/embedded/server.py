"""The PostgreSQL that comes in a wheel: makes its directory, starts it once, stops it.

Owns `postgres/` in the data directory: the cluster, its log, its lock and its socket. The server
belongs to nobody's process tree: it outlives `kill -9` of whoever started it, and is stopped by the
last of those who use it. It is reached by a Unix socket in a directory that only its owner can
enter, and by nothing else. This module never opens a database connection and never deletes a
finished cluster.
"""

import errno
import fcntl
import hashlib
import os
import pwd
import re
import shutil
import signal
import stat
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from apollo.embedded import roles
from apollo.embedded.programs import (
    ENVIRONMENT,
    MAJOR_VERSION,
    POLL_S,
    command_line,
    ended,
    program,
    refusal,
    run,
    run_as,
)

_PORT = 5432  # names the socket file; no TCP port is opened

SETTINGS: Mapping[str, str] = {
    "listen_addresses": "",  # the socket is the only door
    "unix_socket_permissions": "0700",  # a second lock behind the private directory
    "max_connections": "200",  # a dozen of our processes with a pool each, and room for psql
    "synchronous_commit": "on",  # what was answered has to survive a power cut
    "shared_buffers": "256MB",  # the hot part of a million contacts; see _BUFFERS_SMALLER
    "max_wal_size": "4GB",  # a checkpoint during an upload costs more than the disk space
    "checkpoint_timeout": "15min",  # fewer full-page writes; a restart then replays for seconds
    "random_page_cost": "1.1",  # solid-state disks: a plan by index is the cheap one
    "autovacuum_naptime": "10s",  # contacts are updated all day and dead rows slow the claims
    "autovacuum_vacuum_scale_factor": "0.02",  # the default waits for 200 000 dead of a million
    "autovacuum_analyze_scale_factor": "0.02",  # a new batch must be known to the planner soon
    "autovacuum_vacuum_cost_limit": "2000",  # ten times the default: finish, do not trickle
    "max_parallel_workers_per_gather": "0",  # short queries; containers have a small /dev/shm
    "max_parallel_maintenance_workers": "0",  # as above
    "jit": "off",  # compiling costs more than our longest query
    "timezone": "UTC",  # every timestamp of ours is UTC
    "idle_in_transaction_session_timeout": "10s",  # no use-case waits inside a transaction
    "client_connection_check_interval": "2s",  # a killed process must not keep its locks waiting
    "log_error_verbosity": "terse",  # the detail of a violated constraint holds phone numbers
    "log_min_error_statement": "panic",  # and so do statements
}

# Tried in turn where the machine refuses 256 MB of shared memory (small containers).
_BUFFERS_SMALLER = ("64MB", "16MB")
_START_S = 120.0  # replaying 4 GB of log after a crash takes about a minute on a slow disk
_STOP_S = 60.0  # a fast shutdown writes the dirty buffers; after that it is told to drop them
_LEFTOVERS_S = 0.2  # backends of a killed server let go of its memory within a second or so
_SOCKET_PATH_MAX = 103  # bytes; Linux allows 107, macOS 103
_LOG_BYTES_MAX = 10_000_000  # years of checkpoints; the one before is kept as postgres.log.old


class _Postmaster(NamedTuple):
    pid: int
    status: str  # PostgreSQL's own words: starting, ready, stopping, standby
    socket_dir: str

    @property
    def url(self) -> str:
        return f"postgresql://{roles.APOLLO}@/{roles.APOLLO}?host={self.socket_dir}&port={_PORT}"


@dataclass(frozen=True, slots=True)
class _Cluster:
    """Where everything of one embedded server lies."""

    folder: Path

    @property
    def pgdata(self) -> Path:
        return self.folder / "db"

    @property
    def log(self) -> Path:
        return self.folder / "postgres.log"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One process at a time starts or stops; the kernel lets go when it dies."""
        with (self.folder / "lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def postmaster(self) -> _Postmaster | None:
        """The running server, whoever started it; None if its note was left by a dead one."""
        try:
            lines = (self.pgdata / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return None
        if not lines or f"-D {self.pgdata} -c" not in command_line(int(lines[0])):
            return None
        lines += [""] * 8  # a starting server has not written all of its eight lines
        return _Postmaster(int(lines[0]), lines[7].strip() or "starting", lines[4])


def ensure_running(data_dir: Path, extra: Mapping[str, str] | None = None) -> str:
    """Start the embedded server of `data_dir` unless it runs, and return its database URL.

    Blocks, for 0.1 s as a rule, 1 s the first time and up to two minutes after a crash; safe to
    call from any number of processes at once. `extra` overrides SETTINGS and only counts for the
    call that starts the server. Raises Misconfigured with the mend.
    """
    with _faults_of(data_dir):
        cluster = _made_folder(data_dir)
        running = cluster.postmaster()
        if running is None or running.status != "ready":
            with cluster.locked():
                running = _start(cluster, {**SETTINGS, **(extra or {})})
    return running.url


@contextmanager
def in_use(data_dir: Path) -> Iterator[None]:
    """Have the embedded server of `data_dir` stay; the last user stops it, whoever started it.

    Starts nothing. A user that was killed counts no longer. Raises Misconfigured.
    """
    with _faults_of(data_dir):
        cluster = _made_folder(data_dir)
        _check_version(cluster)
        users = (cluster.folder / "users").open("a")
    with users:
        fcntl.flock(users, fcntl.LOCK_SH)  # while the last user of before stops it, this waits
        try:
            yield
        finally:
            with suppress(BlockingIOError):  # somebody else uses it
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                stop(data_dir)


def running_url(data_dir: Path) -> str | None:
    """The database URL of the embedded server if it takes connections. Raises Misconfigured."""
    cluster = _cluster(data_dir)
    with _faults_of(data_dir):
        _check_version(cluster)
        running = cluster.postmaster()
    return running.url if running is not None and running.status == "ready" else None


def is_made(data_dir: Path) -> bool:
    """Tell whether `data_dir` holds an embedded database, running or not. Makes nothing."""
    return (_cluster(data_dir).pgdata / "PG_VERSION").exists()


def is_running(data_dir: Path) -> bool:
    """Whether the embedded server of `data_dir` takes connections. Raises Misconfigured."""
    return running_url(data_dir) is not None


def stop(data_dir: Path) -> None:
    """Shut the embedded server of `data_dir` down and wait for its end; nothing if there is none.

    Connections are cut and open transactions rolled back. What was committed stays.
    """
    with _faults_of(data_dir):
        cluster = _cluster(data_dir)
        if not cluster.folder.exists():
            return
        with cluster.locked():
            running = cluster.postmaster()
            if running is None:
                return
            for how in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):  # fast, at once, by force
                os.kill(running.pid, how)
                if ended(running.pid, within_s=_STOP_S):
                    break
            for made in (Path(running.socket_dir), Path(running.socket_dir).parent):
                with suppress(OSError):  # the second is the data directory, as a rule not empty
                    made.rmdir()


def _cluster(data_dir: Path) -> _Cluster:
    # Resolved, so that every process names the same server by the same path.
    return _Cluster(data_dir.expanduser().resolve() / "postgres")


def _made_folder(data_dir: Path) -> _Cluster:
    cluster = _cluster(data_dir)
    # Private from the start: whoever enters the directory of the socket is let in.
    cluster.folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    cluster.folder.mkdir(mode=0o700, exist_ok=True)
    return cluster


@contextmanager
def _faults_of(data_dir: Path) -> Iterator[None]:
    """Translate what the file system refuses into a setting and its mend."""
    try:
        yield
    except OSError as fault:
        raise refusal(
            f"{data_dir} cannot be used ({fault.filename or 'disk'}: {fault.strerror}); name a"
            " directory that this user owns, on a disk with 100 MB free"
        ) from fault


def _start(cluster: _Cluster, settings: dict[str, str]) -> _Postmaster:
    """Start the server, or wait for one that somebody began to start; the lock is held."""
    owner = _unprivileged(cluster)
    prefix = run_as(owner)
    if not cluster.pgdata.exists():
        _create(cluster, prefix, owner)
    _check_version(cluster)
    if cluster.postmaster() is None:
        # Where that cannot be done it runs as before, and `apollo doctor` says what its role is.
        roles.settle(cluster.pgdata, prefix)
    settings["unix_socket_directories"] = str(_socket_dir(cluster, owner))
    child, log_from = None, 0
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        running = cluster.postmaster()
        if running and running.status == "ready":
            return running
        if running is None and (child is None or ended(child)):
            if child is not None:
                settings |= _other_settings(cluster, settings, log_from)
            child, log_from = _spawn(cluster, prefix, settings)
        time.sleep(POLL_S)
    raise refusal(
        f"PostgreSQL in {cluster.pgdata} is not ready after {_START_S:.0f} s and may still be"
        f" recovering; see {cluster.log} and start again"
    )


def _other_settings(
    cluster: _Cluster, settings: Mapping[str, str], log_from: int
) -> Mapping[str, str]:
    """What to change before the next attempt, read from the log; raises if nothing would help."""
    said = cluster.log.read_bytes()[log_from:].decode(errors="replace")
    if "pre-existing shared memory block" in said:
        time.sleep(_LEFTOVERS_S)
        return {}
    if re.search(r"could not (create|map|resize) \w* ?shared memory", said):
        for smaller in _BUFFERS_SMALLER:
            if int(smaller.removesuffix("MB")) < int(settings["shared_buffers"].removesuffix("MB")):
                return {"shared_buffers": smaller}
    raise _failed(cluster, "start", said)


def _spawn(cluster: _Cluster, prefix: list[str], settings: Mapping[str, str]) -> tuple[int, int]:
    """Start a server in its own session; its process number, and where in the log it begins."""
    # Left by a dead server, as the caller found out. PostgreSQL would believe them if the process
    # number is in use again or not yet reaped; survivors it finds by their shared memory.
    socket_lock = Path(settings["unix_socket_directories"]) / f".s.PGSQL.{_PORT}.lock"
    for note in (cluster.pgdata / "postmaster.pid", socket_lock):
        note.unlink(missing_ok=True)
    if cluster.log.exists() and cluster.log.stat().st_size > _LOG_BYTES_MAX:
        cluster.log.replace(cluster.log.with_suffix(".log.old"))
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    command = [*prefix, program("postgres"), "-D", str(cluster.pgdata), *options]
    with cluster.log.open("ab") as log:
        cluster.log.chmod(0o600)
        log_from = log.tell()
        pid = os.posix_spawn(
            command[0],
            command,
            ENVIRONMENT,
            setsid=True,
            setsigmask=[],
            setsigdef=[signal.SIGINT, signal.SIGPIPE],
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, log.fileno(), 1),
                (os.POSIX_SPAWN_DUP2, log.fileno(), 2),
            ],
        )
    return pid, log_from


def _create(cluster: _Cluster, prefix: list[str], owner: tuple[int, int] | None) -> None:
    """Make the cluster beside its place and move it there: a killed start leaves none half made."""
    for abandoned in cluster.folder.glob("new-*"):
        shutil.rmtree(abandoned, ignore_errors=True)
    new = Path(tempfile.mkdtemp(prefix="new-", dir=cluster.folder))
    if owner:
        os.chown(new, *owner)
    initdb = [
        *(program("initdb"), "-D", str(new), "-U", roles.SUPERUSER),
        *("--auth=trust", "--encoding=UTF8"),
        # The builtin provider sorts the same on every machine, whatever its C library.
        *("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
    ]
    done, said = run([*prefix, *initdb])
    if done:
        done, said = roles.make(new, prefix)
    if not done:
        shutil.rmtree(new, ignore_errors=True)
        raise _failed(cluster, "make its directory", said)
    new.rename(cluster.pgdata)


def _check_version(cluster: _Cluster) -> None:
    """Refuse a cluster that another version wrote; one that is not there yet is none."""
    if not cluster.pgdata.exists():
        return
    version = cluster.pgdata / "PG_VERSION"
    found = version.read_text().strip() if version.exists() else "unknown"
    if found != MAJOR_VERSION:
        raise refusal(
            f"{cluster.pgdata} was written by PostgreSQL {found} and this Apollo brings"
            f" {MAJOR_VERSION}; dump it with the version that wrote it (pg_dump) and load that"
            " into a new directory, name an empty directory"
        )


def _failed(cluster: _Cluster, verb: str, said: str) -> Exception:
    """The error for a program that ended: its last words, on one line."""
    if (full := os.strerror(errno.ENOSPC)) in said:
        return OSError(errno.ENOSPC, full, str(cluster.folder))
    last = " | ".join(line.strip() for line in said.splitlines()[-4:]) or "it said nothing"
    return refusal(
        f"PostgreSQL in {cluster.folder} could not {verb}: {last}; mend that"
        f" (its log is {cluster.log}), name another directory"
    )


def _unprivileged(cluster: _Cluster) -> tuple[int, int] | None:
    """User and group to run the server as: PostgreSQL refuses root. None: as ourselves."""
    if os.geteuid() != 0:
        return None
    if cluster.pgdata.exists() and (found := cluster.pgdata.stat()).st_uid != 0:
        return found.st_uid, found.st_gid
    nobody = pwd.getpwnam("nobody")
    return nobody.pw_uid, nobody.pw_gid


def _socket_dir(cluster: _Cluster, owner: tuple[int, int] | None) -> Path:
    """A private directory for the socket, with a path that fits an address and needs no quoting."""
    private = cluster.folder
    if not _fits(private / "run"):
        name = hashlib.sha256(os.fsencode(cluster.folder)).hexdigest()[:12]
        # Not $TMPDIR, which may be just as long.
        private = Path(f"/tmp/apollo-{os.geteuid()}-{name}")  # noqa: S108 - checked below
        private.mkdir(mode=0o700, exist_ok=True)
        # Everybody may write there: make sure that nobody made it before us.
        made = private.lstat()
        if not stat.S_ISDIR(made.st_mode) or made.st_uid != os.geteuid() or made.st_mode & 0o077:
            raise refusal(
                f"the socket needs {private}, which is not a private directory of this user;"
                " remove it, name a shorter data directory"
            )
    run = private / "run"
    run.mkdir(mode=0o700, exist_ok=True)
    if owner:
        os.chown(run, *owner)
    return run


def _fits(directory: Path) -> bool:
    longest = os.fsencode(directory / f".s.PGSQL.{_PORT}.lock")
    return len(longest) <= _SOCKET_PATH_MAX and re.fullmatch(rb"[\w./-]+", longest) is not None
