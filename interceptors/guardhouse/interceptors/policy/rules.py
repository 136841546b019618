"""What a policy says, as data: roles with their rules, and who holds which role. No decisions yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from guardhouse.interceptors.call import Principal

from .patterns import Pattern


@dataclass(frozen=True, slots=True)
class Rule:
    """One entry of a role's `allow` or `deny`.

    Attributes:
        name: "analyst.allow[0]": what the ledger and `policy explain` call it.
        methods: As `patterns.method` gives them.
        models: Model names it is about. None where the file lists none: an allow rule is then about
            methods that name no model, a deny rule about every model.
        line: In the policy file.
    """

    name: str
    methods: tuple[str, ...]
    models: tuple[Pattern, ...] | None
    line: int = 0


@dataclass(frozen=True, slots=True)
class Role:
    """What holding a role lets do."""

    name: str
    allow: tuple[Rule, ...] = ()
    deny: tuple[Rule, ...] = ()
    continue_traces: bool = False
    weight: int = 1  # of its holder, where calls wait for their turn
    priority: int = 1  # the same: 0 low, 1 normal, 2 high


@dataclass(frozen=True, slots=True)
class Binding:
    """Who holds a role. Exactly one of *subject*, *claims* and *api_key* is set.

    Attributes:
        line: In the policy file.
        role: The name of a role that exists.
        subject: For the SPIFFE id of the certificate, or the `sub` of the token.
        claims: For the token's claims; all must match.
        api_key: For the name of the API key.
    """

    line: int
    role: str
    subject: Pattern | None = None
    claims: tuple[tuple[str, Pattern], ...] = ()
    api_key: Pattern | None = None

    def matches(self, principal: Principal) -> bool:
        """Whether *principal* holds the role by this binding. What it has not proved matches nothing."""
        if self.subject is not None:
            return any(self.subject.matches(name) for name in subjects(principal))
        if self.api_key is not None:
            return bool(principal.api_key) and self.api_key.matches(principal.api_key)
        return bool(self.claims) and all(_has(principal.claims, *claim) for claim in self.claims)

    def __str__(self) -> str:
        if self.subject is not None:
            return f"subject {self.subject.text}"
        if self.api_key is not None:
            return f"api_key {self.api_key.text}"
        return "claim " + ", ".join(f"{name}: {wanted.text}" for name, wanted in self.claims)


def subjects(principal: Principal) -> tuple[str, ...]:
    """The names that `subject` is matched with: the certificate's, and the token's.

    A token whose `sub` reads like a SPIFFE id counts only beside the certificate of that id: else whoever
    issues tokens could mint the name of any workload.
    """
    minted = principal.subject.startswith("spiffe://") and principal.subject != principal.certificate
    names = (principal.certificate, "" if minted else principal.subject)
    return tuple(name for name in names if name)


def claim_values(claims: Mapping[str, object], name: str) -> list[str]:
    """The texts of a claim: itself, or the texts in a list. Numbers and the like match nothing."""
    value = claims.get(name)
    values = value if isinstance(value, list | tuple) else [value]
    return [item for item in values if isinstance(item, str) and item]


def _has(claims: Mapping[str, object], name: str, wanted: Pattern) -> bool:
    return any(wanted.matches(value) for value in claim_values(claims, name))
