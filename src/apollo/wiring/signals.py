"""Which signals ask a process of ours to stop in good order. Must never say how it stops."""

import signal
from typing import Final

_STOPS: Final = (signal.SIGINT, signal.SIGTERM)


def stop_signals() -> tuple[signal.Signals, ...]:
    """Name them; a closed terminal is one, unless whoever started us said `nohup`."""
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        return _STOPS
    return (*_STOPS, signal.SIGHUP)
