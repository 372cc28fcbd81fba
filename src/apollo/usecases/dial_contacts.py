"""Takes contacts and places their calls: claim and commit, then ask the provider once, then record.

PostgreSQL decides; the intent is committed before the request; a request is sent once; what may
have happened is never repeated before it is known.
"""

import asyncio
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import lru_cache
from random import Random
from typing import Any, Final

import msgspec
import structlog

from apollo.core import ids
from apollo.core.agent_keys import agent_key
from apollo.core.breaker import Breaker
from apollo.core.eligibility import (
    CampaignFacts,
    Wait,
    choose_caller_ids,
    may_dial,
    share_slots,
)
from apollo.core.events import (
    CallAccepted,
    CallEvent,
    Evidence,
    NumberRefused,
    RequestLost,
    RequestNotPlaced,
)
from apollo.core.longest import Longest
from apollo.core.model import NumberStrategy
from apollo.core.reasons import Reason
from apollo.core.states import Off
from apollo.core.windows import Window, WorkingHours, parse_working_hours
from apollo.errors import DriverError, NotPlaced, OutcomeUnknown, WillNeverWork
from apollo.ports import AgentRoute, Clock, DialRequest, TelephonyDriver
from apollo.storage import calls as calls_storage
from apollo.storage import dialling as storage
from apollo.storage.database import Connection, Database
from apollo.storage.dialling import ClaimedCall, Loads, LockedCampaign
from apollo.usecases.carrier_gates import GatesOfClaim
from apollo.usecases.detect_restore import OtherDatabase
from apollo.usecases.grant_requests import BudgetSeen, Granted, GrantRequests

_log = structlog.get_logger("apollo.dial")

# Who claimed a call and says nothing for this long is gone; its calls become `unknown`.
LEASE: Final = timedelta(seconds=30)
# A request leaves within this long of the claim or not at all: a paused process must not wake up
# and dial into a window, a pause or a cancel that came meanwhile.
SEND_WITHIN_S: Final = 2.0
# Nor later than this, whatever else holds: the claim's facts are stale by then.
_DIAL_WITHIN: Final = timedelta(seconds=45)
# The same refusal for three numbers is not about the numbers.
_REFUSALS_THAT_PAUSE: Final = 3


@dataclass(frozen=True, slots=True)
class DialSettings:
    """What every call is placed with."""

    ring_timeout: timedelta
    time_limit: timedelta
    calls_per_second: float | None
    default_route: AgentRoute | None
    agent_key_secret: bytes
    # Between calls to one number out of different batches, unless a campaign has its own.
    number_gap: timedelta


@dataclass(frozen=True, slots=True)
class ToPlace:
    """A claimed call and everything its one request needs. Times are monotonic seconds."""

    call: ClaimedCall
    request: DialRequest
    send_before: float
    not_before: float


@dataclass(frozen=True, slots=True)
class Claimed:
    """What a claim took; `wait` when nobody may be dialled, `has_more` when more could be."""

    calls: list[ToPlace]
    wait: Wait | None = None
    wait_s: float | None = None
    has_more: bool = False
    # Whose campaign it is; empty when nobody was taken.
    organization_id: str = ""


