"""Status webhooks: signatures that hold, and bodies read as events or refused by field."""

import hmac
import json
import uuid

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.drivers.conftest import NOW, StoppedClock, call_id
from tests.drivers.jambonz_stand_in import ACCOUNT, API_KEY, SECRET, signed

from apollo.core.events import (
    AnswererKnown,
    CallAnswered,
    CallEnded,
    CallEvent,
    CallRinging,
    CallTrying,
    Evidence,
    Reached,
)
from apollo.telephony.jambonz import JambonzDriver

SID = "6ab025a0-5ef5-47a2-932d-319839d6146d"
BODY = f'{{"call_sid":"{SID}","call_status":"busy","sip_reason":"Zoë"}}'
# Computed with OpenSSL, so that our own code is not its own witness.
T, V1 = "1795434560", "967f4e49303ad68f081a84abb3921a7666566f345ad18d40cf24c1176eee3632"

DRIVER = JambonzDriver(
    base_url="https://jambonz.example.com/v1",
    account_sid=ACCOUNT,
    api_key=API_KEY,
    webhook_secret=SECRET,
    public_url="https://apollo.example.com",
    clock=StoppedClock(),
)


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("Jambonz-Signature", f"t={T},v1={V1}"),
        ("jambonz-signature", f"t={T},v1={V1}"),
        ("JAMBONZ-SIGNATURE", f"t={T}, v1={V1}"),
        ("Jambonz-Signature", f"v1={V1},t={T}"),
        ("Jambonz-Signature", f"t={T},v1={'0' * 64},v1={V1}"),
        ("Jambonz-Signature", f"t={T},v1={V1},v1={'0' * 64},v0=x"),
    ],
)
def test_a_right_signature_of_any_age_holds(name: str, header: str) -> None:
    assert DRIVER.verify_status(BODY.encode(), {"Host": "apollo", name: header})


@pytest.mark.parametrize(
    "header",
    [
        "",
        ",",
        "=",
        f"v1={V1}",
        f"t={T}",
        f"t={T},v1=",
        f"t={T},v0={V1}",
        f"t={T},v1={V1[:-1]}",
        f"t={T},v1={V1}0",
        f"t={int(T) + 1},v1={V1}",
        f"t={T} ;v1={V1}",
        f"t={T},v1={V1.upper()}",
        f"t={T},t={T},v1={V1}",
        f"t={T},v1={V1[:-1]}é",
        f"t=é,v1={V1}",
        V1,
    ],
)
def test_a_wrong_signature_does_not(header: str) -> None:
    assert not DRIVER.verify_status(BODY.encode(), {"Jambonz-Signature": header})


@pytest.mark.parametrize(
    "time",
    ["", "0x6b", "abc", "1.5", "-1", "+1", "1e3", "1_000", "1" * 13, "\u0661", "1 2", "1;2"],
)
def test_a_time_that_is_no_whole_number_of_seconds_signs_nothing(time: str) -> None:
    body = BODY.encode()
    right = hmac.digest(SECRET.encode(), f"{time}.".encode() + body, "sha256").hex()
    assert not DRIVER.verify_status(body, {"Jambonz-Signature": f"t={time},v1={right}"})


def test_no_byte_moves_from_the_body_to_the_time() -> None:
    # The message `1.5.{…}` may not be read as sent at "1.5" with a shorter body.
    body = b"5." + BODY.encode()
    right = hmac.digest(SECRET.encode(), b"1." + body, "sha256").hex()
    assert DRIVER.verify_status(body, {"Jambonz-Signature": f"t=1,v1={right}"})
    assert not DRIVER.verify_status(BODY.encode(), {"Jambonz-Signature": f"t=1.5,v1={right}"})


@settings(deadline=None)  # the machine may be busy
@given(st.text(), st.binary())
def test_no_header_and_no_body_is_more_than_wrong(header: str, body: bytes) -> None:
    assert not DRIVER.verify_status(body, {"Jambonz-Signature": header})
    assert not DRIVER.verify_status(body, {header: V1})


def read(**fields: object) -> CallEvent | None:
    body = {"call_sid": SID, "call_id": "sip-1", "call_status": "trying"} | fields
    return DRIVER.read_status(json.dumps(body).encode(), NOW).event


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("trying", CallTrying),
        ("ringing", CallRinging),
        ("early-media", CallRinging),
        ("alerting", CallRinging),
        ("in-progress", CallAnswered),
        ("completed", CallEnded),
        ("failed", CallEnded),
        ("busy", CallEnded),
        ("no-answer", CallEnded),
    ],
)
def test_every_word_is_an_event_with_its_ids_and_evidence(word: str, kind: type) -> None:
    event = read(call_status=word, sip_status=100)
    assert event is not None
    assert type(event) is kind
    assert (event.at, event.evidence) == (NOW, Evidence.WEBHOOK)
    assert (event.provider_call_id, event.sip_call_id) == (SID, "sip-1")


@pytest.mark.parametrize("word", ["queued", "", "Completed", "in_progress", "transferred"])
def test_a_word_that_proves_nothing_is_kept_without_an_event(word: str) -> None:
    status = DRIVER.read_status(json.dumps({"call_sid": SID, "call_status": word}).encode(), NOW)
    assert (status.call_status, status.event) == (word, None)


