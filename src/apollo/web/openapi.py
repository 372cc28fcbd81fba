"""The OpenAPI document: what FastAPI derives from the routes, and what it cannot know.

Owns the two webhooks' description, which are served outside FastAPI, and which errors an operation
can answer with. Must never describe a field that a model describes.
"""

from typing import Any, Final

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic.json_schema import models_json_schema

from apollo.web.callbacks import ResultBody
from apollo.web.schemas import DESCRIBED

_READS: Final = frozenset({"get", "head"})
# A read changes nothing and has no body.
_OF_CHANGES: Final = frozenset({"409", "413"})
_SIGNATURE: Final[dict[str, Any]] = {
    "name": "Jambonz-Signature",
    "in": "header",
    "required": True,
    "description": "`t=<unix seconds>,v1=<hex HMAC-SHA256 of "
    '"<t>.<body>" with the shared secret>`.',
    "schema": {"type": "string"},
}
_NO_TOKEN: Final[dict[str, Any]] = {"tags": ["webhooks"], "security": []}
_STATUS: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["call_sid", "call_status"],
    "properties": {
        "call_sid": {"type": "string", "description": "The provider's id of the call."},
        "call_status": {
            "type": "string",
            "description": "How far the call is.",
            "enum": [
                "trying",
                "ringing",
                "early-media",
                "in-progress",
                "completed",
                "busy",
                "no-answer",
                "failed",
            ],
        },
        "call_id": {"type": "string", "description": "The SIP Call-ID."},
        "sip_status": {"type": "integer", "description": "The SIP status, such as 486."},
        "sip_reason": {"type": "string", "description": "The text that came with it."},
        "duration": {"type": "integer", "description": "Seconds from the answer to the end."},
        "call_termination_by": {"type": "string", "description": "Who ended it."},
        "customer_data": {
            "type": "object",
            "description": "The `tag` of the call as it was placed; Apollo puts `execution_id` in.",
            "properties": {
                "execution_id": {"type": "string", "description": "The call, `exec_…`."}
            },
        },
    },
}


def operation_id(route: APIRoute) -> str:
    """Return the name of a route's function, which is unique, as its operation id."""
    return route.name


def describe(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI document of an application, as JSON would show it."""
    document = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes
    )
    for methods in document["paths"].values():
        for method, operation in methods.items():
            for status in _impossible(method, operation):
                operation["responses"].pop(status, None)
    # FastAPI's own form of a 422, which no operation answers with.
    for unused in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(unused, None)
    _, defined = models_json_schema(
        [(model, "validation") for model in DESCRIBED], ref_template="#/components/schemas/{model}"
    )
    document["components"]["schemas"] |= defined["$defs"]
    document["paths"] |= _webhooks(document["components"]["schemas"])
    return document


def _impossible(method: str, operation: dict[str, Any]) -> frozenset[str]:
    """Return the error statuses that a request of this kind cannot get."""
    # The path names an object, or the calls of a batch are asked for.
    names_one = any(
        one["in"] == "path" or one["name"] == "batch_id" for one in operation.get("parameters", ())
    )
    unnamed = frozenset() if names_one else frozenset({"404"})
    return (_OF_CHANGES | unnamed) if method in _READS else frozenset()


def _webhooks(schemas: dict[str, Any]) -> dict[str, Any]:
    _, defined = msgspec.json.schema_components(
        [ResultBody], ref_template="#/components/schemas/{name}"
    )
    schemas |= {name.removesuffix("Body"): one for name, one in defined.items()}
    schemas["CallStatus"] = _STATUS
    return {
        "/webhooks/call-status": {
            "get": _NO_TOKEN
            | {
                "operationId": "reach_call_status",
                "summary": "Answer that this is the hook for status webhooks",
                "description": "For a person or a check that wants to know whether the provider"
                " would reach Apollo here: 200 and a sentence.",
                "responses": {
                    "200": {
                        "description": "This is Apollo.",
                        "content": {"text/plain": {"schema": {"type": "string"}}},
                    }
                },
            },
            "post": _NO_TOKEN
            | {
                "operationId": "receive_call_status",
                "summary": "Take a status event of the provider",
                "description": "Called by jambonz or RotaryRouter, signed with"
                " `APOLLO_JAMBONZ_WEBHOOK_SECRET`. 200 means that it is stored; anything else, and"
                " the provider sends it again.",
                "parameters": [_SIGNATURE],
                "requestBody": _json_body("CallStatus"),
                "responses": _ANSWERS,
            },
        },
        "/webhooks/call-result": {
            "post": _NO_TOKEN
            | {
                "operationId": "receive_call_result",
                "summary": "Take what the agent adds to a call",
                "description": "Called by your voice application once a call is over. Keys that are"
                " left out stay as they are; the same result twice changes nothing.",
                "parameters": [_SIGNATURE],
                "requestBody": _json_body("Result"),
                "responses": _ANSWERS,
            }
        },
    }


def _json_body(name: str) -> dict[str, Any]:
    schema = {"$ref": f"#/components/schemas/{name}"}
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def _problem(description: str) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Problem"}
    return {"description": description, "content": {"application/json": {"schema": schema}}}


_ANSWERS: Final = {
    "200": {"description": "It is stored."},
    "401": _problem("The signature does not fit the body and the secret."),
    "404": _problem("No such call, or this webhook is not open here."),
    "413": _problem("The body is too large."),
    "422": _problem("Malformed; names the field and what would be right."),
    "503": _problem("Not stored: send it again."),
}
