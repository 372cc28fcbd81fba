"""The HTTP application: routes, errors and health behind the shell.

Owns what is served where. Everything under `/api/v1` needs a token; the shell sees to that, not
the routes. Must never build a use-case.
"""

from collections.abc import Sequence
from functools import cache
from typing import Final

from fastapi import FastAPI, Security
from fastapi.security import HTTPBearer
from prometheus_client import CollectorRegistry
from starlette.requests import Request
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

import apollo
from apollo.web import (
    agents,
    batches,
    calls,
    campaigns,
    create_batches,
    debug,
    extend_batches,
    lifecycle,
    stories,
)
from apollo.web.docs import docs_router
from apollo.web.faults import add_fault_answers
from apollo.web.health import health_router
from apollo.web.openapi import describe, operation_id
from apollo.web.requests import HalfTime, UseCases
from apollo.web.schemas import ERRORS
from apollo.web.shell import API, Figures, Shell

__all__ = ["UseCases", "create_app"]

_DESCRIPTION: Final = (
    "Outbound calling campaigns: who is called, when, how often, and why a phone is not ringing. "
    "A campaign has batches, a batch has contacts, a contact has calls."
)
# For the OpenAPI document only: the shell checks the token before any route is chosen.
_BEARER: Final = HTTPBearer(
    auto_error=False, description="`Authorization: Bearer gat_…`, from `apollo token create`."
)
_BEHIND_THE_TOKEN: Final = (
    campaigns.router,
    lifecycle.router,
    create_batches.router,
    extend_batches.router,
    extend_batches.strict,
    batches.router,
    calls.router,
    debug.router,
    agents.behind_the_token,
    stories.router,
)


def create_app(
    use_cases: UseCases,
    *,
    registry: CollectorRegistry,
    routes: Sequence[Route] = (),
) -> ASGIApp:
    """Build the application; `routes` are served as they are, at the root, without a token."""
    app = described_app(use_cases, registry=registry, routes=routes)
    return Shell(
        _beside(app, routes), authenticate=use_cases.authenticate, figures=Figures(registry)
    )


def described_app(
    use_cases: UseCases, *, registry: CollectorRegistry, routes: Sequence[Route] = ()
) -> FastAPI:
    """Build what answers behind the shell, with its description in `openapi()`."""
    app = FastAPI(
        title="Apollo",
        version=apollo.__version__,
        description=_DESCRIPTION,
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
        routes=[*routes],
        generate_unique_id_function=operation_id,
    )
    app.state.use_cases = use_cases
    app.state.half_time = HalfTime()
    add_fault_answers(app)
    for router in _BEHIND_THE_TOKEN:
        app.include_router(router, prefix=API, responses=ERRORS, dependencies=[Security(_BEARER)])
    app.include_router(agents.router)
    app.include_router(health_router(registry))
    app.include_router(docs_router())
    app.openapi = cache(lambda: describe(app))  # type: ignore[method-assign]  # FastAPI's own way
    return app


def _beside(app: ASGIApp, routes: Sequence[Route]) -> ASGIApp:
    """Answer plain routes without what FastAPI puts around its own: it costs more than they do."""
    plain = {(route.path, method): route for route in routes for method in route.methods or ()}

    async def choose(scope: Scope, receive: Receive, send: Send) -> None:
        route = plain.get((scope["path"], scope["method"])) if scope["type"] == "http" else None
        if route is None:
            await app(scope, receive, send)
            return
        scope["route"] = route
        response = await route.endpoint(Request(scope, receive))
        await response(scope, receive, send)

    return choose
