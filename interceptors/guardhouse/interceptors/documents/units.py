"""Durations, sizes and rates as people write them. Anything without a unit, or with a blank, is refused.

Each parser raises ValueError whose text says what is wrong and what to write.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

DURATIONS: Final = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}  # milliseconds
SIZES: Final = {"GiB": 2**30, "MiB": 2**20, "KiB": 2**10, "GB": 10**9, "MB": 10**6, "KB": 10**3, "B": 1}
PERIODS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}  # seconds

# Twelve digits are 30,000 years or a terabyte: more can only be a slip.
WHOLE: Final = r"(0|[1-9][0-9]{0,11})"
DURATION: Final = re.compile(rf"{WHOLE}({'|'.join(DURATIONS)})")
SIZE: Final = re.compile(rf"{WHOLE}({'|'.join(SIZES)})")
RATE: Final = re.compile(rf"{WHOLE}/({'|'.join(PERIODS)})")


class Rate(NamedTuple):
    """So many calls in a period, kept exact, and how many may come at once after a rest.

    Attributes:
        count: Calls, at least 1.
        period: Seconds.
        burst: Calls at once, at least 1.
    """

    count: int  # type: ignore[assignment] # hides tuple.count, which nobody asks of a rate
    period: int
    burst: int

    @property
    def per_second(self) -> float:
        """Calls per second in the long run."""
        return self.count / self.period


def duration(text: str) -> float:
    """Seconds in "250ms", "30s", "5m", "1h" or "7d"."""
    found = DURATION.fullmatch(text)
    if not found:
        raise ValueError(_wrong(text, "a duration", ("s", "m", "h"), DURATIONS))
    return int(found[1]) * DURATIONS[found[2]] / 1000


def format_duration(seconds: float) -> str:
    """The shortest text that `duration` reads back as *seconds*, to the millisecond."""
    return _largest_unit(round(seconds * 1000), DURATIONS, "s")


def size(text: str) -> int:
    """Bytes in "512B", "64KiB", "4MiB", "1GiB" (powers of 1024), "500KB", "5MB" or "1GB" (of 1000)."""
    found = SIZE.fullmatch(text)
    if not found:
        raise ValueError(_wrong(text, "a size", ("MiB", "KiB", "B"), SIZES))
    return int(found[1]) * SIZES[found[2]]


def format_size(count: int) -> str:
    """The shortest text that `size` reads back as *count* bytes."""
    return _largest_unit(count, SIZES, "B")


def rate(text: str) -> Rate:
    """The rate in "100/s", "30/m", "1000/h" or "5/d"; its burst is one second's worth, at least 1."""
    found = RATE.fullmatch(text)
    if not found:
        raise ValueError(_wrong_rate(text))
    count, period = int(found[1]), PERIODS[found[2]]
    if count < 1:
        message = f"`{text}` lets nothing through; write at least 1/{found[2]}, or take the `allow` rule away"
        raise ValueError(message)
    return Rate(count, period, burst=-(-count // period))


def format_rate(rate: Rate) -> str:
    """The text that `rate` reads back with the same count and period."""
    return f"{rate.count}/{next(name for name, seconds in PERIODS.items() if seconds == rate.period)}"


def _largest_unit(amount: int, units: dict[str, int], zero: str) -> str:
    if amount == 0:
        return f"0{zero}"
    unit = next(name for name, worth in units.items() if amount % worth == 0)
    return f"{amount // units[unit]}{unit}"


def _wrong(text: str, kind: str, usual: tuple[str, ...], units: dict[str, int]) -> str:
    """What is wrong with *text*, and the nearest right forms: no blanks, the unit spelt as it is here."""
    number = re.fullmatch(r"\s*([0-9]{1,12})\s*([A-Za-z]*)\s*", text)
    if number:
        said = number[2].lower()
        same = [unit for unit in units if unit.lower() == said]
        near = [unit for unit in units if said and (unit.lower().startswith(said) or said.startswith(unit))]
        meant = " or ".join(f"{int(number[1])}{unit}" for unit in same or near or usual)
    else:
        meant = f"it like 30{usual[0]}"
    return f"`{text}` is not {kind}; write {meant} (units: {', '.join(reversed(units))})"


def _wrong_rate(text: str) -> str:
    number = re.fullmatch(r"\s*([0-9]{1,12})\s*(?:(?:/|per)?\s*([A-Za-z]*))\s*", text)
    unit = (number[2] or "s")[0].lower() if number else ""
    meant = f"{int(number[1])}/{unit}" if number and unit in PERIODS and int(number[1]) else "it like 100/s"
    return f"`{text}` is not a rate; write {meant} (periods: {', '.join(PERIODS)})"
