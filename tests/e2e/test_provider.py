"""The provider of these tests: whether a call ends must not depend on whom it tells of it."""

from aiohttp import web
from tests.e2e.machine import until
from tests.e2e.people import KINDS
from tests.e2e.provider import Jambonz

NUMBER = "+919810000000"


async def test_a_call_ends_though_the_api_dies_while_it_is_asked_for_another_one() -> None:
    """Such a call once stayed up for ever, and its batch was never completed."""
    person = next(kind for _, kind in KINDS if kind.asks_again)
    jambonz = Jambonz({NUMBER: person}, seed=1)
    broken: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        if request.path.endswith("call-result") and not broken:
            broken.append(request.path)
            assert request.transport is not None
            request.transport.abort()
        return web.Response()

    app = web.Application()
    app.router.add_post("/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        async with jambonz.serving():
            jambonz.api_url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            asked = {
                "from": "+912261234567",
                "tag": {"execution_id": "x"},
                "call_status_hook": {"url": f"{jambonz.api_url}/webhooks/call-status"},
            }
            line = jambonz._new_line(asked, NUMBER, "")
            jambonz._go(jambonz._live_through(line, None))

            async def has_ended() -> bool:
                return line.ended_at is not None

            await until(has_ended, "ended", 5.0)
            assert broken
            assert jambonz.complaints == []
    finally:
        await runner.cleanup()
