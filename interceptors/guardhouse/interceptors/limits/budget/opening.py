"""The guard of the budgets that a policy has, and what it pays from, opened and closed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack

from guardhouse.interceptors.chain import LOG
from guardhouse.interceptors.limits.rules import Budget
from guardhouse.interceptors.limits.stores import Store, StoreError
from guardhouse.interceptors.limits.stores.memory import MemoryStore

from .guard import Budgets
from .prices import Prices
from .purse import Purse
from .units import Clamps


def opened(
    budgets: Sequence[Budget],
    store: Store | None,
    clamps: Clamps,
    stack: ExitStack,
    prices: Prices | None = None,
) -> Iterator[Budgets]:
    """The guard of *budgets*, if there are any. What it has in hand goes back when *stack* closes.

    Args:
        budgets: All budgets of the policy.
        store: Where it is kept what was spent, closed by *stack*; in memory if None.
        clamps: The worst that one message can cost.
        stack: Closed once every call is settled.
        prices: What models cost, for budgets of money.
    """
    purse = Purse(MemoryStore(), waits=False) if store is None else Purse(store)
    stack.callback(_close, purse)
    general = [budget for budget in budgets if budget.roles is None]
    if budgets:
        yield Budgets(purse, general, clamps, prices=prices)


def _close(purse: Purse) -> None:
    try:
        purse.close()
    except StoreError as error:
        LOG.error("units of budgets could not be given back: %s", error)
