"""What `up` shares with its RotaryRouter is secret, kept, and complete."""

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from apollo.cli.rehearsal import connected, keep_secrets, kept_secrets
from apollo.config import load
from apollo.errors import Misconfigured


def test_secrets_are_made_once_and_only_their_owner_reads_them(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "apollo"
    assert kept_secrets(folder) is None
    made = keep_secrets(folder)
    assert keep_secrets(folder) == made == kept_secrets(folder)
    assert stat.S_IMODE((folder / "rotary.json").stat().st_mode) == 0o600
    assert [file.name for file in folder.iterdir()] == ["rotary.json"]


def test_those_who_begin_at_once_agree(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(lambda _: keep_secrets(tmp_path), range(32)))) == 1


def test_a_broken_file_is_a_fault_with_its_mend(tmp_path: Path) -> None:
    (tmp_path / "rotary.json").write_text("{}")
    with pytest.raises(Misconfigured, match="remove the file"):
        keep_secrets(tmp_path)


def test_apollo_and_rotary_router_agree_on_everything(tmp_path: Path) -> None:
    environ = {"APOLLO_ROTARY_PORT": "9100", "APOLLO_HOST": "0.0.0.0", "HOME": "/root"}
    settings = load(connected(environ, load(environ), keep_secrets(tmp_path)))
    assert settings.rotary_host == "127.0.0.1", "the API's address is no wish to show its pages"
    assert settings.jambonz_url == "http://127.0.0.1:9100/v1"
    assert settings.default_call_hook == "http://127.0.0.1:9100/rotary/hook"
    assert settings.jambonz_api_key == settings.rotary_api_key is not None
    assert settings.jambonz_webhook_secret == settings.rotary_webhook_secret is not None


def test_rotary_router_is_reached_where_it_listens(tmp_path: Path) -> None:
    environ = {"APOLLO_ROTARY_HOST": "::1", "APOLLO_HOST": "0.0.0.0"}
    settings = load(connected(environ, load(environ), keep_secrets(tmp_path)))
    assert settings.jambonz_url == "http://[::1]:9000/v1"


def test_what_the_operator_set_is_kept(tmp_path: Path) -> None:
    environ = {
        "APOLLO_ROTARY_API_KEY": "mine",
        "APOLLO_DEFAULT_CALL_HOOK": "https://bot.example.com/call",
    }
    settings = load(connected(environ, load(environ), keep_secrets(tmp_path)))
    assert settings.jambonz_api_key is not None
    assert settings.jambonz_api_key.get_secret_value() == "mine"
    assert settings.default_call_hook == "https://bot.example.com/call"
