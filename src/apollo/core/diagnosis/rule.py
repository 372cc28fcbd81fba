"""The shape of a rule: what a reason means, how grave it is, what to do, and how it is found.

A rule stands in one place: `@gate(…)` or `@symptom(…)` over the function that finds it. Gates are
what really says no, and are asked first, once. Symptoms are what goes wrong with calls; they may
look at the gates (`view.holds`) and never hold anything.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

from apollo.core.diagnosis.evidence import Claim
from apollo.core.diagnosis.finding import Finding
from apollo.core.diagnosis.view import View
from apollo.core.reasons import Layer, Reason, Severity

Find: TypeAlias = Callable[[View], Finding | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One reason and all there is to say about it. Texts are templates over a finding's words."""

    reason: Reason
    layer: Layer
    severity: Severity
    meaning: str
    fix: str
    # What is said instead while only a few results say so, and once it is over.
    so_far: str = ""
    over: str = ""
    is_gate: bool
    find: Find

    def __call__(self, view: View) -> Finding | None:
        """Say whether the reason holds, for whom, and what proves it."""
        return self.find(view)

    def severity_of(self, found: Finding) -> Severity:
        """How much a finding should worry a person: a few results warn, what is over informs."""
        if found.claim is Claim.OVER or found.is_calm:
            return Severity.INFO
        if found.claim is Claim.SO_FAR and self.severity is Severity.CRITICAL:
            return Severity.WARNING
        return self.severity

    def text_of(self, found: Finding) -> str:
        """The template of what to say about a finding."""
        if found.claim is Claim.OVER:
            return self.over or self.fix
        if found.claim is Claim.SO_FAR:
            return self.so_far or self.fix
        return self.fix


def gate(
    reason: Reason,
    layer: Layer,
    severity: Severity,
    *,
    meaning: str,
    fix: str,
    so_far: str = "",
    over: str = "",
) -> Callable[[Find], Rule]:
    """Make a gate of the function that finds it."""
    return lambda find: Rule(
        reason=reason,
        layer=layer,
        severity=severity,
        meaning=meaning,
        fix=fix,
        so_far=so_far,
        over=over,
        is_gate=True,
        find=find,
    )


def symptom(
    reason: Reason,
    layer: Layer,
    severity: Severity,
    *,
    meaning: str,
    fix: str,
    so_far: str = "",
    over: str = "",
) -> Callable[[Find], Rule]:
    """Make a symptom of the function that finds it."""
    made = gate(reason, layer, severity, meaning=meaning, fix=fix, so_far=so_far, over=over)
    return lambda find: replace(made(find), is_gate=False)
