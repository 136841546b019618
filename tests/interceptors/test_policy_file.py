"""Policy files: every mistake is refused with its line, its key, and what to write."""

from pathlib import Path
from typing import Any

import pytest

from guardhouse.interceptors.documents import ConfigError
from guardhouse.interceptors.policy import Policy

GOOD = """\
roles:
  r:
    allow:
      - methods: [ModelInfer]
        models: [digits]
    limits: {rate: 100/s}
bindings:
  - {role: r, subject: s}
"""


def changed(old: str, new: str) -> str:
    """The good policy with *old* in it replaced."""
    assert old in GOOD
    return GOOD.replace(old, new)


ALLOW = "      - methods: [ModelInfer]\n        models: [digits]\n"
BINDING = "  - {role: r, subject: s}\n"
# What is wrong: the file, the line, the key, words.
BAD = {
    "no roles": ("bindings: [{role: r, subject: s}]\n", 1, "roles", "missing; write roles:"),
    "no bindings": (changed("bindings:\n" + BINDING, ""), 1, "bindings", "missing; write bindings:"),
    "empty bindings": (changed(":\n" + BINDING, ": []\n"), 7, "bindings", "is empty; write bindings:"),
    "roles as a list": ("roles: [r]\nbindings: [{role: r, subject: s}]\n", 1, "roles", "is a list"),
    "odd role": (
        GOOD.replace(" r:", " a b:").replace("role: r", "role: a b"),
        2,
        "roles.a b",
        "not a role name",
    ),
    "bound to nobody": (GOOD + "  - {role: r}\n", 9, "bindings.1", "has nobody; write exactly one of"),
    "unknown key": (changed("allow:", "alow:"), 3, "roles.r.alow", "did you mean 'allow'?"),
    "unknown top key": (GOOD + "role: x\n", 9, "role", "unknown key; did you mean 'roles'?"),
    "no allow": (changed("    allow:\n" + ALLOW, ""), 2, "roles.r.allow", "missing; write allow:"),
    "allow as a mapping": (
        changed(ALLOW, "      methods: [ModelInfer]\n"),
        3,
        "roles.r.allow",
        "is a mapping; write a list",
    ),
    "no methods": (changed("methods: [ModelInfer]\n        ", ""), 4, "roles.r.allow.0.methods", "missing"),
    "methods as text": (changed("[ModelInfer]", "ModelInfer"), 4, "roles.r.allow.0.methods", "write a list"),
    "empty methods": (changed("[ModelInfer]", "[]"), 4, "roles.r.allow.0.methods", "is empty"),
    "empty models": (changed("[digits]", "[]"), 5, "roles.r.allow.0.models", "is empty; write models:"),
    "misspelt method": (
        changed("[ModelInfer]", "[ModelInfr]"),
        4,
        "roles.r.allow.0.methods.0",
        "has no method `ModelInfr`; did you mean 'ModelInfer'?",
    ),
    "misspelt full method": (
        changed("[ModelInfer]", "[guardhouse.v1.Guardhouse/WhoamI]"),
        4,
        "roles.r.allow.0.methods.0",
        "did you mean 'WhoAmI'?",
    ),
    "slash in front": (
        changed("[ModelInfer]", "[/a.B/C]"),
        4,
        "roles.r.allow.0.methods.0",
        "begins with a slash; write a.B/C",
    ),
    "star in a method": (changed("[ModelInfer]", '["Model*"]'), 4, "roles.r.allow.0.methods.0", "no"),
    "star for a service": (changed("[ModelInfer]", '["*/Check"]'), 4, "roles.r.allow.0.methods.0", "not a"),
    "number as method": (changed("[ModelInfer]", "[1]"), 4, "roles.r.allow.0.methods.0", 'quotes: "1"'),
    "no models": (
        changed("        models: [digits]\n", ""),
        4,
        "roles.r.allow.0",
        "names a model, and this rule",
    ),
    "no models for all": (
        changed("[ModelInfer]\n        models: [digits]", '["*"]'),
        4,
        "roles.r.allow.0",
        "write models: [digits], or models: ['*']",
    ),
    "no models for the service": (
        changed("[ModelInfer]\n        models: [digits]", '["inference.GRPCInferenceService/*"]'),
        4,
        "roles.r.allow.0",
        "this rule lists none",
    ),
    "star glued on": (changed("[digits]", '["fraud*"]'), 5, "roles.r.allow.0.models.0", "write `fraud-*`"),
    "star inside": (changed("[digits]", '["a*b"]'), 5, "roles.r.allow.0.models.0", "a whole segment"),
    "two stars": (changed("[digits]", '["**"]'), 5, "roles.r.allow.0.models.0", "write `*`"),
    "two stars at the end": (changed("[digits]", '["a-**"]'), 5, "roles.r.allow.0.models.0", "whole segment"),
    "blank in a model": (changed("[digits]", '["digits "]'), 5, "roles.r.allow.0.models.0", "with a blank"),
    "empty model": (changed("[digits]", '[""]'), 5, "roles.r.allow.0.models.0", "is empty"),
    "model of a number": (changed("[digits]", "[7]"), 5, "roles.r.allow.0.models.0", 'in quotes: "7"'),
    "long model": (changed("[digits]", f"[{'x' * 600}]"), 5, "roles.r.allow.0.models.0", "longer than 512"),
    "deny that never is": (
        changed("    limits", "    deny: [{methods: [ServerReady], models: [m]}]\n    limits"),
        6,
        "roles.r.deny.0",
        "`ServerReady` names no model, so with `models` it would never be denied",
    ),
    "outputs": (
        changed("    limits", "    outputs: {top_k: 1}\n    limits"),
        6,
        "roles.r.outputs",
        "not supported",
    ),
    "no concurrency at all": (
        changed("{rate: 100/s}", "{rate: 100/s, concurrency: 0}"),
        6,
        "roles.r.limits.concurrency",
        "whole number from 1",
    ),
    "boundless concurrency": (
        changed("100/s}", "100/s, concurrency: 1000001}"),
        6,
        "roles.r.limits.concurrency",
        "to 1000000",
    ),
    "concurrency in words": (
        changed("100/s}", "100/s, concurrency: few}"),
        6,
        "roles.r.limits.concurrency",
        "whole number",
    ),
    "half a call": (
        changed("100/s}", "100/s, concurrency: 1.5}"),
        6,
        "roles.r.limits.concurrency",
        "whole number",
    ),
    "concurrency outside limits": (
        changed("    limits", "    concurrency: 8\n    limits"),
        6,
        "roles.r.concurrency",
        "unknown key",
    ),
    "budget": (changed("{rate: 100/s}", "{budget: 9}"), 6, "roles.r.limits.budget", "is not a budget"),
    "rate without period": (changed("100/s", '"100"'), 6, "roles.r.limits.rate", "write 100/s"),
    "rate of a number": (changed("100/s", "100"), 6, "roles.r.limits.rate", "is a number, not text"),
    "rate of zero": (changed("100/s", "0/s"), 6, "roles.r.limits.rate", "lets nothing through"),
    "negative rate": (changed("100/s", "-5/s"), 6, "roles.r.limits.rate", "is not a rate"),
    "burst of zero": (changed("100/s", "100/s, burst: 0"), 6, "roles.r.limits.burst", "whole number from 1"),
    "burst alone": (changed("rate: 100/s", "burst: 5"), 6, "roles.r.limits.burst", "only half of a limit"),
    "unknown role": (
        changed("role: r,", "role: admin,"),
        8,
        "bindings.0.role",
        "there is no role `admin`; the roles are: r",
    ),
    "two holders": (
        changed("subject: s", "subject: s, api_key: k"),
        8,
        "bindings.0",
        "has subject and api_key; write exactly one of",
    ),
    "subject with a star": (changed("subject: s", 'subject: "s*"'), 8, "bindings.0.subject", "whole segment"),
    "empty claim": (changed("subject: s", "claim: {}"), 8, "bindings.0.claim", "is empty; write claim:"),
    "claim as text": (
        changed("subject: s", "claim: groups"),
        8,
        "bindings.0.claim",
        "is text; write a mapping",
    ),
    "claim of true": (changed("subject: s", "claim: {a: true}"), 8, "bindings.0.claim.a", 'quotes: "true"'),
    "open to all": ("open: ['*']\n" + GOOD, 1, "open.0", "opens more than one method"),
    "open service": ("open: ['a.B/*']\n" + GOOD, 1, "open.0", "opens more than one method"),
    "open model": ("open: [ModelInfer]\n" + GOOD, 1, "open.0", "names a model and cannot be open"),
    "variable": (
        changed("subject: s", 'subject: "${S}"'),
        8,
        "bindings.0.subject",
        "variables are not replaced",
    ),
    "role twice": (GOOD.replace("bindings:", "  r: {}\nbindings:"), 7, "roles.r", "twice, first in line 2"),
}


