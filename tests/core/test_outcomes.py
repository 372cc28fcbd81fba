import itertools

import pytest

from apollo.core.outcomes import (
    DECLINES_MEAN_NO_CARRIER,
    Blame,
    Ending,
    classify,
    is_silent_decline,
)
from apollo.core.states import Outcome

WORDS = ["completed", "busy", "no-answer", "failed", "canceled", ""]


def end(
    sip_status: int | None,
    *,
    call_status: str = "failed",
    was_answered: bool = False,
    rang: bool = False,
    declines_before: int = 0,
) -> Ending:
    return classify(
        call_status=call_status,
        sip_status=sip_status,
        was_answered=was_answered,
        rang=rang,
        declines_before=declines_before,
    )


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


def test_a_code_nobody_knows_falls_back_to_the_word() -> None:
    assert end(499, call_status="no-answer").outcome is Outcome.NO_ANSWER
    assert end(699, call_status="failed").blame is Blame.PERSON


def test_a_decline_after_ringing_is_the_person_and_is_never_repeated() -> None:
    for before in range(DECLINES_MEAN_NO_CARRIER + 2):
        ending = end(603, call_status="busy", rang=True, declines_before=before)
        assert (ending.outcome, ending.blame) == (Outcome.BUSY, Blame.NUMBER)


def test_the_third_silent_decline_in_a_row_is_the_carrier() -> None:
    blames = [end(603, declines_before=before).blame for before in range(4)]
    assert blames == [Blame.NUMBER, Blame.NUMBER, Blame.CARRIER, Blame.CARRIER]


def test_only_a_603_without_ringing_adds_to_the_row_of_declines() -> None:
    assert is_silent_decline(sip_status=603, rang=False)
    assert not is_silent_decline(sip_status=603, rang=True)
    assert not is_silent_decline(sip_status=486, rang=False)
    assert not is_silent_decline(sip_status=None, rang=False)


def test_every_code_there_can_be_has_an_outcome_and_only_an_answer_completes() -> None:
    for sip_status in [None, *range(100, 700)]:
        for word, rang in itertools.product(WORDS, [True, False]):
            ending = end(sip_status, call_status=word, rang=rang)
            assert ending.reason
            assert (ending.outcome is Outcome.COMPLETED) == (word == "completed")
            assert (ending.blame is Blame.NOBODY) == (word == "completed")
