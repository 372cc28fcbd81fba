"""Prints docs/reference/openapi.json: the API's own description, for clients and generators."""

import json
import sys
from typing import Any, cast

from prometheus_client import CollectorRegistry

from apollo.web.app import UseCases, described_app


def document() -> dict[str, Any]:
    """Return the OpenAPI document; nothing is started for it."""
    return described_app(cast("UseCases", None), registry=CollectorRegistry()).openapi()


def page() -> str:
    """Return the file's text."""
    return json.dumps(document(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())
