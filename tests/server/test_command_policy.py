"""`guardhouse policy explain`: the decision, why, and an exit code a script can use."""

import json
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from guardhouse.interceptors.call import Call, Principal
from guardhouse.interceptors.limits.budget.accounts import Accounts
from guardhouse.interceptors.limits.budget.units import amount
from guardhouse.interceptors.limits.rules import Budget
from guardhouse.interceptors.limits.stores import Want
from guardhouse.interceptors.limits.stores.sqlite import SqliteStore

ANALYST = ("--claim", "roles=analyst")
ASK = ("--method", "ModelInfer", "--model")


@pytest.fixture
def explain(run: Any, made: Path) -> Any:
    """Run `policy explain` on the configuration that init made."""
    return lambda *arguments: run("policy", "explain", "--config", made / "guardhouse.yaml", *arguments)


def test_allowed(explain: Any) -> None:
    """An allowed call ends with the rule that allows it, and exit code 0."""
    said = explain(*ANALYST, *ASK, "digits")
    assert said.status == 0, said.err
    assert said.out.splitlines()[-1] == "ALLOWED: by analyst.allow[0]"
    assert "roles held: analyst" in said.out


def test_denied(explain: Any) -> None:
    """A denied call ends with the reason, and exit code 1; each rule says why it did not match."""
    said = explain(*ANALYST, *ASK, "other")
    assert said.status == 1
    assert said.out.splitlines()[-1] == "DENIED: no rule of role analyst allows it"
    assert "rule analyst.allow[0]: does not match: it is about the models digits" in said.out


@pytest.mark.parametrize(
    ("arguments", "allowed"),
    [
        (("--api-key", "ops-1", *ASK, "anything"), True),
        (("--api-key", "app-1", *ASK, "digits"), True),
        (("--api-key", "other", *ASK, "digits"), False),
        (("--principal", "spiffe://x/y", *ASK, "digits"), False),
        (("--principal", "demo", *ANALYST, *ASK, "digits"), True),
        (("--claim", "roles=x", "--claim", "roles=operator", "--method", "RepositoryIndex"), True),
        ((*ANALYST, "--method", "RepositoryIndex"), False),
        ((*ANALYST, "--method", "guardhouse.v1.Guardhouse/WhoAmI"), True),
        ((*ANALYST, "--method", "/guardhouse.v1.Guardhouse/WhoAmI"), True),
        (("--method", "ServerLive"), False),
    ],
)
def test_who_may_what(explain: Any, arguments: tuple[str, ...], allowed: bool) -> None:
    """Certificates, subjects, claims and keys are asked about as a call would bring them."""
    assert explain(*arguments).status == (0 if allowed else 1)


def test_a_policy_alone(run: Any, made: Path) -> None:
    """A policy can be asked without a configuration around it."""
    said = run("policy", "explain", "--policy", made / "policy.yaml", *ANALYST, *ASK, "digits")
    assert said.status == 0, said.err


