"""The interactive page about the API: everything it loads comes from the package."""

import gzip
import hashlib
import json
import re
from importlib.resources import files

from tests.web.api_world import ApiWorld

VENDORED = files("apollo.web") / "vendored"
MANIFEST = json.loads((VENDORED / "manifest.json").read_text())


async def test_the_page_loads_only_what_this_api_serves(api: ApiWorld) -> None:
    page = await api.ask("GET", "/docs", token="")
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page.body)
    assert sorted(loaded) == [
        "data:,",
        "docs/start.js",
        "docs/swagger-ui-bundle.js",
        "docs/swagger-ui.css",
        "openapi.json",
    ]
    for path in set(loaded) - {"data:,"}:
        assert (await api.ask("GET", f"/{path}", token="")).status == 200, path
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def test_the_vendored_files_are_those_of_the_manifest() -> None:
    found = {
        one.name: hashlib.sha256(one.read_bytes()).hexdigest()
        for one in VENDORED.iterdir()
        if one.name.endswith(".gz")
    }
    assert found == MANIFEST["sha256"]
    assert "Apache License" in (VENDORED / "swagger-ui.LICENSE").read_text()
    script = gzip.decompress((VENDORED / "swagger-ui-bundle.js.gz").read_bytes())
    assert f'PACKAGE_VERSION:"{MANIFEST["version"]}"'.encode() in script
