"""Money in whole numbers: a billionth of the currency is 1. Read from decimal text, never from a float."""

from __future__ import annotations

import re
from typing import Final

DIGITS: Final = 9
NANO: Final = 10**DIGITS  # in one of the currency
CURRENCY: Final = re.compile(r"[A-Z]{3}")  # as ISO 4217 writes them
DECIMAL: Final = r"(?:0|[1-9][0-9]{0,11})(?:\.[0-9]{1,30})?"


def nano(text: str) -> int:
    """Billionths in "25", "0.50" or "0.000002".

    Raises:
        ValueError: It is no such number, or finer than a billionth; with what to write.
    """
    if not re.fullmatch(DECIMAL, text):
        message = f"`{text}` is not a sum of money; write it like 0.50 or 0.000002"
        raise ValueError(message)
    whole, _, rest = text.partition(".")
    if rest[DIGITS:].strip("0"):
        message = f"`{text}` is finer than can be counted; write at most {DIGITS} digits after the point"
        raise ValueError(message)
    return int(whole) * NANO + int(rest[:DIGITS].ljust(DIGITS, "0"))


def decimal(count: int) -> str:
    """*count* billionths as people write them: "25", "0.50", "0.000002"; `nano` reads the same back."""
    whole, rest = divmod(count, NANO)
    digits = f"{rest:0{DIGITS}d}".rstrip("0")
    return f"{whole}.{digits.ljust(2, '0')}" if digits else str(whole)
