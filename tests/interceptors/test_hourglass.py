"""The one timer that ends calls which take too long."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

from guardhouse.interceptors import Call
from guardhouse.interceptors.shells.hourglass import watch


def _watch(task: asyncio.Task[Any], seconds: float) -> Call:
    call = Call("/s/m", (), True, 0, time.monotonic_ns(), patience=seconds)
    watch(call, task)
    return call


async def _cut_off(seconds: float = 0.05) -> bool:
    """Whether a task that never ends by itself is ended."""
    task = asyncio.create_task(asyncio.Event().wait())
    _watch(task, seconds)
    done, _ = await asyncio.wait([task], timeout=5)
    return task in done and task.cancelled()


def test_a_loop_that_ended_leaves_the_next_one_its_timer():
    """A timer that was armed when its loop closed does not keep the next loop from having one."""

    async def leave_one_armed() -> None:
        _watch(asyncio.create_task(asyncio.sleep(0)), 60)

    asyncio.run(leave_one_armed())

    assert asyncio.run(_cut_off())


def test_two_loops_have_two_timers():
    """Loops in two threads each end their own tasks."""
    found: list[bool] = []
    threads = [threading.Thread(target=lambda: found.append(asyncio.run(_cut_off()))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert found == [True, True]


async def test_a_task_that_swallows_its_end_is_told_again():
    """One cancellation may be swallowed; the next comes a second later."""
    told = 0

    async def stubborn() -> None:
        nonlocal told
        while told < 2:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                told += 1

    task = asyncio.create_task(stubborn())
    _watch(task, 0.05)
    await asyncio.wait([task], timeout=10)

    assert told == 2


async def test_a_task_whose_call_ended_in_time_is_left_alone():
    """What is taken out of the glass is not cancelled, and not kept."""
    task = asyncio.create_task(asyncio.sleep(0.4))
    call = Call("/s/m", (), True, 0, time.monotonic_ns(), patience=0.1)
    del watch(call, task)[call]
    await task

    assert not task.cancelled()
