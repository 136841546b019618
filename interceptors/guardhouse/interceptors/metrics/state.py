"""What the parts of a guard tell about themselves, read when somebody asks. Nothing here waits or locks."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, Protocol

from . import catalogue
from .families import Family, single

STATM: Final = Path("/proc/self/statm")


class Book(Protocol):
    """What a ledger tells."""

    @property
    def healthy(self) -> bool: ...
    @property
    def lag(self) -> int: ...
    @property
    def written(self) -> int: ...
    @property
    def sequence(self) -> int: ...


class SpanCounts(Protocol):
    """What an exporter tells: how many spans were taken by the collector, lost by reason, and still wait."""

    @property
    def sent(self) -> int: ...
    @property
    def lost(self) -> Mapping[Any, int]: ...  # by reason, whichever words the exporter has
    @property
    def queued(self) -> int: ...
    @property
    def spooled(self) -> int: ...


def ledger(book: Book) -> Iterator[Family]:
    """Whether lines reach the disk, and how far behind they are."""
    yield single(catalogue.LEDGER_HEALTHY, int(book.healthy))
    yield single(catalogue.LEDGER_LAG, book.lag)
    yield single(catalogue.LEDGER_LINES, book.written)
    yield single(catalogue.LEDGER_SEQUENCE, book.sequence)


def spans(counts: SpanCounts, reasons: Iterable[str]) -> Iterator[Family]:
    """What became of the spans. Each of *reasons* is told from the start: a zero to rise from."""
    yield single(catalogue.SPANS_SENT, counts.sent)
    yield Family(catalogue.SPANS_LOST, {(reason,): counts.lost.get(reason, 0) for reason in reasons})
    yield single(catalogue.SPANS_QUEUED, counts.queued)
    yield single(catalogue.SPANS_SPOOLED, counts.spooled)


def calls(in_flight: int, waiting: int, rate_keys: int) -> Iterator[Family]:
    """How many calls are in flight, how many of them wait, and how many buckets the rate limiter keeps."""
    yield single(catalogue.IN_FLIGHT, in_flight)
    yield single(catalogue.WAITING, waiting)
    yield single(catalogue.RATE_KEYS, rate_keys)


def process(began: float) -> Iterator[Family]:
    """The process, which began to measure at *began* (monotonic seconds)."""
    yield Family(catalogue.BUILD, {(_version(),): 1})
    yield single(catalogue.UPTIME, time.monotonic() - began)
    yield single(catalogue.CPU_TIME, time.process_time())
    if STATM.exists():  # proc(5): sizes in pages, the resident one is the second
        yield single(catalogue.MEMORY, int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"))


@lru_cache(maxsize=1)
def _version() -> str:
    return version("guardhouse")
