"""The limits in a policy file: those of a role, for each of its holders, and those in the list `limits`."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from typing import Any, Final, NamedTuple

from guardhouse.interceptors.documents import Node
from guardhouse.interceptors.documents.sections import Section, boolean, integer, text
from guardhouse.interceptors.documents.units import Rate
from guardhouse.interceptors.limits.budget.units import Amount, amount, unit_rate
from guardhouse.interceptors.limits.rules import Budget, RateRule, SlotRule
from guardhouse.interceptors.limits.scopes import CLAIM, PARTS, Scope
from guardhouse.interceptors.limits.stores.checks import LATEST

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}")
MOST_PARTS: Final = 4
MOST_BURST: Final = 10**9
MOST_AT_ONCE: Final = 10**6
MOST_WEIGHT: Final = 1000
PRIORITIES: Final = ("low", "normal", "high")


class Limits(NamedTuple):
    """Limits of all kinds, in the order of the file."""

    rates: tuple[RateRule, ...] = ()
    slots: tuple[SlotRule, ...] = ()
    budgets: tuple[Budget, ...] = ()

    def __add__(self, other: Limits) -> Limits:  # type: ignore[override] # not a tuple's
        rates, slots, budgets = other
        return Limits(self.rates + rates, self.slots + slots, self.budgets + budgets)

    def counting(self, roles: frozenset[str] | None) -> Limits:
        """Those that count who holds *roles*; where that is None, those that count everybody."""
        held = roles or frozenset()
        return self.where(lambda limit: limit.applies(held))

    def where(self, wanted: Callable[[Scope], bool]) -> Limits:
        """Those that are *wanted*."""
        return Limits(
            tuple(filter(wanted, self.rates)),
            tuple(filter(wanted, self.slots)),
            tuple(filter(wanted, self.budgets)),
        )


def of_role(role: str, section: Section) -> Limits:
    """What the section `limits` of *role* gives each of its holders."""
    scope = {"name": role, "per": ("principal",), "roles": frozenset({role})}
    found = _limits(section, scope)
    if section.sound:
        _note_twice(section, [each.amount for each in found.budgets])
    return found


def share(section: Section) -> tuple[int, int]:
    """Weight and priority, in the section `limits` of a role, of who holds it."""
    weight = section.optional("weight", integer(1, MOST_WEIGHT), 1)
    return weight, section.optional("priority", _priority, PRIORITIES.index("normal"))


def of_all(top: Section, roles: Collection[str] | None) -> Limits:
    """The list `limits`. *roles* are those that there are; None where that is not known."""
    taken, found = set(roles or ()), Limits()
    for section in top.sections("limits"):
        scope = _scope(section, roles)
        more = _limits(section, scope)
        exact = section.optional("exact", boolean, False)
        if section.sound:
            if scope["name"] in taken:
                message = f"`{scope['name']}` is the name of a role or of another limit; write one of its own"
                section.note(message, "name")
            if not any(more):
                section.note("limits nothing; write rate: 100/s, concurrency: 8 or budget: 5000 calls/day")
            if exact and not more.budgets:
                section.note("is about budgets, and there is none here; take it out", "exact")
            _note_twice(section, [each.amount for each in more.budgets])
        taken.add(scope["name"])
        if exact:
            more = more._replace(
                budgets=tuple(Budget(**scope, amount=each.amount, exact=True) for each in more.budgets)
            )
        found += more
    return found


def _limits(section: Section, scope: dict[str, Any]) -> Limits:
    """The keys `rate`, `burst`, `concurrency` and `budget` of *section*, as limits of *scope*."""
    rate, most, amounts = (
        _rate(section),
        section.optional("concurrency", integer(1, MOST_AT_ONCE), None),
        _amounts(section),
    )
    return Limits(
        () if rate is None else (RateRule(**scope, rate=rate[0], unit=rate[1]),),
        () if most is None else (SlotRule(**scope, most=most),),
        tuple(Budget(**scope, amount=each) for each in amounts),
    )


def _rate(section: Section) -> tuple[Rate, str] | None:
    found = section.optional("rate", _parsed_rate, None)
    burst = section.optional("burst", integer(1, MOST_BURST), None)
    if burst is not None and "rate" not in section:
        section.note("is only half of a limit; write rate: 100/s beside it", "burst")
    if found is None or burst is None:
        return found
    if burst / found[0].per_second > LATEST:
        most = int(LATEST * found[0].per_second)
        section.note(f"is more than a store can count at this rate; write at most {most}", "burst")
    return found[0]._replace(burst=burst), found[1]


def _amounts(section: Section) -> list[Amount]:
    node = section.find("budget")
    if node is None:
        return []
    nodes = node.items if node.kind == "a list" else [node]
    if not nodes:
        section.note("is empty; write budget: 1000000 elements/day", "budget")
    return [section.value(each, _amount) for each in nodes]


def _scope(section: Section, roles: Collection[str] | None) -> dict[str, Any]:
    """Whom an entry of the list counts, as fields of a `Scope`."""
    name = section.required("name", _name, "name: tenants")
    per = section.each("per", _part)
    if section.sound and (len(set(per)) < len(per) or len(per) > MOST_PARTS):
        section.note(f"names one thing twice, or more than {MOST_PARTS}", "per")
    held = section.each("roles", _role_of(roles)) if "roles" in section else None
    if held is None:
        section.find("roles")
    elif not held:
        section.note("is empty, so that it would count nobody; take it out to count everybody", "roles")
    return {
        "name": name,
        "per": per,
        "roles": None if held is None else frozenset(held),
        "shadow": section.optional("shadow", boolean, False),
    }


def _note_twice(section: Section, amounts: Iterable[Amount]) -> None:
    kinds = [(each.unit, each.period) for each in amounts]
    for unit, period in dict.fromkeys(kinds):
        if kinds.count((unit, period)) > 1:
            section.note(f"counts {unit}/{period} twice; write the smaller one alone", "budget")


def _parsed_rate(node: Node) -> tuple[Rate, str]:
    return unit_rate(text(node))


def _amount(node: Node) -> Amount:
    return amount(node.raw if node.kind == "a number" else text(node))


def _name(node: Node) -> str:
    if not NAME.fullmatch(text(node)):
        message = f"`{node.text}` is not a name; write 1 to 64 of A-Z a-z 0-9 . _ : - with no mark first"
        raise ValueError(message)
    return node.text


def _priority(node: Node) -> int:
    if text(node) not in PRIORITIES:
        raise ValueError(f"`{node.text}` is no priority; write {', '.join(PRIORITIES)}")
    return PRIORITIES.index(node.text)


def _part(node: Node) -> str:
    written = text(node)
    claim = written.removeprefix(CLAIM)
    if written in PARTS or (written.startswith(CLAIM) and 1 <= len(claim) <= 64):
        return written
    message = (
        f"`{written}` is nothing to count by; write {', '.join(PARTS)}, or {CLAIM}NAME for a token's claim"
    )
    raise ValueError(message)


def _role_of(roles: Collection[str] | None) -> Callable[[Node], str]:
    def read(node: Node) -> str:
        name = text(node)
        if roles is None or name in roles:
            return name
        message = f"there is no role `{name}`; the roles are: {', '.join(roles) or 'none'}"
        raise ValueError(message)

    return read
