"""How the kernel is asked to run the server's threads."""

from __future__ import annotations

import os
from contextlib import suppress


def run_in_batches() -> None:
    """Ask that a thread of ours which wakes up does not push out one that works (SCHED_BATCH, sched(7)).

    A call crosses threads half a dozen times: the poller wakes the loop, the loop the sender. By default each
    of them interrupts the other in the middle of its work. Anybody may ask for this; no thread gets less time
    by it. It holds for threads that are started afterwards. Nothing changes where it is not Linux, or where
    somebody chose a policy for the server (chrt(1)).
    """
    with suppress(AttributeError, OSError):  # not Linux; or a sandbox that does not allow it
        if os.sched_getscheduler(0) == os.SCHED_OTHER:
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
