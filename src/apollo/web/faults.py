"""Errors as HTTP answers: one place turns each kind into a status, a body and headers.

Owns that no answer contains a stack, SQL or what the client sent. Must never decide whether
something is an error.
"""

from collections.abc import Sequence
from typing import Any, Final, get_args

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.responses import JSONResponse
from starlette.routing import Match

from apollo.errors import ApolloError, Invalid, Refused, Stale, Unauthorised, Unavailable
from apollo.web.schemas import unknown

_log = structlog.get_logger("apollo.web")
# An outage or a lost race is mostly over by then, and a client that waits less only adds to it.
_RETRY_AFTER_S: Final = "1"
# As many as a person reads; a body of errors must not become an answer fifty times its size.
SHOWN_MAX: Final = 100
# Every method that HTTP clients send.
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
INTERNAL: Final = "Something is wrong on our side; the log has it under this X-Request-Id"


def answer_to(error: ApolloError) -> JSONResponse:
    """Give the answer to a request that ended in this error."""
    match error:
        case Invalid():
            faults = [
                {"loc": e.loc, "msg": e.msg, "type": e.type} for e in error.errors[:SHOWN_MAX]
            ]
            return JSONResponse(_detail(faults, len(error.errors)), error.http_status)
        case Unauthorised():
            headers = {"WWW-Authenticate": "Bearer"}
            return JSONResponse({"detail": str(error)}, error.http_status, headers)
        case Refused():
            return JSONResponse({"detail": str(error)}, error.http_status)
        case Stale():
            return _try_again("Somebody changed this at the same moment")
        case Unavailable():
            _log.warning("request_without_dependency", error=str(error))
            return _try_again(_away(error))
        case _:
            _log.error("request_failed", exc_info=error)
            return JSONResponse({"detail": INTERNAL}, 500)


def add_fault_answers(app: FastAPI) -> None:
    """Teach an application to answer our errors and FastAPI's in one form."""

    async def on_apollo_error(_: Request, error: Exception) -> JSONResponse:
        if not isinstance(error, ApolloError):
            raise error
        return answer_to(error)

    async def on_validation_error(request: Request, error: Exception) -> JSONResponse:
        if not isinstance(error, RequestValidationError):
            raise error
        errors = error.errors()
        route = request.scope.get("route")
        body = route.body_field if isinstance(route, APIRoute) else None
        model = None if body is None else body.field_info.annotation
        return JSONResponse(_detail(_shown(errors[:SHOWN_MAX], model), len(errors)), 422)

    async def on_defect(_: Request, _error: Exception) -> JSONResponse:
        return JSONResponse({"detail": INTERNAL}, 500)

    async def on_wrong_method(request: Request, _error: Exception) -> JSONResponse:
        # Each method of a path is a route of its own, and the router names only one of them.
        allowed = sorted(method for method in METHODS if _is_served(request, method))
        detail = f"This path does not take this method; use {' or '.join(allowed)}"
        return JSONResponse({"detail": detail}, 405, {"Allow": ", ".join(allowed)})

    def _is_served(request: Request, method: str) -> bool:
        scope = {**request.scope, "method": method}
        return any(route.matches(scope)[0] is Match.FULL for route in app.routes)

    app.add_exception_handler(ApolloError, on_apollo_error)
    app.add_exception_handler(405, on_wrong_method)
    app.add_exception_handler(RequestValidationError, on_validation_error)
    app.add_exception_handler(Exception, on_defect)


def _detail(faults: list[dict[str, Any]], found: int) -> dict[str, Any]:
    if found > len(faults):
        msg = f"{found - len(faults)} more errors are not shown; correct these first"
        faults.append({"loc": ("body",), "msg": msg, "type": "too_many_errors"})
    return {"detail": faults}


def _shown(errors: Sequence[Any], model: Any) -> list[dict[str, Any]]:
    # Without pydantic's `input`, `ctx` and `url`: what the client sent is not ours to repeat.
    return [{"loc": e["loc"], "msg": _said(e, model), "type": e["type"]} for e in errors]


def _said(error: Any, model: Any) -> str:
    """Return pydantic's sentence, or ours for a key that `model`, a body's, does not have."""
    if error["type"] != "extra_forbidden" or model is None:
        return str(error["msg"])
    *path, name = error["loc"][1:]
    for step in path:
        fields = getattr(model, "model_fields", {})
        model = _model_in(fields[step].annotation) if step in fields else model
    return unknown("key", str(name), [*getattr(model, "model_fields", ())])


def _model_in(annotation: Any) -> Any:
    """Return the model that a type holds: itself, or the one in a list or an option of it."""
    inner = (_model_in(one) for one in get_args(annotation))
    return annotation if hasattr(annotation, "model_fields") else next(filter(None, inner), None)


def _away(error: Unavailable) -> str:
    """Say what is away and where to look."""
    code = f" (PostgreSQL error {error.sqlstate})" if error.sqlstate else ""
    said = f"{error.away[:1].upper()}{error.away[1:]}{code}"
    return f"{said}: on the server, apollo doctor says what is wrong"


def _try_again(what: str) -> JSONResponse:
    detail = f"{what}; nothing was done, send the same request again"
    return JSONResponse({"detail": detail}, 503, {"Retry-After": _RETRY_AFTER_S})
