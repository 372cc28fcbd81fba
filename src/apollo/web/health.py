"""Is it alive, is it ready, and its figures: for supervisors and Prometheus, without a token."""

import contextlib

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, generate_latest
from pydantic import Field

from apollo.errors import Stale, Unavailable
from apollo.web.requests import Uses
from apollo.web.schemas import Answer


class SchemaVersions(Answer):
    """The version of the database's schema, and the one that this process needs."""

    found: int | None = Field(description="What the database has; null: it could not be read.")
    wanted: int = Field(description="What this process needs.")


class ReadyAnswer(Answer):
    """Whether requests can be answered."""

    status: str = Field(description="`ok` or `not ready`.")
    database: str = Field(description="`ok`, or what is wrong with it.")
    # `schema` alone would hide a method of every model.
    schema_: SchemaVersions = Field(alias="schema", description="The schema's versions.")


def health_router(registry: CollectorRegistry) -> APIRouter:
    """Build the routes; `registry` holds the figures of this process."""
    router = APIRouter(tags=["health"])
    letters = Gauge(
        "apollo_dead_letters",
        "Messages on Kafka that could not be read and that nobody has seen to.",
        registry=registry,
    )

    @router.get("/livez")
    async def livez() -> dict[str, str]:
        """Answer at all: the process lives. It asks nobody."""
        return {"status": "ok"}

    @router.get("/readyz", response_model=ReadyAnswer, responses={503: {"model": ReadyAnswer}})
    async def readyz(uses: Uses) -> Response:
        """Tell whether requests can be answered: 503 without the database or its schema."""
        readiness = await uses.readiness.check()
        answer = {
            "status": "ok" if readiness.is_ready else "not ready",
            "database": readiness.database,
            "schema": {"found": readiness.schema_found, "wanted": readiness.schema_wanted},
        }
        return JSONResponse(answer, 200 if readiness.is_ready else 503)

    @router.get("/metrics", response_class=PlainTextResponse)
    async def metrics(uses: Uses) -> Response:
        """Give the figures of this process in Prometheus' text format."""
        if uses.dead_letters is not None:
            # Without the database the last count stands; the other figures matter the more.
            with contextlib.suppress(Unavailable, Stale):
                letters.set(await uses.dead_letters.count())
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return router
