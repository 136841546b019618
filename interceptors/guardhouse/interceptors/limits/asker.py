"""One thread that asks a store for all calls of a process: what they want meanwhile is one question."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Mapping
from typing import Generic, TypeVar

from guardhouse.interceptors.chain import LOG

from .stores import StoreError

K = TypeVar("K", bound=Hashable)
W = TypeVar("W")


class Question(Generic[K, W]):
    """What is asked at one time. *well*: whether the store has answered, once it is *over*."""

    def __init__(self) -> None:
        self.wants: dict[K, W] = {}
        self.over = threading.Event()
        self.well = False

    @classmethod
    def nothing(cls) -> Question[K, W]:
        """One that asks nothing, and is over."""
        question = cls()
        question.well = True
        question.over.set()
        return question


class Asker(Generic[K, W]):
    """Asks while anybody wants anything, one question at a time.

    Args:
        name: Of the thread.
        ask: Asks the store and keeps what it says; raises StoreError where it says nothing.
        tidy: Called in the thread before each question, and every *pause* seconds.
        pause: Seconds; None where there is nothing to tidy.
    """

    def __init__(
        self,
        name: str,
        ask: Callable[[Mapping[K, W]], None],
        tidy: Callable[[], None] = lambda: None,
        pause: float | None = None,
    ) -> None:
        self._ask, self._tidy, self._pause = ask, tidy, pause
        self._next: Question[K, W] = Question()
        self._changed = threading.Condition()
        self._closed = False
        self._trouble = ""
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def want(self, wants: Mapping[K, W], both: Callable[[W, W], W]) -> Question[K, W]:
        """Have *wants* asked soon. *both* makes one of what two calls want of one key."""
        if not wants:
            return Question.nothing()
        with self._changed:
            question = self._next
            for key, want in wants.items():
                had = question.wants.get(key)
                question.wants[key] = want if had is None else both(had, want)
            if self._closed:
                question.over.set()
            self._changed.notify()
            return question

    def close(self, patience: float) -> None:
        """Ask no more. Who waits learns that nothing was said."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(patience)
        self._next.over.set()

    def _run(self) -> None:
        while not self._closed:
            with self._changed:
                if not self._next.wants and not self._closed:
                    self._changed.wait(self._pause)
                question, self._next = self._next, Question()
            self._tried(question)
            question.over.set()

    def _tried(self, question: Question[K, W]) -> None:
        try:
            self._tidy()
            if question.wants:
                self._ask(question.wants)
            question.well, self._trouble = True, ""
        except Exception as error:  # of whatever kind: nobody else would ask for anything
            if str(error) != self._trouble:
                LOG.error("the store of limits: %s", error, exc_info=not isinstance(error, StoreError))
            self._trouble = str(error)
