import tomllib
from importlib.metadata import requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def asked_for() -> list[Requirement]:
    """What Apollo needs to run, and what work on it needs."""
    project = PROJECT["project"]
    lines = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    return [Requirement(line) for line in lines]


def wanted() -> list[str]:
    return [one.name for one in asked_for()]


def pinned() -> set[str]:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    return {canonicalize_name(line.split("==")[0]) for line in lines if "==" in line}


def with_all_they_need(asked: list[Requirement]) -> set[str]:
    """The packages, those that they need here, and so on."""
    names: set[str] = set()
    waiting = [(one.name, frozenset(one.extras)) for one in asked]
    seen = set(waiting)
    while waiting:
        name, extras = waiting.pop()
        names.add(canonicalize_name(name))
        for line in requires(name) or ():
            need = Requirement(line)
            applies = need.marker is None or any(
                need.marker.evaluate({"extra": extra}) for extra in (extras or {""})
            )
            key = need.name, frozenset(need.extras)
            if applies and key not in seen:
                seen.add(key)
                waiting.append(key)
    return names


def test_every_dependency_has_its_reason_in_the_architecture() -> None:
    page = (ROOT / "ARCHITECTURE.md").read_text()
    assert [name for name in wanted() if f"`{name}`" not in page] == []


def test_what_is_pinned_is_what_is_asked_for_and_what_that_needs() -> None:
    build = [Requirement(line) for line in PROJECT["build-system"]["requires"]]
    assert pinned() == with_all_they_need([*asked_for(), *build])
