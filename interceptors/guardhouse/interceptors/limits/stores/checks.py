"""What can be asked of a store of budgets: the same of all, so that none can be told more than another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from . import Account, Want

MOST: Final = 2**53 - 1  # units: Redis counts in doubles, which are exact up to here
LONGEST_NAME: Final = 1024  # bytes in UTF-8
LONGEST_WINDOW: Final = 64  # characters
LATEST: Final = 9e12  # seconds since the epoch: exact in milliseconds


def check_wants(wants: Sequence[Want]) -> None:
    """Raise ValueError unless *wants* can be asked of a store."""
    for want in wants:
        _check_account(want.account)
        if not 0 <= want.least <= want.most:
            raise ValueError(f"cannot want {want.least} to {want.most} units")
    if len({(want.account.name, want.account.window) for want in wants}) < len(wants):
        raise ValueError("cannot take twice from one account in one step: ask for the sum")


def check_units(units: Sequence[tuple[Account, int]]) -> None:
    """Raise ValueError unless *units* can be given back to a store."""
    for account, count in units:
        _check_account(account)
        if not 0 <= count <= MOST:
            raise ValueError(f"cannot give back {count} units")


def _check_account(account: Account) -> None:
    name, window = account.name, account.window
    if not (name.isprintable() and 0 < len(name.encode()) <= LONGEST_NAME):
        raise ValueError(f"the name of an account is 1 to {LONGEST_NAME} bytes of printable text")
    if not (window.isprintable() and 0 < len(window) <= LONGEST_WINDOW) or "@" in window:
        raise ValueError(f"a window is 1 to {LONGEST_WINDOW} printable characters, none of them '@'")
    if not (1 <= account.limit <= MOST and -LATEST <= account.ends <= LATEST):
        raise ValueError(f"a limit is 1 to {MOST} units, and ends within {LATEST:.0f} s of the epoch")
