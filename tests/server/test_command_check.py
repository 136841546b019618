"""`guardhouse check`: every problem on its line, warnings that do not fail, and the same as JSON."""

import json
from pathlib import Path
from typing import Any

import pytest


def rewrite(path: Path, old: str, new: str) -> None:
    """Replace *old*, which is there, in the file."""
    content = path.read_text()
    assert old in content
    path.write_text(content.replace(old, new))


def test_what_init_makes_is_right(run: Any, made: Path) -> None:
    """A new folder passes, in one line on stdout that says what is configured and what is open."""
    path = made / "guardhouse.yaml"
    said = run("check", path)
    assert said.status == 0, said.err
    assert said.out == f"{path}: ok: 1 model, 2 roles, 4 bindings; open methods: none\n"


def test_every_problem_is_one_line(run: Any, made: Path) -> None:
    """Two mistakes in the configuration are two lines on stderr, and exit code 1."""
    path = made / "guardhouse.yaml"
    rewrite(path, "durability: buffered", "durability: maybe")
    rewrite(path, "client_auth: require", "client-auth: require")
    said = run("check", path)
    assert (said.status, said.out) == (1, "")
    first, second = said.err.splitlines()
    assert first.startswith(f"{path}:")
    assert first.endswith("tls.client-auth: unknown key; did you mean 'client_auth'?")
    assert second.endswith("audit.durability: is `maybe`; write buffered or strict")


def test_problems_of_policy_and_files_come_together(run: Any, made: Path) -> None:
    """A mistake in the policy and a missing file are both named, each with its own file."""
    rewrite(made / "policy.yaml", "role: operator, claim", "role: admin, claim")
    (made / "pki" / "ca.pem").unlink()
    said = run("check", made / "guardhouse.yaml")
    assert said.status == 1
    files, policy = said.err.splitlines()
    assert "tls.client_ca" in files
    assert policy.startswith(f"{made / 'policy.yaml'}:")
    assert "there is no role `admin`; the roles are: analyst, operator" in policy


def test_a_missing_policy_is_said_once(run: Any, made: Path) -> None:
    """A policy that is not there is one line, under the key that names it."""
    (made / "policy.yaml").unlink()
    said = run("check", made / "guardhouse.yaml")
    assert said.status == 1
    assert len(said.err.splitlines()) == 1
    assert ": policy: " in said.err


@pytest.mark.parametrize(
    ("content", "words"),
    [("", "is empty"), (" \n", "is empty"), ("a: [", "not usable YAML"), ("- a", "is a list")],
)
def test_files_that_are_no_configuration(run: Any, tmp_path: Path, content: str, words: str) -> None:
    """An empty or broken file is one line, not a traceback."""
    path = tmp_path / "guardhouse.yaml"
    path.write_text(content)
    said = run("check", path)
    assert said.status == 1
    assert words in said.err
    assert len(said.err.splitlines()) == 1


def test_a_file_that_is_not_there(run: Any, tmp_path: Path) -> None:
    """A wrong path is one line that names it."""
    said = run("check", tmp_path / "no.yaml")
    assert said.status == 1
    assert said.err == f"{tmp_path / 'no.yaml'}: cannot be read: no such file or directory; check the path\n"


def test_settings_are_checked_too(run: Any, made: Path) -> None:
    """`--set` goes over the file before it is checked, and is named where it is wrong."""
    said = run("check", made / "guardhouse.yaml", "--set", "listen=nowhere")
    assert said.status == 1
    assert said.err.startswith("--set: listen: `nowhere` is not host:port")


def test_warnings_do_not_fail(run: Any, made: Path) -> None:
    """A role without a rate, and a model that nobody serves, are warned of; the check passes."""
    rewrite(made / "policy.yaml", "models: [digits]", "models: [digits, resnet]")
    said = run("check", made / "guardhouse.yaml")
    assert said.status == 0
    warnings = said.err.splitlines()
    assert all(warning.startswith(f"warning: {made / 'policy.yaml'}:") for warning in warnings)
    assert any("roles.analyst.allow.0.models: no model `resnet` is served" in warning for warning in warnings)


def test_budgets_that_let_nothing_in_are_warned_of(run: Any, made: Path) -> None:
    """Each call reserves more than they ever have; told in the unit of the budget. One that fits is not."""
    with (made / "policy.yaml").open("a") as policy:
        policy.write(
            "limits: [{name: short, budget: 50 seconds/day}, {name: small, budget: 1MiB/day},"
            " {name: fits, budget: [60 seconds/day, 5MiB/day]}]\n"
        )
    said = run("check", made / "guardhouse.yaml")

    assert said.status == 0
    short, small = [line.partition("limits: ")[2] for line in said.err.splitlines()]
    assert short == (
        "`short` has 50 seconds/day, and each call reserves 60 (server.deadline): all are refused;"
        " give it more, or set server.deadline lower"
    )
    assert small.startswith(
        "`small` has 1048576 bytes/day, and each call reserves 4194304 (server.max_message)"
    )


def test_as_json_when_right(run: Any, made: Path) -> None:
    """With --json a program gets ok, and the warnings as records."""
    said = run("check", made / "guardhouse.yaml", "--json")
    facts = json.loads(said.out)
    assert (said.status, said.err) == (0, "")
    assert (facts["ok"], facts["problems"]) == (True, [])


def test_as_json_when_wrong(run: Any, made: Path) -> None:
    """With --json each problem is a record of file, line, key and message; the exit code is 1."""
    path = made / "guardhouse.yaml"
    rewrite(path, "algorithms: [ES256]", "algorithms: [HS256]")
    said = run("check", path, "--json")
    facts = json.loads(said.out)
    assert (said.status, facts["ok"]) == (1, False)
    (problem,) = facts["problems"]
    assert problem.keys() == {"file", "line", "key", "message"}
    assert (problem["file"], problem["key"]) == (str(path), "tokens.issuers.0.algorithms.0")
    assert "HS256" in path.read_text().splitlines()[problem["line"] - 1]


def test_usage(run: Any) -> None:
    """Without a file the usage is told, with exit code 2; help says what is checked."""
    assert run("check").status == 2
    assert "Every problem is one line" in run("check", "--help").out
