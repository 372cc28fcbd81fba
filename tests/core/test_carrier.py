"""The row of numbers that declined without ringing: only who would have told of ringing adds."""

import pytest
from tests.core.test_lifecycle import START, Life, event

from apollo.core.carrier import CarrierTally, tally
from apollo.core.events import CallEnded, CallTrying, Evidence


@pytest.mark.parametrize(("evidence", "row"), [(Evidence.WEBHOOK, 3), (Evidence.RECORD, 2)])
def test_a_decline_that_was_looked_up_adds_nothing_to_the_row(evidence: Evidence, row: int) -> None:
    life = Life(max_retries=2)
    life.claim()
    life.happens(0, event(CallTrying, START))
    was = (life.calls[0], life.contact)
    ended = CallEnded(at=START, evidence=evidence, call_status="busy", sip_status=603)
    life.happens(0, ended)
    so_far = tally(CarrierTally(declines_in_a_row=2), ended, was, (life.calls[0], life.contact))
    assert so_far.declines_in_a_row == row
