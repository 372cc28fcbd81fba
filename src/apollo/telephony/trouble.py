"""What went wrong on the way to somebody, in words for the person who reads them.

Must never show a URL, which may hold a number or a key, and never a class of Python's.
"""

import socket
import ssl


def said_of(error: BaseException, place: str = "") -> str:
    """Say an error of a connection in a few words; `place` is HOST:PORT, where it is known."""
    cause: BaseException | None = error
    while cause is not None:
        said = _said(cause, place)
        if said:
            return said
        cause = cause.__cause__
    return f"the connection{f' to {place}' if place else ''} broke"


def _said(error: BaseException, place: str) -> str:
    said = ""
    by, to = (f" by {place}", f" to {place}") if place else ("", "")
    match error:
        case ssl.SSLError():
            why = getattr(error, "verify_message", "") or getattr(error, "reason", "")
            said = f"TLS failed{f' with {place}' if place else ''}: {why or 'no common protocol'}"
        case socket.gaierror():
            said = f"name not known{f': {place}' if place else ''}"
        case ConnectionRefusedError():
            said = f"connection refused{by}"
        case ConnectionResetError() | BrokenPipeError() | ConnectionAbortedError():
            said = f"connection reset{by}"
        case TimeoutError():
            said = f"no answer in time{f' from {place}' if place else ''}"
        case OSError(errno=int()) if error.strerror:
            said = f"no connection{to}: {error.strerror}"
    return said
