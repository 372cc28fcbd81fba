"""A reason that holds, and the shape of the rules that find one. Holds no rule itself."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from apollo.core.diagnosis.view import View
from apollo.core.reasons import Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A reason that holds. `contacts` is how many it concerns, whatever else concerns them too."""

    reason: Reason
    contacts: int
    since: datetime | None = None
    until: datetime | None = None
    evidence: Mapping[str, object] = field(default_factory=dict)
    # What the text needs beyond the evidence.
    words: Mapping[str, object] = field(default_factory=dict)
    # While it lasts, no contact of the batch is dialled.
    is_holding: bool = False


Rule = Callable[[View], Finding | None]
