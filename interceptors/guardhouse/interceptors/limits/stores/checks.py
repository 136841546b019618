"""What can be asked of a store: the same of all, so that none can be told more than another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from . import Account, Drip, Hold, Want

MOST: Final = 2**53 - 1  # units: Redis counts in doubles, which are exact up to here
LONGEST_NAME: Final = 1024  # bytes in UTF-8
LONGEST_WINDOW: Final = 64  # characters
LATEST: Final = 9e12  # seconds since the epoch: exact in milliseconds
LONGEST_PROCESS: Final = 64  # characters
LONGEST_HOLD: Final = 86_400.0  # seconds


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


def check_drips(drips: Sequence[Drip]) -> None:
    """Raise ValueError unless *drips* can be asked of a store."""
    for name, interval, tolerance, least, most in drips:
        _check_name(name, "a rate")
        if not (0 < interval <= LATEST and 0 < tolerance <= LATEST and tolerance / interval <= MOST):
            raise ValueError(f"a rate has up to {MOST} units at once, and times above 0 s")
        if not 1 <= least <= most <= MOST:
            raise ValueError(f"cannot draw {least} to {most} units")
    if len({drip.name for drip in drips}) < len(drips):
        raise ValueError("cannot draw twice from one rate in one step: ask for the sum")


def check_holds(process: str, holds: Sequence[Hold], seconds: float) -> None:
    """Raise ValueError unless *process* can hold *holds* for *seconds*."""
    if not (process.isprintable() and 0 < len(process) <= LONGEST_PROCESS) or " " in process:
        raise ValueError(f"a process is 1 to {LONGEST_PROCESS} printable characters, none of them a blank")
    if not 0 < seconds <= LONGEST_HOLD:
        raise ValueError(f"slots are held for more than 0 s and up to {LONGEST_HOLD:.0f} s")
    for name, limit, slots in holds:
        _check_name(name, "slots")
        if not 0 <= slots <= limit <= MOST or not limit:
            raise ValueError(f"cannot hold {slots} of {limit} slots")
    if len({hold.name for hold in holds}) < len(holds):
        raise ValueError("cannot hold slots of one name twice in one step: say the sum")


def _check_account(account: Account) -> None:
    name, window = account.name, account.window
    _check_name(name, "an account")
    if not (window.isprintable() and 0 < len(window) <= LONGEST_WINDOW) or "@" in window:
        raise ValueError(f"a window is 1 to {LONGEST_WINDOW} printable characters, none of them '@'")
    if not (1 <= account.limit <= MOST and -LATEST <= account.ends <= LATEST):
        raise ValueError(f"a limit is 1 to {MOST} units, and ends within {LATEST:.0f} s of the epoch")


def _check_name(name: str, what: str) -> None:
    if not (name.isprintable() and 0 < len(name.encode()) <= LONGEST_NAME):
        raise ValueError(f"the name of {what} is 1 to {LONGEST_NAME} bytes of printable text")
