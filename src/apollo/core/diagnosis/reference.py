"""Writes `docs/reference/reasons.md` from the table of reasons, so that the page cannot rot."""

import string
from typing import Final

from apollo.core.diagnosis.rules import RULES
from apollo.core.reasons import FACTS, Layer, Reason, ReasonFacts

_OPENING: Final = """\
# Reasons

Why a contact or a batch waits: every code that `GET /api/v1/batches/{batch_id}/debug` can give,
from outside in. `blocked_by` of a contact and `waiting_for` of a dispatch are codes of this list
too. This page is written from the code by `apollo.core.diagnosis.reference`.

`info` is as it should be; a healthy batch never has a reason of `warning` or `critical`. An
unfinished contact counts under one reason, the outermost that holds it, so that
`unfinished = on_call + dialable_now + sum(by_reason)`.
"""
_LAYERS: Final = {
    Layer.INTENT: "Somebody wanted it so.",
    Layer.CLOCK: "Calling hours.",
    Layer.CONTACT: "The contact's own turn has not come.",
    Layer.CAPACITY: "The slots are taken.",
    Layer.PIPELINE: "Our own processes, bus and database.",
    Layer.PROVIDER: "The telephony provider, its carrier, its webhooks.",
    Layer.DATA: "Our own books.",
}


def reasons_page() -> str:
    """Write the page."""
    parts = [_OPENING]
    for layer, meaning in _LAYERS.items():
        parts.append(f"## Layer `{layer}`\n\n{meaning}\n")
        ordered = [*RULES, *(reason for reason in Reason if reason not in RULES)]
        parts += [
            _section(reason, FACTS[reason]) for reason in ordered if FACTS[reason].layer is layer
        ]
    return "\n".join(parts)


def _section(reason: Reason, facts: ReasonFacts) -> str:
    lines = [f"### {reason}", "", f"Severity `{facts.severity}`. {facts.meaning}"]
    if reason not in RULES:
        lines.append("This version does not report it yet.")
    return "\n".join([*lines, "", f"> {_readable(facts.fix)}", ""])


def _readable(template: str) -> str:
    """Show what is filled in as `<name>`, and what is counted in the plural."""
    parts = []
    for text, name, words, _ in string.Formatter().parse(template):
        parts.append(text if name is None else f"{text}`<{name}>`")
        if words:
            one, _, many = words.partition("|")
            parts.append(f" {many or one + 's'}")
    return "".join(parts)
