"""The record where no answer leaves before its line is on disk."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import ClassVar, Final

from guardhouse.interceptors.call import Call
from guardhouse.interceptors.chain import LOG
from guardhouse.interceptors.ledger import Ledger, LedgerError
from guardhouse.interceptors.refusal import Refusal

from . import Record, Sink
from .lines import Lines, beginning, withheld

NEVER = -1  # the number of a line that the ledger has not taken
PATIENCE: Final = 5.0  # seconds an answer waits for its line: threads that wait serve nobody else


class StrictRecord(Record):
    """Records each call the moment it ends; the shells wait for its line before they answer.

    Calls that end while the disk is busy share the next fsync. Of a stream, a line of kind `stream` is on
    disk before its first message leaves, and that of the call before its end is told.

    Args:
        book: The ledger; "strict", or its lines lie about before they are written.
        sinks: Where records go beside it.
    """

    strict: ClassVar[bool] = True

    def __init__(self, book: Ledger, *sinks: Sink) -> None:
        super().__init__(*sinks, healthy=lambda: book.healthy)
        self._book = book
        self._lines = Lines(book)

    def settle(self, call: Call) -> None:
        """Put the line of *call* into the ledger, and tell the other sinks."""
        call.line = NEVER
        try:
            call.line = self._book.append_many((self._lines.body(call),))
        except Exception:
            LOG.exception("call %016x could not be recorded", call.span_id)
        super().settle(call)

    def begin(self, call: Call) -> None:
        """Put the line into the ledger that says that *call* is about to be answered with a stream."""
        call.line = NEVER
        with suppress(LedgerError):
            call.line = self._book.append(beginning(call))

    async def landed(self, call: Call) -> Refusal | None:
        """Return once the line of *call* is on disk; or why it must not be answered."""
        if self._may_land(call):
            with suppress(LedgerError, TimeoutError):
                async with asyncio.timeout(PATIENCE):
                    await self._book.committed(call.line)
                return None
        return self.withhold(call)

    def wait(self, call: Call) -> Refusal | None:
        """The same for a thread, which blocks."""
        if self._may_land(call) and self._book.wait(call.line, PATIENCE):
            return None
        return self.withhold(call)

    def _may_land(self, call: Call) -> bool:
        """Whether to wait at all: a disk that is known to refuse must not hold up every refusal."""
        return call.line != NEVER and self._book.healthy

    def withhold(self, call: Call) -> Refusal:
        """The line may yet be written, and say that all went well: another one says what the caller got."""
        with suppress(LedgerError):
            self._book.append(withheld(call))
        return Refusal("LEDGER_UNAVAILABLE", "its line could not be written", retry_after=1.0)
