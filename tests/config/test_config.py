"""Settings are read whole or refused whole; the log holds no number and no secret."""

import asyncio
import io
import json
import logging
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import structlog

from apollo.config import Settings, configure_logging, load, settings_table
from apollo.config.log import masked
from apollo.errors import Misconfigured

SID = "f3a1c5d2-8a0e-4c59-9b4b-0f6a5b1d7e21"
JAMBONZ = {
    "APOLLO_JAMBONZ_URL": "https://jambonz.example.com/api/v1/",
    "APOLLO_JAMBONZ_ACCOUNT_SID": SID,
    "APOLLO_JAMBONZ_API_KEY": "hidden-key",
    "APOLLO_JAMBONZ_WEBHOOK_SECRET": "hidden-secret",
}


def faults(environ: dict[str, str]) -> list[str]:
    with pytest.raises(Misconfigured) as refused:
        load(environ)
    return refused.value.faults


def test_an_empty_environment_gives_the_defaults() -> None:
    settings = load({"PATH": "/bin", "HOME": "/root"})
    assert settings.database_url is None
    assert (settings.host, settings.port) == ("127.0.0.1", 8000)
    assert settings.public_url == settings.url == "http://127.0.0.1:8000"
    assert (settings.ring_timeout_s, settings.time_limit_s) == (30, 1800)
    assert settings.stuck_after == timedelta(minutes=30)
    assert settings.quarantine == timedelta(minutes=10)
    assert settings.on_unresolved == "hold"
    assert settings.calls_per_second is None
    assert settings.rotary_port == 9000
    assert settings.kafka_client() == {}
    assert settings.data_dir == Path("~/.local/share/apollo").expanduser()


def test_every_setting_is_taken_from_its_name(tmp_path: Path) -> None:
    scenario = tmp_path / "people.yaml"
    scenario.touch()
    settings = load(
        {
            **JAMBONZ,
            "APOLLO_DATA_DIR": "~/elsewhere",
            "APOLLO_DATABASE_URL": "postgresql://apollo:hidden@db:5432/apollo",
            "APOLLO_HOST": "::",
            "APOLLO_PORT": "8080",
            "APOLLO_PUBLIC_URL": "https://apollo.example.com/base/",
            "APOLLO_DEFAULT_CALL_HOOK": "wss://bot.example.com/call?key=hidden",
            "APOLLO_SPEECH_SYNTHESIS": "google, en-IN, en-IN-Standard-A",
            "APOLLO_TOKEN": "gat_hidden",
            "APOLLO_RING_TIMEOUT": "45",
            "APOLLO_TIME_LIMIT": "1h",
            "APOLLO_CALLS_PER_SECOND": "0.5",
            "APOLLO_STUCK_AFTER": "500ms",
            "APOLLO_QUARANTINE": "2m",
            "APOLLO_ON_UNRESOLVED": "release",
            "APOLLO_LOG": "json",
            "APOLLO_RESULT_SECRET": "",
            "APOLLO_ROTARY_SCENARIO": str(scenario),
            "APOLLO_ROTARY_SEED": "42",
        }
    )
    assert settings.jambonz_url == "https://jambonz.example.com/api/v1"
    assert settings.jambonz_account_sid == SID
    assert settings.data_dir == Path("~/elsewhere").expanduser()
    assert settings.public_url == "https://apollo.example.com/base"
    assert settings.url == "http://[::1]:8080"  # a wildcard is no place to call
    assert settings.speech_synthesis == "google,en-IN,en-IN-Standard-A"
    assert (settings.ring_timeout_s, settings.time_limit_s) == (45, 3600)
    assert settings.calls_per_second == pytest.approx(0.5)
    assert settings.stuck_after == timedelta(milliseconds=500)
    assert settings.quarantine == timedelta(minutes=2)
    assert settings.on_unresolved == "release"
    assert settings.result_secret is None  # empty is unset
    assert settings.rotary_scenario == scenario
    assert settings.rotary_seed == 42
    assert "hidden" not in repr(settings)
    assert "hidden" not in str(settings.model_dump_json(exclude={"default_call_hook"}))


