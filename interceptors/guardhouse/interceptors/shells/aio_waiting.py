"""How a call in `grpc.aio` waits for a guard that cannot decide at once: beside the loop, or for its turn."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, cast

from guardhouse.interceptors.chain import Chain
from guardhouse.interceptors.refusal import Refusal
from guardhouse.interceptors.verbs import Pending

_BESIDE = ThreadPoolExecutor(16, thread_name_prefix="guardhouse-waits")  # apart from what models use


async def decided(chain: Chain, task: asyncio.Task[Any], pending: Pending) -> None:
    """Wait until the guard of *pending* has decided; raises its `Refusal`. *task*: the whole call's."""
    if pending.turn is None:
        await asyncio.get_running_loop().run_in_executor(_BESIDE, chain.finish, pending)
        return
    try:
        await _turn(pending.turn, pending.within)
    except asyncio.CancelledError:
        if task.cancelling() and (pending.turn.cancel() or pending.turn.done()):
            with suppress(Refusal):  # the cancellation says why
                chain.finish(pending)
        raise
    chain.finish(pending)


async def _turn(turn: Future[None], within: float | None) -> None:
    """Until *turn* is done, however it ends. A task that is cancelled leaves it to others who wait for it."""
    loop = asyncio.get_running_loop()
    timer = None if within is None else loop.call_later(within, turn.cancel)
    try:
        await asyncio.shield(asyncio.wrap_future(turn))
    except Refusal:
        pass  # its guard's, which is about to be asked
    except asyncio.CancelledError:
        if cast("asyncio.Task[Any]", asyncio.current_task()).cancelling() or not turn.cancelled():
            raise
    finally:
        if timer is not None:
            timer.cancel()
