"""Why is this batch not moving? `explain(snapshot, now)` answers from one snapshot.

The heart of the product. `snapshot` and `reported` are what is looked at, `view` sorts and counts
it, `evidence` says what a sample proves, `rules` has one file for each layer, `tips` puts it in
words, and `explain` asks the rules, gates first, and closes the arithmetic. Must never read a
clock, a table or a setting.
"""

from apollo.core.diagnosis.answer import (
    Accounting,
    Diagnosis,
    ReasonShown,
    StatusLine,
    Verdict,
)
from apollo.core.diagnosis.explain import explain, wants_comparison
from apollo.core.diagnosis.snapshot import Snapshot

__all__ = [
    "Accounting",
    "Diagnosis",
    "ReasonShown",
    "Snapshot",
    "StatusLine",
    "Verdict",
    "explain",
    "wants_comparison",
]
