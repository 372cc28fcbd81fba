"""deploy/compose.yaml, as far as it can be checked where no container runs."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import typer
import yaml

from apollo.cli import app
from apollo.config import load, settings_table

DEPLOY = Path(__file__).parents[2] / "deploy"
TEXT = (DEPLOY / "compose.yaml").read_text()
DEMANDED = re.compile(r"\$\{(APOLLO_[A-Z_]+):\?[^}]+\}")
# As Compose reads it, each secret with a value of its own.
COMPOSE: dict[str, Any] = yaml.safe_load(DEMANDED.sub(lambda found: f"given-{found[1]}", TEXT))
OURS = {name: one for name, one in COMPOSE["services"].items() if "build" in one}


def test_it_has_the_processes_that_are_promised() -> None:
    commands = [one["command"][0] for one in OURS.values()]
    assert sorted(commands) == ["migrate", "rotary", "serve", "serve", "worker"]
    assert COMPOSE["services"]["worker"]["deploy"]["replicas"] == 3
    assert {"postgres", "kafka"} <= set(COMPOSE["services"])


@pytest.mark.parametrize("name", OURS)
def test_every_setting_is_one_that_apollo_knows_and_takes(name: str) -> None:
    environment = OURS[name]["environment"]
    known = {setting for setting, _, _ in settings_table()}
    assert set(environment) <= known
    assert load(environment).kafka_client() == {"bootstrap.servers": "kafka:9092"}


@pytest.mark.parametrize("name", OURS)
def test_every_command_is_one_that_apollo_has(name: str) -> None:
    commands = set(typer.main.get_group(app).commands)
    assert OURS[name]["command"][0] in commands


def test_what_speaks_to_each_other_agrees_on_addresses_and_secrets() -> None:
    worker, rotary = OURS["worker"]["environment"], OURS["rotary"]["environment"]
    assert worker["APOLLO_JAMBONZ_API_KEY"] == rotary["APOLLO_ROTARY_API_KEY"]
    assert worker["APOLLO_JAMBONZ_WEBHOOK_SECRET"] == rotary["APOLLO_ROTARY_WEBHOOK_SECRET"]
    assert f":{rotary['APOLLO_ROTARY_PORT']}/v1" in worker["APOLLO_JAMBONZ_URL"]
    hosts = re.findall(
        r"(?:://|@)([a-z][a-z0-9-]*):\d+", str([o["environment"] for o in OURS.values()])
    )
    assert set(hosts) <= set(COMPOSE["services"])


def test_every_secret_is_demanded_and_printed_by_the_script() -> None:
    assert not re.search(r"(KEY|SECRET|PASSWORD): (?!\$\{)", TEXT)
    printed = subprocess.run(
        [sys.executable, DEPLOY.parent / "scripts/new_secrets.py"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert {line.partition("=")[0] for line in printed} == set(DEMANDED.findall(TEXT))
    assert min(len(line.partition("=")[2]) for line in printed) >= 32


def test_nothing_is_reached_from_another_machine() -> None:
    ports = [port for one in COMPOSE["services"].values() for port in one.get("ports", ())]
    assert len(ports) == 3
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []


def test_a_process_has_as_long_to_stop_as_it_may_need() -> None:
    assert {one.get("stop_grace_period") for one in OURS.values()} == {"30s"}


def test_every_image_is_pinned_by_its_digest() -> None:
    images = [one["image"] for one in COMPOSE["services"].values() if "image" in one]
    images += re.findall(r"^FROM (\S+)", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    assert len(images) == 3
    assert [image for image in images if not re.search(r"@sha256:[0-9a-f]{64}$", image)] == []


def test_the_image_installs_what_runs_and_checks_its_hashes() -> None:
    assert "--require-hashes -r requirements.lock" in (DEPLOY / "Dockerfile").read_text()
    lock = (DEPLOY.parent / "requirements.lock").read_text()
    assert [tool for tool in ("pytest", "mypy", "ruff", "calfkit") if f"\n{tool}" in lock] == []


def test_the_volumes_that_are_mounted_are_declared() -> None:
    mounted = {
        volume.partition(":")[0]
        for one in COMPOSE["services"].values()
        for volume in one.get("volumes", ())
    }
    assert mounted == set(COMPOSE["volumes"])


def test_the_broker_is_the_version_that_is_tested() -> None:
    pom = ET.parse(DEPLOY / "kafka/pom.xml")  # noqa: S314 - our own file
    tag = "{http://maven.apache.org/POM/4.0.0}version"
    tested = {one.text for one in pom.iter(tag)} - {"1"}
    assert {re.split("[:@]", COMPOSE["services"]["kafka"]["image"])[1]} == tested


def test_the_image_is_built_from_files_that_are_there() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    copied = [
        word for line in re.findall(r"^COPY (.+) \S+$", text, re.MULTILINE) for word in line.split()
    ]
    assert copied
    assert [name for name in copied if not (DEPLOY.parent / name).exists()] == []
    assert OURS["worker"]["build"]["dockerfile"] == "deploy/Dockerfile"
