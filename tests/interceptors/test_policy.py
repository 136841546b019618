"""What a policy lets whom do."""

import json
from typing import Any

import pytest

from guardhouse.interceptors import methods
from guardhouse.interceptors.call import NOBODY, Principal
from guardhouse.interceptors.documents.units import Rate
from guardhouse.interceptors.policy import Policy
from guardhouse.interceptors.policy.grants import LONGEST_MODEL, LONGEST_PATH

POLICY = """\
open: [grpc.health.v1.Health/Check, ServerLive]
roles:
  analyst:
    allow:
      - {methods: [ModelInfer, ModelReady], models: [digits, "fraud-*"]}
      - {methods: [ServerReady, guardhouse.v1.Guardhouse/*]}
    deny:
      - {methods: [ModelInfer], models: [fraud-secret]}
    limits: {rate: 100/s, burst: 200}
  operator:
    allow:
      - {methods: ["*"], models: ["*"]}
    limits: {rate: 600/m}
  suspended:
    allow:
      - {methods: [ServerReady]}
    deny:
      - {methods: ["*"]}
    limits: {rate: 1/s}
bindings:
  - {role: analyst, subject: "spiffe://acme/ns/*/sa/notebook"}
  - {role: analyst, claim: {groups: data-science, team: "*"}}
  - {role: operator, api_key: ops-*}
  - {role: operator, subject: "spiffe://acme/ns/ml/sa/root"}
  - {role: suspended, claim: {status: suspended}}
"""
NO = "does not match"
NOTEBOOK = "spiffe://acme/ns/ml/sa/notebook"
SCIENCE = {"groups": ["x", "data-science"], "team": "a"}
ANALYST = Principal(name="n", certificate=NOTEBOOK, proofs=("mtls",))
OPERATOR = Principal(name="k", api_key="ops-deploy", proofs=("api_key",))
SUSPENDED = Principal(name="s", subject="s", claims={**SCIENCE, "status": "suspended"}, proofs=("jwt",))

# Who, the roles held.
HOLDERS = [
    (NOBODY, set()),
    (ANALYST, {"analyst"}),
    (OPERATOR, {"operator"}),
    (SUSPENDED, {"analyst", "suspended"}),
    (Principal(certificate="spiffe://acme/ns/ml/sa/root"), {"operator"}),
    (Principal(certificate=ANALYST.certificate, api_key="ops-x"), {"analyst", "operator"}),
    (Principal(certificate="spiffe://acme/ns/ml/dev/sa/notebook"), set()),
    (Principal(certificate="spiffe://acme/ns//sa/notebook"), set()),
    (Principal(certificate="xspiffe://acme/ns/ml/sa/notebook"), set()),
    (Principal(certificate="spiffe://acme/ns/ml/sa/notebook2"), set()),
    (Principal(certificate="spiffe://acme/ns/ml/sa/notebook\n"), set()),
    (Principal(name=ANALYST.certificate), set()),
    (Principal(claims={"groups": "data-science", "team": "a"}), {"analyst"}),
    (Principal(claims={"groups": "data-science"}), set()),
    (Principal(claims={"groups": "data-science", "team": ""}), set()),
    (Principal(claims={"groups": "data-science", "team": 7}), set()),
    (Principal(claims={"groups": {"data-science": 1}, "team": "a"}), set()),
    (Principal(claims={"groups": [["data-science"]], "team": "a"}), set()),
    (Principal(claims={"groups": "data-science,x", "team": "a"}), set()),
    (Principal(claims={"": ANALYST.certificate, " ": "ops-x"}), set()),
    (Principal(api_key="ops-"), set()),
    (Principal(api_key="ops"), set()),
    (Principal(subject="ops-x"), set()),
]