class DialContacts:
    """Claims contacts of a campaign and places their calls."""

    def __init__(
        self,
        *,
        db: Database,
        driver: TelephonyDriver,
        clock: Clock,
        settings: DialSettings,
        worker_id: uuid.UUID,
        random: Random,
    ) -> None:
        self._db = db
        self._driver = driver
        self._clock = clock
        self._settings = settings
        self._worker_id = worker_id
        self._random = random
        self.breaker = Breaker()
        self._requests = GrantRequests(driver, clock, settings.calls_per_second)
        self._under_way = 0
        # The one that was compared with the provider; None: whichever answers.
        self.database: str | None = None
        self._refusals: dict[uuid.UUID, int] = {}
        # How long the database took for each claim.
        self.claim_times = Longest()

    # -------------------------------------------------------------------------------- claim

    async def claim(self, campaign_id: uuid.UUID, request_slots: int) -> Claimed:
        """Take as many contacts as slots, limits and pace allow, and commit the intents.

        Raises Stale when the campaign stays locked or a number was called meanwhile, Unavailable
        without the database, and OtherDatabase when this one may lack calls.
        """
        asked_at = self._clock.monotonic()
        async with self._db.transaction(timed=self.claim_times) as connection:
            campaign = await storage.lock_campaign(connection, campaign_id)
            if campaign is None:
                return Claimed([])
            if self.database not in {None, campaign.database_identity}:
                raise OtherDatabase
            verdict = may_dial(_facts(campaign), campaign.read_at)
            if isinstance(verdict, Wait):
                return Claimed([], verdict, _seconds_until(verdict.until, campaign.read_at))
            if self.breaker.is_shut:
                return Claimed([], has_more=True)
            gates = await GatesOfClaim.read(connection, campaign, self._driver.provider)
            held = self._closing_soon(campaign, verdict.window) or gates.wait
            if held is not None:
                return Claimed([], held, _seconds_until(held.until, campaign.read_at))
            loads = gates.let_through(await storage.read_loads(connection, campaign, request_slots))
            slots = min(request_slots, gates.slots)
            free = min(slots, campaign.concurrency_limit - loads.open_calls)
            shares = share_slots(loads.batches, free)
            granted = await self._requests.grant(
                connection, shares, risk=self.breaker.risk(self._clock.monotonic())
            )
            shares, again_s = granted.shares, granted.again_s
            if not shares:
                again_s = again_s or _seconds_until(gates.again_at, campaign.read_at)
                return Claimed(
                    [], gates.wait_for_batches, wait_s=again_s, has_more=again_s is not None
                )
            taken = await self._take(connection, campaign, verdict.window, shares, loads)
            # Last, as whoever records the end of a call locks contacts before gates.
            await gates.note(connection, taken)
        has_more = not gates.is_one and (
            len(taken) == slots or _skipped_some(loads, shares, len(taken))
        )
        placed = self._to_place(campaign, verdict.window, taken, asked_at, granted)
        owner = campaign.organization_id
        return Claimed(placed, wait_s=again_s, has_more=has_more, organization_id=owner)

    def _closing_soon(self, campaign: LockedCampaign, window: Window) -> Wait | None:
        """A phone must not still ring when the window closes: then wait for the next one."""
        if campaign.read_at < window.closes_at - self._settings.ring_timeout:
            return None
        coming = _facts(campaign).working_hours.next_window(window.closes_at)
        return Wait(Reason.OUTSIDE_WINDOW, coming.opens_at if coming else None)

    async def _take(
        self,
        connection: Connection,
        campaign: LockedCampaign,
        window: Window,
        shares: Sequence[tuple[uuid.UUID, int]],
        loads: Loads,
    ) -> list[ClaimedCall]:
        by_caller_id: Mapping[str, int] = {}
        if campaign.strategy is NumberStrategy.LEAST_LOADED:
            by_caller_id = await storage.read_caller_id_loads(connection, campaign.id)
        caller_ids = choose_caller_ids(
            campaign.strategy,
            campaign.phone_numbers,
            count=sum(take for _, take in shares),
            used=campaign.caller_ids_used,
            loads=by_caller_id,
            random=self._random,
        )
        own_gap = campaign.number_gap
        return await storage.claim_contacts(
            connection,
            campaign,
            window=window,
            shares=shares,
            loads=loads,
            caller_ids=caller_ids,
            provider=self._driver.provider,
            worker_id=self._worker_id,
            lease=LEASE,
            ring_timeout=self._settings.ring_timeout,
            number_gap=own_gap if own_gap is not None else self._settings.number_gap,
        )

    def _to_place(
        self,
        campaign: LockedCampaign,
        window: Window,
        taken: Sequence[ClaimedCall],
        asked_at: float,
        granted: Granted,
    ) -> list[ToPlace]:
        route = campaign.route or self._settings.default_route or AgentRoute()
        left = min(_DIAL_WITHIN, window.closes_at - self._settings.ring_timeout - campaign.read_at)
        send_before = asked_at + min(SEND_WITHIN_S, left.total_seconds())
        return [
            ToPlace(
                call=call,
                request=self._request(call, route, campaign),
                send_before=send_before,
                not_before=asked_at + granted.delay_s + n * granted.step_s,
            )
            for n, call in enumerate(taken)
        ]

    def _request(
        self, call: ClaimedCall, route: AgentRoute, campaign: LockedCampaign
    ) -> DialRequest:
        execution_id = ids.execution_id(call.id)
        default = self._settings.default_route
        if default is not None:
            route = replace(
                route,
                speech_synthesis=route.speech_synthesis or default.speech_synthesis,
                speech_recognizer=route.speech_recognizer or default.speech_recognizer,
            )
        return DialRequest(
            execution_id=execution_id,
            to=call.phone_number,
            from_number=call.from_number,
            route=route,
            agent_key=agent_key(self._settings.agent_key_secret, execution_id),
            ring_timeout_s=int(self._settings.ring_timeout.total_seconds()),
            time_limit_s=int(self._settings.time_limit.total_seconds()),
            detects_machines=campaign.detects_machines,
        )

    async def find_unsent(self, told_until: datetime | None) -> list[uuid.UUID]:
        """Find what was claimed here while the answer to the commit was lost.

        `told_until` is when the last call was claimed of which an answer told, by the database's
        clock. Not to be called during a claim.
        """
        async with self._db.connection() as connection:
            return await storage.find_unsent_claims(connection, self._worker_id, told_until)

    # -------------------------------------------------------------------------------- place

    async def place(self, job: ToPlace) -> CallEvent:
        """Ask the provider once; gives what that proves. Never raises a driver's error."""
        early = job.not_before - self._clock.monotonic()
        if early > 0:
            await asyncio.sleep(early)
        now = self._clock.monotonic()
        if now >= job.send_before:
            # If this was to be the probe, another one may be.
            self.breaker.give_back()
            return self._not_sent("sent_too_late")
        if self.breaker.is_shut:
            # Calls claimed in one set: the first answers already said that the rest is in vain.
            return self._not_sent(self.breaker.cause)
        risk = self.breaker.risk(now)
        if risk is not None and self._under_way >= risk:
            self.breaker.give_back()
            return self._not_sent("provider_unsure")
        self._under_way += 1
        try:
            placed = await self._driver.place(job.request)
        except DriverError as error:
            return self._failed(job.call, error)
        finally:
            self._under_way -= 1
        self.breaker.succeeded(self._clock.monotonic())
        self._refusals.pop(job.call.contact.batch_id, None)
        return CallAccepted(
            at=self._clock.now(),
            evidence=Evidence.REPLY,
            provider_call_id=placed.provider_call_id,
            sip_call_id=placed.sip_call_id,
        )

    @property
    def budget(self) -> BudgetSeen | None:
        """Give the provider's request budget as the last claim saw it."""
        return self._requests.budget

    def note(self, event: CallEvent, off: Off | None) -> None:
        """Hear what became of a recorded answer: a webhook may have shown the call meanwhile."""
        if isinstance(event, RequestLost) and off is Off.REPEAT:
            self.breaker.succeeded(self._clock.monotonic())

    def _not_sent(self, reason: str) -> RequestNotPlaced:
        return RequestNotPlaced(at=self._clock.now(), evidence=Evidence.REPLY, reason=reason)

    def _failed(self, call: ClaimedCall, error: DriverError) -> CallEvent:
        at, now, text = self._clock.now(), self._clock.monotonic(), str(error)
        _log.warning(
            "request.failed",
            execution_id=ids.execution_id(call.id),
            contact_id=ids.contact_id(call.contact),
            batch_id=ids.batch_id(call.contact.batch_id),
            cause=error.cause,
            status=error.status,
            error=text,
        )
        match error:
            case NotPlaced(cause="unauthorised"):
                self.breaker.refused(now, text)
            case NotPlaced(cause="rate_limited"):
                self.breaker.told_to_wait(now, error.retry_after_s, text)
            case WillNeverWork():
                self.breaker.answered(now, error.cause)
                if error.cause == "number":
                    return NumberRefused(at=at, evidence=Evidence.REPLY, reason="bad_number")
                batch_id = call.contact.batch_id
                self._refusals[batch_id] = self._refusals.get(batch_id, 0) + 1
                return RequestNotPlaced(
                    at=at, evidence=Evidence.REPLY, reason=text, is_permanent=True
                )
            case OutcomeUnknown():
                self.breaker.failed(now, error.cause, text)
                return RequestLost(at=at, evidence=Evidence.REPLY, reason=error.cause)
            case _:
                self.breaker.failed(now, error.cause, text)
        return RequestNotPlaced(at=at, evidence=Evidence.REPLY, reason=error.cause)

    async def pause_if_refused(self, batch_id: uuid.UUID, event: CallEvent) -> None:
        """Pause a batch whose requests the provider refuses one after the other, whoever is called.

        Called before the refusal is recorded, so that the contact it gives back is not taken again.
        """
        refused = isinstance(event, RequestNotPlaced) and event.is_permanent
        if not refused or self._refusals.get(batch_id, 0) < _REFUSALS_THAT_PAUSE:
            return
        reason = {"code": Reason.BAD_REQUEST_EVERYWHERE.value, "text": getattr(event, "reason", "")}
        async with self._db.transaction() as connection:
            await calls_storage.pause_refused_batch(connection, batch_id, reason, event.at)
        self._refusals.pop(batch_id, None)
        _log.error("batch.paused_by_apollo", batch_id=ids.batch_id(batch_id), **reason)


def _facts(campaign: LockedCampaign) -> CampaignFacts:
    return CampaignFacts(
        is_stopped=campaign.is_stopped,
        is_recovering=campaign.is_recovering,
        is_cancelled=campaign.is_cancelled,
        is_paused=campaign.is_paused,
        working_hours=_hours(
            msgspec.json.encode(campaign.working_hours),
            campaign.working_hours_enforced,
            campaign.timezone,
        ),
    )


@lru_cache(maxsize=1024)
def _hours(table: bytes, enforced: bool, timezone: str) -> WorkingHours:
    """Parse a campaign's hours once; the table is its own cache key."""
    decoded: dict[str, Any] | None = msgspec.json.decode(table)
    return parse_working_hours(decoded or {}, enforced=enforced, timezone=timezone)


def _seconds_until(until: datetime | None, now: datetime) -> float | None:
    return None if until is None else max((until - now).total_seconds(), 0.0)


def _skipped_some(loads: Loads, shares: Sequence[tuple[uuid.UUID, int]], taken: int) -> bool:
    """Tell whether slots stayed free because numbers were parked: others may take them now."""
    asked = sum(take for _, take in shares)
    return taken < asked < sum(load.ready for load in loads.batches)
