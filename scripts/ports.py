"""Ports for processes that are started a moment later, or again after an outage."""

import contextlib
import socket
from random import SystemRandom
from typing import Final

# Below those that systems hand out: whoever asks for any port is never given one of ours.
_PORTS: Final = range(10_000, 32_000)


def free_port() -> int:
    """A port nobody listens on now."""
    while True:
        port = SystemRandom().choice(_PORTS)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port
