"""The fault `nonsense`: what is odd follows the seed, and what names a call stays true."""

import json

from apollo.rotary.answers import Answer
from apollo.rotary.faults import FaultPlan, Faults
from apollo.rotary.nonsense import odd_answer, odd_body

CALL = {
    "call_sid": "6ab025a0-5ef5-47a2-932d-319839d6146d",
    "call_status": "completed",
    "sip_status": 200,
    "sip_reason": "OK",
    "duration": 12,
    "customerData": {"execution_id": "exec_1"},
}


def test_ids_and_states_stay_true_and_the_rest_is_odd() -> None:
    made = [json.loads(odd_body(json.dumps(CALL).encode(), 1, n)) for n in range(50)]
    for name in ("call_sid", "call_status", "customerData"):
        assert {json.dumps(one[name]) for one in made} == {json.dumps(CALL[name])}
    assert 70_000 in [one["sip_status"] for one in made]
    assert 10**12 in [one["duration"] for one in made]


def test_an_answer_keeps_its_status_and_may_have_any_body_and_headers() -> None:
    made = [odd_answer(Answer(200, [CALL]), 1, n) for n in range(80)]
    assert {answer.status for answer, _ in made} == {200}
    bodies = [answer.body for answer, _ in made]
    assert any(isinstance(body, bytes) for body in bodies)
    assert any(isinstance(body, list) and body[0] != CALL for body in bodies)
    assert b"Mon, 01 Jan 99999999999 00:00:00 GMT" in [
        dict(headers)[b"date"] for _, headers in made
    ]
    assert made == [odd_answer(Answer(200, [CALL]), 1, n) for n in range(80)]


def test_as_many_answers_are_odd_as_its_rate_says() -> None:
    plan = FaultPlan(Faults.model_validate({"nonsense": {"rate": 0.25}}), 7)
    odd = sum(plan.speaks_nonsense(n) for n in range(1000))
    assert 200 < odd < 300
    plan.clear()
    assert not any(plan.speaks_nonsense(n) for n in range(1000))
