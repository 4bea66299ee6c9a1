"""Deaf to what stops a run: worker processes, and the server that forks them. Light.

What a terminal or a scheduler tells goes to a whole group of processes. The one that trains decides
what to do about it; were the server to end, its workers would, and the run for want of data.
"""

from __future__ import annotations

import signal
import sys

_DEAF_TO = (
    *("SIGINT", "SIGTERM", "SIGBREAK", "SIGHUP", "SIGQUIT"),
    *("SIGUSR1", "SIGUSR2", "SIGXCPU", "SIGPWR"),
)


def heed_nothing() -> None:
    """Ignore each of these signals, as far as this system knows them."""
    for name in _DEAF_TO:
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)


if any("multiprocessing.forkserver" in word for word in sys.orig_argv):
    heed_nothing()  # the server imports this module when it starts, and calls nothing
