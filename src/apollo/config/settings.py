"""Every setting, read once from the environment.

Owns each `APOLLO_…` name with its default and its sentence (the documentation is drawn from here).
It must never show a secret, and never start with a setting it does not understand: all faults are
reported together, a line for each.
"""

import difflib
import re
import uuid
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FilePath,
    SecretStr,
    ValidationError,
)
from pydantic.config import JsonDict

from apollo.config import values
from apollo.errors import Misconfigured

_PREFIX: Final = "APOLLO_"
_KAFKA_PREFIX: Final = "APOLLO_KAFKA_"
# Below this a look-up that is merely late would let a person be called twice.
_QUARANTINE_MIN: Final = timedelta(seconds=120)
# A repeat is known by the event it repeats, and a provider gives up repeating within minutes.
_EVENTS_MIN: Final = timedelta(hours=1)

_Duration = Annotated[timedelta, BeforeValidator(values.duration)]
_Seconds = Annotated[int, BeforeValidator(values.whole_seconds)]
_BaseUrl = Annotated[str, AfterValidator(values.base_url)]
_StatusUrl = Annotated[str, AfterValidator(lambda value: values.address(value, "http", "https"))]
_HookUrl = Annotated[
    str, AfterValidator(lambda value: values.address(value, "http", "https", "ws", "wss"))
]
_Sid = Annotated[str, AfterValidator(lambda value: str(uuid.UUID(value)))]


def _setting(
    name: str,
    description: str,
    right: str,
    default: object = None,
    *,
    shown: str | None = None,
    **limits: Any,
) -> Any:
    """One setting: its name and sentence, what would be right, and its default as documented."""
    shown = shown or ("unset" if default is None else str(default))
    if "default_factory" not in limits:
        limits["default"] = default
    extra: JsonDict = {"right": right, "shown": shown}
    return Field(alias=_PREFIX + name, description=description, json_schema_extra=extra, **limits)


_A_DURATION: Final = "a duration such as 90, 30s, 10m or 1h"
_WHOLE_SECONDS: Final = "a duration of whole seconds, such as 30s or 10m"
_A_PORT: Final = "a port from 1 to 65535, such as 8000"
_A_BASE: Final = "an http or https address without a password, such as https://apollo.example.com"
_A_HOOK: Final = "an http, https, ws or wss address, such as https://bot.example.com/call"
_A_SID: Final = "a UUID, as the provider's portal shows it"
_TEXT: Final = "a text that is not empty"


