"""`Budgets`: who has units left may ask.

The most that a call can cost is reserved before the model runs, from every budget that counts it or from
none; what it did not need is given back when it has ended. A call that never came to the model costs nothing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Iterable, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

from guardhouse.interceptors.call import Call
from guardhouse.interceptors.chain import LOG, Guard, Stage
from guardhouse.interceptors.limits.rules import Budget
from guardhouse.interceptors.limits.scopes import note_shadow, told
from guardhouse.interceptors.limits.stores import Account, Short, StoreError
from guardhouse.interceptors.methods import FREE
from guardhouse.interceptors.refusal import Refusal
from guardhouse.interceptors.verbs import Later
from guardhouse.interceptors.work import work_of

from .accounts import Accounts
from .purse import Purse
from .units import Clamps, real, worst

OUTLASTS: Final = 1_000_000  # nanoseconds after the end of a call from which its work has outlasted it


class Charge(NamedTuple):
    """*units* of *budget*, to be taken from *account*; *bytes*: what the call had sent and got before."""

    budget: Budget
    account: Account
    units: int
    bytes: int = 0


class Budgets(Guard):
    """Lets a call through that its budgets can pay for. Who is counted by none passes.

    Args:
        purse: Where calls pay; closed by whoever made it.
        general: The budgets that count everybody, for calls of callers who need no role.
        clamps: The worst that one message can cost.
        free: Paths of methods that cost nothing.
    """

    stage = Stage.BUDGET

    def __init__(
        self,
        purse: Purse,
        general: Iterable[Budget] = (),
        clamps: Clamps = Clamps(response=4 << 20, seconds=60.0),  # noqa: B008 - a value
        free: Collection[str] = FREE,
    ) -> None:
        self._purse, self._general, self._clamps, self._free = purse, tuple(general), clamps, free
        self._accounts = Accounts()
        self._held: dict[Call, list[Charge]] = {}
        self._lock = threading.Lock()

    def inspect(self, call: Call, request: Any) -> None:
        """Reserve the worst that this message can cost."""
        budgets = self._counting(call)
        if not budgets or call.method in self._free:
            return
        charges, before = [], call.request_bytes + call.response_bytes - len(call.raw)
        for budget in budgets:
            account, unit = self._accounts.of(budget, call), budget.amount.unit
            if unit == "seconds":
                # Once for each account: the deadline of a call is that of all its messages.
                if any(held.account == account for held in self._held.get(call, ())):
                    continue
                work_of(call)  # it may outlast the call
            charges.append(Charge(budget, account, worst(unit, call, request, self._clamps), before))
        self._reserve(call, charges)

    def again(self, call: Call, incoming: bool) -> None:
        """Reserve for an answer beyond the first to a message, where bytes are counted."""
        if not incoming and call.responses >= call.requests and call.method not in self._free:
            counted = [each for each in self._counting(call) if each.amount.unit == "bytes"]
            if counted:
                more, of = self._clamps.response, self._accounts.of
                so_far = call.request_bytes + call.response_bytes
                self._reserve(call, [Charge(each, of(each, call), more, so_far) for each in counted])

    def settle(self, call: Call) -> None:
        """Give back what was not needed."""
        with self._lock:
            held = self._held.pop(call, None)
        if held is None:
            return
        timed = [charge for charge in held if charge.budget.amount.unit == "seconds"]
        if timed and call.model_ns:
            work_of(call).when_over(partial(self._settle_time, call, timed))
            held = [charge for charge in held if charge not in timed]
        self._pay(held, costs(held, call))

    def _settle_time(self, call: Call, held: list[Charge]) -> None:
        """Nobody works for *call* any more, maybe long after its end."""
        beyond = time.monotonic_ns() - call.ended_ns
        self._pay(held, costs(held, call, beyond if beyond > OUTLASTS else 0))

    def _pay(self, held: Sequence[Charge], real: Sequence[int]) -> None:
        """Give back what was reserved and not needed. What was needed and not reserved is charged, as far as
        there is any left: a model that blocks knows of no deadline.
        """
        over = [(charge.account, cost - charge.units) for charge, cost in zip(held, real, strict=True)]
        if back := [(account, -units) for account, units in over if units < 0]:
            self._purse.refund(back)
        if owed := [(account, units) for account, units in over if units > 0]:
            self._purse.owe(owed)

    def counting(self, call: Call) -> list[tuple[Budget, Account]]:
        """What *call* would be counted on that can be told without a message: not by model or method."""
        return [(each, self._accounts.of(each, call)) for each in told(self._counting(call))]

    def left(self, account: Account) -> int | None:
        """Units that *account* has; None where that cannot be told now. May block."""
        try:
            return self._purse.left(account)
        except StoreError:
            return None

    def _counting(self, call: Call) -> Sequence[Budget]:
        return self._general if call.grant is None else call.grant.budgets

    def _reserve(self, call: Call, charges: list[Charge]) -> None:
        """Reserve all *charges* from what is at hand; `Later` where the store must be asked."""
        shadows = [charge for charge in charges if charge.budget.shadow]
        if shadows:
            charges = [charge for charge in charges if not charge.budget.shadow]
        if charges:
            try:
                found = self._purse.reserve(*_costs(charges))
            except StoreError as error:  # memory is asked here, and may be full
                raise _unavailable(error) from None
            if found is False:
                raise Later(partial(self._fetch, call, charges, shadows))
            _demand(found, charges, call)
            self._hold(call, charges)
        for place, shadow in enumerate(shadows):
            try:
                found = self._purse.reserve(*_costs([shadow]))
            except StoreError as error:
                _unchecked(error)
                continue
            if found is False:
                raise Later(partial(self._fetch, call, [], shadows[place:]))
            self._tell(call, shadow, found)

    def _fetch(self, call: Call, charges: list[Charge], shadows: Sequence[Charge]) -> None:
        """The same, asking the store. Blocks."""
        if call.closed:
            raise Refusal("CANCELLED", "it ended before its budgets were known")
        try:
            if charges:
                _demand(self._purse.fetch(*_costs(charges)), charges, call)
                self._hold(call, charges)
        except StoreError as error:
            raise _unavailable(error) from None
        try:
            for shadow in shadows:
                self._tell(call, shadow, self._purse.fetch(*_costs([shadow])))
        except Exception as error:  # of whatever kind: what is in shadow costs nobody a call
            _unchecked(error)

    def _hold(self, call: Call, charges: list[Charge]) -> None:
        """Remember what *call* has reserved; one that has ended meanwhile gets nothing."""
        with self._lock:
            if not call.closed:
                held = self._held.get(call)
                if held is None:
                    self._held[call] = charges
                else:
                    held += charges
                return
        self._purse.refund([(charge.account, charge.units) for charge in charges])
        raise Refusal("CANCELLED", "it ended while its budgets were asked")

    def _tell(self, call: Call, shadow: Charge, found: Short | bool | None) -> None:
        """Hold what a budget in shadow let through; note what it would have refused."""
        if not isinstance(found, Short):
            self._hold(call, [shadow])
        else:
            note_shadow(call, shadow.budget.name)


def costs(held: Sequence[Charge], call: Call, beyond_ns: int = 0) -> list[int]:
    """What each of the charges that a settled *call* *held* has really cost, in their order.

    Bytes are those from one message of a budget to the next. Each account pays for all the time of the call.

    Args:
        held: In the order in which they were reserved.
        call: What they are for.
        beyond_ns: How long its work went on after its end.
    """
    if not (call.model_ns or call.queue_ns or call.responses):  # it never came to the model
        return [0] * len(held)
    found, until = [], dict[Budget, int]()
    for budget, _, units, before in reversed(held):
        cost = real(budget.amount.unit, call, beyond_ns)
        if budget.amount.unit == "bytes":
            upto = until.get(budget, cost or 0)
            until[budget], cost = before, upto - before
        found.append(units if cost is None else cost)
    return found[::-1]


def _costs(charges: Iterable[Charge]) -> tuple[list[tuple[Account, int]], bool]:
    wanted, exact = [], False
    for charge in charges:
        wanted.append((charge.account, charge.units))
        exact = exact or charge.budget.exact
    return wanted, exact


def _unavailable(error: StoreError) -> Refusal:
    """What the store says is for the operator alone."""
    return Refusal("BUDGETS_UNAVAILABLE", str(error), retry_after=1.0)


def _unchecked(error: Exception) -> None:
    LOG.error("a budget in shadow could not be checked: %s", error)


def _demand(found: Short | bool | None, charges: Sequence[Charge], call: Call) -> None:
    """Refuse where an account has too little: until its window ends, or for good if it never has so much."""
    if not isinstance(found, Short):
        return
    account, left = found
    wanted = next(charge for charge in charges if charge.account == account)
    note = f"{account.name} {account.window}: {wanted.units} wanted, {left} of {account.limit} left"
    wait = None if wanted.units > account.limit else max(1.0, account.ends - call.wall)
    say, name = _words(wanted, left), wanted.budget.name
    raise Refusal("BUDGET_EXHAUSTED", note, say=say, retry_after=wait, limit=name)


def _words(wanted: Charge, left: int) -> str:
    unit, period = wanted.budget.amount.unit, wanted.budget.amount.period
    scale = " ms" if unit == "seconds" else ""
    return f"{wanted.units}{scale} of {unit}/{period} wanted, {left}{scale} left"
