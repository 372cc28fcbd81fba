"""The log: one event, one line, and nothing in it that a log must not hold.

Owns how every line of our processes looks, those of libraries included. It must never let a whole
phone number, a token or a password through, wherever in an event it stands.
"""

import asyncio
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
# What the patterns above have in common. Most texts of a log (states, ids, names) have nothing of
# it, and one look is a quarter of the price of four.
_DIGITS: Final = re.compile(r"\d[\d ().-]{6}")
_SECRET_WORDS: Final = ("gat_", "bearer", "basic", "://")
_PLAIN: Final = frozenset({str, int, float, bool, type(None)})
_SHOWN_FIRST: Final = 4  # country and area: enough to see whose rules apply
_SHOWN_LAST: Final = 2  # enough to tell two numbers of one list apart
_HIDDEN_MIN: Final = 4  # ten thousand guesses: a short number shows less of its beginning


def masked(text: str) -> str:
    """The text with `+1415•••••71` for every phone number, and `…` for every secret."""
    if not _is_suspicious(text):
        return text
    for secret, instead in _SECRETS:
        text = secret.sub(instead, text)
    return _PHONE_NUMBER.sub(_mask_number, text)


def configure_logging(log_format: Literal["text", "json"] | None, stream: TextIO) -> None:
    """Send every log line of this process to `stream`; None is text on a terminal, else JSON."""
    terminal = stream.isatty()
    as_text = log_format == "text" or (log_format is None and terminal)
    # Dated last: a date looks like a number and would have to be looked at more closely.
    named: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
    ]
    written: list[Processor] = [
        structlog.processors.format_exc_info,
        _mask_event,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
    ]
    if as_text:
        colours = terminal and not os.environ.get("NO_COLOR")
        written += [_one_line, structlog.dev.ConsoleRenderer(colors=colours, timestamp_key="at")]
    else:
        written.append(_as_json)
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=named,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *written],
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)
    # Our own go straight to the stream: by way of `logging` a line costs three times as much.
    outlet = _Outlet(stream)
    structlog.configure(
        processors=[*named, *written],
        logger_factory=lambda name="": _Logger(name, outlet),
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        cache_logger_on_first_use=True,
    )


class _Outlet:
    """The stream of our own lines: those of one turn of the event loop are one write."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lines: list[str] = []

    def add(self, line: str) -> None:
        self._lines.append(f"{line}\n")
        if len(self._lines) > 1:
            return
        try:
            asyncio.get_running_loop().call_soon(self.flush)
        except RuntimeError:
            self.flush()

    def flush(self) -> None:
        lines, self._lines = self._lines, []
        if lines:
            self._stream.write("".join(lines))
            self._stream.flush()


class _Logger:
    """What structlog hands a finished line to."""

    def __init__(self, name: str, outlet: _Outlet) -> None:
        self.name = name
        self.debug = self.info = outlet.add
        self.warning = self.error = self.critical = self._at_once
        self._outlet = outlet

    def _at_once(self, line: str) -> None:
        # Nothing may come after it.
        self._outlet.add(line)
        self._outlet.flush()


def _is_suspicious(text: str) -> bool:
    if _DIGITS.search(text) is not None:
        return True
    lowered = text.lower()
    return any(word in lowered for word in _SECRET_WORDS)


def _as_json(_logger: object, _method: str, event: EventDict) -> str:
    return msgspec.json.encode(event).decode()


def _mask_event(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Mask every text in the event, however deep; what is no plain value becomes text first."""
    values = event.values()
    if _PLAIN.issuperset(map(type, values)) and not _is_suspicious("\n".join(map(str, values))):
        return event
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
