"""One contact, any sequence of claims, events, pauses and cancels: what must hold all the same."""

import uuid
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from apollo.core.campaign_settings import FOLLOW_UPS_DEFAULT
from apollo.core.events import (
    Alarm,
    AnswererKnown,
    CallAccepted,
    CallAnswered,
    CallEnded,
    CallEvent,
    CallRinging,
    CallTrying,
    CallVanished,
    Evidence,
    HangUp,
    NumberRefused,
    QuarantineOver,
    Reached,
    RequestLost,
    RequestNotPlaced,
)
from apollo.core.ids import ContactKey
from apollo.core.lifecycle import Step, schedule_follow_up, step
from apollo.core.model import (
    CARRIER_FAILURES_MAX,
    COOLDOWN_MAX,
    STATUS_OF,
    Call,
    CallSetting,
    Contact,
    Deadlines,
    OnUnresolved,
    RetryPolicy,
    RetryStrategy,
    Turn,
)
from apollo.core.sip import Family
from apollo.core.states import (
    CALL_MOVES,
    CLOSED_BATCH,
    CONTACT_SHOWS,
    FINAL_CONTACT,
    ON_CALL,
    OPEN_CALL,
    BatchStatus,
    CallKind,
    CallState,
    ContactStatus,
    Off,
    Outcome,
)

START = datetime(2026, 5, 10, 9, tzinfo=UTC)
DEADLINES = Deadlines(
    ring_timeout=timedelta(seconds=30),
    time_limit=timedelta(minutes=30),
    quarantine=timedelta(minutes=10),
    on_unresolved=OnUnresolved.HOLD,
)
KIND_OF = {
    ContactStatus.PENDING: CallKind.FIRST,
    ContactStatus.RETRYING: CallKind.RETRY,
    ContactStatus.FOLLOWUP_SCHEDULED: CallKind.FOLLOW_UP,
}
SCHEDULED = frozenset(KIND_OF)


class Life:
    """Plays a database and a provider for one contact."""

    def __init__(self, max_retries: int) -> None:
        self.now = START
        self.batch = BatchStatus.IN_PROGRESS
        self.policy = RetryPolicy(max_retries, RetryStrategy.FIXED, timedelta(minutes=30))
        self.calls: list[Call] = []
        # The first call of the budget that a promised follow-up opened.
        self.budget_from = 0
        self.contact = Contact(
            key=ContactKey(uuid.UUID(int=1), 1), status=ContactStatus.PENDING, updated_at=START
        )

    @property
    def open_call(self) -> Call | None:
        return next((call for call in self.calls if call.state in OPEN_CALL), None)

    def claim(self) -> None:
        """Do what the claim statement does, when it would."""
        contact = self.contact
        if self.batch is not BatchStatus.IN_PROGRESS or contact.status not in SCHEDULED:
            return
        assert self.open_call is None
        if contact.due is not None:
            self.now = max(self.now, contact.due.due_at)
        kind = KIND_OF[contact.status]
        self.calls.append(
            Call(
                id=uuid.UUID(int=100 + len(self.calls)),
                state=CallState.PLACING,
                version=1,
                kind=kind,
                provider="p",
                phone_number="+14155550123",
                from_number="+14155552670",
                requested_at=self.now,
                prior_due_at=contact.due.due_at if contact.due else None,
                prior_updated_at=contact.updated_at,
                prior_attempted_at=contact.last_attempted_at,
            )
        )
        self.contact = replace(
            contact,
            status=ContactStatus.DISPATCHED,
            wait_reason=None,
            due=None,
            attempts=contact.attempts + 1,
            tries=contact.tries + 1,
            retry_count=contact.retry_count + (kind is CallKind.RETRY and contact.tries > 0),
            follow_up_count=contact.follow_up_count + (kind is CallKind.FOLLOW_UP),
            last_attempted_at=self.now,
            updated_at=self.now,
        )

    def close(self, status: BatchStatus) -> None:
        """Cancel or expire the batch: whoever waits is skipped."""
        if self.batch in CLOSED_BATCH:
            return
        self.batch = status
        if self.contact.status in SCHEDULED:
            self.contact = replace(
                self.contact, status=ContactStatus.SKIPPED, due=None, wait_reason=None
            )

    def happens(self, nth: int, event: CallEvent, *, set_up: Family | None = None) -> Step:
        call = self.calls[nth]
        setting = CallSetting(
            follow_ups_max=FOLLOW_UPS_DEFAULT,
            batch_status=self.batch,
            retry=self.policy,
            deadlines=DEADLINES,
            other_calls=tuple(
                c for c in self.calls if c is not call and c.state is not CallState.RELEASED
            ),
        )
        done = step(call, self.contact, setting, event, set_up=set_up)
        self.calls[nth], self.contact = done.call, done.contact
        if done.contact.tries == 0 and done.contact.status is ContactStatus.FOLLOWUP_SCHEDULED:
            self.budget_from = len(self.calls)
        return done


