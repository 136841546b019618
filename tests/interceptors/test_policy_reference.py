"""Compiled policies compared with a slow and obvious reading of the same file."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as some

from guardhouse.interceptors import methods
from guardhouse.interceptors.call import Principal
from guardhouse.interceptors.policy import Policy
from guardhouse.interceptors.policy.patterns import pattern


def pieces(text: str) -> list[str]:
    """Segments and separators in turn: "a-b" is ["a", "-", "b"]."""
    found = [""]
    for letter in text:
        if letter in "/.-_:":
            found += [letter, ""]
        else:
            found[-1] += letter
    return found


def obvious(wanted: str, name: str) -> bool:
    """Whether *name* is meant by the pattern *wanted*, piece by piece."""
    if not name:
        return False
    want, have = pieces(wanted), pieces(name)
    if want[-1] == "*":
        want, rest = want[:-1], "".join(have[len(want) - 1 :])
        if not rest:
            return False
        have = have[: len(want)]
    return len(want) == len(have) and all(
        h != "" and h not in "/.-_:" if w == "*" else w == h for w, h in zip(want, have, strict=True)
    )


def obvious_roles(document: Any, principal: Principal) -> list[str]:
    held = []
    for binding in document["bindings"]:
        if "subject" in binding:
            names = [principal.certificate, principal.subject]
            match = any(obvious(binding["subject"], name) for name in names)
        elif "api_key" in binding:
            match = obvious(binding["api_key"], principal.api_key)
        else:
            match = True
            for name, wanted in binding["claim"].items():
                value: Any = principal.claims.get(name, [])
                values = [value] if isinstance(value, str) else value
                match = match and any(obvious(wanted, each) for each in values)
        if match:
            held.append(binding["role"])
    return [name for name in document["roles"] if name in held]


def obvious_method(wanted: str, path: str) -> bool:
    if wanted == "*":
        return True
    full = wanted if "/" in wanted else f"inference.GRPCInferenceService/{wanted}"
    service, _, name = full.partition("/")
    asked_service, _, asked_name = path[1:].rpartition("/")
    return service == asked_service and name in ("*", asked_name)


def obvious_decision(document: Any, principal: Principal, path: str, model: str | None) -> tuple[bool, str]:
    held = obvious_roles(document, principal)
    for kind in ("deny", "allow"):
        for role in held:
            for position, rule in enumerate(document["roles"][role].get(kind, [])):
                if not any(obvious_method(wanted, path) for wanted in rule["methods"]):
                    continue
                models = rule.get("models")
                if model is None:
                    match = kind == "allow" or models is None
                elif models is None:
                    match = kind == "deny"
                else:
                    match = any(obvious(wanted, model) for wanted in models)
                if match:
                    return kind == "allow", f"{role}.{kind}[{position}]"
    return False, ""


segments = some.sampled_from(["a", "b", "ab"])
names = some.lists(segments, min_size=1, max_size=4).flatmap(
    lambda parts: some.lists(some.sampled_from("/.-_:"), min_size=len(parts), max_size=len(parts)).map(
        lambda marks: "".join(part + mark for part, mark in zip(parts, marks, strict=True))[:-1]
    )
)
wanted_names = some.builds(
    lambda name, stars: "".join(
        "*" if star and piece not in "/.-_:" else piece
        for piece, star in zip(pieces(name), stars + [False] * 20, strict=False)
    ),
    names,
    some.lists(some.booleans(), max_size=8),
)
model_methods = some.sampled_from(["ModelInfer", "ModelReady", "acme.S/Score", "acme.S/*", "*"])
plain_methods = some.sampled_from(["ServerReady", "acme.S/Score", "acme.S/*"])


def rules(kind: str) -> some.SearchStrategy[Any]:
    with_models = some.fixed_dictionaries(
        {
            "methods": some.lists(model_methods, min_size=1, max_size=2),
            "models": some.lists(wanted_names, min_size=1, max_size=3),
        }
    )
    without = plain_methods if kind == "allow" else plain_methods | model_methods
    return with_models | some.fixed_dictionaries({"methods": some.lists(without, min_size=1, max_size=2)})


bindings = some.one_of(
    some.fixed_dictionaries({"subject": wanted_names}),
    some.fixed_dictionaries({"api_key": wanted_names}),
    some.fixed_dictionaries(
        {"claim": some.dictionaries(some.sampled_from(["g", "t"]), wanted_names, min_size=1)}
    ),
)
documents = some.fixed_dictionaries(
    {
        "roles": some.fixed_dictionaries(
            {
                role: some.fixed_dictionaries(
                    {"allow": some.lists(rules("allow"), min_size=1, max_size=3)},
                    optional={"deny": some.lists(rules("deny"), max_size=2)},
                )
                for role in ("r", "s")
            }
        ),
        "bindings": some.lists(
            some.builds(lambda who, role: {**who, "role": role}, bindings, some.sampled_from("rs")),
            min_size=1,
            max_size=5,
        ),
    }
)
principals = some.builds(
    Principal,
    certificate=names | some.just(""),
    subject=names | some.just(""),
    api_key=names | some.just(""),
    claims=some.dictionaries(some.sampled_from(["g", "t", "", " "]), names | some.lists(names, max_size=3)),
)
paths = some.sampled_from(
    [methods.MODEL_INFER, methods.MODEL_READY, methods.SERVER_READY, "/acme.S/Score", "/acme.S/X", "/x", ""]
)


@given(wanted_names, names | some.text("ab*-./", max_size=5))
@settings(max_examples=300)
def test_patterns_agree_with_the_obvious_matcher(wanted: str, name: str) -> None:
    """A pattern means exactly what matching piece by piece means."""
    assert (bool(name) and pattern(wanted).matches(name)) == obvious(wanted, name)


@given(documents, some.lists(principals, min_size=1, max_size=3), some.lists(paths), some.lists(names))
@settings(max_examples=150, deadline=None)
def test_policies_agree_with_the_obvious_reading(
    document: Any, people: list[Principal], asked: list[str], models: list[str]
) -> None:
    """For every policy, caller, method and model, the compiled decision is that of the obvious reading."""
    policy = Policy.parse(json.dumps(document))
    for principal in people:
        grant = policy.grant(principal)
        assert grant.roles == set(obvious_roles(document, principal))
        for path in asked:
            assert grant.method(path) == obvious_decision(document, principal, path, None)
            for model in models * 2:
                decided = grant.model(path, model)
                allowed, rule = obvious_decision(document, principal, path, model)
                assert decided.allowed == allowed
                assert decided == (grant.method(path) if not grant.method(path).allowed else (allowed, rule))
