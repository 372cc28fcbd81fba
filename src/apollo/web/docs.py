"""One page that lists every endpoint, made from the OpenAPI document; it loads nothing else.

FastAPI's own page needs a content delivery network, which an operator's network often has not.
"""

import html
from typing import Any, Final

_PAGE: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto }}
table {{ border-collapse: collapse; width: 100% }}
td {{ padding: .3rem .6rem; border-top: 1px solid #8884; vertical-align: top }}
code {{ font: 13px ui-monospace, monospace; white-space: nowrap }}
</style></head><body><h1>{title} {version}</h1><p>{description}</p>
<p>The whole description, with every field: <a href="/openapi.json">/openapi.json</a>.</p>
{sections}</body></html>
"""


def docs_page(openapi: dict[str, Any]) -> str:
    """Write the page for an OpenAPI document."""
    by_tag: dict[str, list[str]] = {}
    for path, methods in openapi["paths"].items():
        for method, operation in methods.items():
            tag = (operation.get("tags") or ["other"])[0]
            by_tag.setdefault(tag, []).append(_row(method, path, operation))
    sections = "".join(
        f"<h2>{html.escape(tag)}</h2><table>{''.join(rows)}</table>" for tag, rows in by_tag.items()
    )
    described = {k: html.escape(openapi["info"].get(k, "")) for k in _DESCRIBED}
    return _PAGE.format(sections=sections, **described)


_DESCRIBED: Final = ("title", "version", "description")


def _row(method: str, path: str, operation: dict[str, Any]) -> str:
    text = html.escape(operation.get("description") or operation.get("summary", ""))
    return f"<tr><td><code>{method.upper()} {html.escape(path)}</code></td><td>{text}</td></tr>"
