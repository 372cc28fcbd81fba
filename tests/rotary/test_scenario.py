"""Scenario files: the examples work, and a bad one says where, what, and what would be right."""

import json
from pathlib import Path

import phonenumbers
import pytest
from tests.rotary.world import ACCOUNT

from apollo.errors import Misconfigured
from apollo.rotary import RotaryRouter, RotarySettings, Scenario, read_scenario

EXAMPLES = sorted((Path(__file__).parents[2] / "examples" / "scenarios").glob("*.json"))


def faults_of(tmp_path: Path, content: object) -> list[str]:
    path = tmp_path / "scenario.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(Misconfigured) as caught:
        read_scenario(path)
    prefix = f"{path}: "
    assert all(fault.startswith(prefix) for fault in caught.value.faults)
    return [fault.removeprefix(prefix) for fault in caught.value.faults]


def test_there_are_examples() -> None:
    names = {path.stem for path in EXAMPLES}
    assert names >= {"everyday", "carrier-down", "silent-webhooks"}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_each_example_is_valid_and_says_what_it_is_about(path: Path) -> None:
    scenario = read_scenario(path)
    assert len(scenario.about) > 20
    for number in scenario.people.by_number:
        assert phonenumbers.is_valid_number(phonenumbers.parse(f"+{number}"))


def test_an_empty_file_is_everyday_life(tmp_path: Path) -> None:
    path = tmp_path / "empty.json"
    path.write_text("{}")
    assert read_scenario(path) == Scenario()


def test_every_fault_gets_its_own_line_with_its_path(tmp_path: Path) -> None:
    found = faults_of(
        tmp_path,
        {
            "time_scale": 0,
            "people": {"ring_s": [3, 1], "mix": {"answr": 1}, "by_number": {"bob": []}},
            "carrier": {"chanels": 3, "channels": -1},
            "faults": {"webhook_lost": {"rate": 1.5, "events": ["hello"]}},
            "applications": {"abc": {}},
        },
    )
    assert len(found) >= 9
    text = "\n".join(found)
    for expected in (
        "time_scale: Input should be greater than 0",
        "people.ring_s: the first number should not be larger than the second",
        "people.mix.answr.[key]: Input should be 'answer'",
        "people.by_number.bob.[key]: a phone number should be digits",
        "carrier.chanels: unknown key; it should be one of about, calls_per_second, cancel_s,",
        "carrier.channels: Input should be greater than or equal to 0",
        "faults.webhook_lost.rate: Input should be less than or equal to 1",
        "faults.webhook_lost.events.0: Input should be 'trying'",
        "applications.abc.[key]: Input should be a valid UUID",
    ):
        assert expected in text


def test_an_unknown_key_deep_inside_names_the_keys_that_are_known(tmp_path: Path) -> None:
    script = {"people": {"by_number": {"+919876543210": [{"does": "busy", "talk": 3}]}}}
    [line] = faults_of(tmp_path, script)
    assert line == (
        "people.by_number.+919876543210.0.talk: unknown key; "
        "it should be one of about, does, early_media, ring_s, sip, talk_s"
    )


def test_what_is_not_json_is_located(tmp_path: Path) -> None:
    [line] = faults_of(tmp_path, '{\n  "people": }')
    assert line.startswith("line 2 column 13: not JSON")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"nowhere\.json: there is no such scenario file"):
        read_scenario(tmp_path / "nowhere.json")


def test_bad_settings_are_all_told_at_once() -> None:
    settings = RotarySettings(
        api_key="", account_sid="abc", webhook_secret="", port=70_000, webhook_url="localhost/x"
    )
    with pytest.raises(Misconfigured) as caught:
        RotaryRouter(settings)
    fields = [fault.split(":")[0] for fault in caught.value.faults]
    assert fields == ["api_key", "webhook_secret", "account_sid", "port", "webhook_url"]


def test_secrets_do_not_show_in_the_settings() -> None:
    settings = RotarySettings(api_key="k-e-y", account_sid=ACCOUNT, webhook_secret="s-e-c")
    assert "k-e-y" not in repr(settings)
    assert "s-e-c" not in repr(settings)