def test_settings_cannot_be_changed_once_read() -> None:
    settings = load({})
    with pytest.raises(ValueError, match="frozen"):
        settings.port = 1


def test_kafka_settings_pass_through_by_their_librdkafka_names() -> None:
    settings = load(
        {
            "APOLLO_KAFKA_BOOTSTRAP_SERVERS": "kafka-1:9092,kafka-2:9092",
            "APOLLO_KAFKA_SASL_PASSWORD": "hidden",
            "APOLLO_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
        }
    )
    assert settings.kafka_client() == {
        "bootstrap.servers": "kafka-1:9092,kafka-2:9092",
        "sasl.password": "hidden",
        "security.protocol": "SASL_SSL",
    }
    assert "hidden" not in repr(settings)


@pytest.mark.parametrize(
    ("name", "value", "part_of_what_is_right"),
    [
        ("DATABASE_URL", "mysql://root:hidden@db/apollo", "postgresql://"),
        ("HOST", "http://here", "0.0.0.0"),
        ("PORT", "0", "1 to 65535"),
        ("PORT", "65536", "1 to 65535"),
        ("PORT", "http", "1 to 65535"),
        ("ROTARY_PORT", "-1", "1 to 65535"),
        ("PUBLIC_URL", "apollo.example.com", "http or https"),
        ("PUBLIC_URL", "ftp://apollo.example.com", "http or https"),
        ("PUBLIC_URL", "https://:hidden@apollo.example.com", "without a password"),
        ("PUBLIC_URL", "https://apollo.example.com:99999", "http or https"),
        ("PUBLIC_URL", "https://apollo.example.com/?a=b", "http or https"),
        ("PUBLIC_URL", "http://[broken", "http or https"),
        ("URL", "https://", "http or https"),
        ("DEFAULT_CALL_HOOK", "/call", "ws or wss"),
        ("DEFAULT_APPLICATION_SID", "my-application", "UUID"),
        ("SPEECH_SYNTHESIS", "google,en-US", "vendor,language,voice"),
        ("SPEECH_RECOGNIZER", "google,", "vendor,language"),
        ("RING_TIMEOUT", "0", "whole seconds"),
        ("RING_TIMEOUT", "1.5s", "whole seconds"),
        ("RING_TIMEOUT", "soon", "whole seconds"),
        ("TIME_LIMIT", "-30m", "whole seconds"),
        ("TIME_LIMIT", "9999999999h", "whole seconds"),
        ("STUCK_AFTER", "30 minutes", "30s, 10m or 1h"),
        ("QUARANTINE", "119s", "at least 120s"),
        ("ON_UNRESOLVED", "retry", "hold or release"),
        ("CALLS_PER_SECOND", "0", "above 0"),
        ("CALLS_PER_SECOND", "nan", "above 0"),
        ("LOG", "xml", "text or json"),
        ("WEBHOOK_URL", "wss://apollo.example.com", "http or https"),
        ("ROTARY_SCENARIO", "/nowhere/people.yaml", "a file that is there"),
        ("ROTARY_SEED", "lucky", "whole number"),
        ("KAFKA_BOOTSTRAP_SERVERS", "kafka 1", "host:port"),
    ],
)
def test_a_wrong_value_is_named_with_what_would_be_right(
    name: str, value: str, part_of_what_is_right: str
) -> None:
    (line,) = faults({f"APOLLO_{name}": value})
    assert line.startswith(f"APOLLO_{name}: ")
    assert part_of_what_is_right in line
    assert "hidden" not in line
    if not re.search("URL|HOOK|KAFKA", name):
        assert repr(value) in line


def test_the_jambonz_base_must_end_in_v1() -> None:
    (line,) = faults({**JAMBONZ, "APOLLO_JAMBONZ_URL": "https://jambonz.example.com/api"})
    assert line.startswith("APOLLO_JAMBONZ_URL: ")
    assert "/v1" in line


def test_a_jambonz_without_its_account_is_refused_for_each_missing_part() -> None:
    missing = faults({"APOLLO_JAMBONZ_URL": JAMBONZ["APOLLO_JAMBONZ_URL"]})
    assert [line.split(":")[0] for line in missing] == sorted(set(JAMBONZ) - {"APOLLO_JAMBONZ_URL"})


