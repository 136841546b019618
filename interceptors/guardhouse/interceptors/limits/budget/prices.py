"""What budgets count: a tariff of units for each. Of money, it depends on the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from guardhouse.interceptors.bounded import Bounded

from .units import SMALLEST, UNITS

PART: Final = 1000  # parts in the smallest unit of a budget: prices of seconds are prices of milliseconds too
TOKENS: Final = ("input_tokens", "output_tokens")
PRICED: Final = (*UNITS, *TOKENS)
LATE: Final = frozenset({"seconds", *TOKENS})  # known when nobody works for the call any more
METERED: Final = frozenset({"bytes", *TOKENS})  # counted while the call runs


class Tariff:
    """What a budget counts of a message.

    Attributes:
        parts: Pairs of a unit and how many parts one of its smallest costs; tokens by direction.
        single: The one unit that it counts as it is, of those that the message alone has; else "".
        fixed: Whether all is known from the message alone.
        tokens: Whether it counts tokens.
        timed: Whether it counts seconds.
    """

    __slots__ = ("fixed", "parts", "single", "timed", "tokens")

    def __init__(self, parts: tuple[tuple[str, int], ...]) -> None:
        units = {unit for unit, _ in parts}
        self.parts = parts
        self.fixed = not units & (LATE | METERED)
        self.single = parts[0][0] if self.fixed and [each for _, each in parts] == [PART] else ""
        self.tokens = bool(units & {*TOKENS})
        self.timed = "seconds" in units


def tariff(prices: Mapping[str, int]) -> Tariff:
    """The tariff of a model whose units have these *prices*, in billionths of a currency.

    Args:
        prices: By unit of `PRICED`; "tokens" stands for both directions.
    """
    return Tariff(
        tuple(
            (each, price * PART // SMALLEST.get(unit, 1))
            for unit, price in prices.items()
            for each in _counted(unit)
        )
    )


def _counted(unit: str) -> tuple[str, ...]:
    return TOKENS if unit == "tokens" else (unit,)


PLAIN: Final[Mapping[str, Tariff]] = MappingProxyType(
    {unit: Tariff(tuple((each, PART) for each in _counted(unit))) for unit in UNITS}
)


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
