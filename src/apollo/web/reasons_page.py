"""`/docs/reasons`: every code of `/debug`, what it means and what to do, for a person.

Written from the rules, so that a `help` always leads to its section. Must never say more than they.
"""

import html
import string
from typing import Final

from apollo.core.diagnosis.rules import RULES
from apollo.core.reasons import Layer

_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Apollo: reasons</title>
</head>
<body>
<h1>Reasons</h1>
<p>Why a contact or a batch waits: every code of <code>/debug</code>, from outside in.</p>
{layers}
</body>
</html>
"""


def reasons_page() -> str:
    """Return the page as HTML."""
    parts = []
    for layer in Layer:
        parts.append(f"<h2>{layer}</h2>")
        for rule in RULES.values():
            if rule.layer is not layer:
                continue
            parts.append(f'<h3 id="{rule.reason}">{rule.reason}</h3>')
            parts.append(f"<p>Severity <b>{rule.severity}</b>. {html.escape(rule.meaning)}</p>")
            said = [text for text in (rule.fix, rule.so_far, rule.over) if text]
            parts += [f"<blockquote>{html.escape(readable(text))}</blockquote>" for text in said]
    return _PAGE.format(layers="\n".join(parts))


def readable(template: str) -> str:
    """Return a template with what is filled in as `<name>`, and what is counted in the plural."""
    parts = []
    for text, name, words, _ in string.Formatter().parse(template):
        parts.append(text if name is None else f"{text}<{name}>")
        if words:
            one, _, many = words.partition("|")
            parts.append(f" {many or one + 's'}")
    return "".join(parts)
