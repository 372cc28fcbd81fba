"""What single parts have to know of the settings, in their own words. Must never decide."""

from datetime import timedelta

import apollo
from apollo.config.settings import Settings
from apollo.core.diagnosis.snapshot import Settings as DiagnosisSettings
from apollo.ports import AgentRoute


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


def diagnosis_settings(settings: Settings) -> DiagnosisSettings:
    """Give what the diagnosis has to know of the settings."""
    return DiagnosisSettings(
        stuck_after=settings.stuck_after,
        ring_timeout=timedelta(seconds=settings.ring_timeout_s),
        time_limit=timedelta(seconds=settings.time_limit_s),
        bus_kind="postgres" if settings.kafka_bootstrap_servers is None else "kafka",
        calls_per_second=settings.calls_per_second,
        default_application_sid=settings.default_application_sid or "",
        default_call_hook=settings.default_call_hook or "",
        version=apollo.__version__,
    )