def event(kind: type[CallEvent], at: datetime, **more: object) -> CallEvent:
    """Build an event of this kind with the fields it cannot do without."""
    needed: dict[type[CallEvent], dict[str, object]] = {
        RequestNotPlaced: {"reason": "connect"},
        NumberRefused: {"reason": "bad_number"},
        RequestLost: {"reason": "timeout"},
        CallEnded: {"call_status": "no-answer", "sip_status": 487},
        AnswererKnown: {"reached": Reached.PERSON, "by_agent": True},
        CallVanished: {"may_retry": True, "evidence": Evidence.ASSUMED},
        QuarantineOver: {"may_retry": False, "evidence": Evidence.ASSUMED},
    }
    fields = {"at": at, "evidence": Evidence.WEBHOOK, **needed.get(kind, {}), **more}
    return kind(**fields)  # type: ignore[arg-type] # each kind has fields of its own


# ---------------------------------------------------------------------------- any life at all

ENDINGS = [
    ("completed", 200),
    ("no-answer", 487),
    ("busy", 486),
    ("busy", 603),
    ("failed", 503),
    ("failed", 404),
    ("failed", None),
]
SHOWING_THE_LAST_CALL = {
    ContactStatus.FAILED,
    ContactStatus.BUSY,
    ContactStatus.NO_ANSWER,
    ContactStatus.VOICEMAIL,
}
NOT_AGAIN = {"declined", "bad_number", "unwanted", "wrong_person"}
KINDS = sorted(CALL_MOVES[CallState.PLACING], key=lambda kind: kind.__name__)


def some_event(random: Random, at: datetime) -> CallEvent:
    """Draw any event at all, likely ones more often."""
    likely: list[type[CallEvent]] = [CallAccepted, CallRinging, CallAnswered, *[CallEnded] * 4]
    likely += [AnswererKnown] * 2
    kind = random.choice([*KINDS, *likely])
    more: dict[str, object] = {"evidence": random.choice(list(Evidence))}
    if kind is CallEnded:
        more["call_status"], more["sip_status"] = random.choice(ENDINGS)
    if kind is AnswererKnown:
        more["reached"] = random.choice(list(Reached))
        more["by_agent"] = random.random() < 0.7
    if kind is QuarantineOver:
        more["may_retry"] = random.random() < 0.5
    if kind in {CallAccepted, CallTrying, CallRinging, CallAnswered, CallEnded}:
        more["provider_call_id"] = random.choice([None, None, None, "A", "B"])
    return event(kind, at, **more)


