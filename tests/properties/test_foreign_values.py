"""Whatever a provider, an agent or a client sends: read, or refused by its reader, never a crash.

Every reader of foreign data is tried with odd values in each of its fields, and with any bytes;
`test_foreign_lists` has those of files, queries and settings.
"""

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from fastapi.exceptions import RequestValidationError
from hypothesis import example, given
from hypothesis import strategies as st
from tests.drivers.conftest import NOW, StoppedClock, call_id, request_to
from tests.drivers.jambonz_stand_in import ACCOUNT, API_KEY, SECRET
from tests.properties.foreign import PIECE, many, objects, read_by

from apollo.core import bounds
from apollo.core.events import CallEnded, Evidence
from apollo.core.signatures import is_signed
from apollo.core.windows import local_start
from apollo.errors import DriverError, Invalid
from apollo.ports import LiveCall
from apollo.telephony.jambonz import JambonzDriver, answers, calls, webhooks
from apollo.telephony.jambonz.answers import UNREADABLE, Answer
from apollo.telephony.jambonz.rows import ListReader
from apollo.usecases.provider_history import proven_by
from apollo.web.batch_shapes import BatchHead
from apollo.web.callbacks import _read_result
from apollo.web.contact_input import read_batch_body
from apollo.web.requests import decode_json


def is_kept(text: str | None) -> bool:
    """Whether PostgreSQL takes it."""
    return text is None or ("\0" not in text and len(text) <= bounds.TEXT_CHARS_MAX)


def check_end(event: object, at: datetime) -> None:
    assert isinstance(event, CallEnded)
    assert event.sip_status is None or 100 <= event.sip_status <= 699
    assert event.duration_s is None or 0 <= event.duration_s < 2**31
    assert is_kept(event.sip_reason)
    assert is_kept(event.sip_call_id)
    assert is_kept(event.provider_call_id)
    # Far enough from the ends of the calendar for a cooldown of a day.
    assert at - timedelta(days=31) < event.at <= at


# ---------------------------------------------------------------------------- status webhooks

SID = "6ab025a0-5ef5-47a2-932d-319839d6146d"
STATUS_FIELDS = (
    *("call_id", "sip_status", "sip_reason", "duration", "call_termination_by"),
    *("parent_call_sid", "customerData", "customer_data", "unheard_of"),
)


@many
@given(objects(*STATUS_FIELDS, call_sid=f'"{SID}"', call_status='"completed"'))
@example(f'{{"call_sid":"{SID}","call_status":"completed","sip_status":70000,"duration":1e12}}')
def test_a_call_ends_whatever_its_last_webhook_says_besides(body: str) -> None:
    with read_by("last status webhook", ValueError):
        try:
            status = webhooks.read_status(body.encode(), NOW)
        except ValueError as refused:
            assert "malformed" in str(refused) or "out of range" in str(refused), body  # noqa: PT017 - one of two is right
            raise
        check_end(status.event, NOW)


@many
@given(
    st.binary()
    | objects("call_sid", "call_status", *STATUS_FIELDS).map(str.encode)
    | objects(*STATUS_FIELDS, call_sid=f'"{SID}"', call_status='"ringing"').map(str.encode)
)
def test_any_status_webhook_is_read_or_refused(body: bytes) -> None:
    with read_by("any status webhook", ValueError):
        status = webhooks.read_status(body, NOW)
        assert is_kept(status.call_status)
        assert is_kept(status.provider_call_id)


# ------------------------------------------------------------------- live list and records

LIVE = ("sip_status", "sip_reason", "duration", "call_termination_by")
RECORD = (
    *("sip_status", "duration", "termination_reason", "attempted_at", "answered_at"),
    "terminated_at",
)


REFUSED_ROWS = (
    *("malformed", "out of range", "surrogate"),
    *("list of objects", "breaks off", "no JSON"),
)


def read_live_list(body: bytes) -> list[LiveCall | None]:
    """Read a live list that arrives in pieces of seven bytes."""
    reader, found = ListReader(), []
    for at in range(0, len(body), 7):
        found += [calls.read_row(row) for row in reader.feed(body[at : at + 7])]
    reader.close()
    return found


