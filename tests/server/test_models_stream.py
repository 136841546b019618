"""Models that give many answers: held to their signature, closed, and unable to stop the server."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from typing import Any

import numpy as np
import pytest

from guardhouse.server.models import ModelBroken, Signature
from guardhouse.server.models.callable import load_callable

X = np.arange(3, dtype=np.float32)


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    """One thread for blocking models."""
    with ThreadPoolExecutor(1) as pool:
        yield pool


def declared(function: Any, executor: Any) -> Any:
    """*function* loaded as a model, from a module of its own."""
    function.signature = Signature.of({"x": ("FP32", [-1])}, {"y": ("FP32", [])})
    module = type(sys)("one_model")
    vars(module)["function"] = function
    sys.modules["one_model"] = module
    return load_callable("one_model:function", name="m", version="1", executor=executor)


async def drawn(loaded: Any) -> list[float]:
    """All answers to `X`."""
    return [float(each["y"]) async for each in loaded.stream({"x": X}, {})]


def plain(x: Any) -> Any:
    """Each element, from a thread."""
    yield from x


async def running(x: Any) -> Any:
    """Each element, on the loop."""
    for each in x:
        yield each


def one(x: Any) -> Any:
    """The first element: no generator."""
    return x[0]


@pytest.mark.parametrize(
    ("function", "streams", "blocks"), [(plain, True, True), (running, True, False), (one, False, True)]
)
def test_a_generator_is_known_by_what_it_is(
    function: Any, streams: bool, blocks: bool, executor: Any
) -> None:
    """Both kinds of generators stream; only the plain one takes a thread."""
    loaded = declared(function, executor)

    assert (loaded.streams, loaded.blocks) == (streams, blocks)


@pytest.mark.parametrize("function", [plain, running])
async def test_every_answer_comes_in_order(function: Any, executor: Any) -> None:
    """As many as the model gives, in its order."""
    assert await drawn(declared(function, executor)) == [0, 1, 2]


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, StopIteration, asyncio.CancelledError])
@pytest.mark.parametrize("is_async", [True, False])
async def test_nothing_it_raises_stops_the_loop(
    kind: type[BaseException], is_async: bool, executor: Any
) -> None:
    """What an event loop would take for its own comes back as an error of the model."""

    def raises(x: Any) -> Any:
        yield x[0]
        raise kind

    async def raises_here(x: Any) -> Any:
        yield x[0]
        raise kind

    loaded = declared(raises_here if is_async else raises, executor)
    with pytest.raises((ModelBroken, RuntimeError)):  # Python makes a RuntimeError of StopIteration
        await asyncio.wait_for(drawn(loaded), 60)


@pytest.mark.parametrize("function", [plain, running])
async def test_each_answer_is_held_against_the_signature(function: Any, executor: Any) -> None:
    """One of another datatype is the model's fault; those before it have gone out."""
    answers = declared(function, executor).stream({"x": [X[0], "no"]}, {})

    assert float((await anext(answers))["y"]) == 0
    with pytest.raises(ModelBroken, match="output y is a str"):
        await anext(answers)


async def test_one_that_computes_is_closed_after_its_answer(executor: Any) -> None:
    """A caller who leaves while a thread computes does not wait for it; the generator ends its own way."""
    began, go_on, closed = threading.Event(), threading.Event(), threading.Event()

    def slow(x: Any) -> Any:
        try:
            began.set()
            assert go_on.wait(60)
            yield x[0]
        finally:
            closed.set()

    async def ask() -> None:
        async with aclosing(declared(slow, executor).stream({"x": X}, {})) as answers:
            await anext(answers)

    caller = asyncio.create_task(ask())
    await asyncio.to_thread(began.wait, 60)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert not closed.is_set()
    go_on.set()

    assert await asyncio.to_thread(closed.wait, 60)
