"""What went wrong on the way to a provider is told in words, and never by a class of Python's."""

import socket
import ssl

import pytest

from apollo.telephony.reach import reach
from apollo.telephony.trouble import said_of


def _caused(error: BaseException) -> BaseException:
    outer = RuntimeError("of a library")
    outer.__cause__ = error
    return outer


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ConnectionRefusedError(111, "Connect call failed"), "connection refused by sbc:5060"),
        (socket.gaierror(-2, "Name or service not known"), "name not known: sbc:5060"),
        (ssl.SSLError(1, "bad"), "TLS failed with sbc:5060: no common protocol"),
        (TimeoutError(), "no answer in time from sbc:5060"),
        (OSError(113, "No route to host"), "no connection to sbc:5060: No route to host"),
        (ConnectionResetError(104, "reset"), "connection reset by sbc:5060"),
        (ValueError("http://sbc/?key=secret"), "the connection to sbc:5060 broke"),
    ],
)
def test_each_trouble_has_its_words(error: BaseException, said: str) -> None:
    assert said_of(error, "sbc:5060") == said
    assert said_of(_caused(error), "sbc:5060") == said
    assert "Error" not in said_of(error)


async def test_a_refused_connection_names_host_and_port() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        assert await reach(f"http://127.0.0.1:{port}/") == f"connection refused by 127.0.0.1:{port}"
