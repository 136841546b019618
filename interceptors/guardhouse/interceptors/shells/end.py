"""The end of a call in `grpc.server`, which comes from another thread, and what it stops waiting for."""

from __future__ import annotations

import threading
from concurrent.futures import CancelledError, Future


class End:
    """Told by grpc when it ends a call. Knows nothing of the call: grpc's keeping it makes no circle."""

    __slots__ = ("_lock", "_turn", "happened")

    def __init__(self) -> None:
        self.happened = threading.Event()
        self._lock = threading.Lock()
        self._turn: Future[None] | None = None

    def __call__(self) -> None:
        """It has come."""
        with self._lock:
            self.happened.set()
            turn = self._turn
        if turn is not None:
            turn.cancel()

    def wait_for(self, turn: Future[None], seconds: float | None) -> None:
        """Block until *turn* is done. Cancelled if the call ends, or if that takes longer than *seconds*."""
        with self._lock:
            self._turn = turn
            over = self.happened.is_set()
        if over:
            turn.cancel()
        try:
            turn.exception(seconds)
        except CancelledError:
            pass
        except TimeoutError:
            turn.cancel()
