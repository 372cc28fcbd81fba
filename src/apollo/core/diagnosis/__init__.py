"""Why is this batch not moving? `explain(snapshot, now)` answers from one snapshot.

The heart of the product. `snapshot` is what is looked at, `view` sorts and counts it, `rules` is
the table of reasons (one function each, by layer in `intent`, `capacity`, `provider`, `books`),
`stalls` decides `stuck_pending`, `tips` puts it in words, and `explain` closes the arithmetic. Must
never read a clock, a table or a setting.
"""

from apollo.core.diagnosis.explain import (
    Accounting,
    Diagnosis,
    ReasonShown,
    StatusLine,
    Verdict,
    explain,
    wants_comparison,
)
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
