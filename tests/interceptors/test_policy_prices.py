"""Prices in a policy file: read, refused by line, and held against the budgets of money."""

from __future__ import annotations

from pathlib import Path

import pytest

from guardhouse.interceptors import Policy
from guardhouse.interceptors.call import Principal
from guardhouse.interceptors.documents import ConfigError
from guardhouse.interceptors.methods import MODEL_INFER

POLICY = """\
prices: {prices}
roles:
  analyst:
    allow: [{{methods: [ModelInfer], models: ['*']}}]
    limits: {{rate: 1/s, budget: {budget}}}
bindings: [{{role: analyst, subject: ann}}]
limits:
  - {{name: all, budget: {listed}}}
"""
PRICES = "{currency: USD, models: {'llm-*': {tokens: 0.000002, seconds: 0.0001}, digits: {calls: 0.001}}}"


def policy(prices: str = PRICES, budget: str = "0.50 USD/hour", listed: str = "25 USD/day") -> Policy:
    return Policy.parse(POLICY.format(prices=prices, budget=budget, listed=listed))


def problems(**parts: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        policy(**parts)
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("model", "parts"),
    [
        ("llm-a", {"input_tokens": 2_000_000, "output_tokens": 2_000_000, "seconds": 100_000}),
        ("llm-mini", {"output_tokens": 5_000_000}),
        ("llm", {"calls": 100_000_000}),
        ("digits", {"calls": 1_000_000_000}),
        ("", {"calls": 100_000_000}),
    ],
)
def test_prices_are_read(model: str, parts: dict[str, int]) -> None:
    """In thousandths of a billionth, of a call, a token, or a millisecond: names first, then patterns."""
    read = policy("""
  currency: USD
  models:
    "llm-*": {tokens: 0.000002, seconds: 0.0001}
    "*": {calls: "0.0001"}
    llm-mini: {output_tokens: 0.000005}
    digits: {calls: 0.001}""")
    assert read.prices is not None
    found = read.prices.of(model)

    assert found is not None
    assert dict(found.parts) == parts


def test_a_free_model_has_a_price() -> None:
    """Zero is one; to say nothing is not."""
    read = policy("{currency: USD, models: {digits: {calls: 0}}}")
    assert read.prices is not None

    assert read.prices.of("digits") is not None
    assert read.prices.of("llm-a") is None


def test_budgets_are_told_in_the_currency() -> None:
    """To whoever asks why: never in billionths."""
    said = policy().explain(Principal(subject="ann"), MODEL_INFER, "digits").lines()
    (limits,) = (line for line in said if line.startswith("limits: "))

    assert "0.50 USD/hour" in limits
    assert "25 USD/day" in limits


@pytest.mark.parametrize(
    ("prices", "said"),
    [
        ("5", "policy.yaml:1: prices: is a number; write a mapping"),
        ("{models: {d: {calls: 1}}}", "policy.yaml:1: prices.currency: missing; write currency: USD"),
        ("{currency: usd, models: {d: {calls: 1}}}", "prices.currency: `usd` is not a currency; write its"),
        ("{currency: USD}", "prices.models: missing; write models: {digits: {calls: 0.001}}"),
        ("{currency: USD, models: {}}", "prices.models: is empty; write models: {digits: {calls: 0.001}}"),
        ("{currency: USD, models: {d: 1}}", "prices.models.d: is a number; write a mapping"),
        (
            "{currency: USD, models: {d: {}}}",
            "prices.models.d: has no price; write one of a unit, like calls",
        ),
        (
            "{currency: USD, models: {'d*': {calls: 1}}}",
            "prices.models.d*: `*` must stand for a whole segment",
        ),
        (
            "{currency: USD, models: {d: {token: 1}}}",
            "prices.models.d.token: unknown key; did you mean 'tokens'?",
        ),
        ("{currency: USD, models: {d: {calls: -1}}}", "prices.models.d.calls: `-1` is not a sum of money"),
        ("{currency: USD, models: {d: {calls: 2.0e-6}}}", "prices.models.d.calls: `2.0e-6` is not a sum"),
        ("{currency: USD, models: {d: {calls: [1]}}}", "prices.models.d.calls: is a list; write text"),
        (
            "{currency: USD, models: {d: {calls: 0.0000000001}}}",
            "`0.0000000001` is finer than can be counted; write at most 9 digits after the point",
        ),
        (
            "{currency: USD, models: {d: {calls: 9007200}}}",
            "`9007200` is more than can be counted; write at most 9007199",
        ),
        (
            "{currency: USD, models: {d: {tokens: 1, output_tokens: 2}}}",
            "prices.models.d.tokens: would price tokens twice; write tokens alone, or input_tokens and",
        ),
        ("{currency: USD, models: {d: {calls: 1}}, per: day}", "prices.per: unknown key"),
        (
            "{currency: USD, models: {'*': {calls: 1}, d: {calls: 2}, 'llm-*': {calls: 3}}}",
            "prices.models.llm-*: stands behind `*`, which has every model already; write it before that",
        ),
    ],
)
def test_a_wrong_price_is_told_with_its_place(prices: str, said: str) -> None:
    """One line each, with what to write; and no mistake makes another of the budgets."""
    (problem,) = problems(prices=prices)

    assert said in problem


def test_a_budget_of_money_needs_prices() -> None:
    """Each is told at its own line, in a role and in the list; budgets of other units need none."""
    text = POLICY.format(prices=PRICES, budget="0.50 USD/hour", listed="[25 USD/day, 5 calls/day]")
    with pytest.raises(ConfigError) as caught:
        Policy.parse(text.partition("\n")[2])
    first, second = map(str, caught.value.problems)

    assert first.startswith(
        "policy.yaml:4: roles.analyst.limits.budget: counts USD, and there are no prices;"
    )
    assert second.startswith("policy.yaml:7: limits.0.budget.0: counts USD, and there are no prices; write")


def test_money_and_prices_have_one_currency() -> None:
    """Nothing is converted."""
    (problem,) = problems(listed="25 EUR/day")

    assert "limits.0.budget: counts EUR, and the prices are in USD; write one currency for both" in problem


def test_prices_without_a_budget_of_money_do_no_harm() -> None:
    """They may be there before the budget is."""
    read = policy(budget="5 calls/day", listed="5 tokens/day")

    assert read.prices is not None
    assert [each.amount.unit for each in read.limits.budgets] == ["calls", "tokens"]


def test_the_documented_example_is_read() -> None:
    """That of docs/policy.md, with the prices that its text promises."""
    text = (Path(__file__).parents[2] / "docs/policy.md").read_text().partition("## Prices")[2]
    read = Policy.parse(text.partition("```yaml\n")[2].partition("```")[0])
    assert read.prices is not None
    names = ("llm-large", "llm-small", "digits")
    found = {name: read.prices.of(name) for name in names}
    units = {name: sorted(unit for unit, _ in each.parts) for name, each in found.items() if each}

    assert units == {
        "llm-large": ["input_tokens", "output_tokens"],
        "llm-small": ["input_tokens", "output_tokens", "seconds"],
        "digits": ["calls"],
    }
    assert [each.name for each in read.limits.budgets] == ["analyst", "invoices"]
