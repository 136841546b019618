"""What the kernel is asked for."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

WORDS = "import os, threading; from guardhouse.server.scheduling import run_in_batches; run_in_batches();"


@pytest.mark.skipif(not hasattr(os, "SCHED_BATCH"), reason="only Linux has it")
def test_threads_started_afterwards_run_in_batches_too() -> None:
    """The policy is set for the thread that asks and inherited by those that it starts."""
    show = "print(os.sched_getscheduler(0) == os.SCHED_BATCH)"
    program = (
        f"{WORDS} {show}; thread = threading.Thread(target=lambda: {show}); thread.start(); thread.join()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["True", "True"]


def test_where_it_is_not_allowed_nothing_happens() -> None:
    """A sandbox that refuses costs speed, not the server."""
    deny = "os.sched_setscheduler = lambda *_: (_ for _ in ()).throw(PermissionError());"
    program = WORDS.replace("run_in_batches();", f"{deny} run_in_batches(); print('on')")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "on"


@pytest.mark.skipif(not hasattr(os, "SCHED_IDLE"), reason="only Linux has it")
def test_what_somebody_chose_stays() -> None:
    """A server that was started with a policy of its own keeps it."""
    chosen = "import os; os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0));"
    program = f"{chosen} {WORDS} print(os.sched_getscheduler(0) == os.SCHED_IDLE)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "True"