# Who, path, model ("" for the method alone), allowed, rule.
DECISIONS = [
    (ANALYST, methods.MODEL_INFER, "", True, "analyst.allow[0]"),
    (ANALYST, methods.MODEL_INFER, "digits", True, "analyst.allow[0]"),
    (ANALYST, methods.MODEL_INFER, "fraud-eu", True, "analyst.allow[0]"),
    (ANALYST, methods.MODEL_INFER, "fraud-eu.v2", True, "analyst.allow[0]"),
    (ANALYST, methods.MODEL_INFER, "fraud-secret", False, "analyst.deny[0]"),
    (ANALYST, methods.MODEL_READY, "fraud-secret", True, "analyst.allow[0]"),
    (ANALYST, methods.MODEL_INFER, "fraud", False, ""),
    (ANALYST, methods.MODEL_INFER, "fraud-", False, ""),
    (ANALYST, methods.MODEL_INFER, "digits2", False, ""),
    (ANALYST, methods.MODEL_INFER, "xdigits", False, ""),
    (ANALYST, methods.MODEL_INFER, "Digits", False, ""),
    (ANALYST, methods.MODEL_INFER, "digits\n", False, ""),
    (ANALYST, methods.MODEL_CONFIG, "digits", False, ""),
    (ANALYST, methods.SERVER_READY, "", True, "analyst.allow[1]"),
    (ANALYST, methods.SERVER_READY, "digits", False, ""),
    (ANALYST, methods.WHO_AM_I, "", True, "analyst.allow[1]"),
    (ANALYST, methods.REPOSITORY_INDEX, "", False, ""),
    (ANALYST, methods.MODEL_INFER[1:], "", False, ""),
    (ANALYST, f"/{methods.MODEL_INFER}", "", False, ""),
    (ANALYST, methods.MODEL_INFER.lower(), "", False, ""),
    (ANALYST, f"{methods.MODEL_INFER}/", "", False, ""),
    (ANALYST, "/other.Service/ModelInfer", "", False, ""),
    (ANALYST, "/guardhouse.v1.Guardhouse2/WhoAmI", "", False, ""),
    (ANALYST, "", "", False, ""),
    (ANALYST, "/", "", False, ""),
    (OPERATOR, methods.REPOSITORY_INDEX, "", True, "operator.allow[0]"),
    (OPERATOR, methods.REPOSITORY_MODEL_LOAD, "anything", True, "operator.allow[0]"),
    (OPERATOR, "/any.Service/Method", "", True, "operator.allow[0]"),
    (SUSPENDED, methods.SERVER_READY, "", False, "suspended.deny[0]"),
    (SUSPENDED, methods.MODEL_INFER, "digits", False, "suspended.deny[0]"),
    (NOBODY, methods.SERVER_READY, "", False, ""),
]


@pytest.fixture(scope="module")
def policy() -> Policy:
    return Policy.parse(POLICY)


@pytest.mark.parametrize(("principal", "roles"), HOLDERS)
def test_roles_come_from_what_was_proved(policy: Policy, principal: Principal, roles: set[str]) -> None:
    """A role is held by a full match of certificate, subject, key name or claims, and by nothing else."""
    assert policy.grant(principal).roles == roles


@pytest.mark.parametrize(("principal", "path", "model", "allowed", "rule"), DECISIONS)
def test_decisions(
    policy: Policy, principal: Principal, path: str, model: str, allowed: bool, rule: str
) -> None:
    """Everything is denied unless a rule of a held role allows it, and a deny wins over every allow."""
    grant = policy.grant(principal)
    assert (grant.model(path, model) if model else grant.method(path)) == (allowed, rule)


def test_no_name_is_no_model(policy: Policy) -> None:
    """A message that names no model is denied even to one who may use every model."""
    assert not policy.grant(OPERATOR).model(methods.MODEL_STATISTICS, "").allowed


def test_the_rates_of_all_roles_count(policy: Policy) -> None:
    """Whoever holds several roles is counted by each; a burst not written is a second's worth."""
    rates = [
        [(rule.name, rule.rate, rule.unit) for rule in policy.grant(who).rates]
        for who in (ANALYST, OPERATOR, SUSPENDED, NOBODY)
    ]
    assert rates[0] == [("analyst", Rate(100, 1, 200), "calls")]
    assert rates[1] == [("operator", Rate(600, 60, 10), "calls")]
    assert ("suspended", Rate(1, 1, 1), "calls") in rates[2]
    assert rates[3] == []


def test_who_may_list_is_who_may_call_the_index(policy: Policy) -> None:
    """Only those who may call RepositoryIndex may learn which models there are."""
    assert policy.grant(OPERATOR).may_list
    assert not policy.grant(ANALYST).may_list


def test_open_methods_are_exact_paths(policy: Policy) -> None:
    """The open list holds the paths written, and nothing is open by default."""
    assert policy.open_methods == {"/grpc.health.v1.Health/Check", methods.SERVER_LIVE}
    assert Policy([], []).open_methods == frozenset()


def test_same_roles_share_one_grant(policy: Policy) -> None:
    """Two callers with the same roles get the same object, so that what is compiled is compiled once."""
    other = Principal(claims=SCIENCE)
    assert policy.grant(other) is policy.grant(ANALYST)


def test_unknown_names_do_not_fill_the_memory(policy: Policy) -> None:
    """Names that callers invent are forgotten again, and over-long ones are not even kept."""
    grant = policy.grant(OPERATOR)
    for number in range(10_000):
        grant.model(methods.MODEL_INFER, f"invented-{number}")
        grant.method(f"/invented.Service/M{number}")
    assert not grant.method("/" + "x" * LONGEST_PATH).allowed
    assert not grant.model(methods.MODEL_INFER, "x" * (LONGEST_MODEL + 1)).allowed
    assert len(grant._methods) <= 1024
    assert len(grant._decided) <= 4096
    for number in range(10_000):
        policy.grant(Principal(name=str(number)))
    assert policy.grant.cache_info().currsize <= 4096