class Settings(BaseModel):
    """Every setting. Secrets show as stars; `…_s` are whole seconds; None is "unset"."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    data_dir: Annotated[Path, AfterValidator(lambda path: path.expanduser().absolute())] = _setting(
        "DATA_DIR",
        "Where the embedded PostgreSQL and RotaryRouter's ledger are kept.",
        "a directory",
        shown="~/.local/share/apollo",
        default_factory=lambda: Path("~/.local/share/apollo").expanduser(),
    )
    database_url: Annotated[SecretStr, AfterValidator(values.database_url)] | None = _setting(
        "DATABASE_URL",
        "A PostgreSQL of version 15 or later; unset, the embedded one is used.",
        "a PostgreSQL address such as postgresql://user:password@host:5432/apollo",
        shown="unset = embedded",
    )
    host: str = _setting(
        "HOST",
        "The address the API listens on.",
        "an address of this machine, such as 127.0.0.1 or 0.0.0.0",
        "127.0.0.1",
        pattern=r"^[\w.:-]+$",
    )
    port: int = _setting("PORT", "The port the API listens on.", _A_PORT, 8000, ge=1, le=65535)
    public_url: _BaseUrl = _setting(
        "PUBLIC_URL",
        "Where the provider reaches this Apollo.",
        _A_BASE,
        shown="http://HOST:PORT",
        default_factory=values.local_url,
    )
    kafka_bootstrap_servers: str | None = _setting(
        "KAFKA_BOOTSTRAP_SERVERS",
        "Wake up the workers through this Kafka; unset, through PostgreSQL.",
        "one or more host:port with commas between, such as kafka-1:9092,kafka-2:9092",
        shown="unset = PostgreSQL",
        pattern=r"^[\w.-]+(:\d{1,5})?(,[\w.-]+(:\d{1,5})?)*$",
    )
    kafka_partitions: int = _setting(
        "KAFKA_PARTITIONS",
        "How many partitions a topic gets that Apollo creates: no more workers share the work.",
        "a whole number from 1 to 1000, such as 12",
        12,
        ge=1,
        le=1000,
    )
    kafka_replication: int | None = _setting(
        "KAFKA_REPLICATION",
        "How many brokers keep a topic that Apollo creates.",
        "a whole number from 1 to 10, such as 3",
        shown="unset = the cluster's default",
        ge=1,
        le=10,
    )
    kafka: dict[str, SecretStr] = _setting(
        "KAFKA_…",
        "Further Kafka client settings by their librdkafka names, dots as underscores.",
        "a librdkafka setting such as APOLLO_KAFKA_SECURITY_PROTOCOL",
        shown="unset",
        default_factory=dict,
    )
    jambonz_url: Annotated[str, AfterValidator(values.jambonz_url)] | None = _setting(
        "JAMBONZ_URL",
        "The calls API of jambonz or of a RotaryRouter; unset, `up` starts a RotaryRouter.",
        "an http or https address ending in /v1, such as https://jambonz.example.com/api/v1",
        shown="unset = RotaryRouter of `up`",
    )
    jambonz_account_sid: _Sid | None = _setting(
        "JAMBONZ_ACCOUNT_SID", "The account at jambonz that places the calls.", _A_SID
    )
    jambonz_api_key: SecretStr | None = _setting(
        "JAMBONZ_API_KEY", "An API key of that account.", _TEXT
    )
    jambonz_webhook_secret: SecretStr | None = _setting(
        "JAMBONZ_WEBHOOK_SECRET", "The secret that account signs its webhooks with.", _TEXT
    )
    default_call_hook: _HookUrl | None = _setting(
        "DEFAULT_CALL_HOOK",
        "The call hook of agents that are not registered.",
        _A_HOOK,
        shown="unset; `up` uses RotaryRouter's",
        repr=False,  # its query often holds a key
    )
    default_application_sid: _Sid | None = _setting(
        "DEFAULT_APPLICATION_SID",
        "The provider's application for agents that are not registered, instead of a call hook.",
        _A_SID,
    )
    speech_synthesis: Annotated[str, values.parts(3)] = _setting(
        "SPEECH_SYNTHESIS",
        "Vendor, language and voice that speak to the person, sent beside a call hook.",
        "vendor,language,voice, such as google,en-US,en-US-Standard-C",
        "google,en-US,en-US-Standard-C",
    )
    speech_recognizer: Annotated[str, values.parts(2)] = _setting(
        "SPEECH_RECOGNIZER",
        "Vendor and language that understand the person, sent beside a call hook.",
        "vendor,language, such as google,en-US",
        "google,en-US",
    )
    url: _BaseUrl = _setting(
        "URL",
        "The API the CLI talks to.",
        _A_BASE,
        shown="http://HOST:PORT",
        default_factory=values.local_url,
    )
    token: SecretStr | None = _setting("TOKEN", "The token the CLI shows there.", _TEXT)
    ring_timeout_s: _Seconds = _setting(
        "RING_TIMEOUT", "How long a phone rings.", _WHOLE_SECONDS, 30, shown="30s"
    )
    time_limit_s: _Seconds = _setting(
        "TIME_LIMIT", "How long a call may last.", _WHOLE_SECONDS, 1800, shown="30m"
    )
    calls_per_second: float | None = _setting(
        "CALLS_PER_SECOND",
        "The most calls placed a second at one provider, over all workers.",
        "a number above 0, such as 5 or 0.5",
        shown="unset = no cap",
        gt=0,
        allow_inf_nan=False,
    )
    number_gap: Annotated[timedelta, BeforeValidator(values.gap)] = _setting(
        "NUMBER_GAP",
        "The least time between two calls to one number out of different batches, and before a"
        " follow-up, unless a campaign has a `number_gap_minutes` of its own; 0 is none.",
        "a duration of at most a day such as 30s, 10m or 1h, or 0",
        timedelta(minutes=15),
        shown="15m",
        le=timedelta(days=1),
    )
    stuck_after: _Duration = _setting(
        "STUCK_AFTER",
        "How long a batch may stand still before `/debug` calls it stuck.",
        _A_DURATION,
        timedelta(minutes=30),
        shown="30m",
    )
    quarantine: _Duration = _setting(
        "QUARANTINE",
        "How long a call of unknown fate is looked for before it is given up.",
        "a duration of at least 120s, such as 10m",
        timedelta(minutes=10),
        shown="10m",
        ge=_QUARANTINE_MIN,
    )
    on_unresolved: Literal["hold", "release"] = _setting(
        "ON_UNRESOLVED",
        "Whether a contact whose call was never found is held for a person or dialled again.",
        "hold or release",
        "hold",
    )
    keep_events: _Duration = _setting(
        "KEEP_EVENTS",
        "How long the provider's events are kept as they came; what they led to is kept for ever.",
        "a duration of at least 1h, such as 30d",
        timedelta(days=30),
        shown="30d",
        ge=_EVENTS_MIN,
    )
    result_secret: SecretStr | None = _setting(
        "RESULT_SECRET",
        "A secret that signs results of every call; each call's own key signs that call's anyway.",
        _TEXT,
        shown="unset",
    )
    log: Literal["text", "json"] | None = _setting(
        "LOG",
        "How log lines are written.",
        "text or json",
        shown="text on a terminal, else json",
    )
    webhook_url: _StatusUrl | None = _setting(
        "WEBHOOK_URL",
        "RotaryRouter: where status webhooks go, whatever the request says.",
        "an http or https address, such as http://127.0.0.1:8000/webhooks/call-status",
    )
    rotary_host: str = _setting(
        "ROTARY_HOST",
        "RotaryRouter: the address it listens on; its pages show whole numbers and ask for no key.",
        "an address of this machine, such as 127.0.0.1 or 0.0.0.0",
        "127.0.0.1",
        pattern=r"^[\w.:-]+$",
    )
    rotary_port: int = _setting(
        "ROTARY_PORT", "RotaryRouter: the port it listens on.", _A_PORT, 9000, ge=1, le=65535
    )
    rotary_api_key: SecretStr | None = _setting(
        "ROTARY_API_KEY", "RotaryRouter: the API key it asks for.", _TEXT
    )
    rotary_webhook_secret: SecretStr | None = _setting(
        "ROTARY_WEBHOOK_SECRET", "RotaryRouter: the secret it signs its webhooks with.", _TEXT
    )
    rotary_scenario: FilePath | None = _setting(
        "ROTARY_SCENARIO",
        "RotaryRouter: a file that says who answers and what goes wrong.",
        "a file that is there",
    )
    rotary_seed: int | None = _setting(
        "ROTARY_SEED",
        "RotaryRouter: makes its people and faults repeatable.",
        "a whole number, such as 42",
    )

    def kafka_client(self) -> dict[str, str]:
        """What the Kafka client is made with, passwords in the clear; empty without Kafka."""
        if self.kafka_bootstrap_servers is None:
            return {}
        further = {name: secret.get_secret_value() for name, secret in self.kafka.items()}
        return {"bootstrap.servers": self.kafka_bootstrap_servers, **further}

    def kafka_topics(self) -> tuple[int, int | None]:
        """Partitions and replicas of topics that Apollo creates; None: the cluster's default."""
        return self.kafka_partitions, self.kafka_replication