def test_the_good_policy_is_good() -> None:
    """The policy that the bad ones are made from is read without a warning."""
    assert Policy.parse(GOOD).warnings == ()


@pytest.mark.parametrize(("content", "line", "key", "words"), BAD.values(), ids=BAD)
def test_bad_policies_are_refused_by_line(content: Any, line: int, key: str, words: str) -> None:
    """Each mistake alone gives one problem, at its line and key, in words that say what to do."""
    with pytest.raises(ConfigError) as refused:
        Policy.parse(content, "p.yaml")
    found = refused.value.problems[0]
    assert (found.line, found.key) == (line, key)
    assert words in found.message
    assert str(found) == f"p.yaml:{line}: {key}: {found.message}"
    assert len(refused.value.problems) == 1


def test_all_mistakes_are_found_at_once() -> None:
    """Five mistakes in one file are five problems, by line."""
    content = (
        GOOD.replace("digits", "'a*'")
        .replace("ModelInfer", "ModelInfr")
        .replace("100/s", "0/s")
        .replace("role: r", "role: q")
        + "extra: 1\n"
    )
    with pytest.raises(ConfigError) as refused:
        Policy.parse(content)
    assert [problem.line for problem in refused.value.problems] == [4, 5, 6, 8, 9]


def test_roles_that_are_probably_not_meant_so_are_warned_of() -> None:
    """A role that nobody holds and a role without a rate are allowed, with a warning by line."""
    policy = Policy.parse(
        GOOD.replace("bindings:", "  idle:\n    allow: [{methods: [ServerLive]}]\nbindings:")
    )
    said = [str(warning) for warning in policy.warnings]
    assert said[0].startswith("policy.yaml:7: roles.idle: nobody holds this role")
    assert said[1].startswith("policy.yaml:7: roles.idle: has no rate limit")


def test_a_policy_is_read_from_its_file(tmp_path: Path) -> None:
    """`Policy.load` names the file in errors as it was given."""
    path = tmp_path / "policy.yaml"
    path.write_text(GOOD)
    assert Policy.load(path).roles.keys() == {"r"}
    path.write_text("")
    with pytest.raises(ConfigError, match="is empty"):
        Policy.load(path)
