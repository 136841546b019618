"""Why a policy decides as it does: every binding and every rule, with what it said. For people."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from guardhouse.interceptors.call import Principal
from guardhouse.interceptors.limits.budget.units import format_amount, rate_words
from guardhouse.interceptors.limits.rules import Budget
from guardhouse.interceptors.limits.scopes import Scope
from guardhouse.interceptors.methods import MODEL_NAMES, SERVICES

from .grants import Decision, Grant
from .limits import PRIORITIES, Limits
from .patterns import covers
from .rules import Binding, Role, Rule

# Methods known to name no model: asked about one, they are decided as they are.
NO_MODEL = {
    f"/{service}/{name}" for service, names in SERVICES.items() for name in names
} - MODEL_NAMES.keys()


class Finding(NamedTuple):
    """One binding or rule, whether it matched, and why."""

    name: str
    matched: bool
    why: str


class Explanation(NamedTuple):
    """The whole way to a decision.

    Attributes:
        method: The path asked about.
        model: The model asked about, or "".
        bindings: Every binding of the policy.
        roles: The roles held, in order of name.
        limits: What holds for whoever has them, in words.
        rules: Every rule of the roles held, the denying ones first.
        decision: The last word.
        why: The last word, as a sentence.
    """

    method: str
    model: str
    bindings: tuple[Finding, ...]
    roles: tuple[str, ...]
    limits: tuple[str, ...]
    rules: tuple[Finding, ...]
    decision: Decision
    why: str

    def lines(self) -> list[str]:
        """The explanation as text, the last word last."""
        asked = f"{self.method} for model {self.model}" if self.model else self.method
        return [
            f"asked: {asked}",
            *(_line("binding", each) for each in self.bindings),
            f"roles held: {', '.join(self.roles) or 'none'}",
            f"limits: {'; '.join(self.limits)}",
            *(_line("rule", each) for each in self.rules),
            f"{'ALLOWED' if self.decision.allowed else 'DENIED'}: {self.why}",
        ]


def _line(kind: str, finding: Finding) -> str:
    return f"{kind} {finding.name}: {'matches' if finding.matched else 'does not match'}: {finding.why}"


def explain(
    open_methods: AbstractSet[str],
    roles: Mapping[str, Role],
    bindings: Iterable[Binding],
    grant: Grant,
    principal: Principal,
    method: str,
    model: str,
    left: Callable[[Budget], str],
) -> Explanation:
    """Go through everything that was considered. The decision itself is *grant*'s own."""
    if method in NO_MODEL:
        model = ""
    held = [role for name, role in roles.items() if name in grant.roles]
    denies = [rule for role in held for rule in role.deny]
    allows = [rule for role in held for rule in role.allow]
    decision, why = _last_word(open_methods, grant, method, model)
    return Explanation(
        method,
        model,
        tuple(_binding(binding, principal) for binding in bindings),
        tuple(sorted(grant.roles)),
        (*limits(grant, left), *(share(grant) if held else ())),
        (
            *(_rule(rule, method, model, deny=True) for rule in denies),
            *(_rule(rule, method, model, deny=False) for rule in allows),
        ),
        decision,
        why,
    )


def limits(held: Limits | Grant, left: Callable[[Budget], str] = lambda _: "") -> tuple[str, ...]:
    """All limits of somebody in words; that there is no rate is told too. *left*: see `in_words`."""
    said = in_words(held, left)
    return said if held.rates else ("no rate limit", *said)


def in_words(held: Limits | Grant, left: Callable[[Budget], str] = lambda _: "") -> tuple[str, ...]:
    """Limits in words, with their names.

    Args:
        held: Those to tell of.
        left: What is left of a budget, in words; "" where nobody knows.
    """
    rates = [_named(rule, rate_words(rule.rate, rule.unit)) for rule in held.rates]
    slots = [_named(rule, f"{rule.most} at the same time") for rule in held.slots]
    budgets = [_named(budget, format_amount(budget.amount) + left(budget)) for budget in held.budgets]
    return (*rates, *slots, *budgets)


def share(held: Role | Grant) -> tuple[str, ...]:
    """Weight and priority at a busy model in words, where they are not those of everybody."""
    weight = [] if held.weight == 1 else [f"weight {held.weight}"]
    priority = PRIORITIES[held.priority]
    return (*weight, *([] if priority == "normal" else [f"{priority} priority"]))


def _named(scope: Scope, words: str) -> str:
    return f"{scope.name}: {words}{_whose(scope)}"


def _whose(scope: Scope) -> str:
    per = f" for {'each ' + ', '.join(scope.per) if scope.per else 'all callers together'}"
    return per + (" (in shadow)" if scope.shadow else "")


def _last_word(open_methods: AbstractSet[str], grant: Grant, method: str, model: str) -> tuple[Decision, str]:
    if method in open_methods:
        return Decision(allowed=True, rule="open"), "the method is open; it needs no credential"
    decision = grant.model(method, model) if model else grant.method(method)
    if decision.allowed and not model and method in MODEL_NAMES:
        return decision, f"by {decision.rule}, for the models it lists"
    return decision, f"by {decision.rule}" if decision.rule else why_not(grant)


def why_not(grant: Grant) -> str:
    """Why nothing matched, in words for the operator."""
    if not grant.roles:
        return "the caller holds no role"
    plural = "s" if len(grant.roles) > 1 else ""
    return f"no rule of role{plural} {', '.join(sorted(grant.roles))} allows it"


def _binding(binding: Binding, principal: Principal) -> Finding:
    matched = binding.matches(principal)
    return Finding(
        f"line {binding.line} ({binding})",
        matched,
        f"gives role {binding.role}" if matched else f"the caller has {_shown(binding, principal)}",
    )


def _shown(binding: Binding, principal: Principal) -> str:
    """What the caller has where *binding* looks."""
    if binding.subject is not None:
        names = [name for name in (principal.certificate, principal.subject) if name]
        return f"subject {' and '.join(names)}" if names else "no subject"
    if binding.api_key is not None:
        return f"api_key {principal.api_key}" if principal.api_key else "no api_key"
    having = [f"{name}: {principal.claims[name]}" for name, _ in binding.claims if name in principal.claims]
    return f"claim {', '.join(having)}" if having else "no such claim"


def _rule(rule: Rule, method: str, model: str, *, deny: bool) -> Finding:
    names = ", ".join(_short(wanted) for wanted in rule.methods)
    if not any(covers(wanted, method) for wanted in rule.methods):
        return Finding(rule.name, matched=False, why=f"it is about the methods {names}")
    if rule.models is None:
        matched = deny or not model
        why = "it is about every model" if deny else "it is about methods that name no model"
        return Finding(rule.name, matched, why)
    models = ", ".join(wanted.text for wanted in rule.models)
    if not model:
        about = method in MODEL_NAMES
        why = f"the method, for the models {models}" if about else "the method names no model"
        return Finding(rule.name, not deny, why)
    return Finding(
        rule.name, any(wanted.matches(model) for wanted in rule.models), f"it is about the models {models}"
    )


def _short(wanted: str) -> str:
    return wanted.removeprefix("/inference.GRPCInferenceService/").removeprefix("/")