@many
@given(
    st.lists(
        objects(*LIVE, call_sid=f'"{SID}"', call_status='"failed"', to='"+1"'),
        min_size=1,
        max_size=4,
    )
)
def test_no_row_of_the_live_list_is_lost_for_an_odd_value(rows: list[str]) -> None:
    with read_by("live list", *UNREADABLE):
        try:
            found = read_live_list(f"[{','.join(rows)}]".encode())
        except UNREADABLE as refused:
            assert any(why in str(refused) for why in REFUSED_ROWS), refused  # noqa: PT017 - one of them
            raise
        assert len(found) == len(rows)
        for one in found:
            assert one is not None
            check_end(proven_by(one, NOW, Evidence.POLL), NOW)


@many
@given(
    st.lists(
        objects(*RECORD, call_sid=f'"{SID}"', answered="true", to='"1"'), min_size=1, max_size=4
    )
)
@example(
    ['{"call_sid":"a","answered":true,"duration":1e999,"terminated_at":"9999-12-31T23:59:59Z"}']
)
def test_no_record_is_lost_for_an_odd_value(rows: list[str]) -> None:
    with read_by("call-detail records", *UNREADABLE):
        try:
            count, found = calls.read_record_page(f'{{"data":[{",".join(rows)}]}}'.encode())
        except UNREADABLE as refused:
            assert "malformed" in str(refused) or "out of range" in str(refused)  # noqa: PT017 - one of two is right
            raise
        assert count == len(found) == len(rows)
        for one in found:
            check_end(proven_by(one, NOW, Evidence.RECORD), NOW)


@many
@given(st.binary() | PIECE.map(str.encode) | objects("data", "call_status_hook").map(str.encode))
def test_any_answer_of_the_provider_is_read_or_unreadable(body: bytes) -> None:
    for name, read in (
        ("one call", calls.read_live),
        ("live list, any bytes", read_live_list),
        ("call-detail records, any bytes", calls.read_record_page),
        ("application", calls.read_status_hook),
    ):
        with read_by(name, *UNREADABLE):
            read(body)


@many
@given(st.binary() | objects("sid", "callId").map(str.encode))
def test_a_201_is_a_yes_whatever_is_in_it(body: bytes) -> None:
    with read_by("answer to a placed call"):
        placed = answers.placed(Answer(201, {}, body, is_whole=True))
        assert is_kept(placed.provider_call_id)
        assert is_kept(placed.sip_call_id)


# ------------------------------------------------------------------------------------ headers

DATES = st.sampled_from(
    [
        "Mon, 01 Jan 99999999999 00:00:00 GMT",
        "Fri, 31 Dec 9999 23:59:59 -1200",
        "Mon, 01 Jan 0001 00:00:00 +1400",
        "Mon, 01 Jan 2026 00:00:00 +9999999999",
        "Mon, 01 Jan 2026 99:99:99 GMT",
        "Mon, 01 Jan 2026",
        "," * 90,
        "1" * 5000,
        "-1",
        "999999999",
    ]
)


@many
@given(DATES | st.text(), DATES | st.text(), st.integers(100, 599), st.binary())
@example("Mon, 01 Jan 99999999999 00:00:00 GMT", "0", 429, b"")
def test_no_header_breaks_what_reads_it(date: str, number: str, status: int, body: bytes) -> None:
    with read_by("headers of the provider"):
        offset_s = answers.clock_offset_s(date, NOW)
        assert offset_s is None or abs(offset_s) < 1e12
        headers = {"RateLimit-Remaining": number, "RateLimit-Reset": date, "Retry-After": date}
        said = answers.rate_limit_of(headers) or answers.rate_limit_of(
            headers | {"RateLimit-Reset": "9"}
        )
        assert said is None or 0 <= said.reset_s <= 3600
        refusal = answers.refusal(
            Answer(status, headers, body, is_whole=True), now=NOW, request=request_to()
        )
        assert 0 <= getattr(refusal, "retry_after_s", 0.0) <= 3600
        # It is stored with the call and in the heartbeat.
        assert str(refusal).isprintable()


