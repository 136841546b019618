"""Which account of a budget a call draws on."""

from __future__ import annotations

from guardhouse.interceptors.bounded import Bounded
from guardhouse.interceptors.call import Call
from guardhouse.interceptors.limits.rules import Budget
from guardhouse.interceptors.limits.scopes import Holders
from guardhouse.interceptors.limits.stores import Account

from .windows import Calendar


class Accounts:
    """The account that a call draws on, by budget, caller and window."""

    def __init__(self) -> None:
        self._calendar = Calendar()
        self._holders = Holders()
        self._known: Bounded[tuple[Budget, str], Account] = Bounded(8192)

    def of(self, budget: Budget, call: Call) -> Account:
        """The account of *budget* that *call* draws on now."""
        amount = budget.amount
        window = self._calendar.at(amount.period, call.wall)
        name = self._holders.of(budget, f"{amount.unit}/{amount.period}", call)
        account = self._known.get((budget, name))
        if account is None or account.window != window.name:
            account = Account(name, window.name, amount.count, window.ends)
            self._known.put((budget, name), account)
        return account
