"""RotaryRouter: a telephony router that speaks jambonz's calls API and needs no carrier.

Owns its own server, people, faults and ledger, so that it can witness what a client of it did.
Imports nothing of Apollo but its errors.
"""

from apollo.rotary.scenario import Scenario, read_scenario
from apollo.rotary.server import RotaryRouter, serve
from apollo.rotary.settings import RotarySettings

__all__ = ["RotaryRouter", "RotarySettings", "Scenario", "read_scenario", "serve"]
