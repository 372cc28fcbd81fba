"""A process's connection to the simulated provider: the telephony port, as the driver keeps it.

Turns the provider's fate of a request into exactly the errors that `telephony.jambonz` would
raise. Reads webhooks with the real reader. Must never send a request twice.
"""

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime

from tests.simulation.loop import Process
from tests.simulation.provider import Provider

from apollo.errors import DriverError, NotPlaced, OutcomeUnknown, WillNeverWork
from apollo.ports import DialRequest, HangUpAnswer, LiveCall, Placed, RateLimit, StatusEvent
from apollo.telephony.jambonz import webhooks

# The driver's own total timeout.
TIMEOUT_S = 15.0


class SimDriver:
    """A `ports.TelephonyDriver` for the simulated provider."""

    provider = "sim"

    @property
    def rate_limit(self) -> RateLimit | None:
        """Tell what is left of the request budget."""
        left = self._provider.budget.left(self._provider.loop.time())
        return None if left is None else RateLimit(*left)

    status_hook_url = "https://apollo.test/webhooks/call-status"

    def __init__(self, provider: Provider, process: Process) -> None:
        self._provider = provider
        self._process = process
        self._weather = provider.weather

    async def place(self, request: DialRequest) -> Placed:
        """Send the request once."""
        if self._provider.is_away:
            await self._provider.loop.nap(0.01)
            raise NotPlaced("no connection", cause="connect")
        self._take_budget()
        if not self._provider.has_key_store:
            await self._provider.loop.nap(0.01)
            raise NotPlaced("500 connect ECONNREFUSED", status=500, cause="store_down")
        if not self._provider.has_feature_server:
            await self._provider.loop.nap(0.01)
            raise OutcomeUnknown("500 fetch failed", status=500, cause="server_error")
        fault, away = self._weather.request_fault(), not self._provider.has_call_store
        reply: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        self._provider.take(request, fault, reply)
        await self._process.step()
        sid = None
        try:
            async with asyncio.timeout(TIMEOUT_S):
                sid = await reply
        except TimeoutError:
            raise OutcomeUnknown("no answer", cause="timeout") from None
        finally:
            reply.cancel()
        await self._process.step()
        if away:
            raise NotPlaced("480", status=480, cause="no_capacity")
        if fault == "created_without_body":
            return Placed(None, None)
        refusal = _refusal(fault)
        if refusal is not None:
            raise refusal
        return Placed(sid, f"sip-{sid}")

    async def hang_up(self, provider_call_id: str, *, was_answered: bool) -> HangUpAnswer:
        """End a call; returns what the provider said to that."""
        del was_answered
        await self._ask("hang_up_fails")
        call = self._provider.find(provider_call_id)
        if call is None or self._provider.live_record(call) is None:
            return HangUpAnswer.NOT_KNOWN
        if call.ended_at is not None:
            return HangUpAnswer.GONE
        self._provider.later(0.05, self._provider.end, call, 487)
        return HangUpAnswer.ENDED

    async def read_call(self, provider_call_id: str) -> LiveCall | None:
        """Look one call up in the live list."""
        await self._ask("list_fails")
        call = self._provider.find(provider_call_id)
        return None if call is None else self._provider.live_record(call)

    async def list_live(
        self, to: str | None = None, *, keep: Callable[[LiveCall], bool] | None = None
    ) -> list[LiveCall]:
        """List live calls."""
        await self._ask("list_fails")
        calls = [c for c in self._provider.ledger if to is None or c.to == to]
        found = [x for x in map(self._provider.live_record, calls) if x is not None]
        return [x for x in found if keep is None or keep(x)]

    async def list_records(self, since: datetime, *, matching: str | None) -> list[LiveCall]:
        """List call-detail records, newest first."""
        await self._ask("records_fail")
        if not self._provider.has_records:
            raise OutcomeUnknown("there is no record store", status=500, cause="server_error")
        calls = [c for c in self._provider.ledger if matching is None or c.to == matching]
        records = [x for x in map(self._provider.detail_record, calls) if x is not None]
        shown = [r for r in records if r.attempted_at is not None and r.attempted_at >= since]
        return sorted(shown, key=lambda r: r.attempted_at or since, reverse=True)

    async def probe(self) -> None:
        """Ask something harmless."""
        await self._ask("list_fails")

    def verify_status(self, body: bytes, headers: Mapping[str, str]) -> bool:
        """Believe the header that the simulated provider sets."""
        del body
        return headers.get("jambonz-signature") == "good"

    def read_status(self, body: bytes, received_at: datetime) -> StatusEvent:
        """Read a webhook, with the real reader."""
        return webhooks.read_status(body, received_at)

    async def close(self) -> None:
        """Nothing is open."""

    async def _ask(self, fault: str) -> None:
        await self._provider.loop.nap(self._provider.dice.uniform(0.005, 0.05))
        if self._provider.is_away:
            raise NotPlaced("no connection", cause="connect")
        self._take_budget()
        if not self._provider.has_key_store or self._weather.strikes(fault):
            raise OutcomeUnknown("the question failed", status=500, cause="server_error")
        await self._process.step()

    def _take_budget(self) -> None:
        wait_s = self._provider.budget.take(self._provider.loop.time())
        if wait_s is not None:
            raise NotPlaced("429", status=429, cause="rate_limited", retry_after_s=wait_s)


def _refusal(fault: str | None) -> DriverError | None:
    match fault:
        case "refused_connection":
            return NotPlaced("no connection", cause="connect")
        case "answer_500_placed" | "answer_500_not_placed":
            return OutcomeUnknown("500", status=500, cause="server_error")
        case "answer_400_number":
            return WillNeverWork("400", status=400, cause="number")
        case "answer_400_request" | "answer_404":
            return WillNeverWork("400", status=400, cause="request")
        case "answer_401":
            return NotPlaced("401", status=401, cause="unauthorised")
        case "answer_429":
            return NotPlaced("429", status=429, cause="rate_limited", retry_after_s=3.0)
        case "answer_500_store":
            return NotPlaced("500 connect ECONNREFUSED", status=500, cause="store_down")
        case "answer_480":
            return NotPlaced("480", status=480, cause="no_capacity")
    return None
