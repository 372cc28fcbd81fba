import re
import tomllib
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def asked_for(*extras: str) -> list[Requirement]:
    """What Apollo needs to run, and what these extras add."""
    project = PROJECT["project"]
    more = [line for extra in extras for line in project["optional-dependencies"][extra]]
    return [Requirement(line) for line in (*project["dependencies"], *more)]


def wanted() -> list[str]:
    return [one.name for one in asked_for("dev")]


def pinned(lock: str) -> dict[str, str]:
    """The packages of a lock that are for this system, with their versions."""
    lines = (ROOT / lock).read_text().splitlines()
    pins = [Requirement(line.removesuffix("\\")) for line in lines if "==" in line]
    here = [one for one in pins if one.marker is None or one.marker.evaluate()]
    return {canonicalize_name(one.name): str(one.specifier) for one in here}


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


@pytest.mark.parametrize(
    ("lock", "extras"), [("requirements.lock", ()), ("requirements-dev.lock", ("dev",))]
)
def test_what_is_pinned_is_what_is_asked_for_and_what_that_needs(
    lock: str, extras: tuple[str, ...]
) -> None:
    build = [Requirement(line) for line in PROJECT["build-system"]["requires"]]
    assert set(pinned(lock)) == with_all_they_need([*asked_for(*extras), *build])


def test_what_runs_is_what_was_tested() -> None:
    assert pinned("requirements.lock").items() <= pinned("requirements-dev.lock").items()


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock"])
def test_every_package_of_a_lock_has_its_hashes(lock: str) -> None:
    packages = re.split(r"\n(?=\S)", (ROOT / lock).read_text())
    bare = [one for one in packages if "==" in one and "--hash=sha256:" not in one]
    assert bare == []
