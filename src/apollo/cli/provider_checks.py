"""What `apollo doctor` looks at in the provider's account. It reads only, and never dials."""

import email.utils
import hmac
from collections.abc import Awaitable
from datetime import timedelta
from typing import Final

from apollo.cli.findings import Finding, State, get, session
from apollo.cli.hints import hint_for
from apollo.config import Settings
from apollo.core.request_budget import Budget, Load, allow
from apollo.errors import DriverError
from apollo.ports import AgentRoute
from apollo.telephony.jambonz import JambonzDriver
from apollo.wiring import parts

# jambonz signs with its time; we accept any age, but calls would be filed under wrong times.
_CLOCK_OFF_MAX: Final = timedelta(seconds=10)
# As many alerts as fit on a screen beside the other findings.
_ALERTS_SHOWN: Final = 3


async def provider(settings: Settings, routes: dict[str, AgentRoute]) -> list[Finding]:
    """Whether the provider takes our key, is set up as we need it, and tells the same time."""
    name = "provider"
    if settings.jambonz_url is None:
        what = "APOLLO_JAMBONZ_URL is unset, and `apollo up` has not run with this data directory"
        fix = "set it to a jambonz, or start `apollo up`, which brings a RotaryRouter"
        return [Finding(name, State.FAULT, what, fix)]
    driver = parts.make_driver(settings, parts.SystemClock())
    try:
        try:
            await driver.probe()
        except DriverError as fault:
            what = f"{settings.jambonz_url}: {fault}"
            return [Finding(name, State.FAULT, what, hint_for(fault))]
        findings = [Finding(name, State.OK, f"{settings.jambonz_url} takes our key")]
        wanted = {one.application_sid for one in routes.values()}
        sids = sorted(sid for sid in wanted | {settings.default_application_sid} if sid)
        findings += [await _application(driver, sid) for sid in sids]
        findings += [
            await _asked("webhook secret", _webhook_secret(driver, settings)),
            await _asked("call-detail records", _records(driver)),
            *_request_budget(driver),
            await _asked("carriers", _carriers(driver)),
            await _asked("alerts", _alerts(driver)),
        ]
    finally:
        await driver.close()
    return findings + await _clock(settings.jambonz_url)


async def _asked(name: str, check: Awaitable[Finding]) -> Finding:
    """The finding, or that the question failed, which is the answer to another one."""
    try:
        return await check
    except DriverError as fault:
        return Finding(name, State.NOTE, f"could not be looked at: {fault}", hint_for(fault))


async def _application(driver: JambonzDriver, sid: str) -> Finding:
    name, ours = f"application {sid}", driver.status_hook_url.partition("#")[0]
    try:
        hook = await driver.application_hook(sid)
    except DriverError as fault:
        fix = hint_for(fault)
        if fault.cause == "request":
            fix = "correct the sid: `apollo agent list` names who uses it"
        return Finding(name, State.FAULT, str(fault), fix)
    fix = f"at the provider, set its call status hook to {driver.status_hook_url} with POST"
    if hook is None:
        return Finding(name, State.FAULT, "reports its calls to nobody", fix)
    url, method = hook
    if url.partition("#")[0] != ours or method.upper() != "POST":
        return Finding(name, State.FAULT, f"reports its calls to {method} {url}", fix)
    if "#" not in url:
        what = "reports its calls to us, but does not repeat what got lost"
        return Finding(name, State.NOTE, what, fix)
    return Finding(name, State.OK, "reports its calls to us")


async def _webhook_secret(driver: JambonzDriver, settings: Settings) -> Finding:
    name = "webhook secret"
    theirs, ours = await driver.account.webhook_secret(), settings.jambonz_webhook_secret
    if ours is not None and hmac.compare_digest(theirs.encode(), ours.get_secret_value().encode()):
        return Finding(name, State.OK, "the provider signs with APOLLO_JAMBONZ_WEBHOOK_SECRET")
    what = "the provider signs its webhooks with another secret, so every one would be refused"
    fix = "set APOLLO_JAMBONZ_WEBHOOK_SECRET to the account's webhook secret, as its portal shows"
    return Finding(name, State.FAULT, what, f"{fix} it, and restart the API")


async def _records(driver: JambonzDriver) -> Finding:
    name = "call-detail records"
    try:
        await driver.account.check_records()
    except DriverError as fault:
        what = f"they cannot be read ({fault}), so calls of unknown fate are looked for longer"
        return Finding(name, State.FAULT, what, hint_for(fault))
    return Finding(name, State.OK, "they can be read")


def _request_budget(driver: JambonzDriver) -> list[Finding]:
    """What the provider's rate limit leaves for dialling; nothing where it says of none."""
    if driver.rate_policy is None:
        return []
    requests, window_s = driver.rate_policy
    full = allow(Budget(requests, window_s, requests, 0.0), Load())
    what = (
        f"{requests} requests in {window_s:g} s, look-ups and hang-ups included: at most"
        f" {full.per_second:.1f} calls a second"
    )
    fix = "raise RATE_LIMIT_MAX_PER_WINDOW of the jambonz API server, or set DISABLE_RATE_LIMITS=1"
    return [Finding("rate limit", State.NOTE, what, f"if that is too few, {fix}")]


async def _carriers(driver: JambonzDriver) -> Finding:
    name = "carriers"
    carriers = await driver.account.carriers()
    if not carriers:
        what = "the account has none of its own; those of its service provider are not shown here"
        fix = "give it one, unless the service provider's carriers take its calls"
        return Finding(name, State.NOTE, what, fix)
    many = [one for one in carriers if (one.gateways or 0) > 1]
    names = ", ".join(one.name for one in carriers)
    if many:
        which = ", ".join(f"{one.name} ({one.gateways})" for one in many)
        what = (
            f"more than one outbound gateway: {which}. jambonz tries the next one after almost any"
            " failure, so somebody who declines may be rung again at once, within one call of ours"
        )
        fix = "leave one outbound gateway active for each carrier that campaigns use"
        return Finding(name, State.NOTE, what, fix)
    none = [one.name for one in carriers if one.gateways == 0]
    if none:
        what = f"no active outbound gateway: {', '.join(none)}"
        return Finding(name, State.NOTE, what, "activate one, or calls by it fail with 603")
    return Finding(name, State.OK, names)


async def _alerts(driver: JambonzDriver) -> Finding:
    name = "alerts"
    alerts = await driver.account.alerts()
    if not alerts:
        return Finding(name, State.OK, "none at the provider in the last day")
    newest = "; ".join(f"{one.kind}: {one.text}" for one in alerts[:_ALERTS_SHOWN])
    what = f"{len(alerts)} at the provider in the last day, the newest: {newest}"
    fix = "see what they name; a webhook that failed is an outcome that Apollo had to ask for"
    return Finding(name, State.NOTE, what, fix)


async def _clock(url: str) -> list[Finding]:
    async with session() as client:
        answer = await get(client, url)
    said = "" if isinstance(answer, str) else answer.headers.get("Date", "")
    try:
        off = abs(parts.SystemClock().now() - email.utils.parsedate_to_datetime(said))
    except (ValueError, TypeError):
        return []  # RotaryRouter does not tell the time, and need not
    what = f"differs from the provider's by {off.total_seconds():.0f} s"
    if off > _CLOCK_OFF_MAX:
        return [Finding("clock", State.FAULT, what, "let both machines follow an NTP server")]
    return [Finding("clock", State.OK, what)]
