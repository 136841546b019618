"""The answers of a model that gives many to one question: drawn one by one, closed if no more are wanted."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Generator
from concurrent.futures import Executor
from contextlib import aclosing, suppress
from typing import Any, Final

from .base import LEAVING, ModelBroken, beside

_END: Final = object()


async def here(answers: AsyncGenerator[Any, Any]) -> AsyncGenerator[Any, None]:
    """What an async generator gives, on the event loop."""
    async with aclosing(answers):
        while (answer := await _next_here(answers)) is not _END:
            yield answer


async def _next_here(answers: AsyncGenerator[Any, Any]) -> Any:
    try:
        return await anext(answers, _END)
    except asyncio.CancelledError as error:
        if (task := asyncio.current_task()) is not None and task.cancelling():
            raise
        raise ModelBroken("the model cancelled its own work") from error
    except LEAVING as error:
        raise ModelBroken(f"the model raised {type(error).__name__}") from error


async def in_threads(executor: Executor, answers: Generator[Any, Any, Any]) -> AsyncGenerator[Any, None]:
    """What a generator gives, each answer computed in a thread of *executor*.

    It holds no thread between two answers. A caller who leaves in the middle of one does not wait for it;
    the generator is closed after that, in a thread.
    """
    running = threading.Lock()  # a generator that computes cannot be closed

    def step() -> Any:
        with running:
            return next(answers, _END)

    def close() -> None:
        with running, suppress(Exception):  # nobody is left to tell
            answers.close()

    try:
        while (answer := await beside(executor, step)) is not _END:
            yield answer
    finally:
        with suppress(RuntimeError):  # the executor has ended, and the generator goes with it
            executor.submit(close)