def check(life: Life, before: list[Call]) -> None:
    contact = life.contact
    for was, now in zip(before, life.calls, strict=False):
        if was.state not in OPEN_CALL:
            assert now.state is was.state, "a closed call opened"
    open_calls = [call for call in life.calls if call.state in OPEN_CALL]
    assert len(open_calls) <= 1
    assert (contact.status in ON_CALL) == bool(open_calls)
    if open_calls:
        assert contact.status is CONTACT_SHOWS[open_calls[0].state]
    if contact.status in {ContactStatus.RETRYING, ContactStatus.FOLLOWUP_SCHEDULED}:
        assert contact.due is not None, "it waits for nothing"
    if contact.status in FINAL_CONTACT | ON_CALL:
        assert contact.due is None
        assert contact.wait_reason is None
    if contact.due is not None:
        assert STATUS_OF[contact.due.turn] is contact.status
    if contact.is_reached and contact.status is not ContactStatus.FOLLOWUP_SCHEDULED:
        assert contact.status not in SCHEDULED, "called again after an answer"
    counted = [call for call in life.calls if call.state is not CallState.RELEASED]
    if contact.status in SHOWING_THE_LAST_CALL:
        shown = counted[-1].outcome and counted[-1].outcome.value
        assert shown == contact.status.value, "it does not show its last call"
    if contact.status in SCHEDULED:
        why = {call.hangup_reason for call in life.calls[life.budget_from :]}
        assert not why & NOT_AGAIN, "called again, who must not be"
    check_reached(life)
    assert contact.attempts == len(counted)
    assert 0 <= contact.tries <= 1 + life.policy.max_retries
    assert contact.retry_count >= 0
    assert contact.carrier_failures <= CARRIER_FAILURES_MAX + 1
    assert contact.follow_up_count == sum(c.kind is CallKind.FOLLOW_UP for c in counted)
    for call in life.calls:
        assert (call.state is CallState.ENDED) == (call.outcome is not None)
        assert (call.state in OPEN_CALL) == (call.ended_at is None)


def check_reached(life: Life) -> None:
    """Who was reached, and by which call, decides whether anybody is called."""
    contact = life.contact
    last = max((n for n, c in enumerate(life.calls) if c.outcome is Outcome.COMPLETED), default=-1)
    wrong = [n for n, c in enumerate(life.calls) if c.reached is Reached.WRONG_PERSON and c.outcome]
    if wrong and wrong[-1] > last and life.budget_from <= wrong[-1]:
        assert contact.status not in SCHEDULED, "the number is somebody else's"
    if contact.status is ContactStatus.COMPLETED:
        assert last >= 0, "completed, and nobody was reached"


@given(st.integers(0, 2), st.integers(0, 2**32))
@settings(max_examples=1500, deadline=None)
def test_whatever_happens_the_rules_hold(max_retries: int, seed: int) -> None:
    random, life = Random(seed), Life(max_retries)
    for _ in range(random.randint(1, 40)):
        before = list(life.calls)
        life.now += timedelta(seconds=1)
        chance = random.random()
        if chance < 0.04:
            act(life, random.choice(["pause", "follow_up", "follow_up", "cancel", "expire"]))
        elif chance < 0.1:
            act(life, "resume")
        elif chance < 0.4 or not life.calls:
            life.claim()
        else:
            # The newest call mostly, and now and then late news of an earlier one.
            nth = len(life.calls) - 1 - random.choice([0, 0, 0, 1, 1, 2])
            life.happens(max(nth, 0), some_event(random, life.now))
        check(life, before)


def act(life: Life, action: str) -> None:
    match action:
        case "pause" if life.batch is BatchStatus.IN_PROGRESS:
            life.batch = BatchStatus.PAUSED
        case "resume" if life.batch is BatchStatus.PAUSED:
            life.batch = BatchStatus.IN_PROGRESS
        case "follow_up" if life.calls:
            at = life.now + timedelta(days=1)
            life.calls[-1] = replace(life.calls[-1], follow_up_at=at)
        case "cancel":
            life.close(BatchStatus.CANCELLED)
        case "expire":
            life.close(BatchStatus.EXPIRED)


