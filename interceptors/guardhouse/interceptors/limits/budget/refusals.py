"""What a caller is told whom a budget refuses, and what the operator is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from guardhouse.interceptors.limits.stores import Account, Short, StoreError
from guardhouse.interceptors.refusal import Refusal

from .charges import Charge
from .units import count_words

SOON: Final = 1.0  # seconds after which calls that are under way may have given something back


def exhausted(short: Short, charges: Sequence[Charge], wall: float, reserved: int) -> Refusal:
    """An account has too little, until calls under way give back or its window ends; or never has so much.

    Args:
        short: The account, and what it has left.
        charges: What was wanted, of that account among others.
        wall: Seconds since the epoch.
        reserved: Units of the account that calls under way may give back.
    """
    account, left = short
    wanted = next(charge for charge in charges if charge.account == account)
    budget, units = wanted.budget, wanted.units
    unit, period = budget.amount.unit, budget.amount.period
    wants, has, most = (count_words(each, unit) for each in (units, left, account.limit))
    note = f"{account.name} {account.window}: {wants} wanted, {has} of {most} left"
    say = f"{wants} of {unit}/{period} wanted, {has} left"
    if units > account.limit:
        say = f"{wants} of {unit}/{period} wanted, which never has more than {most}"
    wait = _wait(account, units, left + reserved, wall)
    return Refusal("BUDGET_EXHAUSTED", note, say=say, retry_after=wait, limit=budget.name)


def _wait(account: Account, wanted: int, hoped: int, wall: float) -> float | None:
    if wanted > account.limit:
        return None
    return SOON if wanted <= hoped else max(SOON, account.ends - wall)


def unavailable(error: StoreError) -> Refusal:
    """What the store says is for the operator alone."""
    return Refusal("BUDGETS_UNAVAILABLE", str(error), retry_after=SOON)
