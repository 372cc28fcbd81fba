"""Serves an ASGI application with uvicorn until cancelled, with the settings its callers need."""

import asyncio
import socket

import structlog
import uvicorn
from starlette.types import ASGIApp

from apollo.errors import Misconfigured
from apollo.web.wire import GuardedProtocol

_log = structlog.get_logger("apollo")


def config_of(app: ASGIApp, host: str, port: int) -> uvicorn.Config:
    """Return how an application is served."""
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        http=GuardedProtocol,
        ws="none",
        # Our own log says what matters, once per decision; a line per request says nothing more.
        access_log=False,
        log_config=None,
        # Nobody asks where a request came from.
        proxy_headers=False,
        server_header=False,
        lifespan="off",
        # Longer than the provider's own keep-alive, so that it never writes to a closing socket.
        timeout_keep_alive=75,
        timeout_graceful_shutdown=10,
    )


async def listen(app: ASGIApp, host: str, port: int) -> None:
    """Serve until cancelled, then finish what is under way. Raises Misconfigured."""
    _check_port(host, port)
    server = uvicorn.Server(config_of(app, host, port))
    _log.info("api.started", url=f"http://{host}:{port}")
    serving = asyncio.create_task(server._serve())  # noqa: SLF001 - `serve` takes the signals that are ours
    try:
        await asyncio.shield(serving)
    finally:
        server.should_exit = True
        await asyncio.gather(serving, return_exceptions=True)


def _check_port(host: str, port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as e:
            mend = "stop what listens there, or set APOLLO_PORT to a free one"
            raise Misconfigured(
                [f"APOLLO_PORT: cannot listen on {host}:{port} ({e.strerror}); {mend}"]
            ) from e
