"""Who waits for which ledger line to be on disk."""

import logging
from collections.abc import Callable
from threading import Lock
from typing import NamedTuple

_log = logging.getLogger(__name__)


class _Waiter(NamedTuple):
    sequence: int
    done: Callable[[], None]
    failed: Callable[[], None] | None


class Waiters:
    """Calls each waiter once, in the writer's thread, or at once where its line is on disk already."""

    def __init__(self, landed: int) -> None:
        self._lock = Lock()
        self._landed = landed  # the highest sequence number that is on disk
        self._waiting: list[_Waiter] = []

    def add(self, sequence: int, done: Callable[[], None], failed: Callable[[], None] | None = None) -> None:
        """Call *done* once line *sequence* is on disk; or *failed*, if given, at the first try that fails."""
        with self._lock:
            if sequence > self._landed:
                self._waiting.append(_Waiter(sequence, done, failed))
                return
        done()

    def land(self, sequence: int) -> None:
        """All lines up to *sequence* are on disk."""
        with self._lock:
            self._landed = sequence
            due = [waiter for waiter in self._waiting if waiter.sequence <= sequence]
            self._waiting = [waiter for waiter in self._waiting if waiter.sequence > sequence]
        for waiter in due:
            _call(waiter.done)

    def fail(self, sequence: int) -> None:
        """The lines up to *sequence* could not be written. Those who cannot be told go on waiting."""
        with self._lock:
            due = [waiter.failed for waiter in self._waiting if waiter.failed and waiter.sequence <= sequence]
            self._waiting = [
                waiter for waiter in self._waiting if not waiter.failed or waiter.sequence > sequence
            ]
        for failed in due:
            _call(failed)


def _call(callback: Callable[[], None]) -> None:
    try:
        callback()
    except Exception:  # whoever waits must not be able to stop the writer
        _log.exception("a callback of the ledger failed")
