"""A reason that was found, and the gates found so far. Holds no rule itself."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from apollo.core.diagnosis.evidence import Claim
from apollo.core.reasons import Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A reason that was found. `contacts` is how many it concerns, whatever else concerns them."""

    reason: Reason
    contacts: int
    since: datetime | None = None
    until: datetime | None = None
    evidence: Mapping[str, object] = field(default_factory=dict)
    # What the text needs beyond the evidence.
    words: Mapping[str, object] = field(default_factory=dict)
    # While it lasts, no contact of the batch is dialled.
    is_holding: bool = False
    # How sure it is, and whether it still is so: this decides severity and text.
    claim: Claim = Claim.HOLDS
    # Less grave than the rule says, because nothing waits on it now.
    is_calm: bool = False


@dataclass(frozen=True, slots=True)
class Holds:
    """The gates found so far, in the order of the table."""

    gates: tuple[Finding, ...] = ()

    @property
    def is_held(self) -> bool:
        """Whether something other than slots keeps every contact of the batch."""
        return any(gate.is_holding for gate in self.gates)

    def of(self, *reasons: Reason) -> Finding | None:
        """The first gate for one of these reasons; None when there is none."""
        return next((gate for gate in self.gates if gate.reason in reasons), None)
