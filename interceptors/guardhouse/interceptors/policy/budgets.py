"""The budgets in a policy file: those of a role, for each of its holders, and those under `budgets`."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from typing import Final

from guardhouse.interceptors.budget.rules import CLAIM, PARTS, Budget
from guardhouse.interceptors.budget.units import Amount, amount
from guardhouse.interceptors.documents import Node
from guardhouse.interceptors.documents.sections import Section, boolean, text

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}")
MOST_PARTS: Final = 4


def of_role(role: str, limits: Section) -> tuple[Budget, ...]:
    """The budgets that *limits* of *role* gives each of its holders: `budget`, one amount or several."""
    node = limits.find("budget")
    if node is None:
        return ()
    nodes = node.items if node.kind == "a list" else [node]
    if not nodes:
        limits.note("is empty; write budget: 1000000 elements/day", "budget")
    found = [limits.value(each, _amount) for each in nodes]
    if limits.sound:
        _note_twice(limits, found)
    holders = frozenset({role})
    return tuple(Budget(role, each, ("principal",), holders) for each in found)


def of_all(top: Section, roles: Collection[str] | None) -> tuple[Budget, ...]:
    """The budgets in the list `budgets`. *roles* are those that there are; None where that is not known."""
    taken = set(roles or ())
    found = []
    for section in top.sections("budgets"):
        budget = _budget(section, roles)
        if section.sound and budget.name in taken:
            section.note(
                f"`{budget.name}` is the name of a role or of another budget; write one of its own", "name"
            )
        taken.add(budget.name)
        found.append(budget)
    return tuple(found)


def _budget(section: Section, roles: Collection[str] | None) -> Budget:
    name = section.required("name", _name, "name: tenants")
    counted = section.required("amount", _amount, "amount: 1000000 elements/day")
    per = section.each("per", _part)
    if section.sound and (len(set(per)) < len(per) or len(per) > MOST_PARTS):
        section.note(f"names one thing twice, or more than {MOST_PARTS}", "per")
    held = section.each("roles", _role_of(roles)) if "roles" in section else None
    if held is None:
        section.find("roles")
    elif not held:
        section.note("is empty, so that it would count nobody; take it out to count everybody", "roles")
    return Budget(
        name,
        counted,
        per,
        None if held is None else frozenset(held),
        section.optional("exact", boolean, False),
        section.optional("shadow", boolean, False),
    )


def _note_twice(limits: Section, amounts: Iterable[Amount]) -> None:
    kinds = [(each.unit, each.period) for each in amounts]
    for unit, period in dict.fromkeys(kinds):
        if kinds.count((unit, period)) > 1:
            limits.note(f"counts {unit}/{period} twice; write the smaller one alone", "budget")


def _amount(node: Node) -> Amount:
    return amount(node.raw if node.kind == "a number" else text(node))


def _name(node: Node) -> str:
    if not NAME.fullmatch(text(node)):
        message = f"`{node.text}` is not a name; write 1 to 64 of A-Z a-z 0-9 . _ : - with no mark first"
        raise ValueError(message)
    return node.text


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