def test_plain_names_are_not_scanned() -> None:
    """Of three hundred rules, a decision about a plain name reads those of its own name only."""
    roles = {
        "r": {"allow": [{"methods": ["ModelInfer"], "models": [f"m-{number}"]} for number in range(300)]}
    }
    policy = Policy.parse(json.dumps({"roles": roles, "bindings": [{"role": "r", "api_key": "k"}]}))
    grant = policy.grant(Principal(api_key="k"))
    assert grant.model(methods.MODEL_INFER, "m-299").rule == "r.allow[299]"
    models: Any = grant._models.get(methods.MODEL_INFER)
    assert models._allow._wild == []


@pytest.mark.parametrize(
    ("model", "rule"), [("a-x", "r.allow[0]"), ("a-y", "r.allow[1]"), ("b", "r.allow[0]")]
)
def test_the_first_rule_is_named(model: str, rule: str) -> None:
    """Of several rules that match, the first of the file is named, be it by a plain name or a pattern."""
    rules = [
        {"methods": ["ModelInfer"], "models": models} for models in (["a-x", "b"], ["a-*", "b"], ["a-y"])
    ]
    policy = Policy.parse(
        json.dumps({"roles": {"r": {"allow": rules}}, "bindings": [{"role": "r", "api_key": "k"}]})
    )
    assert policy.grant(Principal(api_key="k")).model(methods.MODEL_INFER, model) == (True, rule)


def test_explanations_name_every_binding_and_rule(policy: Policy) -> None:
    """An explanation shows each binding and each rule of the roles held, and ends with the last word."""
    lines = policy.explain(ANALYST, methods.MODEL_INFER, "fraud-secret").lines()
    assert lines == [
        "asked: /inference.GRPCInferenceService/ModelInfer for model fraud-secret",
        "binding line 21 (subject spiffe://acme/ns/*/sa/notebook): matches: gives role analyst",
        "binding line 22 (claim groups: data-science, team: *): does not match: the caller has no such claim",
        "binding line 23 (api_key ops-*): does not match: the caller has no api_key",
        f"binding line 24 (subject spiffe://acme/ns/ml/sa/root): {NO}: the caller has subject {NOTEBOOK}",
        "binding line 25 (claim status: suspended): does not match: the caller has no such claim",
        "roles held: analyst",
        "limits: analyst: 100 calls in 1 s, 200 at once for each principal",
        "rule analyst.deny[0]: matches: it is about the models fraud-secret",
        "rule analyst.allow[0]: matches: it is about the models digits, fraud-*",
        f"rule analyst.allow[1]: {NO}: it is about the methods ServerReady, guardhouse.v1.Guardhouse/*",
        "DENIED: by analyst.deny[0]",
    ]


@pytest.mark.parametrize(
    ("principal", "path", "model", "last"),
    [
        (NOBODY, methods.MODEL_INFER, "digits", "DENIED: the caller holds no role"),
        (NOBODY, methods.SERVER_LIVE, "", "ALLOWED: the method is open; it needs no credential"),
        (ANALYST, methods.MODEL_INFER, "other", "DENIED: no rule of role analyst allows it"),
        (ANALYST, methods.MODEL_INFER, "", "ALLOWED: by analyst.allow[0], for the models it lists"),
        (ANALYST, methods.SERVER_READY, "digits", "ALLOWED: by analyst.allow[1]"),
        (SUSPENDED, methods.MODEL_CONFIG, "x", "DENIED: by suspended.deny[0]"),
    ],
)
def test_the_last_word_says_why(
    policy: Policy, principal: Principal, path: str, model: str, last: str
) -> None:
    """The last line of an explanation is the decision and its reason."""
    assert policy.explain(principal, path, model).lines()[-1] == last


def test_a_token_cannot_mint_the_name_of_a_certificate():
    """A `sub` in the form of a SPIFFE id holds a role only beside the certificate of that id."""
    policy = Policy.parse(
        "roles: {analyst: {allow: [{methods: [ServerLive]}], limits: {rate: 1/s}}}\n"
        'bindings: [{role: analyst, subject: "spiffe://acme/notebook"}]\n'
    )
    name = "spiffe://acme/notebook"

    minted = Principal(name=name, subject=name, certificate="spiffe://acme/other", proofs=("mtls", "jwt"))
    proved = Principal(name=name, subject=name, certificate=name, proofs=("mtls", "jwt"))

    assert policy.grant(minted).roles == frozenset()
    assert policy.grant(proved).roles == {"analyst"}
