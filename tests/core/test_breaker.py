import pytest
from hypothesis import given
from hypothesis import strategies as st

from apollo.core.breaker import Breaker, GateState

# One more than is risked on a provider of which nothing good is known: a good answer lets it go.
PLENTY = 4


def proven(now: float = 0.0) -> Breaker:
    """A breaker in front of a provider that is known to work."""
    breaker = Breaker()
    breaker.succeeded(now)
    return breaker


def down(now: float = 100.0) -> Breaker:
    breaker = proven()
    for _ in range(3):
        breaker.failed(now, "connect", "refused connection")
    assert breaker.state is GateState.DOWN
    return breaker


def test_a_provider_that_never_answered_is_tried_with_three_requests() -> None:
    assert Breaker().may_send(0.0, PLENTY) == 3
    assert proven().may_send(1.0, PLENTY) == PLENTY
    assert Breaker().may_send(0.0, 2) == 2


def test_each_good_answer_speaks_for_five_seconds_and_lets_one_more_go() -> None:
    breaker = proven(100.0)
    assert breaker.risk(105.0) == 4
    assert breaker.risk(105.1) == 3
    for _ in range(10):
        breaker.succeeded(106.0)
    assert (breaker.risk(106.0), breaker.may_send(106.0, 64)) == (13, 13)
    for _ in range(60):
        breaker.succeeded(107.0)
    assert (breaker.risk(107.0), breaker.may_send(107.0, 64)) == (None, 64)
    breaker.failed(107.1, "timeout", "no answer")
    assert breaker.risk(107.1) == 3


def test_after_the_first_bad_answer_three_people_are_risked_and_no_more() -> None:
    breaker = proven(100.0)
    breaker.failed(100.1, "server_error", "500")
    assert (breaker.risk(100.1), breaker.may_send(100.1, PLENTY)) == (3, 3)


def test_an_answered_question_closes_it_for_one_request_and_a_failure_opens_it_again() -> None:
    breaker = down(100.0)
    breaker.found_well(106.0)
    assert (breaker.risk(106.0), breaker.may_send(106.0, PLENTY)) == (1, 1)
    breaker.failed(106.5, "server_error", "fetch failed")
    assert breaker.may_send(106.5, PLENTY) == 0
    breaker.found_well(112.0)
    breaker.succeeded(112.5)
    assert breaker.may_send(112.5, PLENTY) == PLENTY


def test_three_failures_in_a_row_open_it() -> None:
    breaker = proven()
    for n in range(3):
        assert breaker.state is GateState.OK
        breaker.failed(1.0 + n, "timeout", "no answer")
    assert breaker.state is GateState.DOWN
    assert breaker.is_shut
    assert breaker.cause == "timeout"
    assert breaker.may_send(4.0, PLENTY) == 0


def test_a_success_between_failures_breaks_the_row() -> None:
    breaker = proven()
    for _ in range(2):
        breaker.failed(1.0, "timeout", "no answer")
        breaker.failed(1.0, "timeout", "no answer")
        breaker.succeeded(1.0)
    assert breaker.state is GateState.OK


def test_five_failures_that_are_a_fifth_of_a_minute_open_it_though_never_three_in_a_row() -> None:
    breaker = proven()
    for n in range(5):
        assert breaker.state is GateState.OK
        for _ in range(3):
            breaker.succeeded(float(n))
        breaker.failed(float(n), "server_error", "500")
    assert breaker.state is GateState.DOWN


def test_five_failures_among_a_hundred_requests_are_no_reason_to_stop() -> None:
    breaker = proven()
    for n in range(5):
        for _ in range(20):
            breaker.succeeded(float(n))
        breaker.failed(float(n), "server_error", "500")
    assert breaker.state is GateState.OK


def test_failures_of_an_earlier_minute_do_not_count() -> None:
    breaker = proven()
    for n in range(10):
        breaker.failed(n * 61.0, "server_error", "500")
        breaker.answered(n * 61.0, "number")
    assert breaker.state is GateState.OK


def test_one_probe_leaves_after_five_seconds_and_then_every_thirty() -> None:
    breaker = down(100.0)
    assert breaker.may_send(104.9, PLENTY) == 0
    assert breaker.may_send(105.0, PLENTY) == 1
    assert not breaker.is_shut
    assert breaker.may_send(105.1, PLENTY) == 0, "one probe at a time"
    breaker.failed(106.0, "server_error", "500")
    assert breaker.may_send(135.9, PLENTY) == 0
    assert breaker.may_send(136.0, PLENTY) == 1


def test_a_probe_that_reached_nobody_is_sent_again_after_five_seconds() -> None:
    breaker = down(100.0)
    for at, cause in ((105.0, "connect"), (110.0, "store_down"), (115.0, "connect")):
        assert breaker.may_send(at - 0.1, PLENTY) == 0
        assert breaker.may_send(at, PLENTY) == 1
        breaker.failed(at, cause, "refused connection")


