"""What the holder of some roles may do, compiled once so that a decision is a dictionary look-up."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from guardhouse.interceptors.bounded import Bounded
from guardhouse.interceptors.limits.scopes import tries
from guardhouse.interceptors.methods import REPOSITORY_INDEX

from .limits import Limits
from .patterns import Pattern, service_of
from .rules import Role, Rule

# Longer names than these belong to nothing we serve, and would let callers fill the memory.
LONGEST_PATH: Final = 512
LONGEST_MODEL: Final = 256


class Decision(NamedTuple):
    """Allowed or not, and the rule that says so: "analyst.allow[0]"; "" where no rule matched."""

    allowed: bool
    rule: str


NOTHING_MATCHED: Final = Decision(allowed=False, rule="")


class _ByMethod:
    """Rules by the method patterns they have: which apply to a path is three look-ups."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._rules: dict[str, list[tuple[int, Rule]]] = {}
        for order, rule in enumerate(rules):
            for method in dict.fromkeys(rule.methods):
                self._rules.setdefault(method, []).append((order, rule))

    def applying(self, path: str) -> tuple[Rule, ...]:
        """The rules about *path*, in the order of the file."""
        found = {
            order: rule
            for method in (path, service_of(path), "*")
            for order, rule in self._rules.get(method, ())
        }
        return tuple(rule for _, rule in sorted(found.items()))


class _ByModel:
    """Rules by the model names they list: plain names in a dictionary, the others in order."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._exact: dict[str, tuple[int, str]] = {}
        self._wild: list[tuple[int, str, Pattern]] = []
        for order, rule in enumerate(rules):
            for name in rule.models or ():
                if name.wild is None:
                    self._exact.setdefault(name.text, (order, rule.name))
                else:
                    self._wild.append((order, rule.name, name))

    def first(self, model: str) -> str:
        """The name of the first rule about *model*, or ""."""
        exact = self._exact.get(model)
        for order, rule, wanted in self._wild:
            if exact is not None and exact[0] < order:
                return exact[1]
            if wanted.matches(model):
                return rule
        return exact[1] if exact is not None else ""


class _Models:
    """The decisions about the models of one method: deny first, then allow.

    A deny rule that lists no models is not here: it has denied the method itself.
    """

    def __init__(self, deny: tuple[Rule, ...], allow: tuple[Rule, ...]) -> None:
        self._deny = _ByModel(deny)
        self._allow = _ByModel(allow)

    def decide(self, model: str) -> Decision:
        denied = self._deny.first(model)
        if denied:
            return Decision(allowed=False, rule=denied)
        allowed = self._allow.first(model)
        return Decision(bool(allowed), allowed)


class Grant:
    """What a set of roles lets do. The same object for everybody who holds the same roles.

    Attributes:
        roles: Their names.
        names: The same, sorted.
        may_list: Whether its holder may ask which models there are.
        continue_traces: Whether its holder's own trace goes on in ours.
        weight, priority: Its holder's share where calls wait for their turn; see `Role`.
        rates, slots, budgets: What counts its holder's calls; all of it at once.
        early_rates, late_rates: The rates, those that need no message and those that do, as they are tried.
        slot_tries: The slots, as they are tried.
    """

    __slots__ = (
        *("_allow", "_decided", "_deny", "_methods", "_models"),
        *("budgets", "continue_traces", "may_list", "names", "priority", "rates", "roles", "slots"),
        *("early_rates", "late_rates", "slot_tries", "weight"),
    )

    def __init__(self, roles: Iterable[Role], limits: Limits = Limits()) -> None:  # noqa: B008 - a value
        held = tuple(roles)
        self.roles = frozenset(role.name for role in held)
        self.names = sorted(self.roles)
        self.rates, self.slots, self.budgets = limits.counting(self.roles)
        self.early_rates = tries(rule for rule in self.rates if rule.early)
        self.late_rates = tries(rule for rule in self.rates if not rule.early)
        self.slot_tries = tries(self.slots)
        self._allow = _ByMethod(rule for role in held for rule in role.allow)
        self._deny = _ByMethod(rule for role in held for rule in role.deny)
        self._methods: Bounded[str, Decision] = Bounded(1024)
        self._models: Bounded[str, _Models] = Bounded(256)
        self._decided: Bounded[tuple[str, str], Decision] = Bounded(4096)
        self.continue_traces = any(role.continue_traces for role in held)
        self.weight = max((role.weight for role in held), default=1)
        self.priority = max((role.priority for role in held), default=0)
        self.may_list = self.method(REPOSITORY_INDEX).allowed

    def method(self, path: str) -> Decision:
        """Whether the method may be called at all. One that names a model is decided again by `model`."""
        known = self._methods.get(path)
        if known is None:
            if len(path) > LONGEST_PATH:
                return NOTHING_MATCHED
            known = self._method(path)
            self._methods.put(path, known)
        return known

    def _method(self, path: str) -> Decision:
        for rule in self._deny.applying(path):
            if rule.models is None:
                return Decision(allowed=False, rule=rule.name)
        for rule in self._allow.applying(path):
            return Decision(allowed=True, rule=rule.name)
        return NOTHING_MATCHED

    def model(self, path: str, name: str) -> Decision:
        """Whether the method at *path* may be called for the model *name*. No name is no model: denied."""
        known = self._decided.get((path, name))
        if known is None:
            known = self._model(path, name)
            if len(path) <= LONGEST_PATH and len(name) <= LONGEST_MODEL:
                self._decided.put((path, name), known)
        return known

    def _model(self, path: str, name: str) -> Decision:
        decision = self.method(path)
        if not decision.allowed:
            return decision
        if not name or len(name) > LONGEST_MODEL:
            return NOTHING_MATCHED
        models = self._models.get(path)
        if models is None:
            models = _Models(self._deny.applying(path), self._allow.applying(path))
            self._models.put(path, models)
        return models.decide(name)
