"""The section `prices` of a policy file, and whether its budgets of money can be counted by it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from guardhouse.interceptors.documents import Node
from guardhouse.interceptors.documents.sections import Section, text
from guardhouse.interceptors.limits.budget.money import CURRENCY, NANO, decimal, nano
from guardhouse.interceptors.limits.budget.prices import PRICED, TOKENS, Prices, Tariff, tariff
from guardhouse.interceptors.limits.budget.units import MOST, UNITS, amount

from .patterns import Pattern, pattern

EXAMPLE: Final = "models: {digits: {calls: 0.001}}"


def prices_of(top: Section) -> Prices | None:
    """The price list in *top*, if there is one. Budgets of money that it does not fit are noted."""
    section = top.section("prices")
    written = "prices" in top
    currency = section.required("currency", _currency, "currency: USD") if written else ""
    models = section.section("models", EXAMPLE if written else "")
    bodies = models.named_sections()
    found = [(_pattern(body, name), _tariff(body)) for name, body in bodies.items()]
    _note_hidden(bodies)
    if written and models.sound and not found:
        section.note(f"is empty; write {EXAMPLE}", "models")
    for node in _amounts(top.node) if currency or not written else ():
        if problem := _misfit(node, currency):
            top.reader.problems.append(node.problem(problem))
    return _prices(currency, [(name, body) for name, body in found if name and body]) if written else None


def _prices(currency: str, found: list[tuple[Pattern, Tariff]]) -> Prices:
    """The list of what could be read; where that is not all, nobody gets to see it."""
    exact = {name.text: body for name, body in found if name.wild is None}
    wild = [(name.matches, body) for name, body in found if name.wild is not None]
    nameless = next((body for name, body in found if name.text == "*"), None)
    return Prices(currency, exact, wild, nameless)


def _pattern(body: Section, name: str) -> Pattern | None:
    try:
        return pattern(name)
    except ValueError as error:
        body.note(str(error))
        return None


def _note_hidden(bodies: Mapping[str, Section]) -> None:
    """A pattern behind `*` would never count: the first that matches does."""
    names = list(bodies)
    for name in names[names.index("*") + 1 :] if "*" in names else ():
        if "*" in name:
            bodies[name].note("stands behind `*`, which has every model already; write it before that")


def _tariff(body: Section) -> Tariff | None:
    found = {unit: body.required(unit, _price, "") for unit in PRICED if body.find(unit) is not None}
    if body.sound and not body.node.fields:
        body.note(f"has no price; write one of a unit, like calls: 0.001 (units: {', '.join(PRICED)})")
    if "tokens" in found and any(each in found for each in TOKENS):
        body.note(f"would price tokens twice; write tokens alone, or {' and '.join(TOKENS)}", "tokens")
    return tariff(found) if body.sound and found else None


def _currency(node: Node) -> str:
    if not CURRENCY.fullmatch(text(node)):
        message = f"`{node.text}` is not a currency; write its three letters, like USD"
        raise ValueError(message)
    return node.text


def _price(node: Node) -> int:
    found = nano(node.raw if node.kind == "a number" else text(node))
    if found > MOST:
        message = f"`{node.raw}` is more than can be counted; write at most {decimal(MOST // NANO * NANO)}"
        raise ValueError(message)
    return found


def _amounts(top: Node) -> Iterator[Node]:
    """Every value of a key `budget`: of the limits of roles, and of those in the list."""
    roles = top.fields.get("roles")
    limits = [role.fields.get("limits") for role in roles.fields.values()] if roles else []
    listed = top.fields.get("limits")
    for each in (*limits, *(listed.items if listed else ())):
        found = each.fields.get("budget") if each else None
        if found:
            yield from found.items if found.kind == "a list" else [found]


def _misfit(node: Node, currency: str) -> str:
    """Why the budget at *node* cannot be counted in *currency*, "" without prices; "" where it can."""
    try:
        unit = amount(node.text).unit
    except ValueError:  # told by whoever reads it
        return ""
    if unit in UNITS or unit == currency:
        return ""
    if not currency:
        return f"counts {unit}, and there are no prices; write prices: {{currency: {unit}, {EXAMPLE}}}"
    return f"counts {unit}, and the prices are in {currency}; write one currency for both"
