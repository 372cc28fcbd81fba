"""What an operator decides: the settings of the environment, and how the log is written.

Nothing below this folder reads the environment; `wiring` hands each part what it needs.
"""

from apollo.config.log import configure_logging
from apollo.config.settings import Settings, load, settings_table

__all__ = ["Settings", "configure_logging", "load", "settings_table"]
