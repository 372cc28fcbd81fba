"""Judges a run: every invariant from its witness, and what a single one could not see.

The provider's ledger is judged by the product's own auditor, whose eyes the mutants test; beside it
stand the proxy's record of requests, a trigger's record of changes to what was final, and what the
API answered meanwhile.
"""

import json
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from tests.faults.fire import Fire
from tests.faults.site import Site

from apollo.config import load
from apollo.core import ids
from apollo.core.audit import Finding
from apollo.usecases.audit_ledger import AuditLedger, read_ledger
from apollo.wiring.office import open_office

_FINAL_WORDS: Final = frozenset({"completed", "failed", "busy", "no-answer"})
_OUTCOMES: Final = """
select c.batch_id, c.position, c.status, b.status as batch,
       array_agg(k.outcome order by k.attempt) filter (where k.outcome is not null) as outcomes,
       array_agg(k.hangup_reason) filter (where k.outcome is not null) as reasons
  from contacts c join batches b on b.id = c.batch_id
  left join calls k on k.batch_id = c.batch_id and k.position = c.position
 group by c.batch_id, c.position, c.status, b.status
"""


@dataclass
class Verdict:
    """What was found about one run."""

    violations: list[str] = field(default_factory=list)
    # How many of what were looked at, by invariant.
    checks: Counter[str] = field(default_factory=Counter)
    calls: int = 0
    # Contacts held as `outcome_unknown`: the provider never had their call.
    held: int = 0
    # Calls whose end the provider itself has forgotten, or did not live to see.
    unknowable: int = 0


async def judge(fire: Fire) -> Verdict:
    """Judge a run that is over."""
    site = fire.site
    lines = _ledger(site.apollo.logs / "rotary-ledger.jsonl")
    verdict = Verdict(violations=list(fire.wrong), calls=len(lines))
    await _audit(site, lines, verdict)
    _requests(site, verdict)
    await _calls(site, lines, verdict)
    await _finals(site, verdict)
    await _contacts(site, lines, verdict)
    verdict.checks["I11"] += fire.polls
    verdict.checks["I12"] += fire.foreign_polls
    # Whatever is logged as a defect would be for a person to look at.
    verdict.violations += [f"log: {line[:400]}" for line in site.apollo.surprises()]
    return verdict


def _ledger(path: Path) -> dict[str, dict[str, Any]]:
    """The last line of every call: that of its end, if it has one."""
    files = [path.with_name(path.name + ".open"), path]
    lines = {}
    for text in (line for one in files if one.exists() for line in one.read_text().splitlines()):
        entry = json.loads(text)
        lines[entry["call_sid"]] = entry
    return lines


@dataclass
class _Seen:
    """What there was to know: of whom the ledger tells, and who answered which calls."""

    lines: dict[str, dict[str, Any]]
    # The answered calls of each contact.
    answered: dict[str, list[dict[str, Any]]]

    @classmethod
    async def of(cls, site: Site, lines: dict[str, dict[str, Any]]) -> "_Seen":
        rows = await site.rows("select id, batch_id, position from calls")
        contact = {
            ids.execution_id(r["id"]): ids.contact_id(ids.ContactKey(r[1], r[2])) for r in rows
        }
        answered = defaultdict(list)
        for line in lines.values():
            name = (line["tag"] or {}).get("execution_id")
            if line["answered_at"] and name in contact:
                answered[contact[name]].append(line)
        return cls(lines, answered)


async def _audit(site: Site, lines: dict[str, dict[str, Any]], verdict: Verdict) -> None:
    given = {k: v for k, v in site.apollo.environ.items() if k.startswith("APOLLO_")}
    witnessed = read_ledger((json.dumps(x).encode() for x in lines.values()), "ledger")
    async with open_office(load(given)) as office:
        findings = await AuditLedger(db=office.db).run(witnessed)
    seen = await _Seen.of(site, lines)
    for finding in findings:
        verdict.checks[finding.invariant] += finding.checked
        for one in finding.violations:
            # Without its SIP code, which was nonsense, nobody can tell why a call failed.
            is_senseless = "nonsense" in site.plan.weather and "recorded as failed" in one.what
            if is_senseless or _is_excused(finding, one.ids, seen):
                verdict.unknowable += 1
            else:
                verdict.violations.append(f"{finding.invariant}: {one.what}: {' '.join(one.ids)}")


def _is_excused(finding: Finding, names: tuple[str, ...], seen: _Seen) -> bool:
    """Tell whether nobody could have known better: then it is counted, and not a violation."""
    sids = [name.removeprefix("call_sid ") for name in names if name.startswith("call_sid ")]
    mine = [seen.lines[sid] for sid in sids if sid in seen.lines]
    if finding.invariant == "I3":
        until = min(line["requested_at"] for line in mine)
        before = [line for name in names for line in seen.answered.get(name, ())]
        return all(_is_unanswerable(x, until) for x in before if x["answered_at"] < until)
    if finding.invariant == "I7":
        return any(map(_is_unknowable, mine))
    return False


