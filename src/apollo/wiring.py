"""The only module that knows every concrete class: turns settings into parts, and parts into
processes. Must hold no rule; what it does is name things and put them together.
"""

import asyncio
import contextlib
import os
import secrets
import signal
import socket
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import SystemRandom
from time import monotonic
from typing import Any

import structlog
import uvicorn
import uvloop

from apollo import __version__, embedded
from apollo.bus.postgres import PostgresBus
from apollo.config import Settings
from apollo.core.model import Deadlines, OnUnresolved
from apollo.errors import Misconfigured
from apollo.ports import AgentRoute, Bus, Clock, TelephonyDriver
from apollo.rotary import RotarySettings
from apollo.rotary import serve as serve_rotary
from apollo.storage.database import Database, migrate
from apollo.storage.heartbeats import Process
from apollo.telephony.jambonz import JambonzDriver
from apollo.usecases.advance_time import AdvanceTime
from apollo.usecases.beat import Heartbeat
from apollo.usecases.dial_contacts import DialContacts, DialSettings
from apollo.usecases.reconcile_calls import ReconcileCalls
from apollo.usecases.record_call_events import RecordCallEvents
from apollo.usecases.record_call_result import RecordCallResult
from apollo.web.callbacks import Callbacks
from apollo.worker import Worker

_log = structlog.get_logger("apollo")


class SystemClock:
    """The real clock."""

    def now(self) -> datetime:
        """Give the wall time."""
        return datetime.now(UTC)  # noqa: TID251 - this is the clock port

    def monotonic(self) -> float:
        """Give seconds that never jump."""
        return monotonic()


def database_url(settings: Settings) -> str:
    """Name the database: the operator's own, or the embedded one, which is started if need be."""
    if settings.database_url is not None:
        return settings.database_url.get_secret_value()
    return embedded.ensure_running(settings.data_dir)


def make_driver(settings: Settings, clock: Clock) -> JambonzDriver:
    """Make the driver of the configured provider. Raises Misconfigured when none is."""
    url, sid = settings.jambonz_url, settings.jambonz_account_sid
    key, secret = settings.jambonz_api_key, settings.jambonz_webhook_secret
    if url is None or sid is None or key is None or secret is None:
        mend = "set it to a jambonz or a RotaryRouter, or use `apollo up`, which brings one"
        raise Misconfigured([f"APOLLO_JAMBONZ_URL: not set, so no call could be placed; {mend}"])
    return JambonzDriver(
        base_url=url,
        account_sid=sid,
        api_key=key.get_secret_value(),
        webhook_secret=secret.get_secret_value(),
        public_url=settings.public_url,
        clock=clock,
    )


def default_route(settings: Settings) -> AgentRoute | None:
    """Say how agents that are not registered are reached, if the settings name a way."""
    if settings.default_call_hook is None and settings.default_application_sid is None:
        return None
    return AgentRoute(
        call_hook=settings.default_call_hook,
        application_sid=settings.default_application_sid,
        speech_synthesis=settings.speech_synthesis,
        speech_recognizer=settings.speech_recognizer,
    )


def deadlines(settings: Settings) -> Deadlines:
    """Give how long each state of a call may last."""
    return Deadlines(
        ring_timeout=timedelta(seconds=settings.ring_timeout_s),
        time_limit=timedelta(seconds=settings.time_limit_s),
        quarantine=settings.quarantine,
        on_unresolved=OnUnresolved(settings.on_unresolved),
    )
