"""The log: one event, one line, and nothing in it that a log must not hold.

Owns how every line of our processes looks, those of libraries included. It must never let a whole
phone number, a token or a password through, wherever in an event it stands.
"""

import logging
import os
import re
from collections.abc import Mapping
from typing import Final, Literal, TextIO

import msgspec
import structlog
from structlog.typing import EventDict, Processor

# A plus (also percent-encoded, or as 00) and 7 to 15 digits, as people and URLs write them.
_INTERNATIONAL: Final = r"(?:\+|%2[Bb]|\b00)\(?\d(?:[ ().-]{0,2}\d){6,14}"
# Ten to fifteen bare digits: a number without its plus. Not the last group of a UUID, no fraction.
_BARE: Final = r"(?<![0-9A-Za-z.])(?<![0-9a-f]{4}-)\d{10,15}(?![0-9A-Za-z]|\.\d)"
# 415-555-2671 and (415) 555-2671.
_NATIONAL: Final = r"(?<![\w.-])\(?\d{3}\)?[ .-]{1,2}\d{3}[ .-]\d{4}(?![\w.-])"
_PHONE_NUMBER: Final = re.compile(f"{_INTERNATIONAL}|{_BARE}|{_NATIONAL}")
_SECRETS: Final = (
    (re.compile(r"gat_[0-9A-Za-z]+"), "gat_…"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]+"), r"\1 …"),
    (re.compile(r"(://[^\s:/@]*):[^\s/@]+@"), r"\1:…@"),
)
# What every pattern above has in common. Most texts of a log (states, ids, names) have nothing of
# it, and one look is a quarter of the price of four.
_SUSPICIOUS: Final = re.compile(r"\d(?:[ ().-]{0,3}\d){6}|gat_|(?i:bearer|basic)|://")
_SHOWN_FIRST: Final = 4  # country and area: enough to see whose rules apply
_SHOWN_LAST: Final = 2  # enough to tell two numbers of one list apart
_HIDDEN_MIN: Final = 4  # ten thousand guesses: a short number shows less of its beginning


def masked(text: str) -> str:
    """The text with `+1415•••••71` for every phone number, and `…` for every secret."""
    if _SUSPICIOUS.search(text) is None:
        return text
    for secret, instead in _SECRETS:
        text = secret.sub(instead, text)
    return _PHONE_NUMBER.sub(_mask_number, text)


def configure_logging(log_format: Literal["text", "json"] | None, stream: TextIO) -> None:
    """Send every log line of this process to `stream`; None is text on a terminal, else JSON."""
    terminal = stream.isatty()
    as_text = log_format == "text" or (log_format is None and terminal)
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
    ]
    rendered: list[Processor] = [_as_json]
    if as_text:
        colours = terminal and not os.environ.get("NO_COLOR")
        rendered = [_one_line, structlog.dev.ConsoleRenderer(colors=colours, timestamp_key="at")]
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                _mask_event,
                *rendered,
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def _as_json(_logger: object, _method: str, event: EventDict) -> str:
    return msgspec.json.encode(event).decode()


def _mask_event(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Mask every text in the event, however deep; what is no plain value becomes text first."""
    return {key: _masked_value(value) for key, value in event.items()}


def _masked_value(value: object) -> object:
    match value:
        case None | bool() | int() | float():
            return value
        case Mapping():
            return {masked(str(key)): _masked_value(part) for key, part in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_masked_value(part) for part in value]
        case _:
            return masked(str(value))


def _one_line(_logger: object, _method: str, event: EventDict) -> EventDict:
    """A line break in a text would let a caller forge an event; only a traceback has lines."""
    event["event"] = str(event["event"]).replace("\r", "\\r").replace("\n", "\\n")
    if "exception" in event:
        # Indented, so that none of them can be taken for an event.
        event["exception"] = "    " + str(event["exception"]).replace("\n", "\n    ")
    return event


def _mask_number(found: re.Match[str]) -> str:
    digits = re.sub(r"\D", "", found[0].replace("%2B", "").replace("%2b", ""))
    plus = "" if found[0][0].isdigit() or found[0][0] == "(" else "+"
    first = max(1, min(_SHOWN_FIRST, len(digits) - _SHOWN_LAST - _HIDDEN_MIN))
    hidden = len(digits) - first - _SHOWN_LAST
    return f"{plus}{digits[:first]}{'•' * hidden}{digits[-_SHOWN_LAST:]}"