def test_a_jambonz_account_without_its_address_is_refused() -> None:
    (line,) = faults({"APOLLO_JAMBONZ_API_KEY": "hidden"})
    assert line.startswith("APOLLO_JAMBONZ_URL: unset")
    assert "hidden" not in line


def test_a_call_hook_and_an_application_exclude_each_other() -> None:
    (line,) = faults(
        {
            "APOLLO_DEFAULT_CALL_HOOK": "https://bot.example.com/call",
            "APOLLO_DEFAULT_APPLICATION_SID": SID,
        }
    )
    assert "remove one of the two" in line


def test_kafka_settings_without_a_kafka_are_refused() -> None:
    (line,) = faults({"APOLLO_KAFKA_SASL_PASSWORD": "hidden"})
    assert line.startswith("APOLLO_KAFKA_BOOTSTRAP_SERVERS: unset")
    assert "hidden" not in line


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("APOLLO_PROT", "did you mean APOLLO_PORT?"),
        ("APOLLO_JAMBONS_URL", "did you mean APOLLO_JAMBONZ_URL?"),
        ("APOLLO_QQQQQQQQQQQQQQQQQQQQ", "remove it"),
        ("APOLLO_PORT_8000_TCP", "enableServiceLinks"),
        ("APOLLO_SERVICE_HOST", "enableServiceLinks"),
    ],
)
def test_an_unknown_name_is_refused_with_a_hint(name: str, hint: str) -> None:
    (line,) = faults({name: "hidden"})
    assert line.startswith(f"{name}: ")
    assert hint in line
    assert "hidden" not in line


def test_a_port_that_kubernetes_set_is_explained() -> None:
    (line,) = faults({"APOLLO_PORT": "tcp://10.0.0.1:8000"})
    assert line.startswith("APOLLO_PORT: set by Kubernetes")


def test_all_faults_are_reported_at_once_in_the_order_of_their_names() -> None:
    lines = faults(
        {
            "APOLLO_PORT": "none",
            "APOLLO_QUARANTINE": "1s",
            "APOLLO_COLOUR": "red",
            "APOLLO_JAMBONZ_API_KEY": "hidden",
        }
    )
    assert [line.split(":")[0] for line in lines] == [
        "APOLLO_COLOUR",
        "APOLLO_JAMBONZ_URL",
        "APOLLO_PORT",
        "APOLLO_QUARANTINE",
    ]


def test_the_table_for_the_documentation_names_every_setting() -> None:
    rows = settings_table()
    assert len(rows) == len(Settings.model_fields)
    names = [name for name, _, _ in rows]
    assert len(set(names)) == len(names)
    for name, default, sentence in rows:
        assert name.startswith("APOLLO_")
        assert default
        assert sentence.endswith(".")
    assert ("APOLLO_RING_TIMEOUT", "30s", "How long a phone rings.") in rows


def test_the_documented_default_is_the_real_one() -> None:
    defaults = load({})
    for name, shown, _ in settings_table():
        if shown.startswith("unset") or "HOST" in shown or name == "APOLLO_LOG":
            continue
        # Alone, a setting of Kafka says that the brokers are missing.
        if not name.startswith("APOLLO_KAFKA"):
            assert load({name: shown}) == defaults, name


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("+14155552671", "+1415•••••71"),
        ("call +919876543210 now", "call +9198••••••10 now"),
        ("sip:14155552671@carrier", "sip:1415•••••71@carrier"),
        ("tel:+447400123456;x", "tel:+4474••••••56;x"),
        ("to=%2B14155552671&x=1", "to=+1415•••••71&x=1"),
        ("+1 (415) 555-2671.", "+1415•••••71."),
        ("(415) 555-2671 is busy", "4155••••71 is busy"),
        ("call-14155552671", "call-1415•••••71"),
        ("0014155552671", "0014•••••••71"),
        ("+1234567", "+1••••67"),
        ("Bearer abc.def-123", "Bearer …"),
        ("authorization: basic dXNlcjpwYXNz", "authorization: basic …"),
        ("token gat_0123456789abcdefXYZ!", "token gat_…!"),
        ("postgresql://me:secret@db:5432/apollo", "postgresql://me:…@db:5432/apollo"),
    ],
)
def test_numbers_and_secrets_are_masked_in_any_text(written: str, shown: str) -> None:
    assert masked(written) == shown


