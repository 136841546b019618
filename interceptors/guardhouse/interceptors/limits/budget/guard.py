"""`Budgets`: who has units left may ask.

The most that a call can cost is reserved before the model runs, from every budget that counts it or from
none; what it did not need is given back when it has ended. A call that never came to the model costs nothing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Iterable, Sequence
from functools import partial
from itertools import chain, islice
from typing import Any, Final

from guardhouse.interceptors.call import Call
from guardhouse.interceptors.chain import LOG, Guard, Stage
from guardhouse.interceptors.limits.rules import Budget
from guardhouse.interceptors.limits.scopes import note_alone, note_shadow, told
from guardhouse.interceptors.limits.stores import Account, Short, StoreError
from guardhouse.interceptors.methods import FREE
from guardhouse.interceptors.refusal import Refusal
from guardhouse.interceptors.verbs import Later
from guardhouse.interceptors.work import work_of

from .accounts import Accounts
from .charges import Charge, came, charge, costs, ends, fixed, further, lines, without_time
from .prices import PLAIN, Prices, Tariff
from .purse import Purse
from .refusals import exhausted, unavailable
from .units import Clamps, check_max_tokens

LOOKS: Final = 256  # calls under way that are asked what they may give back, where a budget refuses


class Budgets(Guard):
    """Lets a call through that its budgets can pay for. Who is counted by none passes.

    Args:
        purse: Where calls pay; closed by whoever made it.
        general: The budgets that count everybody, for calls of callers who need no role.
        clamps: The worst that one message can cost.
        free: Paths of methods that cost nothing.
        prices: What models cost, for budgets of money.
    """

    stage = Stage.BUDGET

    def __init__(
        self,
        purse: Purse,
        general: Iterable[Budget] = (),
        clamps: Clamps = Clamps(response=4 << 20, seconds=60.0),  # noqa: B008 - a value
        free: Collection[str] = FREE,
        prices: Prices | None = None,
    ) -> None:
        self._purse, self._general, self._clamps, self._free = purse, tuple(general), clamps, free
        self._prices, self._accounts = prices, Accounts()
        self._held: dict[Call, list[Charge]] = {}
        self._lock = threading.Lock()

    def inspect(self, call: Call, request: Any) -> None:
        """Reserve the worst that this message can cost."""
        budgets = self._counting(call)
        if not budgets or call.method in self._free:
            return
        held = self._held.get(call, ())
        self._reserve(call, [self._charge(budget, held, call, request) for budget in budgets])

    def _charge(self, budget: Budget, held: Sequence[Charge], call: Call, request: Any) -> Charge | None:
        """What *budget* must have for this message, beside what is *held*; None where that is nothing."""
        unit = budget.amount.unit
        tariff = PLAIN.get(unit) or self._tariff(budget, call)
        if tariff is None:
            return None
        account = self._accounts.of(budget, call)
        if tariff.fixed and (not held or unit in PLAIN):  # else the model before may be metered
            return fixed(budget, account, tariff, call, request)
        if tariff.tokens and not budget.shadow:
            check_max_tokens(call, request, self._clamps.tokens)
        if tariff.timed or tariff.tokens:
            work_of(call)  # it may outlast the call
        found = lines(tariff, call, request, self._clamps)
        if held:
            found = without_time(found, held, account) + ends(tariff, call)
        return charge(budget, account, found, call.model) if found else None

    def again(self, call: Call, incoming: bool) -> None:
        """Reserve for an answer beyond the first to a message, and for more tokens than were thought of."""
        if incoming or call.method in self._free:
            return
        if call.responses < call.requests and call.usage is None:
            return
        held = self._held.get(call, ())
        self._reserve(call, [self._further(budget, held, call) for budget in self._counting(call)])

    def _further(self, budget: Budget, held: Sequence[Charge], call: Call) -> Charge | None:
        """What *budget* must have before the next message of the answer leaves."""
        tariff = PLAIN.get(budget.amount.unit) or self._tariff(budget, call)
        if tariff is None or tariff.fixed or (budget.shadow and budget.name in call.shadow.split()):
            return None  # in shadow, it would have ended the call
        more = further(held, budget, tariff, call, self._clamps)
        return charge(budget, self._accounts.of(budget, call), more, call.model) if more else None

    def _tariff(self, budget: Budget, call: Call) -> Tariff | None:
        """What *budget*, of money, counts. A model without a price is refused: nobody knows what it costs."""
        prices, currency = self._prices, budget.amount.unit
        found = prices.of(call.model) if prices is not None and prices.currency == currency else None
        if found is None and not budget.shadow:
            note = f"{budget.name} counts {currency}, and there is no price for `{call.model}`"
            raise Refusal("MODEL_UNPRICED", note, limit=budget.name)
        if found is None:
            note_shadow(call, budget.name)
        return found

    def settle(self, call: Call) -> None:
        """Give back what was not needed."""
        with self._lock:
            held = self._held.pop(call, None)
        if held is None or (came(call) and _is_final(held)):
            return
        if call.model_ns and (wait := {each.budget for each in held if each.lines and each.late}):
            late = [each for each in held if each.budget in wait]
            work_of(call).when_over(partial(self._settle_late, call, late))
            held = [each for each in held if each.budget not in wait]
        self._pay(held, costs(held, call))

    def _settle_late(self, call: Call, held: list[Charge]) -> None:
        """Nobody works for *call* any more, maybe long after its end."""
        beyond = time.monotonic_ns() - call.ended_ns if work_of(call).outlasts else 0
        self._pay(held, costs(held, call, beyond))

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

    def _reserve(self, call: Call, found: Iterable[Charge | None]) -> None:
        """Reserve what was *found* wanting from what is at hand; `Later` where the store must be asked."""
        charges: list[Charge] = []
        shadows: list[Charge] = []
        for each in found:
            if each is not None:
                (shadows if each.budget.shadow else charges).append(each)
        if charges:
            try:
                reserved = self._purse.reserve(*_costs(charges))
            except StoreError as error:  # memory is asked here, and may be full
                raise unavailable(error) from None
            if reserved is False:
                raise Later(partial(self._fetch, call, charges, shadows))
            if reserved is not True:
                raise self._exhausted(reserved, charges, call)
            self._hold(call, charges)
            if self._purse.away:  # paid from what was in hand
                note_alone(call, *(each.budget.name for each in charges))
        if shadows:
            self._try(call, shadows)

    def _try(self, call: Call, shadows: Sequence[Charge]) -> None:
        """Reserve each of *shadows* that can be, alone; note the others."""
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
                if (short := self._purse.fetch(*_costs(charges))) is not None:
                    raise self._exhausted(short, charges, call)
                self._hold(call, charges)
        except StoreError as error:
            raise unavailable(error) from None
        try:
            for shadow in shadows:
                self._tell(call, shadow, self._purse.fetch(*_costs([shadow])))
        except Exception as error:  # of whatever kind: what is in shadow costs nobody a call
            _unchecked(error)

    def _exhausted(self, short: Short, charges: Sequence[Charge], call: Call) -> Refusal:
        with self._lock:
            others = chain.from_iterable(islice(self._held.values(), LOOKS))
            back = sum([each.units for each in others if each.lines and each.account == short.account])
        return exhausted(short, charges, call.wall, back)

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


def _costs(charges: Iterable[Charge]) -> tuple[list[tuple[Account, int]], bool]:
    wanted, exact = [], False
    for budget, account, units, _, _ in charges:
        wanted.append((account, units))
        if budget.exact:
            exact = True
    return wanted, exact


def _is_final(held: Iterable[Charge]) -> bool:
    """Whether what was reserved is the real cost, once the model was asked: of most calls, so it is quick."""
    for each in held:  # noqa: SIM110 - a generator costs thrice as much
        if each.lines:
            return False
    return True


def _unchecked(error: Exception) -> None:
    LOG.error("a budget in shadow could not be checked: %s", error)
