"""The interactive page about the API: Swagger UI over our own OpenAPI document, without internet.

Owns `/docs` and the files that it loads. They come with the package (`vendored/manifest.json` names
their version, licence and hashes), because an operator's network often reaches no other host.
"""

from importlib.resources import files
from typing import Final

from fastapi import APIRouter
from starlette.responses import HTMLResponse, Response

from apollo.web.reasons_page import reasons_page

_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Apollo: the API</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="docs/swagger-ui.css">
</head>
<body>
<main id="api"></main>
<noscript>This page needs JavaScript. The same text is in <a href="openapi.json">openapi.json</a>.
</noscript>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""
# A token that was typed in is gone with the tab.
_START: Final = """SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#api",
  deepLinking: true,
  displayRequestDuration: true,
  docExpansion: "list",
  defaultModelsExpandDepth: 0,
  filter: true,
  persistAuthorization: false,
  tryItOutEnabled: true,
  validatorUrl: null,
});
"""
_ONLY_FROM_HERE: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
}
_FILES: Final = {
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
    "swagger-ui.css": "text/css; charset=utf-8",
}


def docs_router() -> APIRouter:
    """Return the routes of the page and its files; none of them needs a token."""
    router = APIRouter(include_in_schema=False)
    vendored = files("apollo.web") / "vendored"

    @router.get("/docs")
    async def page() -> Response:
        return HTMLResponse(_PAGE, headers=_ONLY_FROM_HERE)

    @router.get("/docs/reasons")
    async def reasons() -> Response:
        return HTMLResponse(reasons_page(), headers=_ONLY_FROM_HERE)

    @router.get("/docs/start.js")
    async def start() -> Response:
        return Response(_START, media_type="text/javascript")

    def add(name: str, media_type: str) -> None:
        packed = (vendored / f"{name}.gz").read_bytes()
        headers = {"Content-Encoding": "gzip", "Cache-Control": "public, max-age=86400"}

        @router.get(f"/docs/{name}", name=name)
        async def file() -> Response:
            return Response(packed, media_type=media_type, headers=headers)

    for name, media_type in _FILES.items():
        add(name, media_type)
    return router