@given(st.integers(0, 2**32))
@settings(max_examples=1000, deadline=None)
def test_nobody_is_called_after_an_answer_who_asked_for_no_follow_up(seed: int) -> None:
    random, life = Random(seed), Life(3)
    calls_when_answered: int | None = None
    for _ in range(30):
        life.now += timedelta(seconds=1)
        if random.random() < 0.3 or not life.calls:
            life.claim()
            if calls_when_answered is not None:
                assert len(life.calls) == calls_when_answered, "called again after an answer"
        else:
            nth = len(life.calls) - 1 - random.choice([0, 0, 1])
            happened = some_event(random, life.now)
            if isinstance(happened, AnswererKnown):
                happened = replace(happened, reached=Reached.PERSON)
            life.happens(max(nth, 0), happened)
        is_answered = any(
            call.outcome is Outcome.COMPLETED or call.state is CallState.ANSWERED
            for call in life.calls
        )
        if is_answered and calls_when_answered is None:
            calls_when_answered = len(life.calls)


@given(st.integers(0, 3), st.lists(st.sampled_from([503, 486, 487, 480]), max_size=40))
def test_attempts_stay_within_the_budget_and_carrier_failures_within_theirs(
    max_retries: int, codes: list[int]
) -> None:
    life = Life(max_retries)
    for code in codes:
        life.claim()
        if life.open_call is None:
            break
        life.happens(len(life.calls) - 1, event(CallEnded, life.now, sip_status=code))
    carrier = sum(call.sip_status == 503 for call in life.calls)
    assert carrier <= CARRIER_FAILURES_MAX + 1
    assert len(life.calls) - carrier <= 1 + max_retries


def test_a_carrier_that_always_fails_is_tried_eleven_times_and_not_once_more() -> None:
    life = Life(0)
    for _ in range(30):
        life.claim()
        if life.open_call is not None:
            life.happens(len(life.calls) - 1, event(CallEnded, life.now, sip_status=503))
    assert len(life.calls) == CARRIER_FAILURES_MAX + 1
    assert life.contact.status is ContactStatus.FAILED


# ------------------------------------------------------------------------ every move of the table


def put(state: CallState) -> Life:
    """A contact whose one call is in this state, by the shortest way."""
    way: dict[CallState, list[type[CallEvent]]] = {
        CallState.PLACING: [],
        CallState.ACCEPTED: [CallAccepted],
        CallState.RINGING: [CallRinging],
        CallState.ANSWERED: [CallAnswered],
        CallState.UNKNOWN: [RequestLost],
        CallState.ENDED: [CallEnded],
        CallState.RELEASED: [RequestNotPlaced],
    }
    life = Life(3)
    life.claim()
    for kind in way[state]:
        life.happens(0, event(kind, START))
    assert life.calls[0].state is state
    return life


PAIRS = [(state, kind) for state, moves in CALL_MOVES.items() for kind in moves]


@pytest.mark.parametrize(
    ("state", "kind"), PAIRS, ids=[f"{state}-{kind.__name__}" for state, kind in PAIRS]
)
def test_a_call_moves_as_its_table_says(state: CallState, kind: type[CallEvent]) -> None:
    life = put(state)
    call, contact = life.calls[0], life.contact
    target = CALL_MOVES[state][kind]
    done = life.happens(0, event(kind, START + timedelta(seconds=5)))
    if isinstance(target, Off):
        assert (done.call, done.contact, done.off) == (call, contact, target)
        assert any(isinstance(e, Alarm) for e in done.effects) == (target is Off.SURPRISE)
    else:
        assert done.call.state is target
        assert not any(isinstance(effect, Alarm) for effect in done.effects)
        if target in OPEN_CALL:
            assert done.contact.status is CONTACT_SHOWS[target]


# ------------------------------------------------------------------------------- single rules


def test_a_released_retry_does_not_bring_back_somebody_who_was_reached_meanwhile() -> None:
    life = Life(3)
    life.claim()
    life.happens(0, event(CallEnded, life.now))
    life.claim()
    life.happens(0, event(CallAnswered, life.now))
    life.happens(1, event(RequestNotPlaced, life.now))
    assert life.contact.status is ContactStatus.COMPLETED
    assert life.contact.due is None


