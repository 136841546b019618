"""Records that are written a little later, in batches."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

from guardhouse.interceptors import Call, Record
from guardhouse.interceptors.record import MOST, PERIOD


class Book:
    """Keeps what it takes."""

    def __init__(self, fails: bool = False) -> None:
        self.calls: list[Call] = []
        self.batches = 0
        self.fails = fails

    def take(self, calls: Sequence[Call]) -> None:
        self.batches += 1
        if self.fails and any(call.method == "/broken" for call in calls):
            raise OSError
        self.calls += calls


def _call(method: str = "/s/m") -> Call:
    return Call(method, (), True, 0, 0)


async def test_calls_are_recorded_within_the_period():
    """What was put down is taken up by the loop, in order and in one go, without anybody asking."""
    book = Book()
    record, calls = Record(book), [_call() for _ in range(3)]
    for call in calls:
        record.settle(call)

    assert book.calls == []

    await asyncio.sleep(PERIOD * 5)

    assert (book.calls, book.batches) == (calls, 1)


async def test_many_calls_are_recorded_at_once():
    """No more lie than may be recorded in one go."""
    book = Book()
    record = Record(book)
    for _ in range(MOST):
        record.settle(_call())

    assert len(book.calls) == MOST


def test_calls_left_by_a_loop_are_recorded_by_the_next():
    """A loop that ended with calls lying there does not stop the record."""
    book = Book()
    record = Record(book)

    async def leave(seconds: float) -> None:
        record.settle(_call())
        await asyncio.sleep(seconds)

    asyncio.run(leave(0))
    asyncio.run(leave(PERIOD * 5))

    assert len(book.calls) == 2


def test_without_a_loop_a_call_is_recorded_at_once():
    """Threads of `grpc.server` wait for nobody; eight of them lose nothing."""
    book = Book()
    record = Record(book)

    def settle() -> None:
        for _ in range(500):
            record.settle(_call())

    threads = [threading.Thread(target=settle) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(book.calls) == 4000


def test_one_sink_that_fails_costs_no_other():
    """What cannot be taken by one is logged, and the others have it; the next calls are taken again."""
    broken, sound = Book(fails=True), Book()
    record = Record(broken, sound)

    async def put(*methods: str) -> None:
        for method in methods:
            record.settle(_call(method))

    asyncio.run(put("/a", "/broken"))
    record.flush()
    asyncio.run(put("/b"))
    record.flush()

    assert [call.method for call in broken.calls] == ["/b"]
    assert [call.method for call in sound.calls] == ["/a", "/broken", "/b"]