def load(environ: Mapping[str, str]) -> Settings:
    """Read the settings from `environ`; raises Misconfigured with a line for every fault.

    An empty value counts as unset, since compose files pass on what they do not have that way.
    """
    stripped = {name: value.strip() for name, value in environ.items() if name.startswith(_PREFIX)}
    given = {name: value for name, value in stripped.items() if value}
    faults = _clashes(given)
    values: dict[str, object] = {}
    kafka: dict[str, str] = {}
    for name, value in given.items():
        if name in _BY_NAME:
            values[name] = value
        elif name.startswith(_KAFKA_PREFIX):
            kafka[name.removeprefix(_KAFKA_PREFIX).lower().replace("_", ".")] = value
        else:
            faults.append(_unknown(name))
    try:
        settings = Settings.model_validate({**values, _KAFKA_PREFIX + "…": kafka})
    except ValidationError as wrong:
        # A default that hangs on a wrong setting is reported by the field, not by a given name.
        at_fault = {str(error["loc"][0]) for error in wrong.errors()} & given.keys()
        faults += [_not_right(name, given[name]) for name in at_fault]
        raise Misconfigured(sorted(faults)) from None  # pydantic's own text may show a value
    if faults:
        raise Misconfigured(sorted(faults))
    return settings


def settings_table() -> list[tuple[str, str, str]]:
    """Name, default and sentence of every setting, in the order of the documentation."""
    return [
        (name, str(extra["shown"]), str(field.description))
        for name, field in _BY_NAME.items()
        if isinstance(extra := field.json_schema_extra, dict)
    ]


