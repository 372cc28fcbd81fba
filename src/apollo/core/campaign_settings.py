"""What may be written into a campaign, and what a client left out.

Owns every rule about a campaign's fields, so that creating and changing one cannot disagree. Must
never see a clock or a table.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import msgspec

from apollo.core.model import COOLDOWN_MAX, NumberStrategy, RetryStrategy
from apollo.core.numbers import parse_number
from apollo.core.reach import Reach, checked_countries, checked_kinds, reach_of
from apollo.core.windows import parse_working_hours
from apollo.core.zones import check_timezone
from apollo.errors import FieldError, Invalid

CONCURRENCY_DEFAULT: Final = 10
# The schema's own bound: what one claim statement is measured for.
CONCURRENCY_MAX: Final = 10_000
# More attempts at one person are harassment, not persistence.
RETRIES_MAX: Final = 100
# A prompt that asks for another call after each call must come to an end.
FOLLOW_UPS_DEFAULT: Final = 3
FOLLOW_UPS_MAX: Final = 100
# Two lines of a list; longer ones are pasted by mistake.
NAME_MAX: Final = 200
# A claim counts the open calls of each caller id.
PHONE_NUMBERS_MAX: Final = 1000
# Variables travel with each call of the campaign.
OBJECT_BYTES_MAX: Final = 64 * 1024
# More than a person mistypes; an answer is not to be larger than its question.
_UNKNOWN_NAMED_MAX: Final = 10
_COOLDOWN_MAX_MIN: Final = int(COOLDOWN_MAX.total_seconds()) // 60

# No table bounds the hours in which people are called.
NO_CALLING_HOURS: Final = "no_calling_hours"

RETRY_DEFAULTS: Final[Mapping[str, Any]] = {
    "max_retries": 3,
    "strategy": RetryStrategy.FIXED.value,
    "cooldown_minutes": 30,
}


@dataclass(frozen=True, slots=True)
class CampaignSettings:
    """What a client decides about a campaign; the names are those of the API."""

    name: str
    agent_id: str
    phone_numbers: list[str]
    phone_number_strategy: str = NumberStrategy.ROUND_ROBIN.value
    # None: not said, so a table that is given holds.
    working_hours_enforced: bool | None = None
    timezone: str = "UTC"
    working_hours: dict[str, Any] | None = None
    retry_policy: dict[str, Any] = field(default_factory=dict)
    max_follow_ups: int = FOLLOW_UPS_DEFAULT
    # None: the installation's own.
    number_gap_minutes: float | None = None
    # The provider is asked to find out when a machine picks up.
    amd: bool = False
    default_call_variables: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    # None: the countries of the caller ids.
    allowed_countries: list[str] | None = None
    allowed_number_types: list[str] = field(default_factory=list)

    @property
    def reach(self) -> Reach:
        """Whom the campaign may call."""
        return reach_of(self.phone_numbers, self.allowed_countries, self.allowed_number_types)


def checked(settings: CampaignSettings, before: CampaignSettings | None = None) -> CampaignSettings:
    """Return the settings in their stored form. Raises Invalid naming every wrong field at once.

    `before` is what they were, if they are changed: a timezone that was accepted once may stay.
    """
    if settings.working_hours_enforced is None:
        settings = replace(settings, working_hours_enforced=bool(settings.working_hours))
    errors: list[FieldError] = []
    _check_name("name", settings.name, errors)
    _check_name("agent_id", settings.agent_id, errors)
    phone_numbers = _checked_numbers(settings.phone_numbers, errors)
    if settings.phone_number_strategy not in frozenset(NumberStrategy):
        expected = f"use one of {', '.join(NumberStrategy)}"
        errors.append(_fault("phone_number_strategy", f"unknown strategy; {expected}"))
    if before is None or settings.timezone != before.timezone:
        settings = _with_known_zone(settings, errors)
    _check_hours(settings, errors)
    retry_policy = _checked_retry_policy(settings.retry_policy, errors)
    _check_again(settings, errors)
    _check_object("default_call_variables", settings.default_call_variables, errors)
    _check_object("metadata", settings.metadata, errors)
    _check_concurrency(settings.metadata, errors)
    settings = _with_checked_reach(settings, errors)
    if errors:
        raise Invalid(errors)
    return replace(settings, phone_numbers=phone_numbers, retry_policy=retry_policy)


def _fault(name: str, msg: str, *deeper: str | int) -> FieldError:
    return FieldError(("body", name, *deeper), msg)


def _check_name(name: str, value: str, errors: list[FieldError]) -> None:
    if not 1 <= len(value) <= NAME_MAX or not value.strip():
        errors.append(_fault(name, f"must have 1 to {NAME_MAX} characters, not only spaces"))


def _checked_numbers(phone_numbers: list[str], errors: list[FieldError]) -> list[str]:
    if not 1 <= len(phone_numbers) <= PHONE_NUMBERS_MAX:
        msg = f"must hold 1 to {PHONE_NUMBERS_MAX} caller ids, such as +14155550123"
        errors.append(_fault("phone_numbers", msg))
        return []
    read: list[str] = []
    for index, raw in enumerate(phone_numbers):
        try:
            read.append(parse_number(raw))
        except ValueError as wrong:
            errors.append(_fault("phone_numbers", str(wrong), index))
    return list(dict.fromkeys(read))


def _with_checked_reach(settings: CampaignSettings, errors: list[FieldError]) -> CampaignSettings:
    countries, kinds = settings.allowed_countries, settings.allowed_number_types
    try:
        countries = None if countries is None else checked_countries(countries)
    except ValueError as wrong:
        errors.append(_fault("allowed_countries", str(wrong)))
    try:
        kinds = checked_kinds(kinds)
    except ValueError as wrong:
        errors.append(_fault("allowed_number_types", str(wrong)))
    return replace(settings, allowed_countries=countries, allowed_number_types=kinds)


def _with_known_zone(settings: CampaignSettings, errors: list[FieldError]) -> CampaignSettings:
    try:
        check_timezone(settings.timezone)
    except Invalid as unknown:
        errors.extend(unknown.errors)
        # The table's own faults are still wanted.
        return replace(settings, timezone="UTC")
    return settings


def _check_hours(settings: CampaignSettings, errors: list[FieldError]) -> None:
    is_enforced = bool(settings.working_hours_enforced)
    if settings.working_hours is None:
        if is_enforced:
            msg = "working hours are enforced but there are none, so no call could ever be placed"
            errors.append(_fault("working_hours", f"{msg}; give a table or do not enforce it"))
        return
    try:
        parse_working_hours(
            settings.working_hours, enforced=is_enforced, timezone=settings.timezone
        )
    except Invalid as wrong:
        errors.extend(wrong.errors)


def warnings_of(settings: CampaignSettings) -> list[dict[str, str]]:
    """Return what a client should know of checked settings, as `[{code, text}]`; mostly empty."""
    return warnings_of_hours(
        is_enforced=bool(settings.working_hours_enforced), has_table=bool(settings.working_hours)
    )


def warnings_of_hours(*, is_enforced: bool, has_table: bool) -> list[dict[str, str]]:
    """Return `[{code, text}]` where nothing bounds when people are called; else nothing."""
    if is_enforced:
        return []
    how = (
        "working_hours_enforced is false, so the table of working_hours does not hold"
        if has_table
        else "the campaign has no working_hours"
    )
    todo = "To bound them, give working_hours; a table that is given holds"
    if has_table:
        todo = "To bound them, set working_hours_enforced to true"
    text = f"People are called at any hour of the day or night: {how}. {todo}."
    return [{"code": NO_CALLING_HOURS, "text": text}]


def _checked_retry_policy(given: dict[str, Any], errors: list[FieldError]) -> dict[str, Any]:
    policy = dict(RETRY_DEFAULTS) | {k: v for k, v in given.items() if v is not None}
    for unknown in sorted(policy.keys() - RETRY_DEFAULTS.keys())[:_UNKNOWN_NAMED_MAX]:
        known = ", ".join(RETRY_DEFAULTS)
        errors.append(_fault("retry_policy", f"unknown key; it has {known}", unknown))
    retries = policy["max_retries"]
    if type(retries) is not int or not 0 <= retries <= RETRIES_MAX:
        msg = f"must be a whole number from 0 (never retry) to {RETRIES_MAX}"
        errors.append(_fault("retry_policy", msg, "max_retries"))
    if policy["strategy"] not in list(RetryStrategy):
        msg = f"unknown strategy; use one of {', '.join(RetryStrategy)}"
        errors.append(_fault("retry_policy", msg, "strategy"))
    cooldown = policy["cooldown_minutes"]
    is_number = type(cooldown) in {int, float} and math.isfinite(cooldown)
    if not is_number or not 0 <= cooldown <= _COOLDOWN_MAX_MIN:
        msg = f"must be a number from 0 to {_COOLDOWN_MAX_MIN} (24 hours)"
        errors.append(_fault("retry_policy", msg, "cooldown_minutes"))
    return policy


def _check_again(settings: CampaignSettings, errors: list[FieldError]) -> None:
    """Check how often, and how soon again, a person may be called."""
    promised = settings.max_follow_ups
    if type(promised) is not int or not 0 <= promised <= FOLLOW_UPS_MAX:
        msg = f"must be a whole number from 0 (never follow up) to {FOLLOW_UPS_MAX}"
        errors.append(_fault("max_follow_ups", msg))
    gap = settings.number_gap_minutes
    if gap is None:
        return
    is_number = type(gap) in {int, float} and math.isfinite(gap)
    if not is_number or not 0 <= gap <= _COOLDOWN_MAX_MIN:
        msg = f"must be a number from 0 (no gap) to {_COOLDOWN_MAX_MIN} (24 hours)"
        hint = "leave it out for the installation's own"
        errors.append(_fault("number_gap_minutes", f"{msg}; {hint}"))


def _check_object(name: str, value: dict[str, Any], errors: list[FieldError]) -> None:
    if len(msgspec.json.encode(value)) > OBJECT_BYTES_MAX:
        errors.append(_fault(name, f"must be at most {OBJECT_BYTES_MAX // 1024} KiB of JSON"))


def _check_concurrency(metadata: dict[str, Any], errors: list[FieldError]) -> None:
    limit = metadata.get("concurrency_limit")
    if limit is None:
        return
    if type(limit) is not int or not 1 <= limit <= CONCURRENCY_MAX:
        msg = f"must be a whole number from 1 to {CONCURRENCY_MAX}"
        hint = f"leave it out for {CONCURRENCY_DEFAULT}"
        errors.append(_fault("metadata", f"{msg}; {hint}", "concurrency_limit"))
