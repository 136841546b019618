"""Accounts, rates, slots and moments for tests of the stores."""

from __future__ import annotations

from guardhouse.interceptors.limits.stores import Account, Drip, Hold, Short, Store, Want

WINDOW = "2100-01"
ENDS = 4_105_209_600.0  # far ahead: nothing of it is over, by any real clock
SLOW = 1e6  # seconds for one unit: no test takes as long


def account(name: str = "ann", limit: int = 10, window: str = WINDOW, ends: float = ENDS) -> Account:
    """One account."""
    return Account(name, window, limit, ends)


def take(store: Store, units: int, of: Account) -> int | None:
    """Take just so many from one account; how many that made, or None if there are too few."""
    taken = store.take([Want(of, units, units)])
    return None if isinstance(taken, Short) else taken[0]


def spent(store: Store) -> dict[tuple[str, str], int]:
    """What is spent from every account."""
    return {(entry.name, entry.window): entry.spent for entry in store.entries()}


def drip(name: str = "ann", least: int = 1, most: int = 1, burst: int = 10, interval: float = SLOW) -> Drip:
    """Units of a rate that is as good as never filled up, unless another interval is given."""
    return Drip(name, interval, burst * interval, least, most)


def draw(store: Store, *wanted: Drip) -> list[int]:
    """How many units each of some rates gives."""
    return [drawn.units for drawn in store.draw(wanted)]


def hold(
    store: Store, process: str, slots: int, limit: int = 10, name: str = "ann", seconds: float = 600
) -> int:
    """Have slots of one name; how many that are."""
    return store.hold(process, [Hold(name, limit, slots)], seconds)[0]