@pytest.mark.parametrize(
    ("code", "outcome"), [(404, Outcome.FAILED), (603, Outcome.BUSY), (607, Outcome.FAILED)]
)
@pytest.mark.parametrize("end", [CallEnded, RequestNotPlaced])
@pytest.mark.parametrize("carrier_failures", [0, 2])
def test_what_forbids_another_call_is_remembered_while_one_is_out(
    code: int, outcome: Outcome, end: type[CallEvent], carrier_failures: int
) -> None:
    life = Life(3)
    life.claim()
    life.happens(0, event(CallAccepted, life.now))
    life.happens(0, event(CallVanished, life.now))
    for nth in range(1, carrier_failures + 1):
        life.claim()
        life.happens(nth, event(CallEnded, life.now, sip_status=503))
    life.claim()
    assert life.happens(0, event(CallEnded, life.now, sip_status=code)).is_correction
    assert life.contact.status is ContactStatus.DISPATCHED, "the call that is out goes on"
    life.happens(carrier_failures + 1, event(end, life.now))
    # What its last call came to; a call that was never sent is none.
    not_sent = Outcome.FAILED if carrier_failures else outcome
    shown = Outcome.NO_ANSWER if end is CallEnded else not_sent
    assert (life.contact.status.value, life.contact.due) == (shown.value, None)


@pytest.mark.parametrize("code", [404, 603, 607])
def test_what_forbade_another_call_forbids_no_follow_up_that_was_asked_for_since(code: int) -> None:
    life = Life(3)
    for _ in range(2):
        life.claim()
        life.happens(len(life.calls) - 1, event(CallEnded, life.now, sip_status=503))
    life.claim()
    life.happens(2, event(CallAccepted, life.now))
    life.happens(2, event(CallVanished, life.now))
    life.claim()
    life.calls[3] = replace(life.calls[3], follow_up_at=START + timedelta(days=1))
    life.happens(3, event(CallEnded, life.now, call_status="completed", sip_status=200))
    promised = life.contact
    assert life.happens(2, event(CallEnded, life.now, sip_status=code)).is_correction
    assert life.contact == promised
    # Nor is it the last word when the follow-up is not answered.
    life.claim()
    life.happens(4, event(CallEnded, life.now))
    assert life.contact.status is ContactStatus.FOLLOWUP_SCHEDULED


def test_a_follow_up_that_an_operator_asks_for_is_retried_whatever_became_of_the_last() -> None:
    life = Life(3)
    life.claim()
    life.happens(0, event(CallEnded, life.now, sip_status=503))
    life.claim()
    life.calls[1] = replace(life.calls[1], follow_up_at=START + timedelta(days=1))
    life.happens(1, event(CallEnded, life.now, call_status="completed", sip_status=200))
    life.claim()
    life.happens(2, event(CallEnded, life.now, sip_status=603))
    assert life.contact.status is ContactStatus.BUSY
    life.contact = schedule_follow_up(life.contact, life.now, life.now)
    life.claim()
    life.happens(3, event(CallEnded, life.now))
    assert life.contact.status is ContactStatus.FOLLOWUP_SCHEDULED


def test_a_correction_of_an_earlier_call_leaves_a_held_contact_to_its_operator() -> None:
    life = Life(3)
    life.claim()
    life.happens(0, event(CallAccepted, life.now))
    life.happens(0, event(CallVanished, life.now))
    life.claim()
    life.happens(1, event(RequestLost, life.now))
    life.happens(1, event(QuarantineOver, life.now))
    held = life.contact
    assert life.happens(0, event(CallEnded, life.now, sip_status=486)).is_correction
    assert life.contact == held
    # The held call itself turns out to have been busy: nobody is held any more.
    assert life.happens(1, event(CallEnded, life.now, sip_status=486)).off is None
    assert life.contact.status is ContactStatus.BUSY


def test_who_was_reached_is_not_skipped_when_the_batch_is_cancelled_before_a_release() -> None:
    life = Life(3)
    life.claim()
    life.happens(0, event(CallEnded, life.now))
    life.claim()
    life.happens(0, event(CallAnswered, life.now))
    life.close(BatchStatus.CANCELLED)
    life.happens(1, event(RequestNotPlaced, life.now))
    assert life.contact.status is ContactStatus.COMPLETED


