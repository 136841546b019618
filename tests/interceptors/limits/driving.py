"""A guard of budgets over a store, driven as the shells drive it."""

from __future__ import annotations

from collections.abc import Callable

from guardhouse.interceptors import Chain, Refusal
from guardhouse.interceptors.call import Call
from guardhouse.interceptors.limits.budget.guard import Budgets
from guardhouse.interceptors.limits.budget.prices import Prices
from guardhouse.interceptors.limits.budget.purse import Purse
from guardhouse.interceptors.limits.budget.units import Clamps
from guardhouse.interceptors.limits.stores import Store
from guardhouse.interceptors.verbs import Pending

NOON = 1_795_780_800.0  # 2026-11-27T12:00Z


class Driven:
    """A guard, what it pays from, and a chain of it alone. *ahead*: whether units are taken ahead."""

    def __init__(self, store: Store, *, ahead: bool, clamps: Clamps, prices: Prices | None = None) -> None:
        self.store = store
        self.till = Purse(store, waits=ahead)
        self.guard = Budgets(self.till, clamps=clamps, prices=prices)
        self.chain = Chain(self.guard)

    def ask(self, call: Call, request: object) -> str:
        """Let one message through the guard: "" or the reason why not."""
        call.requests += 1
        return self._decide(call, lambda: self.chain.inspect(call, request))

    def answer(self, call: Call) -> str:
        """The same for one message of an answer."""
        reason = self._decide(call, lambda: self.chain.again(call, incoming=False))
        call.responses += not reason
        return reason

    def end(self, call: Call, model_ms: float = 1.0, refusal: Refusal | None = None) -> None:
        """The model has run for so long, and the call has ended."""
        call.model_ns = int(model_ms * 1e6)
        self.chain.settle(call, refusal)

    def spent(self) -> dict[str, int]:
        """By account and window, with what is in hand."""
        return {f"{entry.name}@{entry.window}": entry.spent for entry in self.store.entries()}

    def _decide(self, call: Call, verb: Callable[[], Pending | None]) -> str:
        try:
            pending = verb()
            while pending is not None:
                self.chain.finish(pending)
                pending = self.chain.go_on(pending)
        except Refusal as refusal:
            call.model_ns = 1 if call.responses else 0
            self.chain.settle(call, refusal)
            return refusal.reason
        return ""
