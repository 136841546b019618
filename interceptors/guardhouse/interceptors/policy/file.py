"""`policy.yaml` read into roles and bindings. Every problem is found before any of it is used."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, NamedTuple, TypeVar

from guardhouse.interceptors.documents import Node, Problem
from guardhouse.interceptors.documents.sections import Reader, Section, boolean, text
from guardhouse.interceptors.limits.budget.prices import Prices
from guardhouse.interceptors.methods import MODEL_NAMES, SERVICES

from .limits import Limits, of_all, of_role, share
from .patterns import Pattern, covers, exact_method, method, pattern
from .prices import prices_of
from .rules import Binding, Role, Rule

T = TypeVar("T")
ROLE_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}")


class Contents(NamedTuple):
    """What a policy file holds.

    Attributes:
        open_methods: Paths that need no credential.
        roles: By name, in the order of the file.
        bindings: In the order of the file.
        limits: Those of roles first, then those of all.
        warnings: What is allowed and yet probably not meant.
        prices: What models cost.
    """

    open_methods: frozenset[str]
    roles: dict[str, Role]
    bindings: tuple[Binding, ...]
    limits: Limits
    warnings: tuple[Problem, ...]
    prices: Prices | None


def contents(top: Node) -> Contents:
    """The roles and bindings in *top*. Raises ConfigError with all problems."""
    reader = Reader()
    section = reader.section(top)
    opened = frozenset(section.each("open", _parsed(_open_method)))
    named = section.section("roles", "roles: {analyst: {allow: [{methods: [ModelInfer], models: [digits]}]}}")
    found = named.named_sections()
    limits = Limits()
    roles = {}
    for name, body in found.items():
        limited = body.section("limits")
        limits += of_role(name, limited)
        roles[name] = _role(name, body, limited)
    example = "bindings: [{role: analyst, subject: spiffe://…}]"
    known = roles if named.sound else None
    limits += of_all(section, known)
    bindings = tuple(_binding(each, known) for each in section.sections("bindings", example))
    prices = prices_of(section)
    reader.finish()
    return Contents(opened, roles, bindings, limits, _warnings(found, limits, bindings), prices)


def _parsed(parse: Callable[[str], T]) -> Callable[[Node], T]:
    """A reader of text that *parse* understands."""

    def read(node: Node) -> T:
        return parse(text(node))

    return read


def _open_method(written: str) -> str:
    path = exact_method(written)
    if path in MODEL_NAMES:
        message = f"`{written}` names a model and cannot be open; give a role to whoever calls it"
        raise ValueError(message)
    return path


def _role(name: str, section: Section, limits: Section) -> Role:
    if not ROLE_NAME.fullmatch(name):
        section.note("is not a role name; write 1 to 64 of A-Z a-z 0-9 . _ : - with no mark first")
    section.unsupported("outputs")
    example = "allow: [{methods: [ModelInfer], models: [digits]}]"
    allow = tuple(
        _allow(f"{name}.allow[{position}]", rule)
        for position, rule in enumerate(section.sections("allow", example))
    )
    deny = tuple(
        _deny(f"{name}.deny[{position}]", rule) for position, rule in enumerate(section.sections("deny"))
    )
    continue_traces = section.optional("continue_traces", boolean, False)
    return Role(name, allow, deny, continue_traces, *share(limits))


def _rule(name: str, section: Section) -> Rule:
    methods = section.each("methods", _parsed(method), "methods: [ModelInfer]")
    models: tuple[Pattern, ...] | None = None
    if "models" in section:
        models = section.each("models", _parsed(pattern), "models: [digits]")
    else:
        section.find("models")
    return Rule(name, methods, models, section.node.line)


def _allow(name: str, section: Section) -> Rule:
    rule = _rule(name, section)
    if section.sound and rule.models is None:
        for wanted in rule.methods:
            if any(covers(wanted, path) for path in MODEL_NAMES):
                section.note(
                    f"`{wanted.rpartition('/')[2]}` names a model, and this rule lists none; "
                    "write models: [digits], or models: ['*'] for every model"
                )
                break
    return rule


def _deny(name: str, section: Section) -> Rule:
    rule = _rule(name, section)
    if section.sound and rule.models is not None:
        for wanted in rule.methods:
            service, _, last = wanted[1:].rpartition("/")
            if last in SERVICES.get(service, ()) and wanted not in MODEL_NAMES:
                section.note(
                    f"`{last}` names no model, so with `models` it would never be denied; "
                    "put it in a rule without models"
                )
                break
    return rule


def _binding(section: Section, roles: dict[str, Role] | None) -> Binding:
    role = section.required("role", _parsed(_one_of(roles)), "role: analyst")
    subject = section.optional("subject", _parsed(pattern), None)
    api_key = section.optional("api_key", _parsed(pattern), None)
    claims = _claims(section)
    holders = [key for key in ("subject", "claim", "api_key") if key in section]
    if len(holders) != 1:
        section.note(
            f"has {' and '.join(holders) or 'nobody'}; write exactly one of subject, claim or api_key"
        )
    return Binding(section.node.line, role, subject, claims, api_key)


def _claims(section: Section) -> tuple[tuple[str, Pattern], ...]:
    if "claim" not in section:
        section.find("claim")
        return ()
    claim = section.section("claim")
    if claim.sound and not claim.node.fields:
        section.note("is empty; write claim: {groups: data-science}", "claim")
    return tuple((name, claim.required(name, _parsed(pattern), "")) for name in claim.node.fields)


def _one_of(roles: dict[str, Role] | None) -> Callable[[str], str]:
    """A parser of a role's name; any will do where the roles themselves could not be read."""

    def parse(name: str) -> str:
        if roles is None or name in roles:
            return name
        message = f"there is no role `{name}`; the roles are: {', '.join(roles) or 'none'}"
        raise ValueError(message)

    return parse


def _warnings(
    found: dict[str, Section], limits: Limits, bindings: tuple[Binding, ...]
) -> tuple[Problem, ...]:
    bound = {binding.role for binding in bindings}
    warnings = []
    for name, section in found.items():
        node = section.node
        if name not in bound:
            warnings.append(node.problem("nobody holds this role; bind it under `bindings`, or remove it"))
        if not any(name in (rule.roles or (name,)) and not rule.shadow for rule in limits.rates):
            warnings.append(
                node.problem("has no rate limit; write limits: {rate: 100/s} to slow a model's theft")
            )
    return tuple(warnings)