def test_what_had_left_before_it_opened_does_not_put_off_the_probe() -> None:
    breaker = down(100.0)
    breaker.failed(101.0, "timeout", "no answer")
    assert breaker.may_send(105.0, PLENTY) == 1


def test_whoever_fails_once_a_probe_is_due_was_as_good_as_one() -> None:
    breaker = down(100.0)
    breaker.failed(107.0, "connect", "refused connection")
    assert breaker.retry_at == 112.0


def test_a_good_probe_closes_it() -> None:
    breaker = down(100.0)
    breaker.may_send(105.0, PLENTY)
    breaker.succeeded(105.1)
    assert breaker.state is GateState.OK
    assert breaker.may_send(105.2, PLENTY) == PLENTY


def test_a_probe_that_was_not_needed_is_given_back() -> None:
    breaker = down(100.0)
    assert breaker.may_send(105.0, PLENTY) == 1
    breaker.give_back()
    assert breaker.is_shut
    assert breaker.may_send(105.1, PLENTY) == 1


def test_an_answer_about_the_number_shows_that_the_provider_works() -> None:
    breaker = down(100.0)
    breaker.may_send(105.0, PLENTY)
    breaker.answered(105.1, "number")
    assert breaker.state is GateState.OK


def test_refusals_of_numbers_never_open_it() -> None:
    breaker = proven()
    for _ in range(50):
        breaker.answered(1.0, "number")
        breaker.answered(1.0, "request")
    assert breaker.state is GateState.OK


def test_a_refused_key_lets_nothing_out_until_it_is_accepted() -> None:
    breaker = proven()
    breaker.refused(10.0, "401")
    assert breaker.state is GateState.UNAUTHORISED
    assert breaker.retry_at == 40.0
    assert breaker.may_send(10_000.0, PLENTY) == 0
    breaker.refused(40.0, "401")
    assert breaker.since == 10.0
    assert breaker.retry_at == 70.0
    breaker.succeeded(70.0)
    assert breaker.may_send(70.0, PLENTY) == PLENTY


def test_a_provider_that_says_wait_is_left_alone_for_so_long() -> None:
    breaker = proven()
    breaker.told_to_wait(10.0, 2.5, "429")
    assert breaker.state is GateState.RATE_LIMITED
    assert breaker.may_send(12.4, PLENTY) == 0
    assert breaker.may_send(12.5, PLENTY) == 3, "its last good answer is a while ago"
    assert not breaker.is_shut


def test_being_told_to_wait_is_no_failure() -> None:
    breaker = proven()
    for n in range(20):
        breaker.told_to_wait(float(n), 0.1, "429")
        breaker.may_send(n + 0.5, 1)
    assert breaker.state is GateState.OK


def test_a_probe_that_is_told_to_wait_is_not_repeated_at_once() -> None:
    breaker = down(100.0)
    assert breaker.may_send(105.0, PLENTY) == 1
    breaker.told_to_wait(105.1, 7.0, "429")
    assert breaker.may_send(105.2, PLENTY) == 0
    assert breaker.may_send(112.0, PLENTY) == 0
    assert breaker.may_send(112.2, PLENTY) == 1


def test_the_answers_of_the_last_minute_are_counted_by_kind() -> None:
    breaker = proven(0.0)
    breaker.failed(30.0, "timeout", "no answer")
    breaker.answered(50.0, "number")
    breaker.succeeded(55.0)
    assert breaker.answers(59.0) == {"accepted": 2, "timeout": 1, "number": 1}
    assert breaker.answers(91.0) == {"accepted": 1, "number": 1}
    assert breaker.answers(200.0) == {}


@pytest.mark.parametrize("wanted", [0, 1, 4])
def test_it_never_allows_more_than_is_wanted(wanted: int) -> None:
    assert proven().may_send(1.0, wanted) == wanted
    assert down(100.0).may_send(105.0, wanted) == min(wanted, 1)


MOVES = st.sampled_from(["ok", "fail", "refuse", "wait", "answer", "ask", "give_back"])


@given(st.lists(st.tuples(MOVES, st.floats(0.0, 20.0)), max_size=60))
def test_whatever_happens_a_shut_gate_opens_again_on_the_first_good_sign(
    moves: list[tuple[str, float]],
) -> None:
    breaker, now = Breaker(), 0.0
    for move, later in moves:
        now += later
        match move:
            case "ok":
                breaker.succeeded(now)
            case "fail":
                breaker.failed(now, "timeout", "no answer")
            case "refuse":
                breaker.refused(now, "401")
            case "wait":
                breaker.told_to_wait(now, 1.0, "429")
            case "answer":
                breaker.answered(now, "number")
            case "ask":
                allowed = breaker.may_send(now, PLENTY)
                assert 0 <= allowed <= PLENTY
                if breaker.state is not GateState.OK:
                    assert allowed <= 1
            case _:
                breaker.give_back()
    if breaker.state is GateState.DOWN:
        breaker.give_back()
        assert breaker.may_send(breaker.retry_at + 31.0, PLENTY) == 1, "it is probed in time"
    breaker.succeeded(now)
    assert breaker.may_send(now, PLENTY) == PLENTY
