import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def wanted() -> list[str]:
    """The packages that Apollo needs to run, and those for work on it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    return [re.split(r"[<>=\[; ]", line)[0] for line in lines]


def test_every_dependency_has_its_reason_in_the_architecture() -> None:
    page = (ROOT / "ARCHITECTURE.md").read_text()
    assert [name for name in wanted() if f"`{name}`" not in page] == []


def test_every_dependency_is_pinned() -> None:
    lock = (ROOT / "requirements.lock").read_text().lower().replace("_", "-")
    assert [name for name in wanted() if f"\n{name.lower()}==" not in lock] == []
