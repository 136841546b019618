"""What calls cost: the rows of a sum as facts for a program, and as a table for a person."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from guardhouse.interceptors.documents.units import SIZES

from .lines import word

FIGURES: Final = (
    "calls",
    "refused",
    "units",
    "request_bytes",
    "response_bytes",
    "model_us",
    "p50_us",
    "p99_us",
)
HEADS: Final = ("calls", "refused", "units", "in", "out", "model", "p50", "p99")


def as_facts(keys: Sequence[str], row: Sequence[Any]) -> dict[str, Any]:
    """One row by the names of its keys and figures."""
    return dict(zip((*keys, *FIGURES), row, strict=True))


def as_table(keys: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[str]:
    """Lines of equal columns under a head; figures stand to the right."""
    texts = [[*keys, *HEADS], *(list(_texts(len(keys), row)) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    return ["  ".join(_cells(text, widths, len(keys))).rstrip() for text in texts]


def size(count: int) -> str:
    """*count* bytes in the largest unit of 1024 that leaves at least one of it."""
    for unit in ("GiB", "MiB", "KiB"):
        if count >= SIZES[unit]:
            return f"{count / SIZES[unit]:.1f} {unit}"
    return f"{count} B"


def span(microseconds: int | None) -> str:
    """A length of time, to three figures or so; "-" for none."""
    if microseconds is None:
        return "-"
    if microseconds < 1_000_000:
        return f"{microseconds / 1000:.1f} ms"
    return f"{microseconds / 1_000_000:.1f} s"


def _texts(count: int, row: Sequence[Any]) -> Iterator[str]:
    yield from map(word, row[:count])
    calls, refused, units, received, sent, model, p50, p99 = row[count:]
    yield from (
        str(calls),
        str(refused),
        str(units),
        size(received),
        size(sent),
        span(model),
        span(p50),
        span(p99),
    )


def _cells(texts: Sequence[str], widths: Sequence[int], keys: int) -> Iterator[str]:
    for position, (text, width) in enumerate(zip(texts, widths, strict=True)):
        yield text.ljust(width) if position < keys else text.rjust(width)
