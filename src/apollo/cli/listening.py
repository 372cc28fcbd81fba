"""Whether a port of this machine can be listened on."""

import socket


def fault_of_port(host: str, port: int) -> OSError | None:
    """Try the port for an instant: what stands in the way, or None when it is free."""
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            # As the servers do: a port that only waits for old connections to die is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as fault:
        return fault
    return None
