"""The dialling protocol as a state machine small enough to be searched through completely.

Two workers that may die between any two steps, a provider whose requests may arrive late or whose
answers may be lost, webhooks that may be lost, repeated and reordered at will, somebody who
cancels, and a reconciler. `search.search` visits every reachable state. It knows nothing of
Apollo's code; the variants are the ways in which such a protocol is usually written wrong.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

WORKERS: Final = 2

# A row of ours.
OPEN: Final = frozenset({"placing", "accepted", "answered", "unknown"})
# What the provider can be heard saying of a call, by how far the phone is.
SAID: Final = {
    "-": (),
    "ring": ("trying",),
    "talk": ("trying", "talk"),
    "busy": ("trying", "busy"),
    "done": ("trying", "talk", "done"),
}
THROWN_AWAY: Final = "thrown away"
RANK: Final = {"placing": 0, "unknown": 0, "accepted": 1, "answered": 2, "ended": 3}


class Row(NamedTuple):
    """One attempt as the database knows it."""

    contact: int
    state: str = "placing"
    # done (answered), busy, held (never found); None while open.
    outcome: str | None = None
    knows_id: bool = False


class Line(NamedTuple):
    """One request as the provider knows it: on its way or not, and how far the phone is."""

    is_coming: bool = False
    phone: str = "-"


class Worker(NamedTuple):
    """What a worker does: idle, claimed (may send), sent, or has an answer to record."""

    does: str = "idle"
    call: int = -1


class State(NamedTuple):
    """Everything at one moment."""

    contacts: tuple[str, ...]  # waiting, on_call, done, busy, held, skipped
    rows: tuple[Row | None, ...]  # None: the attempt is not written down (yet)
    lines: tuple[Line, ...]
    workers: tuple[Worker, ...]
    is_cancelled: bool = False


@dataclass(frozen=True)
class Rules:
    """The protocol, or a wrong variant of it."""

    name: str
    contacts: int = 1
    attempts: int = 2
    # A call that was certainly not placed costs no attempt; so many in all, to keep it finite.
    calls_max: int = 3
    marks_before_post: bool = True
    requeues_expired: bool = False
    timeout_is_failed: bool = False
    not_found_is_retry: bool = False
    last_webhook_wins: bool = False
    correlates_by_tag: bool = True
    hears_after_cancel: bool = True
    # A worker that has slept sends nothing any more: others have given its call up by then.
    sends_in_time_or_never: bool = True
    has_number_index: bool = True
    # After quarantine: hold for ever, or try again once no request can still be under way.
    releases_held: bool = False
    delay_is_bounded: bool = True


Step = tuple[str, State]


def start(rules: Rules) -> State:
    """Give the state in which everything begins."""
    return State(("waiting",) * rules.contacts, (), (), (Worker(),) * WORKERS)


def steps(rules: Rules, s: State) -> Iterator[Step]:
    """Give every step that may happen next."""
    for n, worker in enumerate(s.workers):
        yield from _worker_steps(rules, s, n, worker)
    for k in range(len(s.lines)):
        yield from _provider_steps(s, k)
        yield from _news(rules, s, k)
        yield from _reconciler_steps(rules, s, k)
    if not s.is_cancelled:
        contacts = tuple("skipped" if c == "waiting" else c for c in s.contacts)
        yield "cancel", s._replace(is_cancelled=True, contacts=contacts)


def _worker_steps(rules: Rules, s: State, n: int, worker: Worker) -> Iterator[Step]:
    k, who = worker.call, f"worker {n + 1}"
    match worker.does:
        case "idle":
            for contact in range(rules.contacts):
                if _may_claim(rules, s, contact):
                    yield f"{who} claims contact {contact + 1}", _claim(rules, s, n, contact)
            return
        case "claimed":
            row = s.rows[k]
            if row is None or row.state == "placing" or not rules.sends_in_time_or_never:
                sent = _with_line(s, k, Line(is_coming=True))
                yield f"{who} sends request {k + 1}", _busy(sent, n, "sent", k)
            # Too late by its own clock: it knows that it sent nothing, whatever others believe.
            yield f"{who} gives call {k + 1} back", _idle(_release(s, k), n)
        case "sent":
            line = s.lines[k]
            if not line.is_coming and line.phone != "-":
                yield f"{who} hears 201 for {k + 1}", _busy(s, n, "yes", k)
            if not line.is_coming and line.phone == "-":
                yield f"{who} hears 480 for {k + 1}", _busy(s, n, "no", k)
            yield f"{who} hears nothing of {k + 1}", _busy(s, n, "lost", k)
        case answer:
            written = _write_down(rules, s, k)
            yield (
                f"{who} records '{answer}' for {k + 1}",
                _idle(_record(rules, written, k, answer), n),
            )
    yield f"{who} dies", _idle(s, n)


def _may_claim(rules: Rules, s: State, contact: int) -> bool:
    if s.contacts[contact] != "waiting" or s.is_cancelled or len(s.rows) >= rules.calls_max:
        return False
    used = sum(r is not None and r.contact == contact and r.state != "released" for r in s.rows)
    if used >= rules.attempts:
        return False
    # All contacts of the model have one number.
    is_free = all(r is None or r.state not in OPEN for r in s.rows)
    return is_free or not rules.has_number_index


def _claim(rules: Rules, s: State, n: int, contact: int) -> State:
    row = Row(contact) if rules.marks_before_post else None
    s = s._replace(rows=(*s.rows, row), lines=(*s.lines, Line()))
    if rules.marks_before_post:
        s = _with_contact(s, contact, "on_call")
    return _busy(s, n, "claimed", len(s.rows) - 1)


def _write_down(rules: Rules, s: State, k: int) -> State:
    """The variant that marks after the POST does it here."""
    if rules.marks_before_post or s.rows[k] is not None:
        return s
    return _with_contact(_with_row(s, k, Row(0)), 0, "on_call")


def _record(rules: Rules, s: State, k: int, answer: str) -> State:
    row = s.rows[k]
    assert row is not None
    if answer == "yes":
        s = _with_row(s, k, row._replace(knows_id=True))
        return _apply(rules, s, k, "trying")
    if answer == "no":
        return _release(s, k)
    if row.state != "placing":
        return s
    if rules.timeout_is_failed:
        return _end(rules, s, k, "busy")
    return _with_row(s, k, row._replace(state="unknown"))


def _release(s: State, k: int) -> State:
    row = s.rows[k]
    if row is None or row.state not in {"placing", "unknown"}:
        return s
    s = _with_row(s, k, row._replace(state="released"))
    return _with_contact(s, row.contact, "skipped" if s.is_cancelled else "waiting")


def _provider_steps(s: State, k: int) -> Iterator[Step]:
    line = s.lines[k]
    if line.is_coming:
        yield f"the provider places call {k + 1}", _with_line(s, k, Line(phone="ring"))
        yield f"the provider refuses request {k + 1}", _with_line(s, k, Line())
    if line.phone == "ring":
        yield f"person picks up {k + 1}", _with_line(s, k, Line(phone="talk"))
        yield f"person is busy on {k + 1}", _with_line(s, k, Line(phone="busy"))
    if line.phone == "talk":
        yield f"call {k + 1} is over", _with_line(s, k, Line(phone="done"))


def _news(rules: Rules, s: State, k: int) -> Iterator[Step]:
    """Any webhook that was ever sent may arrive now: late, again, or out of order."""
    row = s.rows[k]
    for word in SAID[s.lines[k].phone]:
        if row is None:
            continue
        is_deaf = s.is_cancelled and not rules.hears_after_cancel
        if is_deaf or not (rules.correlates_by_tag or row.knows_id):
            if word in {"busy", "done"} and row.state in OPEN:
                yield f"webhook '{word}' of {k + 1} is thanked for and {THROWN_AWAY}", s
            continue
        moved = _apply(rules, _with_row(s, k, row._replace(knows_id=True)), k, word)
        if moved != s:
            yield f"webhook '{word}' of {k + 1}", moved


def _reconciler_steps(rules: Rules, s: State, k: int) -> Iterator[Step]:
    row, line = s.rows[k], s.lines[k]
    if row is None or row.state not in OPEN:
        return
    if row.state == "placing":
        if rules.requeues_expired:
            yield f"lease of {k + 1} expires: back into the queue", _release(s, k)
        else:
            unknown = _with_row(s, k, row._replace(state="unknown"))
            yield f"lease of {k + 1} expires", unknown
        return
    if line.phone != "-":
        if s.is_cancelled and not rules.hears_after_cancel:
            return
        found = _apply(rules, _with_row(s, k, row._replace(knows_id=True)), k, SAID[line.phone][-1])
        if found != s:
            yield f"look-up finds {k + 1}", found
    elif row.state == "unknown" and rules.not_found_is_retry:
        yield f"look-up does not find {k + 1}: back into the queue", _release(s, k)
    elif row.state == "unknown" and not (rules.delay_is_bounded and _may_still_come(rules, s, k)):
        outcome = "busy" if rules.releases_held else "held"
        yield f"quarantine of {k + 1} is over", _end(rules, s, k, outcome)


def _may_still_come(rules: Rules, s: State, k: int) -> bool:
    row = s.rows[k]
    is_held = any(w.call == k and w.does == "claimed" for w in s.workers)
    # Two seconds bound how long a claim may still lead to a request; who is asleep has no bound.
    is_in_time = row is not None and row.state == "placing"
    return s.lines[k].is_coming or (is_held and (is_in_time or rules.sends_in_time_or_never))


def _apply(rules: Rules, s: State, k: int, word: str) -> State:
    """Apply what was heard of a call: by rank, or, in the variant, as it comes."""
    row = s.rows[k]
    assert row is not None
    state = {"trying": "accepted", "talk": "answered"}.get(word, "ended")
    if row.state == "released":
        return s
    if rules.last_webhook_wins and state != "ended":
        return _with_contact(
            _with_row(s, k, row._replace(state=state, outcome=None)), row.contact, "on_call"
        )
    if row.state == "ended":
        answered = word in {"talk", "done"}
        if row.outcome == "held" or (answered and row.outcome != "done"):
            if word == "trying":
                return s
            outcome = "done" if answered else word
            s = _with_row(s, k, row._replace(outcome=outcome))
            return _with_contact(s, row.contact, outcome)
        return s
    if state == "ended":
        return _end(rules, s, k, word)
    if RANK[state] <= RANK[row.state]:
        return s
    return _with_row(s, k, row._replace(state=state))


def _end(rules: Rules, s: State, k: int, outcome: str) -> State:
    row = s.rows[k]
    assert row is not None
    s = _with_row(s, k, row._replace(state="ended", outcome=outcome))
    used = sum(r is not None and r.contact == row.contact and r.state != "released" for r in s.rows)
    again = outcome == "busy" and not s.is_cancelled and used < rules.attempts
    return _with_contact(s, row.contact, "waiting" if again else outcome)


def _with_row(s: State, k: int, row: Row) -> State:
    return s._replace(rows=(*s.rows[:k], row, *s.rows[k + 1 :]))


def _with_line(s: State, k: int, line: Line) -> State:
    return s._replace(lines=(*s.lines[:k], line, *s.lines[k + 1 :]))


def _with_contact(s: State, contact: int, shows: str) -> State:
    return s._replace(contacts=(*s.contacts[:contact], shows, *s.contacts[contact + 1 :]))


def _busy(s: State, n: int, does: str, k: int) -> State:
    return s._replace(workers=(*s.workers[:n], Worker(does, k), *s.workers[n + 1 :]))


def _idle(s: State, n: int) -> State:
    return s._replace(workers=(*s.workers[:n], Worker(), *s.workers[n + 1 :]))


OURS: Final = (
    Rules("ours, an unknown call is held"),
    Rules("ours, held, however late requests arrive", delay_is_bounded=False),
    Rules("ours, released after quarantine, delay bounded", releases_held=True),
    Rules("ours, two contacts with one number", contacts=2, attempts=1, calls_max=2),
)
WRONG: Final = (
    Rules("mark after POST", marks_before_post=False, calls_max=2),
    Rules("requeue on lease expiry", requeues_expired=True, calls_max=2),
    Rules("timeout = failed", timeout_is_failed=True),
    Rules("not found = retry", not_found_is_retry=True, calls_max=2),
    Rules("last webhook wins", last_webhook_wins=True),
    Rules("correlate by provider id only", correlates_by_tag=False),
    Rules("ignore events after cancel", hears_after_cancel=False),
    Rules("send however late", sends_in_time_or_never=False, releases_held=True),
    Rules(
        "claim without the unique index",
        contacts=2,
        attempts=1,
        calls_max=2,
        has_number_index=False,
    ),
    Rules(
        "release after quarantine, delay not bounded",
        calls_max=2,
        releases_held=True,
        delay_is_bounded=False,
    ),
)
