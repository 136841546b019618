"""Models from Python at work: beside the event loop, and held to their signature."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextvars import ContextVar
from typing import Any

import numpy as np
import pytest

from guardhouse.interceptors.call import CURRENT, Call
from guardhouse.server.models import ModelBroken, Signature
from guardhouse.server.models.callable import load_callable

CANARY: ContextVar[str] = ContextVar("canary")
X = np.arange(4, dtype=np.float32)


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    """Two threads for blocking models."""
    with ThreadPoolExecutor(2) as pool:
        yield pool


async def ask(loaded: Any, **parameters: Any) -> dict[str, Any]:
    """What *loaded* gives for `X`, as lists."""
    given = await loaded.infer({"x": X}, parameters)
    return {name: array.tolist() for name, array in given.items()}


def declared(function: Any, executor: Any, **outputs: Any) -> Any:
    """*function* loaded as a model of those outputs, from a module of its own."""
    signature = Signature.of({"x": ("FP32", [-1])}, outputs or {"y": ("FP32", [-1])})
    function.signature = signature
    module = type(sys)("one_model")
    vars(module)["function"] = function
    sys.modules["one_model"] = module
    return load_callable("one_model:function", name="m", version="1", executor=executor)


@pytest.mark.parametrize(
    ("result", "said"),
    [
        (X.astype(np.float64), "output y is float64 of shape [4], its signature says FP32 of shape [-1]"),
        (X.reshape(2, 2), "output y is float32 of shape [2, 2], its signature says FP32 of shape [-1]"),
        (X.astype(">f4"), "output y is >f4 of shape [4]"),
        (X.tolist(), "it returned 4 values, its signature has 1 outputs"),
        ((X, X), "it returned 2 values, its signature has 1 outputs"),
        ((), "it returned 0 values, its signature has 1 outputs"),
        ({"z": X}, "it returned ['z'], its signature has ['y']"),
        ({"y": X, "z": X}, "it returned ['y', 'z'], its signature has ['y']"),
        ({}, "it returned [], its signature has ['y']"),
        (None, "output y is a NoneType, not a numpy array"),
        (1.5, "output y is a float, not a numpy array"),
        (X.astype(object), "output y is object of shape [4]"),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_an_answer_other_than_declared_is_the_model_s_fault(
    result: Any, said: str, executor: Any
) -> None:
    """A wrong name, number, datatype or shape is `ModelBroken`, with a sentence for the operator."""
    loaded = declared(lambda x: result, executor)

    with pytest.raises(ModelBroken) as caught:
        await ask(loaded)
    assert said in str(caught.value)


async def test_a_blocking_model_leaves_the_loop_free(executor: Any) -> None:
    """A blocking callable runs in another thread: the loop goes on and can release it."""
    gate = threading.Event()

    def waits(x: Any) -> Any:
        assert gate.wait(60)
        return x

    question = asyncio.ensure_future(ask(declared(waits, executor)))
    await asyncio.sleep(0)
    gate.set()

    assert await question == {"y": X.tolist()}


async def test_a_blocking_model_sees_the_context_of_its_call(executor: Any) -> None:
    """Context variables of the call, such as its trace, reach the model's thread."""
    seen: list[Any] = []

    def looks(x: Any) -> Any:
        seen.extend((CANARY.get(), threading.current_thread()))
        return x

    loaded = declared(looks, executor)
    CANARY.set("from the call")
    await ask(loaded)

    assert seen[0] == "from the call"
    assert seen[1] is not threading.main_thread()


def raises(error: type[BaseException]) -> Any:
    """A blocking callable that raises *error*."""

    def function(x: Any) -> Any:
        raise error

    return function


@pytest.mark.parametrize(
    "error",
    [SystemExit, KeyboardInterrupt, GeneratorExit, StopIteration, asyncio.CancelledError, CancelledError],
)
async def test_no_exception_of_a_model_stops_the_server_or_hangs_its_caller(
    error: type[BaseException], executor: Any
) -> None:
    """Exceptions that an event loop would take for its own come back as `ModelBroken`."""
    loaded = declared(raises(error), executor)

    with pytest.raises(ModelBroken, match=error.__name__):
        await asyncio.wait_for(ask(loaded), 60)


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit])
async def test_an_async_model_cannot_exit_the_server(kind: type[BaseException]) -> None:
    """What would end the loop, or leave the caller waiting, comes back from a model as `ModelBroken` too."""

    async def leaves(x: Any) -> Any:
        raise kind

    with pytest.raises(ModelBroken, match=kind.__name__):
        await ask(declared(leaves, None))


async def test_an_ordinary_exception_passes_unchanged(executor: Any) -> None:
    """What a model raises is not disguised: the chain sees it and keeps its text from the caller."""
    with pytest.raises(ZeroDivisionError):
        await ask(declared(raises(ZeroDivisionError), executor))


async def test_the_time_in_the_queue_is_told_apart() -> None:
    """What a call waits for a free thread is its queue's, not its model's; an async model never waits."""
    gate = threading.Event()

    def waits(x: Any) -> Any:
        gate.wait(60)
        return x

    async def timed(loaded: Any) -> Call:
        call = Call("/s/m", (), True, 0, 0)
        CURRENT.set(call)
        await ask(loaded)
        return call

    with ThreadPoolExecutor(1) as one:
        loaded = declared(waits, one)
        first, second = (asyncio.create_task(timed(loaded)) for _ in range(2))
        await asyncio.sleep(0.05)
        gate.set()
        calls = await first, await second

    assert calls[0].queue_ns < 40_000_000 < calls[1].queue_ns


async def test_who_leaves_while_waiting_has_only_waited() -> None:
    """A call cancelled before a thread was free has spent its time in the queue, and none in the model."""
    gate, call = threading.Event(), Call("/s/m", (), True, 0, 0)

    def waits(x: Any) -> Any:
        gate.wait(60)
        return x

    async def queued(loaded: Any) -> None:
        CURRENT.set(call)
        await ask(loaded)

    with ThreadPoolExecutor(1) as one:
        loaded = declared(waits, one)
        first = asyncio.create_task(ask(loaded))
        await asyncio.sleep(0)
        second = asyncio.create_task(queued(loaded))
        await asyncio.sleep(0.05)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        gate.set()
        await first

    assert call.queue_ns >= 50_000_000