@pytest.mark.parametrize(
    "text",
    [
        "f3a1c5d2-8a0e-4c59-9b4b-012345678901",
        "btc_0Abc12345678901234567X",
        "2026-11-23T13:38:00.123456Z",
        "2026-11-23 13:38:00+00:00",
        "took 0.12345678901 s",
        "192.168.100.200:8000",
        "1000000 contacts",
    ],
)
def test_what_is_no_number_is_left_alone(text: str) -> None:
    assert masked(text) == text


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _logging_restored() -> object:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = before
    structlog.reset_defaults()


def test_an_event_is_one_json_line_with_everything_masked() -> None:
    stream = io.StringIO()
    configure_logging(None, stream)
    log = structlog.get_logger("apollo.test")
    try:
        int("+14155552671 is\na number")
    except ValueError:
        log.exception(
            "call to +14155552671\nfailed",
            to={"+14155552671": ["+919876543210", ("x", b"+447400123456")]},
            header="Bearer gat_abcdef",
            seconds=1700000000000,
        )
    (line,) = stream.getvalue().splitlines()
    event = json.loads(line)
    assert event["event"] == "call to +1415•••••71\nfailed"
    assert event["level"] == "error"
    assert event["logger"] == "apollo.test"
    assert event["seconds"] == 1700000000000
    assert event["to"] == {"+1415•••••71": ["+9198••••••10", ["x", "b'+4474••••••56'"]]}
    assert "literal for int() with base 10: '+1415•••••71" in event["exception"]
    assert datetime.fromisoformat(event["at"]).tzinfo == UTC
    assert event["at"].endswith("Z")
    for secret in ("4155552671", "9876543210", "7400123456", "abcdef"):
        assert secret not in line


class Pipe(io.StringIO):
    """Keeps what was written at once apart."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[str] = []

    def write(self, text: str) -> int:
        self.writes.append(text)
        return len(text)


async def test_the_lines_of_one_turn_are_one_write_and_a_warning_waits_for_nothing() -> None:
    stream = Pipe()
    configure_logging("json", stream)
    first, second = structlog.get_logger("apollo.one"), structlog.get_logger("apollo.two")
    first.info("a")
    second.info("b")
    assert stream.writes == []
    await asyncio.sleep(0)
    assert [len(text.splitlines()) for text in stream.writes] == [2]
    first.info("c")
    second.warning("d")
    events = [json.loads(line)["event"] for line in "".join(stream.writes).splitlines()]
    assert events == ["a", "b", "c", "d"]


def test_lines_of_libraries_are_masked_too() -> None:
    stream = io.StringIO()
    configure_logging("json", stream)
    logging.getLogger("some.package").warning("dialling %s", "+14155552671")
    event = json.loads(stream.getvalue())
    assert event["event"] == "dialling +1415•••••71"
    assert (event["level"], event["logger"]) == ("warning", "some.package")


def test_a_terminal_gets_text_and_nobody_can_forge_a_second_line() -> None:
    stream = Terminal()
    configure_logging(None, stream)
    log = structlog.get_logger()
    log.info("hello\n2026-01-01 forged", name="a\nb")
    assert len(stream.getvalue().splitlines()) == 1
    assert "hello\\n2026-01-01 forged" in stream.getvalue()


def test_a_traceback_in_text_is_indented_below_its_event(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    stream = Terminal()
    configure_logging("text", stream)
    try:
        int("+14155552671 too much")
    except ValueError:
        structlog.get_logger().exception("failed")
    first, *others = stream.getvalue().splitlines()
    assert "failed" in first
    assert "\x1b" not in first
    assert others[-1].endswith("'+1415•••••71 too much'")
    assert all(line.startswith("    ") for line in others)


def test_the_format_that_is_asked_for_wins_over_the_terminal() -> None:
    stream = Terminal()
    configure_logging("json", stream)
    structlog.get_logger().info("hello")
    assert json.loads(stream.getvalue())["event"] == "hello"
