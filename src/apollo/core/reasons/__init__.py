"""Why a contact or a batch waits. One vocabulary for decision, stored verdict and diagnosis.

The closed list, and beside it what never changes about each reason: its layer, how much it should
worry a person, what it means and what to do. Must never look at a batch: that is `diagnosis`.
"""

from collections.abc import Mapping
from typing import Final

from apollo.core.reasons import bus, pipeline, provider, waits
from apollo.core.reasons.codes import Layer, Reason, ReasonFacts, Severity

__all__ = ["FACTS", "Layer", "Reason", "ReasonFacts", "Severity", "help_for"]

FACTS: Final[Mapping[Reason, ReasonFacts]] = {
    **waits.FACTS,
    **pipeline.FACTS,
    **bus.FACTS,
    **provider.FACTS,
}


def help_for(reason: Reason) -> str:
    """Name the page and section that explain a reason."""
    return f"docs/reference/reasons.md#{reason}"