_BY_NAME: Final = {str(field.alias): field for field in Settings.model_fields.values()}


def _not_right(name: str, value: str) -> str:
    extra = _BY_NAME[name].json_schema_extra
    right = extra["right"] if isinstance(extra, dict) else ""
    if name == "APOLLO_PORT" and value.startswith("tcp://"):
        return _unknown("APOLLO_PORT_")
    # Addresses may hold a password or a key; the others are shown, to be found again.
    private = re.search("URL|HOOK|SECRET|KEY|TOKEN|KAFKA", name)
    return f"{name}: {'its value' if private else repr(value)} is not {right}"


def _unknown(name: str) -> str:
    if re.match(r"APOLLO_(SERVICE_(HOST|PORT)|PORT_)", name):
        return (
            f"{name.rstrip('_')}: set by Kubernetes, because a service is called apollo; set"
            " enableServiceLinks: false on the pod, or give the service another name"
        )
    near = difflib.get_close_matches(name, _BY_NAME, n=1)
    return (
        f"{name}: there is no such setting; {f'did you mean {near[0]}?' if near else 'remove it'}"
    )


def _clashes(given: Mapping[str, str]) -> list[str]:
    """Settings that are right by themselves and wrong together."""
    faults = []
    account = (
        "APOLLO_JAMBONZ_ACCOUNT_SID",
        "APOLLO_JAMBONZ_API_KEY",
        "APOLLO_JAMBONZ_WEBHOOK_SECRET",
    )
    missing = [name for name in account if name not in given]
    if "APOLLO_JAMBONZ_URL" in given:
        faults += [f"{name}: unset, but APOLLO_JAMBONZ_URL needs it; set it" for name in missing]
    elif len(missing) < len(account):
        faults.append(
            "APOLLO_JAMBONZ_URL: unset, but its account is given; set it to the base of the calls"
            " API, ending in /v1, or remove the account"
        )
    if "APOLLO_DEFAULT_CALL_HOOK" in given and "APOLLO_DEFAULT_APPLICATION_SID" in given:
        faults.append(
            "APOLLO_DEFAULT_APPLICATION_SID: the provider would ignore APOLLO_DEFAULT_CALL_HOOK;"
            " remove one of the two"
        )
    kafka = [name for name in given if name.startswith(_KAFKA_PREFIX)]
    if kafka and "APOLLO_KAFKA_BOOTSTRAP_SERVERS" not in given:
        faults.append(
            f"APOLLO_KAFKA_BOOTSTRAP_SERVERS: unset, but {', '.join(sorted(kafka))} is given;"
            " set it to host:port, or remove the others"
        )
    return faults
