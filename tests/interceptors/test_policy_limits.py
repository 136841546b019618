"""Budgets in a policy file: read, refused, and given to whom they count."""

from __future__ import annotations

import pytest

from guardhouse.interceptors import Policy
from guardhouse.interceptors.call import Principal
from guardhouse.interceptors.documents import ConfigError

POLICY = """\
roles:
  analyst:
    allow: [{{methods: [ModelInfer], models: [digits]}}]
    limits: {{rate: 1/s, budget: {budget}}}
  guest:
    allow: [{{methods: [ModelInfer], models: [digits]}}]
    limits: {{rate: 1/s}}
bindings:
  - {{role: analyst, subject: ann}}
  - {{role: guest, subject: gus}}
limits: {limits}
"""


def policy(budget: str = "10 calls/day", limits: str = "[]") -> Policy:
    return Policy.parse(POLICY.format(budget=budget, limits=limits))


def told(policy: Policy, name: str) -> list[tuple[str, str, tuple[str, ...]]]:
    """The budgets that count a subject: name, unit and period, and what each tells apart."""
    grant = policy.grant(Principal(name=name, subject=name))
    return [(each.name, f"{each.amount.unit}/{each.amount.period}", each.per) for each in grant.budgets]


def test_a_roles_budget_counts_each_of_its_holders() -> None:
    """One amount or a list of them; who does not hold the role is not counted."""
    one, two = policy(), policy("[1000000 elements/day, 20GiB/month]")

    assert told(one, "ann") == [("analyst", "calls/day", ("principal",))]
    assert told(two, "ann") == [
        ("analyst", "elements/day", ("principal",)),
        ("analyst", "bytes/month", ("principal",)),
    ]
    assert told(two, "gus") == []


def test_budgets_of_all_count_everybody_or_the_holders_of_roles() -> None:
    """With whatever they tell apart; exact and shadow are told too."""
    read = policy(
        limits="""
  - {name: all, budget: 5 calls/hour}
  - {name: tenants, budget: 7 rows/day, per: [claim.tenant, model], roles: [guest], exact: true, shadow: true}
"""
    )

    assert told(read, "ann") == [("analyst", "calls/day", ("principal",)), ("all", "calls/hour", ())]
    assert told(read, "gus") == [
        ("all", "calls/hour", ()),
        ("tenants", "rows/day", ("claim.tenant", "model")),
    ]
    assert [(each.exact, each.shadow) for each in read.limits.budgets] == [(False, False)] * 2 + [
        (True, True)
    ]


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        ("10", "roles.analyst.limits.budget: `10` is not a budget; write it like"),
        ("10 call/day", "is not a budget; write it like 1000000 elements/day"),
        ("0 calls/day", "lets nothing through"),
        ("[]", "roles.analyst.limits.budget: is empty; write budget: 1000000 elements/day"),
        ("[1 calls/day, 2 calls/day]", "counts calls/day twice; write the smaller one alone"),
        ("{a: 1}", "roles.analyst.limits.budget: is a mapping; write text"),
    ],
)
def test_a_wrong_budget_of_a_role_is_refused(budget: str, message: str) -> None:
    """With line and key, and what to write."""
    with pytest.raises(ConfigError) as caught:
        policy(budget)

    assert any(message in str(problem) for problem in caught.value.problems)
    assert all(problem.line == 4 for problem in caught.value.problems)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("{budget: 1 calls/day}", "name: missing; write name: tenants"),
        ("{name: x}", "limits nothing; write rate: 100/s, concurrency: 8 or budget: 5000 calls/day"),
        ("{name: '-x', budget: 1 calls/day}", "`-x` is not a name"),
        ("{name: guest, budget: 1 calls/day}", "`guest` is the name of a role or of another limit"),
        (
            "{name: x, budget: 1 calls/day, per: [user]}",
            "`user` is nothing to count by; write principal, model",
        ),
        ("{name: x, budget: 1 calls/day, per: [claim.]}", "`claim.` is nothing to count by"),
        ("{name: x, budget: 1 calls/day, per: [model, model]}", "names one thing twice"),
        (
            "{name: x, budget: 1 calls/day, roles: [boss]}",
            "there is no role `boss`; the roles are: analyst, guest",
        ),
        ("{name: x, budget: 1 calls/day, roles: []}", "is empty, so that it would count nobody"),
        (
            "{name: x, rate: 1/d, burst: 1000000000}",
            "burst: is more than a store can count at this rate; write at most 104166666",
        ),
        (
            "{name: x, rate: 99999999GiB/s}",
            "rate: `99999999GiB/s` is more than can be counted; write at most 8388607GiB/s",
        ),
        ("{name: x, budget: 1 calls/day, exakt: true}", "unknown key; did you mean 'exact'?"),
    ],
)
def test_a_wrong_budget_of_all_is_refused(entry: str, message: str) -> None:
    """With its key, and what was meant."""
    with pytest.raises(ConfigError) as caught:
        policy(limits=f"[{entry}]")

    assert any(message in str(problem) for problem in caught.value.problems), caught.value.problems


def test_two_budgets_of_one_name_are_refused() -> None:
    """They would share an account."""
    with pytest.raises(ConfigError) as caught:
        policy(limits="[{name: x, budget: 1 calls/day}, {name: x, budget: 1 calls/day}]")

    assert "another limit" in str(caught.value.problems[0])
