"""Weight and priority of a role: what a policy may say, and what the holder of several roles has."""

from __future__ import annotations

from pathlib import Path

import pytest

from guardhouse.interceptors import Policy, Principal
from guardhouse.interceptors.documents import ConfigError
from guardhouse.interceptors.methods import MODEL_INFER
from guardhouse.interceptors.policy.grants import Grant
from guardhouse.interceptors.policy.rules import Role
from guardhouse.server.report import _role as _role_in_report

POLICY = """
roles:
  r:
    allow: [{{methods: [ModelInfer], models: [digits]}}]
    limits: {{rate: 1/s, {}}}
bindings:
  - {{role: r, subject: somebody}}
"""


def _role(folder: Path, written: str) -> Role:
    file = folder / "policy.yaml"
    file.write_text(POLICY.format(written))
    return Policy.load(file).roles["r"]


@pytest.mark.parametrize(
    ("written", "wanted"),
    [
        ("burst: 1", (1, 1)),
        ("weight: 1000", (1000, 1)),
        ("priority: low", (1, 0)),
        ("weight: 7, priority: high", (7, 2)),
    ],
)
def test_a_role_has_a_weight_and_a_priority(tmp_path: Path, written: str, wanted: tuple[int, int]) -> None:
    """As the file says; one, and normal, where it says nothing."""
    role = _role(tmp_path, written)
    assert (role.weight, role.priority) == wanted


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("weight: 0", "weight"),
        ("weight: 1001", "weight"),
        ("weight: 1.5", "weight"),
        ("priority: urgent", "`urgent` is no priority; write low, normal, high"),
        ("priority: 2", "priority"),
    ],
)
def test_what_is_neither_is_refused(tmp_path: Path, written: str, says: str) -> None:
    """With the key and what was meant."""
    with pytest.raises(ConfigError, match=says):
        _role(tmp_path, written)


def test_of_several_roles_the_best_counts() -> None:
    """Weight and priority each for itself; who holds none goes last."""
    held = Grant([Role("a", weight=5, priority=0), Role("b", weight=2, priority=2)])
    assert (held.weight, held.priority) == (5, 2)
    assert (Grant([]).weight, Grant([]).priority) == (1, 0)


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("burst: 1", ""),
        ("weight: 7", "; weight 7"),
        ("weight: 7, priority: high", "; weight 7; high priority"),
        ("priority: low", "; low priority"),
    ],
)
def test_explain_and_the_servers_report_tell_both(tmp_path: Path, written: str, told: str) -> None:
    """With the limits, where they are not those of everybody; of who holds no role there is nothing."""
    policy = Policy.parse(POLICY.format(written))
    somebody = policy.explain(Principal("somebody", subject="somebody"), MODEL_INFER, "digits")
    stranger = policy.explain(Principal("else", subject="else"), MODEL_INFER, "digits")

    (line,) = (line for line in somebody.lines() if line.startswith("limits: "))
    assert line.endswith(f"for each principal{told}")
    assert stranger.limits == ("no rate limit",)
    assert _role_in_report(policy, "r").endswith(f"for each principal{told})")
