import itertools

import pytest

from apollo.core.outcomes import CARRIERS, NEVER_AGAIN, OF_SET_UP, Blame, Ending, classify
from apollo.core.sip import Family
from apollo.core.states import Outcome

WORDS = ["completed", "busy", "no-answer", "failed", "canceled", ""]


def end(
    sip_status: int | None,
    *,
    call_status: str = "failed",
    was_answered: bool = False,
) -> Ending:
    return classify(call_status=call_status, sip_status=sip_status, was_answered=was_answered)


@pytest.mark.parametrize(
    ("sip_status", "outcome", "blame"),
    [
        (486, Outcome.BUSY, Blame.PERSON),
        (600, Outcome.BUSY, Blame.PERSON),
        (487, Outcome.NO_ANSWER, Blame.PERSON),
        (480, Outcome.NO_ANSWER, Blame.PERSON),
        (408, Outcome.NO_ANSWER, Blame.PERSON),
        (404, Outcome.FAILED, Blame.NUMBER),
        (410, Outcome.FAILED, Blame.NUMBER),
        (484, Outcome.FAILED, Blame.NUMBER),
        (604, Outcome.FAILED, Blame.NUMBER),
        (607, Outcome.FAILED, Blame.NUMBER),
        (608, Outcome.FAILED, Blame.NUMBER),
        (603, Outcome.BUSY, Blame.NUMBER),
        (401, Outcome.FAILED, Blame.CARRIER),
        (407, Outcome.FAILED, Blame.CARRIER),
        (436, Outcome.FAILED, Blame.CARRIER),
        (402, Outcome.FAILED, Blame.CARRIER),
        (403, Outcome.FAILED, Blame.CARRIER),
        (500, Outcome.FAILED, Blame.CARRIER),
        (503, Outcome.FAILED, Blame.CARRIER),
        (599, Outcome.FAILED, Blame.CARRIER),
    ],
)
def test_the_code_says_who_is_to_blame_whatever_word_stands_beside_it(
    sip_status: int, outcome: Outcome, blame: Blame
) -> None:
    for word in ("failed", "busy", "no-answer"):
        ending = end(sip_status, call_status=word)
        assert (ending.outcome, ending.blame) == (outcome, blame)


def test_an_answered_call_is_completed_whatever_its_code_says() -> None:
    for word, sip_status in itertools.product(WORDS, [None, 200, 404, 486, 487, 503, 603]):
        ending = end(sip_status, call_status=word, was_answered=True)
        assert (ending.outcome, ending.blame) == (Outcome.COMPLETED, Blame.NOBODY)


def test_a_call_the_provider_completed_was_answered_even_if_no_event_said_so() -> None:
    assert end(200, call_status="completed").outcome is Outcome.COMPLETED
    assert end(None, call_status="completed").blame is Blame.NOBODY


def test_without_a_code_the_word_of_the_provider_counts() -> None:
    assert end(None, call_status="busy").outcome is Outcome.BUSY
    assert end(None, call_status="no-answer").outcome is Outcome.NO_ANSWER
    assert end(None, call_status="failed").outcome is Outcome.FAILED


def test_a_call_without_a_common_codec_is_a_try_of_the_person() -> None:
    assert end(488) == Ending(Outcome.FAILED, Blame.PERSON, "call_failed")


def test_a_code_nobody_knows_falls_back_to_the_word() -> None:
    assert end(499, call_status="no-answer").outcome is Outcome.NO_ANSWER
    assert end(699, call_status="failed").blame is Blame.PERSON


@pytest.mark.parametrize("family", Family)
def test_what_one_number_after_the_other_ends_with_costs_nobody_anything(family: Family) -> None:
    ending = OF_SET_UP[family]
    assert (ending.outcome, ending.blame) == (Outcome.FAILED, Blame.CARRIER)
    assert ending.reason in CARRIERS
    assert ending.reason not in NEVER_AGAIN


def test_every_code_there_can_be_has_an_outcome_and_only_an_answer_completes() -> None:
    for sip_status in [None, *range(100, 700)]:
        for word in WORDS:
            ending = end(sip_status, call_status=word)
            assert ending.reason
            assert (ending.outcome is Outcome.COMPLETED) == (word == "completed")
            assert (ending.blame is Blame.NOBODY) == (word == "completed")