def test_the_usual_place(run: Any, made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With neither --config nor --policy, the configuration in this folder is asked."""
    monkeypatch.chdir(made)
    assert run("policy", "explain", *ANALYST, *ASK, "digits").status == 0


def test_as_json(explain: Any) -> None:
    """With --json a program gets the decision, the rule, the roles, and every finding."""
    said = explain(*ANALYST, *ASK, "other", "--json")
    facts = json.loads(said.out)
    assert (said.status, facts["allowed"], facts["rule"]) == (1, False, "")
    assert facts["method"] == "/inference.GRPCInferenceService/ModelInfer"
    assert (facts["model"], facts["roles"]) == ("other", ["analyst"])
    assert [binding["matched"] for binding in facts["bindings"]] == [True, False, False, False]
    assert {"name", "matched", "why"} == facts["rules"][0].keys()


LIMITED = """\
roles:
  quick: {allow: [{methods: [ServerLive]}], limits: {rate: 100/s, concurrency: 8}}
  slow: {allow: [{methods: [ServerLive]}], limits: {rate: 5/m, burst: 2, concurrency: 20}}
bindings: [{role: quick, api_key: k}, {role: slow, api_key: k}]
"""


def test_limits(run: Any, tmp_path: Path) -> None:
    """All limits that count the caller are told, with the names of the roles they come from."""
    path = tmp_path / "policy.yaml"
    path.write_text(LIMITED)
    question = ("policy", "explain", "--policy", path, "--method", "ServerLive", "--api-key", "k")

    said, facts = run(*question).out.splitlines(), json.loads(run(*question, "--json").out)
    told = [
        "quick: 100 calls in 1 s, 100 at once for each principal",
        "slow: 5 calls in 60 s, 2 at once for each principal",
        "quick: 8 at the same time for each principal",
        "slow: 20 at the same time for each principal",
    ]
    assert f"limits: {'; '.join(told)}" in said
    assert facts["limits"] == told


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--method", "ModelInfr"), "did you mean 'ModelInfer'?"),
        (("--method", "*"), "opens more than one method"),
        (("--method", "ModelInfer", "--claim", "roles"), "--claim: `roles` is not name=value"),
        ((), "Missing option '--method'"),
        (("--method", "ModelInfer", "--policy", "x"), "--config and --policy both name a policy"),
    ],
)
def test_questions_that_cannot_be_answered(explain: Any, arguments: tuple[str, ...], words: str) -> None:
    """A question that makes no sense has exit code 2, apart from allowed and denied, in one line."""
    said = explain(*arguments)
    assert said.status == 2
    assert words in said.err
    assert len(said.err.splitlines()) == 1


def test_a_bad_policy_is_no_denial(run: Any, tmp_path: Path) -> None:
    """A policy that cannot be read has exit code 2 and names its line."""
    path = tmp_path / "policy.yaml"
    path.write_text("roles: {}\nbindings: [{role: x, subject: y}]\n")
    said = run("policy", "explain", "--policy", path, "--method", "ModelInfer")
    assert said.status == 2
    assert f"{path}:2: bindings.0.role: there is no role `x`" in said.err


def test_what_is_left_of_budgets(run: Any, tmp_path: Path) -> None:
    """Where the store outlasts its servers, each budget of the call is told with what is left of it now."""
    assert run("init", tmp_path / "gate").status == 0
    config, policy = tmp_path / "gate/guardhouse.yaml", tmp_path / "gate/policy.yaml"
    budget = (
        "limits:\n  - {name: tenants, budget: [10 calls/day, 60 seconds/month], per: [claim.tenant, model]}\n"
    )
    policy.write_text(policy.read_text() + budget)
    question = ("policy", "explain", "--config", config, "--method", "ModelInfer", "--model", "digits")
    question += ("--claim", "roles=analyst", "--claim", "tenant=acme")
    untold = run(*question).out
    config.write_text(config.read_text().replace("store: memory", "store: sqlite:budgets.db"))
    store, calls = SqliteStore(config.parent / "budgets.db"), amount("10 calls/day")
    call = Call("/s/m", (), True, 0, 0, wall=time.time(), model="digits")
    call.principal = Principal(claims={"tenant": "acme"})
    account = Accounts().of(Budget("tenants", ("claim.tenant", "model"), amount=calls), call)
    store.take([Want(account, 3, 3)])
    store.close()

    assert "tenants: 10 calls/day for each claim.tenant, model;" in untold
    assert "tenants: 10 calls/day (7 calls left) for each claim.tenant, model;" in run(*question).out
    assert "tenants: 60 seconds/month (60 seconds left) for each claim.tenant, model" in run(*question).out


@pytest.mark.parametrize(
    ("who", "asked", "left"),
    [
        (Principal("api_key:k", api_key="k"), ("--api-key", "k"), " (7 calls left)"),
        (
            Principal("ann", subject="ann", issuer="https://i"),
            ("--principal", "ann", "--claim", "iss=https://i"),
            " (7 calls left)",
        ),
        (Principal("ann", subject="ann", issuer="https://i"), ("--principal", "ann"), ""),
        (
            Principal("spiffe://a/b", certificate="spiffe://a/b"),
            ("--principal", "spiffe://a/b"),
            " (7 calls left)",
        ),
        (Principal("ann", subject="ann", issuer="https://i"), ("--claim", "iss=https://i"), ""),
    ],
)
def test_what_is_left_is_told_of_whom_a_call_would_be(
    run: Any, tmp_path: Path, who: Principal, asked: tuple[str, ...], left: str
) -> None:
    """By the very name that a server counts it by; of whom that is not known, nothing is made up."""
    assert run("init", tmp_path / "gate").status == 0
    config, policy = tmp_path / "gate/guardhouse.yaml", tmp_path / "gate/policy.yaml"
    budget = "limits:\n  - {name: each, budget: 10 calls/day, per: [principal]}\n"
    policy.write_text(policy.read_text() + budget)
    config.write_text(config.read_text().replace("store: memory", "store: sqlite:budgets.db"))
    call = Call("/s/m", (), True, 0, 0, wall=time.time(), principal=who)
    account = Accounts().of(Budget("each", amount=amount("10 calls/day")), call)
    with closing(SqliteStore(config.parent / "budgets.db")) as store:
        store.take([Want(account, 3, 3)])

    said = run("policy", "explain", "--config", config, "--method", "ServerLive", *asked)
    assert f"each: 10 calls/day{left} for each principal" in said.out
