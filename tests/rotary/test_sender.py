"""The connections webhooks travel on: kept, bounded in time, and sceptical about answers."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import pytest
from tests.rotary.world import until

from apollo.rotary.hooks import Hook, read_hook
from apollo.rotary.sender import NoAnswer, Sender

NO_CONTENT = b"HTTP/1.1 204 No Content\r\n\r\n"


class Peer:
    """A server that says the same bytes to every request, then perhaps hangs up."""

    def __init__(self, answer: bytes, *, hangs_up: bool = False) -> None:
        self.connections = 0
        self.url = ""
        self._answer = answer
        self._hangs_up = hangs_up

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(self._answer)
                if self._hangs_up:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def listening(answer: bytes, *, hangs_up: bool = False) -> AsyncIterator[Peer]:
    peer = Peer(answer, hangs_up=hangs_up)
    server = await asyncio.start_server(peer.serve, "127.0.0.1", 0)
    peer.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/status"
    async with server:
        yield peer


@pytest.fixture
async def sender() -> AsyncIterator[Sender]:
    one = Sender()
    yield one
    one.close()


async def send(sender: Sender, hook: Hook) -> tuple[int, bytes]:
    return await sender.send(hook, hook.request(b"", "t=1,v1=0", "0-0-1"))


async def test_a_connection_is_kept_for_the_next_request(sender: Sender) -> None:
    async with listening(NO_CONTENT) as peer:
        for _ in range(5):
            assert await send(sender, read_hook(peer.url)) == (204, b"")
        assert peer.connections == 1


async def test_a_connection_that_was_idle_for_long_is_not_used_again(
    sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("apollo.rotary.sender.IDLE_S", 0.0)
    async with listening(NO_CONTENT) as peer:
        for _ in range(3):
            await send(sender, read_hook(peer.url))
        assert peer.connections == 3


async def test_a_connection_the_peer_gives_up_is_not_used_again(sender: Sender) -> None:
    answer = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"
    async with listening(answer, hangs_up=True) as peer:
        for _ in range(3):
            assert await send(sender, read_hook(peer.url)) == (200, b"ok")
        assert peer.connections == 3


async def test_a_body_may_end_with_the_connection(sender: Sender) -> None:
    async with listening(b"HTTP/1.1 202 Accepted\r\n\r\nhello", hangs_up=True) as peer:
        assert await send(sender, read_hook(peer.url)) == (202, b"hello")


async def test_an_endless_body_is_cut_off_and_the_status_counts(sender: Sender) -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 200_000
    async with listening(answer) as peer:
        status, _ = await send(sender, read_hook(peer.url))
        assert status == 200


async def test_an_announcement_is_not_the_answer(sender: Sender) -> None:
    async with listening(b"HTTP/1.1 103 Early Hints\r\n\r\n" + NO_CONTENT) as peer:
        assert await send(sender, read_hook(peer.url)) == (204, b"")


async def test_the_connection_of_a_request_that_was_given_up_is_not_used_again(
    sender: Sender,
) -> None:
    async with listening(b"") as peer:
        for connections in (1, 2):
            asked = asyncio.create_task(send(sender, read_hook(peer.url)))
            await until(lambda: peer.connections == connections)  # noqa: B023 - used at once
            asked.cancel()
            with suppress(asyncio.CancelledError):
                await asked


def _plain(url: str) -> str:
    return url


def _encrypted(url: str) -> str:
    return url.replace("http:", "https:")


@pytest.mark.parametrize(
    ("answer", "hangs_up", "words", "spelt"),
    [
        (b"SSH-2.0-OpenSSH_9.6\r\n", False, "not HTTP", _plain),
        (b"", True, "closed the connection without an answer", _plain),
        (b"HTTP/1.1 200", True, "closed the connection without an answer", _plain),
        (b"", False, r"no answer within 0\.2 s", _plain),
        (b"this is no TLS\r\n", False, r"\w", _encrypted),
    ],
)
async def test_whatever_is_no_answer_says_why(
    sender: Sender,
    monkeypatch: pytest.MonkeyPatch,
    answer: bytes,
    hangs_up: bool,
    words: str,
    spelt: Callable[[str], str],
) -> None:
    monkeypatch.setattr("apollo.rotary.sender.TIMEOUT_S", 0.2)
    async with listening(answer, hangs_up=hangs_up) as peer:
        with pytest.raises(NoAnswer, match=words) as caught:
            await send(sender, read_hook(spelt(peer.url)))
    assert str(caught.value)


async def test_a_name_that_does_not_exist_is_not_connection_trouble(sender: Sender) -> None:
    with pytest.raises(NoAnswer) as caught:
        await send(sender, read_hook("http://nowhere.invalid/status"))
    assert caught.value.connection_trouble is False


async def test_nothing_in_an_address_can_break_out_of_the_request() -> None:
    hook = read_hook("http://example.com/a b\r\nX-Evil: 1?c=d\r\n#rc=1", "POST", "u\r\n", "p")
    assert b"X-Evil: 1" not in hook.head
    assert hook.head.count(b"\r\n") == len(hook.head.split(b"\r\n")) - 1
    assert b"\r\n\r\n" not in hook.head
