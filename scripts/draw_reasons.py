"""Writes `docs/reference/reasons.md` from the rules, so that the page cannot rot.

Run it after a change of a rule: `python scripts/draw_reasons.py`. A test fails until then.
"""

from pathlib import Path
from typing import Final

from apollo.core.diagnosis.rule import Rule
from apollo.core.diagnosis.rules import RULES
from apollo.core.reasons import Layer
from apollo.web.reasons_page import readable

PAGE = Path(__file__).parents[1] / "docs/reference/reasons.md"

_OPENING: Final = """\
# Reasons

Why a contact or a batch waits: every code that `GET /api/v1/batches/{batch_id}/debug` can give,
from outside in. `blocked_by` of a contact and `waiting_for` of a dispatch are codes of this list
too. This page is written from the code by `scripts/draw_reasons.py`.

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


def render() -> str:
    """Write the page."""
    parts = [_OPENING]
    for layer, meaning in _LAYERS.items():
        parts.append(f"## Layer `{layer}`\n\n{meaning}\n")
        parts += [_section(rule) for rule in RULES.values() if rule.layer is layer]
    return "\n".join(parts)


def _section(rule: Rule) -> str:
    said = [text for text in (rule.fix, rule.so_far, rule.over) if text]
    lines = [f"### {rule.reason}", "", f"Severity `{rule.severity}`. {rule.meaning}"]
    for text in said:
        lines += ["", f"> {readable(text)}"]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
