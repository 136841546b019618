"""`Policy`: who may call which method for which model. Denied unless allowed; a deny wins."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path

from guardhouse.interceptors import documents
from guardhouse.interceptors.bounded import Bounded
from guardhouse.interceptors.call import Principal
from guardhouse.interceptors.documents import Problem
from guardhouse.interceptors.limits.budget.prices import Prices
from guardhouse.interceptors.limits.rules import Budget

from .explain import Explanation, explain
from .file import contents
from .grants import Decision, Grant
from .limits import Limits
from .rules import Binding, Role, claim_values, subjects

__all__ = ["Decision", "Explanation", "Grant", "Limits", "Policy"]

# So many callers are remembered with what they may do; the others are worked out again.
REMEMBERED = 4096


class _Bindings:
    """Bindings by the plain name they need, so that finding a caller's does not scan them all."""

    def __init__(self, bindings: Iterable[Binding]) -> None:
        self._plain: dict[tuple[str, str], list[Binding]] = {}
        self._wild: list[Binding] = []
        self._claims: set[str] = set()
        for binding in bindings:
            key = _plain_key(binding)
            if key is None:
                self._wild.append(binding)
                continue
            self._plain.setdefault(key, []).append(binding)
            if binding.claims:
                self._claims.add(key[0])

    def roles(self, principal: Principal) -> frozenset[str]:
        """The roles that *principal* holds."""
        keys = [("", name) for name in subjects(principal)]
        keys.append((" ", principal.api_key))
        for claim in self._claims & principal.claims.keys():
            keys.extend((claim, value) for value in claim_values(principal.claims, claim))
        candidates = [binding for key in keys for binding in self._plain.get(key, ())]
        return frozenset(each.role for each in (*candidates, *self._wild) if each.matches(principal))


def _plain_key(binding: Binding) -> tuple[str, str] | None:
    """Where a plain name must stand, "" for a subject, " " for a key, else a claim; and the name."""
    named = [(name, wanted) for name, wanted in binding.claims]
    if binding.subject is not None:
        named = [("", binding.subject)]
    if binding.api_key is not None:
        named = [(" ", binding.api_key)]
    return next(((where, wanted.text) for where, wanted in named if wanted.wild is None), None)


class Policy:
    """A parsed policy. It never changes; a new one replaces it.

    Args:
        roles: All roles, in the order that decides which of several matching rules is named.
        bindings: Who holds them.
        open_methods: Paths that need no credential.
        limits: How often, how many at once, and how much.
        prices: What models cost, for budgets of money.
        warnings: What the file allows and yet probably does not mean.
        name: Where it was read from, for people.

    Attributes:
        grant: `grant(principal) -> Grant`: what it may do. Remembered by the principal object.
    """

    def __init__(
        self,
        roles: Iterable[Role],
        bindings: Iterable[Binding],
        *,
        open_methods: Iterable[str] = (),
        limits: Limits = Limits(),  # noqa: B008 - a value
        prices: Prices | None = None,
        warnings: Iterable[Problem] = (),
        name: str = "",
    ) -> None:
        self.name = name
        self.roles = {role.name: role for role in roles}
        self.bindings = tuple(bindings)
        self.open_methods = frozenset(open_methods)
        self.limits = limits
        self.general = limits.counting(None)  # what counts callers who need no role, too
        self.prices = prices
        self.warnings = tuple(warnings)
        self._bindings = _Bindings(self.bindings)
        self._grants: Bounded[frozenset[str], Grant] = Bounded(1024)
        self.grant = lru_cache(REMEMBERED)(self._grant)

    def of_role(self, name: str) -> Limits:
        """The limits that the role called *name* sets by itself."""
        return self.limits.where(lambda limit: limit.name == name)

    @property
    def listed(self) -> Limits:
        """The limits that are no role's own."""
        return self.limits.where(lambda limit: limit.name not in self.roles)

    @classmethod
    def load(cls, path: str | Path) -> Policy:
        """The policy in the file at *path*. Raises ConfigError with every problem, by line."""
        return cls._from(documents.read(Path(path)), str(path))

    @classmethod
    def parse(cls, content: str, name: str = "policy.yaml") -> Policy:
        """The policy in the YAML text *content*, called *name* in errors. Raises ConfigError."""
        return cls._from(documents.parse(content.encode(), name), name)

    @classmethod
    def _from(cls, top: documents.Node, name: str) -> Policy:
        read = contents(top)
        return cls(
            read.roles.values(),
            read.bindings,
            open_methods=read.open_methods,
            limits=read.limits,
            prices=read.prices,
            warnings=read.warnings,
            name=name,
        )

    def _grant(self, principal: Principal) -> Grant:
        held = self._bindings.roles(principal)
        known = self._grants.get(held)
        if known is None:
            known = Grant((role for name, role in self.roles.items() if name in held), self.limits)
            self._grants.put(held, known)
        return known

    def explain(
        self,
        principal: Principal,
        method: str,
        model: str = "",
        left: Callable[[Budget], str] = lambda _: "",
    ) -> Explanation:
        """Why *principal* may or may not call *method*, a path, for *model* ("" for none).

        *left* says what is left of a budget, in words.
        """
        grant = self.grant(principal)
        return explain(self.open_methods, self.roles, self.bindings, grant, principal, method, model, left)