def _is_unknowable(line: dict[str, Any], until: str = "9999") -> bool:
    """Tell whether the provider kept nothing of the end of a call and told nobody by then."""
    # That somebody had answered it may not have written yet.
    if line["cut_short"] and line["answered_at"] is None:
        return not _told(line, frozenset({"in-progress"}), until)
    was_lost = "cdr_lost" in line["faults"] or not line["reached_carrier"]
    return was_lost and not _told(line, _FINAL_WORDS, until)


def _is_unanswerable(line: dict[str, Any], until: str) -> bool:
    """Tell whether nobody could know by then that somebody answered: no word, and no record."""
    return _is_unknowable(line, until) and not _told(line, frozenset({"in-progress"}), until)


def _told(line: dict[str, Any], words: frozenset[str], until: str = "9999") -> bool:
    """Tell whether Apollo had confirmed a webhook with one of these words by then."""
    return any(
        hook["event"] in words
        and any(a["status"] == 200 and _answered_at(a) < until for a in hook["attempts"])
        for hook in line["webhooks"]
    )


def _answered_at(attempt: dict[str, Any]) -> str:
    sent_at = datetime.fromisoformat(attempt["at"])
    answered_at = sent_at + timedelta(milliseconds=attempt["took_ms"])
    return answered_at.isoformat(timespec="microseconds").replace("+00:00", "Z")


def _requests(site: Site, verdict: Verdict) -> None:
    """I2 once more, by the record of the proxy: a request is sent once."""
    counted = Counter(asked.execution_id for asked in site.provider.asked)
    verdict.checks["I2"] += len(counted)
    verdict.violations += [
        f"I2: {name} was asked for {n} times" for name, n in counted.items() if n > 1
    ]


async def _calls(site: Site, lines: dict[str, dict[str, Any]], verdict: Verdict) -> None:
    """I7 where the auditor holds back: who is held must be one of whom nothing could be known."""
    by_tag = {(x["tag"] or {}).get("execution_id"): x for x in lines.values() if x["placed_at"]}
    asked = {a.execution_id: a.at for a in site.provider.asked}
    rows = await site.rows("select id, outcome, hangup_reason, state from calls")
    for row in rows:
        if row["hangup_reason"] != "outcome_unknown":
            continue
        verdict.held += 1
        name = ids.execution_id(row["id"])
        line = by_tag.get(name)
        if line is not None and not _is_unknowable(line):
            verdict.violations.append(f"I7: {name} is held, and the provider could tell of it")
    known = {ids.execution_id(row["id"]) for row in rows}
    for name, at in asked.items():
        if name not in known:
            verdict.violations.append(f"I7: {name}, asked for at {_at(at)}, has no row")


async def _finals(site: Site, verdict: Verdict) -> None:
    """I10: what was final changed only where, in the same commit, a call was corrected."""
    rows = await site.rows("select * from witness order by at")
    corrected = {
        (r["transaction"], r["batch_id"], r["position"]) for r in rows if r["what"] == "call"
    }
    changed = [r for r in rows if r["what"] == "contact"]
    verdict.checks["I10"] += int((await site.rows("select count(*) from contacts"))[0]["count"])
    for r in changed:
        if (r["transaction"], r["batch_id"], r["position"]) not in corrected:
            key = ids.ContactKey(r["batch_id"], r["position"])
            verdict.violations.append(
                f"I10: {ids.contact_id(key)} went from {r['was']} to {r['became']} uncorrected"
            )


async def _contacts(site: Site, lines: dict[str, dict[str, Any]], verdict: Verdict) -> None:
    """A person who was reached is `completed`; nobody else is."""
    rows = await site.rows("select id, batch_id, position from calls")
    contact = {ids.execution_id(r["id"]): ids.ContactKey(r[1], r[2]) for r in rows}
    reached: set[ids.ContactKey] = set()
    # Whom RotaryRouter had on the line when it died: its ledger says too little.
    doubtful: set[ids.ContactKey | None] = set()
    for line in lines.values():
        key = contact.get((line["tag"] or {}).get("execution_id", ""))
        if line["cut_short"] or (line["answered_at"] and _is_unknowable(line)):
            doubtful.add(key)
        elif line["answered_at"] and key is not None:
            reached.add(key)
    for row in await site.rows(_OUTCOMES):
        key = ids.ContactKey(row["batch_id"], row["position"])
        verdict.checks["I7"] += 1
        is_on_call = row["status"] in {"dispatched", "in_progress"}
        if is_on_call or (row["status"] == "completed") == (key in reached):
            continue
        if key in doubtful:
            verdict.unknowable += 1
            continue
        verdict.violations.append(
            f"I7: {ids.contact_id(key)} is {row['status']} after {row['outcomes']}"
            f" ({row['reasons']}), reached: {key in reached}"
        )


def _at(wall: float) -> str:
    return datetime.fromtimestamp(wall).astimezone().isoformat(timespec="milliseconds")
