"""What becomes of a call that grpc lets go of without running it: `Passage.__del__` in `grpc.aio`."""

from __future__ import annotations

import asyncio
import gc
import threading

from guardhouse.interceptors import Call, Chain, Guard, Stage
from guardhouse.interceptors.shells.aio import Guarded
from guardhouse.interceptors.shells.shapes import Target


class Details:
    """What grpc knows of a call before it is dispatched."""

    method = "/a.Service/Method"
    invocation_metadata = ()


class Ledger(Guard):
    """Holds a lock that is not to be taken twice, as the real one does."""

    stage = Stage.RECORD

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.notes: list[str] = []

    def settle(self, call: Call) -> None:
        assert self.lock.acquire(blocking=False), "settled in the middle of something else"
        self.notes.append(call.refusal.note if call.refusal else "")
        self.lock.release()


async def test_the_loop_settles_it_whoever_collects_it() -> None:
    """The garbage collector may come while the ledger's lock is held: the call is settled after that."""
    ledger = Ledger()
    passage = Guarded(Chain(ledger), {}).service(Details())
    circle = [passage]
    circle.append(circle)
    del passage, circle
    with ledger.lock:
        gc.collect()
    assert ledger.notes == []
    await asyncio.sleep(0)
    assert ledger.notes == ["never dispatched"]


def test_where_the_loop_is_closed_the_end_of_the_chain_settles_it() -> None:
    """A call whose loop ended in the middle of it is recorded once the guard is left."""
    ledger = Ledger()
    chain = Chain(ledger)

    async def serve() -> None:
        circle = [Guarded(chain, {}).service(Details())]
        circle.append(circle)

    asyncio.run(serve())
    gc.collect()
    assert ledger.notes == []
    chain.end()
    assert ledger.notes == ["the server stopped"]


def test_a_call_that_was_begun_is_not_said_to_be_undispatched() -> None:
    """A coroutine that is closed while it waits was dispatched, and its call was broken off."""
    ledger = Ledger()
    chain = Chain(ledger)
    target = Target(_never, False, False, "coroutine", bytes, bytes)
    waiting = asyncio.Event()

    class Context:
        """grpc's, as far as a call needs it that waits for its message."""

        def peer(self) -> str:
            return "ipv4:127.0.0.1:1"

        def auth_context(self) -> dict[str, list[bytes]]:
            return {}

        def time_remaining(self) -> None:
            return None

        async def read(self) -> bytes:
            await waiting.wait()
            return b""

    async def serve() -> None:
        passage = Guarded(chain, {}).service(Details()).towards(target)
        running = passage.stream_unary(None, Context())
        running.send(None)
        running.close()
        del passage, running
        gc.collect()
        await asyncio.sleep(0)

    asyncio.run(serve())
    assert ledger.notes == ["broken off"]


async def _never(_request: object, _context: object) -> None:
    raise AssertionError("the model must not run")
