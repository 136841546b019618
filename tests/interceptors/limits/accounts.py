"""Accounts and moments for tests of the stores of budgets."""

from __future__ import annotations

from guardhouse.interceptors.limits.stores import Account, Short, Store, Want

WINDOW = "2100-01"
ENDS = 4_105_209_600.0  # far ahead: nothing of it is over, by any real clock


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
