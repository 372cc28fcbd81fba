"""The ordered table of rules: one file for each layer, from outside in.

The order breaks ties between reasons of equal rank: causes before symptoms. Gates may look at the
gates that stand before them.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from apollo.core.diagnosis.rule import Rule
from apollo.core.diagnosis.rules import (
    books,
    bus,
    caller_ids,
    capacity,
    carrier,
    clock,
    database,
    endings,
    intent,
    no_answer,
    provider,
    webhooks,
    workers,
)
from apollo.core.reasons import Reason

RULES: Final[Mapping[Reason, Rule]] = MappingProxyType(
    {
        rule.reason: rule
        for layer in (
            intent,
            clock,
            database,
            carrier,
            caller_ids,
            provider,
            webhooks,
            endings,
            no_answer,
            workers,
            capacity,
            bus,
            books,
        )
        for rule in layer.RULES
    }
)