def test_a_late_answer_of_an_earlier_call_does_not_take_a_promised_follow_up_away() -> None:
    life = Life(3)
    life.claim()
    life.happens(0, event(CallEnded, life.now))
    life.claim()
    life.happens(1, event(CallAnswered, life.now))
    life.calls[1] = replace(life.calls[1], follow_up_at=START + timedelta(days=1))
    life.happens(1, event(CallEnded, life.now, call_status="completed", sip_status=200))
    done = life.happens(0, event(CallAnswered, life.now))
    assert done.is_correction
    assert life.contact.status is ContactStatus.FOLLOWUP_SCHEDULED
    life.claim()
    life.happens(2, event(CallRinging, life.now, provider_call_id="C"))
    done = life.happens(0, event(CallAnswered, life.now))
    assert done.effects == (), "the promised call goes on"


def test_what_happens_to_a_second_provider_call_says_nothing_about_the_first() -> None:
    life = put(CallState.PLACING)
    life.happens(0, event(CallAnswered, START, provider_call_id="A"))
    done = life.happens(0, event(CallRinging, START, provider_call_id="B"))
    assert [type(effect) for effect in done.effects] == [HangUp, Alarm]
    done = life.happens(0, event(CallEnded, START, provider_call_id="B"))
    assert done.off is Off.SURPRISE
    assert life.calls[0].state is CallState.ANSWERED, "the first call is still live"
    assert life.calls[0].provider_call_id == "A"


@pytest.mark.parametrize("evidence", [Evidence.POLL, Evidence.RECORD])
def test_a_look_up_gives_no_later_call_of_the_number_to_a_call_that_moved_meanwhile(
    evidence: Evidence,
) -> None:
    # It was looked for while nothing was known of it; then its worker said that it never left.
    life = put(CallState.UNKNOWN)
    life.happens(0, event(RequestNotPlaced, START))
    seen = event(CallRinging, START, evidence=evidence, provider_call_id="next")
    assert life.happens(0, seen).off is Off.REPEAT
    assert life.calls[0].provider_call_id is None, "the next call must be able to have its name"
    # Or its own webhook named it: then the next call is no second one, and must not be hung up.
    life = put(CallState.UNKNOWN)
    life.happens(0, event(CallEnded, START, provider_call_id="own"))
    assert life.happens(0, seen).effects == ()


@pytest.mark.parametrize(("kind", "was_answered"), [(CallRinging, False), (CallAnswered, True)])
def test_a_second_provider_call_is_hung_up_as_what_it_was_heard_to_be(
    kind: type[CallEvent], was_answered: bool
) -> None:
    life = put(CallState.PLACING)
    life.happens(0, event(CallRinging, START, provider_call_id="A"))
    hang_up, _ = life.happens(0, event(kind, START, provider_call_id="B")).effects
    assert isinstance(hang_up, HangUp)
    assert (hang_up.provider_call_id, hang_up.was_answered) == ("B", was_answered)


@pytest.mark.parametrize("strategy", list(RetryStrategy))
def test_no_cooldown_is_longer_than_a_day_and_none_shrinks(strategy: RetryStrategy) -> None:
    policy = RetryPolicy(100, strategy, timedelta(minutes=7))
    waits = [policy.wait_before(retry) for retry in range(1, 101)]
    assert waits == sorted(waits)
    assert waits[0] == timedelta(minutes=7)
    assert max(waits) <= COOLDOWN_MAX


def test_a_release_gives_back_the_very_contact_that_was_claimed() -> None:
    life = Life(3)
    life.claim()
    life.happens(0, event(CallEnded, life.now))
    waiting = life.contact
    life.claim()
    life.happens(1, event(RequestNotPlaced, life.now + timedelta(seconds=1)))
    assert waiting.due is not None
    # Its cooldown is over, so nothing holds it back any more; all else is as it was.
    assert life.contact == replace(waiting, wait_reason=None)
    assert life.contact.due is not None
    assert life.contact.due.turn is Turn.RETRY
