"""Answers that wait until their line is on disk."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from grpc import StatusCode as Code

from guardhouse.interceptors import Chain, Ledger
from guardhouse.interceptors.record import strict
from guardhouse.interceptors.record.strict import StrictRecord

from .serving import COLOURS, SHAPES, handler, serving


class Disk:
    """An fsync that can be held up, and can fail."""

    def __init__(self) -> None:
        self.free = threading.Event()
        self.free.set()
        self.fails = False
        self.syncs = 0

    def __call__(self, descriptor: int) -> None:
        self.free.wait(10)
        self.syncs += 1
        if self.fails:
            raise OSError(5, "Input/output error")
        os.fsync(descriptor)


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
def ledger(tmp_path: Path, disk: Disk) -> Iterator[Ledger]:
    book = Ledger(tmp_path, durability="strict", fsync=disk)
    yield book
    disk.fails = False
    disk.free.set()
    book.close()


def _lines(folder: Path, *kinds: str) -> list[dict[str, Any]]:
    lines = map(json.loads, (folder / "ledger.jsonl").read_text().splitlines())
    return [line for line in lines if line["kind"] in kinds]


async def _until(done: Any) -> None:
    async with asyncio.timeout(10):
        while not done():  # noqa: ASYNC110 - a thread is waited for
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("shape", SHAPES)
async def test_no_answer_leaves_before_its_line_is_on_disk(
    colour: str, shape: str, ledger: Ledger, disk: Disk, tmp_path: Path
) -> None:
    """While the disk is held up the model runs and the caller waits; then the caller has it all."""
    ran = threading.Event()

    async def model(messages: Any, context: Any) -> AsyncIterator[bytes]:
        async for message in messages:
            ran.set()
            yield message

    async with serving(colour, Chain(StrictRecord(ledger)), model) as served:
        disk.free.clear()
        asked = asyncio.create_task(served.ask(shape, b"x"))
        await _until(ran.is_set)
        await asyncio.sleep(0.1)

        assert not asked.done()

        disk.free.set()
        outcome = await asked

        assert (outcome.code, outcome.messages) == (Code.OK, [b"x"])
        # Read at once: the caller has the answer, so the line is there.
        (line,) = _lines(tmp_path, "query")
        assert line["trace"] == outcome.trailer("guardhouse-trace-id")
        assert len(_lines(tmp_path, "stream")) == shape.endswith("_stream")


@pytest.mark.parametrize("colour", COLOURS)
async def test_the_first_message_of_a_stream_waits_as_well(
    colour: str, ledger: Ledger, disk: Disk, tmp_path: Path
) -> None:
    """Nothing of a stream is seen before the ledger says that it began."""
    seen: list[int] = []

    async def model(messages: Any, context: Any) -> AsyncIterator[bytes]:
        async for _ in messages:
            yield b"one"
            seen.append(len(_lines(tmp_path, "stream")))
            yield b"two"

    async with serving(colour, Chain(StrictRecord(ledger)), model) as served:
        outcome = await served.ask("unary_stream", b"x")

    assert outcome.messages == [b"one", b"two"]
    assert seen == [1]


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("shape", SHAPES)
async def test_an_answer_whose_line_fails_is_held_back(
    colour: str, shape: str, ledger: Ledger, disk: Disk, tmp_path: Path
) -> None:
    """The caller is told UNAVAILABLE; when the disk is back, the ledger has the call and what it got."""
    async with serving(colour, Chain(StrictRecord(ledger))) as served:
        disk.fails = True
        outcome = await served.ask(shape, b"x")
        disk.fails = False
        await _until(lambda: ledger.healthy and not ledger.lag)
        again = await served.ask(shape, b"x")

    assert (outcome.code, outcome.messages) == (Code.UNAVAILABLE, [])
    assert outcome.trailer("guardhouse-reason") == "LEDGER_UNAVAILABLE"
    assert again.code == Code.OK
    first = _lines(tmp_path, "query")[0]
    assert first["call"] in {line["call"] for line in _lines(tmp_path, "withheld")}


async def _at_once(context: Any) -> None:
    await asyncio.gather(context.write(b"one"), context.write(b"two"), return_exceptions=True)


async def _in_haste(context: Any) -> None:
    try:
        await asyncio.wait_for(context.write(b"one"), 0.01)
    except TimeoutError:
        await context.write(b"two")


@pytest.mark.parametrize("colour", ["aio", "bound"])
@pytest.mark.parametrize("write", [_at_once, _in_haste])
async def test_no_other_message_overtakes_the_first(
    colour: str, write: Any, ledger: Ledger, disk: Disk, tmp_path: Path
) -> None:
    """A handler that writes two at once, or gives up the first, sends nothing before the disk is there."""
    asked = threading.Event()

    async def model(_request: Any, context: Any) -> None:
        asked.set()
        await write(context)

    methods = {"unary_stream": handler("unary_stream", model)}
    async with serving(colour, Chain(StrictRecord(ledger)), methods=methods) as served:
        disk.free.clear()
        call = served.start("unary_stream", b"x")
        first = asyncio.create_task(call.read())
        await _until(asked.is_set)
        await asyncio.sleep(0.2)

        assert not first.done()

        disk.free.set()

        assert await first in (b"one", b"two")
        assert len(_lines(tmp_path, "stream")) == 1


@pytest.mark.parametrize("colour", ["aio", "bound"])
async def test_a_wait_that_is_cut_off_has_an_end(colour: str, ledger: Ledger, tmp_path: Path) -> None:
    """A model that cancels its own call leaves no caller hanging, and the ledger says what that one got."""

    async def model(_request: Any, _context: Any) -> bytes:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        return b"answer"

    methods = {"unary_unary": handler("unary_unary", model)}
    async with serving(colour, Chain(StrictRecord(ledger)), methods=methods) as served:
        outcome = await served.ask("unary_unary", b"x", timeout=8)

    assert (outcome.code, outcome.messages) == (Code.UNAVAILABLE, [])
    await _until(lambda: _lines(tmp_path, "withheld"))


@pytest.mark.parametrize("colour", COLOURS)
async def test_a_caller_who_left_before_the_line_was_there(
    colour: str, ledger: Ledger, disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line may say that all went well: another one says that nobody got the answer."""
    monkeypatch.setattr(strict, "PATIENCE", 0.6)
    async with serving(colour, Chain(StrictRecord(ledger))) as served:
        disk.free.clear()
        outcome = await served.ask("unary_unary", b"x", timeout=0.3)
        await asyncio.sleep(0.5)  # a thread cannot be told that the caller left: its patience ends
        disk.free.set()
        await _until(lambda: _lines(tmp_path, "withheld"))

    assert outcome.code == Code.DEADLINE_EXCEEDED
    (line,) = _lines(tmp_path, "query")
    assert {held["call"] for held in _lines(tmp_path, "withheld")} == {line["call"]}


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("shape", SHAPES)
async def test_a_disk_that_never_answers_holds_nobody_for_ever(
    colour: str, shape: str, ledger: Ledger, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who waits is told UNAVAILABLE after a while, though no try to write has failed."""
    monkeypatch.setattr(strict, "PATIENCE", 0.2)
    async with serving(colour, Chain(StrictRecord(ledger))) as served:
        disk.free.clear()
        outcome = await served.ask(shape, b"x", timeout=8)

    assert (outcome.code, outcome.messages) == (Code.UNAVAILABLE, [])
    assert outcome.trailer("guardhouse-reason") == "LEDGER_UNAVAILABLE"


async def test_calls_share_a_sync(ledger: Ledger, disk: Disk, tmp_path: Path) -> None:
    """Calls that end while the disk is busy wait for one sync together."""
    async with serving("aio", Chain(StrictRecord(ledger))) as served:
        before = disk.syncs
        outcomes = await asyncio.gather(*(served.ask("unary_unary", b"x") for _ in range(200)))

    assert {outcome.code for outcome in outcomes} == {Code.OK}
    assert len(_lines(tmp_path, "query")) == 200
    assert disk.syncs - before < 190  # on a busy machine calls come one by one


async def test_a_line_that_the_ledger_does_not_take_is_no_line(ledger: Ledger) -> None:
    """A ledger that is closed takes nothing: no call is answered as if it had."""
    async with serving("aio", Chain(StrictRecord(ledger))) as served:
        ledger.close()
        outcome = await served.ask("unary_unary", b"x")

    assert outcome.code == Code.UNAVAILABLE


async def test_a_disk_that_is_known_to_refuse_holds_up_no_refusal(ledger: Ledger, disk: Disk) -> None:
    """Once it is known, callers are told at once: nobody waits for a sync that does not come."""
    async with serving("aio", Chain(StrictRecord(ledger))) as served:
        disk.fails = True
        await served.ask("unary_unary", b"x")
        await _until(lambda: not ledger.healthy)
        disk.free.clear()
        outcome = await served.ask("unary_unary", b"x", timeout=2)

    assert outcome.code == Code.UNAVAILABLE
    assert outcome.trailer("guardhouse-reason") == "LEDGER_UNAVAILABLE"
