"""Records that are written a little later, in batches."""

from __future__ import annotations

import asyncio
import threading

import pytest

from guardhouse.interceptors import Call, Guard, Refusal, Stage
from guardhouse.interceptors.record.beside import MOST, PERIOD, Beside


class Book(Guard):
    """Keeps what it settles."""

    stage = Stage.RECORD

    def __init__(self) -> None:
        self.calls: list[Call] = []

    def admit(self, call: Call) -> None:
        if call.method == "/refused":
            raise Refusal("LEDGER_UNAVAILABLE")

    def settle(self, call: Call) -> None:
        if call.method == "/broken":
            raise OSError
        self.calls.append(call)


def _call(method: str = "/s/m") -> Call:
    return Call(method, (), True, 0, 0)


async def test_calls_are_settled_within_the_period():
    """What was put down is taken up by the loop, in order, without anybody asking."""
    book = Book()
    beside, calls = Beside(book), [_call() for _ in range(3)]
    for call in calls:
        beside.settle(call)

    assert book.calls == []

    await asyncio.sleep(PERIOD * 5)

    assert book.calls == calls


async def test_many_calls_are_settled_at_once():
    """No more lie than may be settled in one go."""
    book = Book()
    beside = Beside(book)
    for _ in range(MOST):
        beside.settle(_call())

    assert len(book.calls) == MOST


def test_calls_left_by_a_loop_are_settled_by_the_next():
    """A loop that ended with calls lying there does not stop the record."""
    book = Book()
    beside = Beside(book)

    async def leave(seconds: float) -> None:
        beside.settle(_call())
        await asyncio.sleep(seconds)

    asyncio.run(leave(0))
    asyncio.run(leave(PERIOD * 5))

    assert len(book.calls) == 2


def test_without_a_loop_a_call_is_settled_at_once():
    """Threads of `grpc.server` wait for nobody; eight of them lose nothing."""
    book = Book()
    beside = Beside(book)

    def settle() -> None:
        for _ in range(500):
            beside.settle(_call())

    threads = [threading.Thread(target=settle) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(book.calls) == 4000


def test_flush_settles_the_rest_and_one_failure_keeps_no_other():
    """A record that cannot be written is logged, and the ones behind it are written."""
    book = Book()
    beside = Beside(book)

    async def put() -> None:
        for method in ("/a", "/broken", "/b"):
            beside.settle(_call(method))

    asyncio.run(put())
    beside.flush()

    assert [call.method for call in book.calls] == ["/a", "/b"]


def test_it_refuses_what_its_guard_refuses():
    """A ledger that cannot take a line refuses the call through it as well."""
    with pytest.raises(Refusal, match="recorded"):
        Beside(Book()).admit(_call("/refused"))