@many
@given(
    st.binary(max_size=300),
    st.sampled_from(
        [
            *("", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 201 C\r\nDate: "),
            *("HTTP/1.1 201 C\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n[", "HTTP/1.1 202 A\r\n\r\n"),
        ]
    ),
)
def test_any_bytes_of_a_provider_are_an_error_of_the_driver(raw: bytes, head: str) -> None:
    asyncio.run(_ask_a_provider_that_answers(head.encode() + raw))


async def _ask_a_provider_that_answers(raw: bytes) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(raw)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    driver = JambonzDriver(
        base_url=f"http://127.0.0.1:{port}/v1",
        account_sid=ACCOUNT,
        api_key=API_KEY,
        webhook_secret=SECRET,
        public_url="https://apollo.example.com",
        clock=StoppedClock(),
        total_timeout_s=2.0,
    )
    try:
        for ask in (
            lambda: driver.place(request_to()),
            lambda: driver.read_call(SID),
            driver.list_live,
            lambda: driver.list_records(NOW, matching=None),
            lambda: driver.hang_up(SID, was_answered=True),
        ):
            with read_by("any bytes instead of HTTP", DriverError):
                try:
                    await ask()
                except DriverError as refused:
                    assert str(refused).isprintable()  # noqa: PT017 - any of three kinds
                    raise
            offset_s = driver.clock_offset_s
            assert offset_s is None or abs(offset_s) < 1e12
    finally:
        await driver.close()
        server.close()


# --------------------------------------------------------------------- agents and clients

RESULT = (
    *("transcript", "summary", "sentiment", "recording_url", "hangup_by", "hangup_reason"),
    *("total_cost", "follow_up_at"),
)


@many
@given(st.binary() | objects(*RESULT, execution_id=f'"{call_id(1)}"').map(str.encode))
@example(f'{{"execution_id":"{call_id(1)}","total_cost":1e999999}}'.encode())
@example(f'{{"execution_id":"{call_id(1)}","follow_up_at":"9999-12-31T23:59:59-12:00"}}'.encode())
@example(f'{{"execution_id":"{call_id(1)}","total_cost":"NaN"}}'.encode())
def test_any_call_result_is_read_or_refused(body: bytes) -> None:
    with read_by("call result", ValueError):
        _, result = _read_result(body)
        for text in (result.transcript, result.summary, result.hangup_reason, result.recording_url):
            assert text is None or "\0" not in text
        assert result.total_cost is None or abs(result.total_cost) < Decimal(10**9)
        assert result.follow_up_at is None or result.follow_up_at.tzinfo is UTC


@many
@given(
    st.binary()
    | PIECE.map(str.encode)
    | objects("campaign_id", "contacts", "ends_at", "metadata", "concurrency_limit").map(str.encode)
    | st.lists(objects("phone_number", "call_variables"), max_size=4).map(
        lambda rows: f'{{"campaign_id":"cmp_x","contacts":[{",".join(rows)}]}}'.encode()
    )
)
def test_any_batch_is_read_or_refused(body: bytes) -> None:
    with read_by("batch as JSON", Invalid, RequestValidationError):
        _, contacts = read_batch_body(body, "application/json", BatchHead)
        assert all("\0" not in row.phone_number or row.fault for row in contacts)


@many
@given(st.binary() | PIECE.map(str.encode))
def test_any_body_is_read_or_refused(body: bytes) -> None:
    with read_by("JSON of any request", Invalid):
        decode_json(body)


@many
@given(st.datetimes(), st.integers(-840, 840))
@example(datetime(1, 1, 1), 840)  # noqa: DTZ001 - a wall time
@example(datetime(9999, 12, 31, 23, 59, 59), -720)  # noqa: DTZ001 - a wall time
def test_any_time_is_an_instant_of_the_years_1_to_9999_or_refused(
    at: datetime, offset: int
) -> None:
    shown = f"{at.isoformat(timespec='seconds')}{offset // 60:+03d}:{offset % 60:02d}"
    nine = timedelta(days=9)
    with read_by("time of a start", Invalid):
        start = local_start(shown, "Asia/Kolkata")
        assert bounds.before(start, nine) <= start <= bounds.after(start, nine)


@many
@given(st.text(), st.binary(), st.binary())
def test_no_signature_is_more_than_wrong(header: str, body: bytes, secret: bytes) -> None:
    with read_by("signature"):
        assert not is_signed(body, {"Jambonz-Signature": header}, secret)
