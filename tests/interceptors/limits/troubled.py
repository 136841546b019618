"""A store that can be told to hang or to fail, and a clock that is set by hand."""

from __future__ import annotations

import threading
from typing import Any

from guardhouse.interceptors.limits.stores import Store, StoreError


class Clock:
    """Seconds, as told."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Troubled:
    """*store*, unless it fails, or hangs until it is well again. Counts what it was asked."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.fails = False
        self.asked = 0
        self.well = threading.Event()
        self.well.set()

    def _reach(self) -> None:
        self.asked += 1
        self.well.wait(60)
        if self.fails:
            raise StoreError("told to fail")

    def draw(self, drips: Any) -> Any:
        self._reach()
        return self._store.draw(drips)

    def hold(self, process: str, holds: Any, seconds: float) -> Any:
        self._reach()
        return self._store.hold(process, holds, seconds)
