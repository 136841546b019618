"""A dictionary that is bounded, also where threads share it."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator

import pytest

from guardhouse.interceptors.bounded import Bounded


@pytest.fixture
def hurry() -> Iterator[None]:
    """Threads take turns as often as they can."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)


def test_the_oldest_makes_room() -> None:
    """First in, first out."""
    kept: Bounded[int, str] = Bounded(2)
    for number in range(3):
        kept.put(number, str(number))

    assert (kept.get(0), kept.get(1), kept.get(2), len(kept)) == (None, "1", "2", 2)


def test_threads_that_share_it_neither_fail_nor_let_it_grow(hurry: None) -> None:
    """Whoever makes room while another does loses neither its entry to an error nor the bound."""
    kept: Bounded[tuple[int, int], int] = Bounded(8)
    errors: list[Exception] = []

    def fill(thread: int) -> None:
        try:
            for number in range(40_000):
                kept.put((thread, number), number)
        except RuntimeError as error:
            errors.append(error)

    threads = [threading.Thread(target=fill, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert not errors
    assert len(kept) <= 8
