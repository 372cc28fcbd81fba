"""What the house asks of every file and no linter checks."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import apollo

SRC = Path(apollo.__file__).parent
TESTS = Path(__file__).parents[1]
ROOT = TESTS.parent
MODULES = sorted(SRC.rglob("*.py"))
LINES_MAX = 400
FUNCTION_LINES_MAX = 50
# Drawers, not things: whoever looks for something does not look there.
BANNED = {"utils", "helpers", "common", "base", "manager", "handler", "processor", "data", "info"}
# Words by which something is put off; spelled so that this file does not hold them.
PUT_OFF = re.compile("|".join(("TO" + "DO", "FIX" + "ME", "X" * 3, "HA" + "CK")))
# Paths of one machine have no place in a repository.
THIS_MACHINE = re.compile(r"/(?:work/(?:main|shared)|tmp/venv|root/|home/\w)")
TEXTS = {".py", ".sql", ".md", ".toml", ".txt", ".yaml", ".yml", ".csv", ".lock", ".cfg", ".sh"}


def shown(path: Path) -> str:
    return str(path.relative_to(ROOT))


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def lines_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return (function.end_lineno or function.lineno) - function.lineno + 1


def words_of(name: str) -> list[str]:
    """The words of a name, which is cut at underscores and capitals."""
    return [word.lower() for word in re.findall(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])", name)]


def is_drawer(name: str) -> bool:
    """Whether a name says "things" and not which: its noun is a banned word."""
    return bool(words_of(name)) and words_of(name)[-1] in BANNED


def committed_texts() -> list[Path]:
    kept = ("src", "tests", "docs", "examples", "deploy", "benchmarks", "scripts")
    inside = [path for folder in kept for path in (ROOT / folder).rglob("*")]
    top = [path for path in ROOT.iterdir() if path.is_file()]
    return [
        path
        for path in (*inside, *top)
        if path.is_file()
        and (path.suffix in TEXTS or path.name == "Makefile")
        and "egg-info" not in str(path)
        and "__pycache__" not in path.parts
    ]


def test_no_file_is_longer_than_a_reader_can_hold() -> None:
    sources = [*MODULES, *SRC.rglob("*.sql")]
    lengths = {shown(path): len(path.read_text().splitlines()) for path in sources}
    # The schema reads top to bottom, in one place.
    lengths.pop("src/apollo/storage/sql/migrations/0001_schema.sql", None)
    assert {path: n for path, n in lengths.items() if n > LINES_MAX} == {}


def test_no_function_is_longer_than_a_screen() -> None:
    long = {
        f"{shown(path)}:{function.name}": lines_of(function)
        for path in MODULES
        for function in functions(ast.parse(path.read_text()))
        if lines_of(function) > FUNCTION_LINES_MAX
    }
    assert long == {}


# Names that a library calls.
GIVEN_BY_OTHERS = {"get_route_handler"}


@pytest.mark.parametrize("path", MODULES, ids=shown)
def test_nothing_is_named_like_a_drawer(path: Path) -> None:
    names = {path.stem, path.parent.name}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
    assert {name for name in names - GIVEN_BY_OTHERS if is_drawer(name)} == set()


@pytest.mark.parametrize("path", MODULES, ids=shown)
def test_every_module_opens_with_what_it_owns(path: Path) -> None:
    docstring = ast.get_docstring(ast.parse(path.read_text()))
    assert docstring, "a module opens with one paragraph: what it owns, what it must never do"


def test_nothing_is_put_off() -> None:
    found = [shown(path) for path in committed_texts() if PUT_OFF.search(path.read_text())]
    assert found == []


def test_nothing_committed_names_a_path_of_one_machine() -> None:
    found = [shown(path) for path in committed_texts() if THIS_MACHINE.search(path.read_text())]
    assert found == []


# Looking again this often is waiting for a condition; longer is hoping.
LOOK_AGAIN_S_MAX = 0.05


def sleeps(tree: ast.AST) -> list[str]:
    """Sleeps that only hope; a short one inside a loop waits for that loop's condition."""
    looped = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.While)
        for inner in ast.walk(node)
    }
    found = []
    for node in ast.walk(tree):
        match node:
            case ast.Call(
                func=ast.Attribute(value=ast.Name(id="time" | "asyncio" as module), attr="sleep"),
                args=[argument],
            ):
                seconds = argument.value if isinstance(argument, ast.Constant) else None
                is_short = isinstance(seconds, int | float) and seconds <= LOOK_AGAIN_S_MAX
                if not (is_short and (id(node) in looped or seconds == 0)):
                    found.append(f"line {node.lineno}: {module}.sleep")
    return found


@pytest.mark.parametrize("path", sorted(TESTS.rglob("test_*.py")), ids=shown)
def test_no_test_sleeps(path: Path) -> None:
    assert sleeps(ast.parse(path.read_text())) == []


def test_every_test_is_named_by_a_sentence() -> None:
    short = [
        f"{shown(path)}:{function.name}"
        for path in TESTS.rglob("test_*.py")
        for function in functions(ast.parse(path.read_text()))
        if function.name.startswith("test_") and function.name.count("_") < 3
    ]
    # One runs whatever scenario lies beside it: the scenario's name is the sentence.
    assert short == ["tests/scenarios/test_scenarios.py:test_scenario"]


# ------------------------------------------------------------------- these checks can fail, too


def test_the_checks_themselves_notice() -> None:
    lines = ["time.sleep(1)", "asyncio.sleep(0)", "while x: asyncio.sleep(0.01)"]
    lines += ["asyncio.sleep(0.01)", "while x: asyncio.sleep(0.5)"]
    assert sleeps(ast.parse("\n".join(lines))) == [
        "line 1: time.sleep",
        "line 4: asyncio.sleep",
        "line 5: asyncio.sleep",
    ]
    assert is_drawer("CallManager")
    assert is_drawer("read_data")
    assert not is_drawer("base_url")
    assert not is_drawer("database")
    (long,) = functions(ast.parse("def f():\n" + "    x = 1\n" * 50))
    assert lines_of(long) == 51
    assert PUT_OFF.search("# TO" + "DO: later")
    assert THIS_MACHINE.search("see /tmp/" + "venv/bin")
