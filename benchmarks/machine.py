"""What the machine is, and what our processes take of it, read from /proc.

Must never start or change anything.
"""

import os
import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
_KIB_A_GIB = 1024 * 1024
# Fields of /proc/PID/stat after the name, which may hold anything.
_PARENT, _USER, _SYSTEM, _USER_OF_ENDED, _SYSTEM_OF_ENDED = 1, 11, 12, 13, 14


@dataclass(frozen=True, slots=True)
class Running:
    """The processes of one Apollo, by what they do; `postgres` is the one that started the rest."""

    by_role: Mapping[str, int]
    postgres: int

    def processor_s(self) -> dict[str, float]:
        """Processor time so far, by role; PostgreSQL's is that of all its processes."""
        used = {role: _used_s(pid) for role, pid in self.by_role.items()}
        # A backend that ended is counted at its parent, so that nothing is lost meanwhile.
        used["postgres"] = _used_s(self.postgres, with_ended=True) + sum(
            _used_s(pid) for pid in _children(self.postgres)
        )
        return used

    def memory_mib(self, role: str) -> float:
        """The most memory a process ever had, in MiB."""
        for line in Path(f"/proc/{self.by_role[role]}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
        return 0.0


def find_running(postgres_dir: Path) -> Running:
    """Find the processes of the Apollo that this process started."""
    by_role = {}
    for pid in _children(os.getpid()):
        words = _command(pid)
        if "apollo.cli" in words:
            by_role[words[words.index("apollo.cli") + 1]] = pid
    postmaster = int((postgres_dir / "db" / "postmaster.pid").read_text().splitlines()[0])
    return Running(by_role, postmaster)


def describe(postgres_version: str) -> dict[str, str]:
    """Name what the figures depend on."""
    memory = dict(
        line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines() if ":" in line
    )
    load = os.getloadavg()
    return {
        "processor": f"{len(os.sched_getaffinity(0))} cores, {_processor_name()}",
        "memory": f"{int(memory['MemTotal'].split()[0]) / _KIB_A_GIB:.1f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "postgresql": postgres_version,
        "load average": " ".join(f"{one:.2f}" for one in load),
    }


def _processor_name() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _used_s(pid: int, *, with_ended: bool = False) -> float:
    fields = _stat(pid)
    if not fields:
        return 0.0
    wanted = [_USER, _SYSTEM] + ([_USER_OF_ENDED, _SYSTEM_OF_ENDED] if with_ended else [])
    return sum(int(fields[field]) for field in wanted) / _TICKS_A_SECOND


def _children(pid: int) -> Iterator[int]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            fields = _stat(int(entry.name))
            if fields and int(fields[_PARENT]) == pid:
                yield int(entry.name)


def _stat(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def _command(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return []
