"""What budgets count: a tariff of units for each. Of money, it depends on the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from guardhouse.interceptors.bounded import Bounded

from .units import SMALLEST, UNITS, Amount

PART: Final = 1000  # parts in the smallest unit of a budget: prices of seconds are prices of milliseconds too
# Pairs of a unit and how many parts one of its smallest costs. Tokens are told apart by direction.
Tariff = tuple[tuple[str, int], ...]
TOKENS: Final = ("input_tokens", "output_tokens")
PRICED: Final = (*UNITS, *TOKENS)
PLAIN: Final[Mapping[str, Tariff]] = MappingProxyType(
    {unit: tuple((each, PART) for each in (TOKENS if unit == "tokens" else (unit,))) for unit in UNITS}
)


def tariff(prices: Mapping[str, int]) -> Tariff:
    """The tariff of a model whose units have these *prices*, in billionths of a currency.

    Args:
        prices: By unit of `PRICED`; "tokens" stands for both directions.
    """
    told = [
        (each, price) for unit, price in prices.items() for each in (TOKENS if unit == "tokens" else (unit,))
    ]
    return tuple((unit, price * PART // SMALLEST.get(unit, 1)) for unit, price in told)


class Prices:
    """The price list of a policy.

    Args:
        currency: What its numbers are billionths of: "USD".
        exact: Tariffs of models by their names.
        wild: Tests of a model's name with tariffs, the first that holds counts where no name does.
        nameless: The tariff of messages that name no model, of services that are not ours.
    """

    def __init__(
        self,
        currency: str,
        exact: Mapping[str, Tariff],
        wild: Sequence[tuple[Callable[[str], bool], Tariff]] = (),
        nameless: Tariff | None = None,
    ) -> None:
        self.currency = currency
        self._exact, self._wild, self._nameless = dict(exact), tuple(wild), nameless
        self._known: Bounded[str, Tariff] = Bounded(1024)

    def of(self, model: str) -> Tariff | None:
        """The tariff of *model*, which is there and allowed; None where it has no price."""
        if not model:
            return self._nameless
        return self._exact.get(model) or self._known.get(model) or self._found(model)

    def _found(self, model: str) -> Tariff | None:
        for matches, found in self._wild:
            if matches(model):
                self._known.put(model, found)
                return found
        return None


def tariff_of(amount: Amount, prices: Prices | None, model: str) -> Tariff | None:
    """What a budget of *amount* counts of a message for *model*; None where that has no price."""
    plain = PLAIN.get(amount.unit)
    if plain is not None:
        return plain
    return prices.of(model) if prices is not None and prices.currency == amount.unit else None
