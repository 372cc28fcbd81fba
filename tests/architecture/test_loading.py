"""What each process loads: only what it runs. Everything else costs memory, and every start."""

import importlib
import pkgutil
import subprocess
import sys

import pytest
import typer

from apollo import cli
from apollo.cli import COMMANDS, load_command

# The heavy ones: who serves HTTP, who asks over it, who speaks to PostgreSQL, who reads settings.
HEAVY = {"fastapi", "starlette", "uvicorn", "aiohttp", "asyncpg", "pydantic", "confluent_kafka"}


def loaded_by(program: str) -> set[str]:
    """The packages, and the parts of Apollo, that a new process has loaded after the program."""
    names = loaded_modules(program)
    return {".".join(name.split(".")[: 2 if name.startswith("apollo.") else 1]) for name in names}


def loaded_modules(program: str) -> set[str]:
    """All modules that a new process has loaded after the program."""
    shown = "import sys; print(*sys.modules, file=sys.__stdout__)"
    run = subprocess.run(
        [sys.executable, "-c", f"{program}\n{shown}"], capture_output=True, text=True, check=True
    )
    return set(run.stdout.splitlines()[-1].split())


def command(*words: str) -> str:
    """A program that runs a command of ours and goes on."""
    return f"""
import sys, contextlib
from apollo.cli import main
sys.argv = {["apollo", *words]!r}
with contextlib.suppress(SystemExit): main()
"""


def test_a_worker_does_not_load_what_serves_http() -> None:
    loaded = loaded_by("import apollo.wiring.worker")
    assert loaded & {"fastapi", "starlette", "uvicorn", "pydantic", "apollo.web"} == {"pydantic"}
    assert not loaded & {"confluent_kafka", "apollo.rotary", "apollo.cli"}


def test_the_api_does_not_load_what_only_a_worker_or_the_command_line_runs() -> None:
    loaded = loaded_by("import apollo.wiring.serve")
    assert "fastapi" in loaded
    assert not loaded & {"confluent_kafka", "apollo.worker", "apollo.rotary", "apollo.cli"}
    # Seldom used, and large: for workbooks, and the places of all phone numbers.
    assert not loaded & {"openpyxl"}
    assert "phonenumbers.geodata" not in loaded_modules("import apollo.wiring.serve")


@pytest.mark.parametrize("words", [["--help"], []])
def test_help_loads_no_command(words: list[str]) -> None:
    assert loaded_by(command(*words)) & (HEAVY | {"apollo.wiring", "apollo.config"}) == set()


def test_debug_loads_no_part_of_a_process() -> None:
    loaded = loaded_by(command("debug", "btc_x"))
    assert "aiohttp" in loaded
    assert not loaded & {"apollo.wiring", "apollo.storage", "apollo.rotary", "asyncpg", "fastapi"}


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_commands_says_what_each_says_itself(name: str) -> None:
    _, sentence = COMMANDS[name]
    assert load_command(name).help == sentence


def test_no_command_of_a_module_is_missing_from_the_list() -> None:
    for found in pkgutil.iter_modules(cli.__path__, "apollo.cli."):
        if found.name.endswith("__main__"):
            continue
        module, part = importlib.import_module(found.name), typer.Typer()
        if hasattr(module, "add_to"):
            module.add_to(part)
            listed = {
                name for name, (owner, _) in COMMANDS.items() if found.name == f"apollo.cli.{owner}"
            }
            assert set(typer.main.get_group(part).commands) == listed, found.name
