"""Compares what really happened at the provider with what we believe, invariant by invariant.

Pure: a witness's calls and our rows in, one finding for each invariant out. It must never take our
word where the witness can tell, and it says how much it looked at: "no violation" of nothing
checked would be no finding at all.
"""

from apollo.core.audit.facts import (
    Books,
    CampaignRules,
    Change,
    Finding,
    ListedCall,
    OurCall,
    Violation,
    WitnessedCall,
)
from apollo.core.audit.judge import judge

__all__ = [
    "Books",
    "CampaignRules",
    "Change",
    "Finding",
    "ListedCall",
    "OurCall",
    "Violation",
    "WitnessedCall",
    "judge",
]
