"""What goes on for a call: it may outlast the call. A thread cannot be interrupted, so a blocking model works
on when its caller has left and the call is settled; what limits work must not take it for ended.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Final

from .refusal import Refusal

if TYPE_CHECKING:
    from .call import Call

CALL: Final = "the call"  # works until it is settled


class Work:
    """Who works for one call. Once nobody does any more, it is over for good.

    Attributes:
        outlasts: Whether somebody still worked when the call was settled.
    """

    __slots__ = ("_lock", "_tell", "_workers", "outlasts")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._workers: set[Hashable] = {CALL}
        self._tell: list[Callable[[], None]] = []
        self.outlasts = False

    def hold(self, worker: Hashable) -> None:
        """*worker* begins. Raises `Refusal` where the work is over: none may begin any more."""
        with self._lock:
            if not self._workers:
                raise Refusal("CANCELLED", "the call has ended")
            self._workers.add(worker)

    def let_go(self, worker: Hashable) -> None:
        """*worker* has ended. Nothing happens where it had not begun, or had ended before."""
        with self._lock:
            if worker not in self._workers:
                return
            self._workers.remove(worker)
            self.outlasts = self.outlasts or (worker is CALL and bool(self._workers))
            told = () if self._workers else tuple(self._tell)
        for tell in told:
            tell()

    def when_over(self, tell: Callable[[], None]) -> None:
        """Call *tell* once, when the last worker lets go: in its thread; at once, where that has been."""
        with self._lock:
            if self._workers:
                self._tell.append(tell)
                return
        tell()


def work_of(call: Call) -> Work:
    """The work of *call*, watched from now on. Over already, if the call was settled meanwhile."""
    work = call.work
    if work is None:
        work = call.work = Work()
        if call.closed:  # whoever settled it, in another thread, may not have seen this
            work.let_go(CALL)
    return work