@pytest.mark.parametrize(
    ("word", "who"), [("caller", "callee"), ("jambonz", "agent"), ("nobody", None), (None, None)]
)
def test_an_end_says_who_hung_up_in_our_words(word: str | None, who: str | None) -> None:
    event = read(
        call_status="completed",
        sip_status=200,
        sip_reason="OK",
        duration=42,
        call_termination_by=word,
    )
    assert event == CallEnded(
        at=NOW,
        evidence=Evidence.WEBHOOK,
        provider_call_id=SID,
        sip_call_id="sip-1",
        call_status="completed",
        sip_status=200,
        sip_reason="OK",
        duration_s=42,
        hangup_by=who,
    )


@pytest.mark.parametrize(
    ("said", "reached"),
    [("amd_human_detected", Reached.PERSON), ("amd_machine_detected", Reached.MACHINE)],
)
def test_what_machine_detection_says_is_who_picked_up(said: str, reached: Reached) -> None:
    event = read(call_status="in-progress", sip_status=200, type=said, reason="hint")
    assert event == AnswererKnown(
        at=NOW,
        evidence=Evidence.WEBHOOK,
        provider_call_id=SID,
        sip_call_id="sip-1",
        reached=reached,
        by_agent=False,
    )


@pytest.mark.parametrize(
    "said",
    ["amd_no_speech_detected", "amd_decision_timeout", "amd_tone_detected", "amd_error", "amd_x"],
)
def test_detection_that_detected_nothing_is_kept_without_an_event(said: str) -> None:
    body = {"call_sid": SID, "call_status": "in-progress", "type": said}
    status = DRIVER.read_status(json.dumps(body).encode(), NOW)
    assert (status.call_status, status.event) == (said, None)


def test_a_reason_from_a_far_network_is_fit_for_the_database() -> None:
    event = read(call_status="failed", sip_status=503, sip_reason="No\0Service")
    assert isinstance(event, CallEnded)
    assert event.sip_reason == "NoService"


@pytest.mark.parametrize("key", ["customerData", "customer_data"])
def test_the_tag_names_our_call(key: str) -> None:
    body = {"call_sid": SID, "call_status": "trying", key: {"execution_id": call_id(7), "n": None}}
    status = DRIVER.read_status(json.dumps(body).encode(), NOW)
    assert status.execution_id == uuid.UUID(int=7)
    assert status.body == json.dumps(body).encode()


@pytest.mark.parametrize(
    "tag",
    [
        None,
        {},
        {"execution_id": None},
        {"execution_id": 7},
        {"execution_id": "exec_"},
        {"execution_id": call_id(7).replace("exec_", "cmp_")},
        {"attempt_id": "att-1"},
    ],
)
def test_a_tag_that_is_not_ours_names_nothing(tag: object) -> None:
    body = {"call_sid": SID, "call_status": "trying", "customerData": tag}
    assert DRIVER.read_status(json.dumps(body).encode(), NOW).execution_id is None


def test_a_leg_that_the_application_opened_is_told_apart() -> None:
    body = {"call_sid": SID, "call_status": "trying", "parent_call_sid": "another"}
    assert DRIVER.read_status(json.dumps(body).encode(), NOW).is_child_leg
    del body["parent_call_sid"]
    assert not DRIVER.read_status(json.dumps(body).encode(), NOW).is_child_leg


def test_fields_of_other_releases_are_welcome() -> None:
    assert (
        type(read(api_base_url="https://x.example.com", codecs=["PCMU"], news=None)) is CallTrying
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("call_sid", 7),
        ("call_sid", ""),
        ("call_sid", "a/../b"),
        ("call_status", None),
        ("call_status", "a\0b"),
        ("call_status", "x" * 65),
    ],
)
def test_a_wrong_field_without_which_there_is_no_event_is_named(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=rf"Expected .* at `\$\.{field}`"):
        read(**{field: value})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("call_id", []),
        ("sip_status", 70_000),
        ("sip_status", -5),
        ("sip_reason", {}),
        ("duration", 10**12),
        ("duration", -1),
        ("call_termination_by", 1),
        ("parent_call_sid", 1),
        ("customerData", "att-1"),
    ],
)
def test_any_other_odd_value_is_unknown_and_the_call_still_ends(field: str, value: object) -> None:
    status = DRIVER.read_status(
        json.dumps({"call_sid": SID, "call_status": "completed", field: value}).encode(), NOW
    )
    end = status.event
    assert isinstance(end, CallEnded)
    assert not status.is_child_leg
    assert (end.sip_call_id, end.sip_status, end.sip_reason, end.duration_s, end.hangup_by) == (
        (None,) * 5
    )


@pytest.mark.parametrize("missing", ["call_sid", "call_status"])
def test_a_field_that_is_missing_is_named(missing: str) -> None:
    body = {"call_sid": SID, "call_status": "trying"}
    del body[missing]
    with pytest.raises(ValueError, match=missing):
        DRIVER.read_status(json.dumps(body).encode(), NOW)


@settings(deadline=None)  # the machine may be busy
@given(st.binary() | st.text().map(str.encode) | st.just(b"[]"))
@example(b'{"call_sid":"\xff"}')
@example(b'{"x":' + b"[" * 60_000)
def test_no_body_raises_anything_but_a_value_error(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"^status webhook: "):
        DRIVER.read_status(body, NOW)


def test_the_stand_in_signs_as_openssl_does() -> None:
    assert signed(BODY.encode(), at=T)["Jambonz-Signature"] == f"t={T},v1={V1}"
