"""The carrier's gates at work: those that a claim must pass, and those that a set of events moves.

It owns no rule: `core.carrier` says what an ending means and `core.lifecycle` what becomes of the
people who were judged before that was known.
"""

import uuid
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from apollo.core.campaign_settings import CONCURRENCY_MAX
from apollo.core.carrier import (
    OPEN,
    Gate,
    Scope,
    ScopeKind,
    ShutGate,
    is_first_sign,
    is_set_ups_fault,
    is_silent_so_far,
    note_carried,
    note_failure,
    note_silent_end,
    pass_through,
    probes_of,
    silent_family,
)
from apollo.core.eligibility import Wait
from apollo.core.events import (
    CallAnswered,
    CallEnded,
    CallEvent,
    CallRinging,
    NumberRefused,
)
from apollo.core.model import Call, Contact
from apollo.core.reasons import Reason
from apollo.core.sip import Family
from apollo.storage import carrier_gates as storage
from apollo.storage.calls import LockedCall
from apollo.storage.database import Connection
from apollo.storage.dialling import ClaimedCall, Loads, LockedCampaign

# What tells something about the carrier, and what may tell that it failed.
_SIGNS: Final = (CallRinging, CallAnswered, CallEnded, NumberRefused)
_FAILURES: Final = (CallEnded, NumberRefused)


class CarrierGates:
    """The gates of the calls in one set of events, under their locks."""

    def __init__(self) -> None:
        self._before: dict[Scope, Gate] = {}
        self._now: dict[Scope, Gate] = {}
        self._campaigns: dict[Scope, uuid.UUID] = {}
        self._under_way: Counter[tuple[ScopeKind, uuid.UUID]] = Counter()
        self._shutting: frozenset[Scope] = frozenset()
        # Calls that were judged before their row was long enough, and the family of its endings.
        self.to_set_back: dict[uuid.UUID, Family] = {}
        # Campaigns that may dial again.
        self.opened: set[uuid.UUID] = set()

    async def read(
        self,
        connection: Connection,
        calls: Mapping[uuid.UUID, LockedCall],
        events: Collection[CallEvent | None],
    ) -> None:
        """Lock the gates that these events may move."""
        if not any(isinstance(event, _SIGNS) for event in events):
            return
        for locked in calls.values():
            self._campaigns.update(dict.fromkeys(_scopes(locked), locked.campaign_id))
        self._before = await storage.lock_gates(connection, self._campaigns)
        self._now = dict(self._before)
        if any(isinstance(event, _FAILURES) and _may_fail(event) for event in events):
            self._under_way.update(await storage.count_under_way(connection, self._campaigns))

    def judge(
        self, locked: LockedCall, event: CallEvent, others: tuple[Call, ...]
    ) -> Family | None:
        """Say in which family a call ends, if that is the set-up's fault and not its number's."""
        family = silent_family(locked.call, event)
        self._shutting = frozenset()
        if family is None:
            return None
        self._shutting = frozenset(
            scope
            for scope in _scopes(locked)
            if is_set_ups_fault(
                self._gate(scope), locked.call, family, others, self._under_way_of(scope)
            )
        )
        return family if self._shutting else None

    def note(
        self, was: LockedCall, event: CallEvent, now: tuple[Call, Contact], contact: Contact
    ) -> None:
        """Note what an event that moved a call showed; `contact` is as it was before."""
        call, moved = now
        family = silent_family(was.call, event)
        is_over = is_silent_so_far(was.call) and not is_silent_so_far(call)
        for scope in _scopes(was):
            if is_over:
                self._under_way[scope.kind, scope.id] -= 1
            gate = self._gate(scope)
            if family is not None:
                shuts = scope in self._shutting
                after = note_silent_end(gate, call, family, event.at, shuts=shuts)
                if shuts and not gate.is_shut:
                    judged = {one.call_id: family for one in after.row if one.call_id != call.id}
                    self.to_set_back.update(judged)
            elif moved.carrier_failures > contact.carrier_failures:
                after = note_failure(gate, call.sip_status, event.at, self._under_way_of(scope))
            elif is_first_sign(was.call, call):
                after = note_carried(gate, event.at)
                if gate.is_shut:
                    self.opened.add(was.campaign_id)
            else:
                continue
            self._now[scope] = after

    async def write(self, connection: Connection) -> None:
        """Write the gates that moved."""
        changed = {s: gate for s, gate in self._now.items() if gate != self._before.get(s, OPEN)}
        if changed:
            await storage.write_gates(connection, changed, self._campaigns)

    def _gate(self, scope: Scope) -> Gate:
        return self._now.get(scope, OPEN)

    def _under_way_of(self, scope: Scope) -> int:
        """Count what is under way beside the call that ends now."""
        return max(self._under_way[scope.kind, scope.id] - 1, 0)


class GatesOfClaim:
    """The shut gates of a campaign and its batches, as one claim meets them."""

    def __init__(self, gates: Sequence[ShutGate], now: datetime) -> None:
        self._gates = gates
        self._now = now
        self._passage = pass_through(gates, now)

    @classmethod
    async def read(
        cls, connection: Connection, campaign: LockedCampaign, provider: str
    ) -> "GatesOfClaim":
        """Read them, under the campaign's lock, if there are any."""
        gates: list[ShutGate] = []
        if campaign.has_shut_gates:
            gates = await storage.read_shut_gates(connection, campaign.id, provider)
        return cls(gates, campaign.read_at)

    @property
    def wait(self) -> Wait | None:
        """Say why and how long the whole campaign waits, if it does."""
        return self._wait() if self._passage.is_none else None

    @property
    def wait_for_batches(self) -> Wait | None:
        """Say why and how long some of its batches wait, if they do."""
        return self._wait() if self._passage.held else None

    @property
    def again_at(self) -> datetime | None:
        """Say when the first held batch may be tried again."""
        return self._passage.again_at if self._passage.held else None

    @property
    def is_one(self) -> bool:
        """Tell whether the whole campaign may send one call, which is its probe."""
        return self._passage.is_one

    @property
    def slots(self) -> int:
        """Say how many calls may leave at the most."""
        return 1 if self._passage.is_one else CONCURRENCY_MAX

    def let_through(self, loads: Loads) -> Loads:
        """Leave out what shut gates hold back."""
        most = self._passage.most
        return Loads(
            [replace(load, ready=most(load.batch_id, load.ready)) for load in loads.batches],
            loads.open_calls,
        )

    async def note(self, connection: Connection, taken: Collection[ClaimedCall]) -> None:
        """Note of which gates a probe leaves with these calls."""
        if self._gates and taken:
            batch_ids = {call.contact.batch_id for call in taken}
            await storage.note_probes(connection, probes_of(self._gates, batch_ids, self._now))

    def _wait(self) -> Wait:
        return Wait(Reason.CARRIER_REJECTS, self._passage.again_at)


def _scopes(locked: LockedCall) -> tuple[Scope, Scope]:
    provider = locked.call.provider
    return (
        Scope(provider, ScopeKind.CAMPAIGN, locked.campaign_id),
        Scope(provider, ScopeKind.BATCH, locked.contact.key.batch_id),
    )


def _may_fail(event: CallEvent) -> bool:
    return (
        not isinstance(event, CallEnded)
        or event.call_status == "failed"
        or (
            event.sip_status == 603  # noqa: PLR2004 - a SIP code is its own name
        )
    )
