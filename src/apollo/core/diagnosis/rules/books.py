"""Our own books (layer data): whether the counters add up, and whether a recount agrees."""

from typing import Final

from apollo.core.diagnosis.finding import Finding
from apollo.core.diagnosis.rule import symptom
from apollo.core.diagnosis.view import View
from apollo.core.reasons import Layer, Reason, Severity


@symptom(
    Reason.ACCOUNTING_GAP,
    Layer.DATA,
    Severity.CRITICAL,
    meaning="The reasons do not add up to the contacts, or the counters differ from a recount. This"
    " is a defect of Apollo.",
    fix="{contacts:contact matches|contacts match} no reason ({what}). There is nothing for you"
    " to fix; please report this answer as it stands; GET /api/v1/batches/{batch_id}/contacts shows"
    " each contact's status.",
)
def accounting_gap(view: View) -> Finding | None:
    """Contacts that no rule explains, or counters that a recount contradicts."""
    counted = sum(view.counts.values())
    missing = view.snapshot.batch.total_contacts - counted
    gaps = dict(view.lost)
    if missing:
        gaps["in no counter"] = missing
    differences = _differences(view)
    if not gaps and not differences:
        return None
    gaps |= {f"counted {key}": n for key, n in differences.items()}
    return Finding(
        reason=Reason.ACCOUNTING_GAP,
        contacts=sum(abs(n) for n in gaps.values()),
        evidence={"gaps": gaps},
        words={"what": ", ".join(f"{key}: {n}" for key, n in gaps.items())},
    )


@symptom(
    Reason.COUNTERS_VERIFIED,
    Layer.DATA,
    Severity.INFO,
    meaning="On request (`?verify=true`) every contact was counted again, and the counters are "
    "right.",
    fix="Nothing to do: {contacts:contact was|contacts were} counted again, and every counter "
    "is right.",
)
def counters_verified(view: View) -> Finding | None:
    """A recount was asked for and agrees."""
    if view.snapshot.recount is None or _differences(view):
        return None
    counted = sum(row.contacts for row in view.snapshot.recount)
    return Finding(
        reason=Reason.COUNTERS_VERIFIED,
        contacts=counted,
        evidence={"recounted": counted, "difference": 0},
    )


def _differences(view: View) -> dict[str, int]:
    """Recount minus counters, where they differ."""
    if view.snapshot.recount is None:
        return {}
    found: dict[str, int] = {}
    for row in view.snapshot.recount:
        key = f"{row.status}/{row.wait_reason}" if row.wait_reason else str(row.status)
        found[key] = found.get(key, 0) + row.contacts
    for tally in view.snapshot.tallies:
        key = f"{tally.status}/{tally.wait_reason}" if tally.wait_reason else str(tally.status)
        found[key] = found.get(key, 0) - tally.contacts
    return {key: n for key, n in found.items() if n}


RULES: Final = (
    accounting_gap,
    counters_verified,
)
