"""`guardhouse check`: is the configuration right, and the policy and the files it names?"""

from collections.abc import Iterator
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from guardhouse.server.commands.options import json_option, set_option
from guardhouse.server.commands.output import emit, ok

if TYPE_CHECKING:
    from guardhouse.interceptors.documents import Problem
    from guardhouse.interceptors.policy import Policy
    from guardhouse.server.config import Config

EXAMPLE = """\b
Example:
  guardhouse check .demo/guardhouse.yaml
  guardhouse check guardhouse.yaml --set listen=0.0.0.0:8443 --json
"""


class Report(NamedTuple):
    """What was found. With no problems, *summary* says what is configured."""

    problems: tuple["Problem", ...]
    warnings: tuple["Problem", ...] = ()
    summary: str = ""


@click.command("check", epilog=EXAMPLE)
@click.argument("path", metavar="CONFIG", type=click.Path(path_type=Path))
@set_option
@json_option("Print what was found as JSON.")
@click.pass_context
def command(context: click.Context, path: Path, overrides: tuple[str, ...], as_json: bool) -> None:
    """Check the configuration file CONFIG, its policy, and the files both name. Nothing is started.

    Every problem is one line: file, line, key, what is wrong and what to write. Exit code 1 if there is any.
    """
    report = examine(path, overrides)
    if as_json:
        emit(_facts(report), as_json, "")
    else:
        _print(report)
    context.exit(1 if report.problems else 0)


def examine(path: Path, settings: tuple[str, ...] = ()) -> Report:
    """Check everything that can be checked without starting. What cannot be read hides what it names."""
    from guardhouse.interceptors.policy import Policy
    from guardhouse.server.config import ConfigError, check_files, load

    try:
        config = load(path, settings)
    except ConfigError as error:
        return Report(error.problems)
    problems: list[Problem] = []
    policy = None
    try:
        policy = Policy.load(config.policy)
    except ConfigError as error:
        problems.extend(error.problems)
    try:
        check_files(config)
    except ConfigError as error:
        # A policy that is not there has been said once.
        problems = [*error.problems, *(problem for problem in problems if problem.line)]
    if problems or policy is None:
        return Report(tuple(problems))
    warnings = (
        *policy.warnings,
        *unserved(policy, config),
        *unpriced(policy, config),
        *too_small(policy, config),
    )
    return Report((), warnings, summary(policy, config))


def unserved(policy: "Policy", config: "Config") -> Iterator["Problem"]:
    """A warning for each plain model name in an allow rule that no model of the configuration has."""
    from guardhouse.interceptors.documents import Problem

    served = {model.name for model in config.models}
    for role in policy.roles.values():
        for position, rule in enumerate(role.allow):
            for name in rule.models or ():
                if name.wild is None and name.text not in served:
                    key = f"roles.{role.name}.allow.{position}.models"
                    yield Problem(policy.name, rule.line, key, f"no model `{name.text}` is served")


def unpriced(policy: "Policy", config: "Config") -> Iterator["Problem"]:
    """A warning for each model of the configuration that has no price, where a budget of money needs one."""
    from guardhouse.interceptors.documents import Problem

    prices = policy.prices
    if prices is None or all(budget.amount.unit != prices.currency for budget in policy.limits.budgets):
        return
    for name in dict.fromkeys(model.name for model in config.models):
        if prices.of(name) is None:
            message = f"no price for `{name}`: whom a budget of money counts is denied it (MODEL_UNPRICED)"
            yield Problem(policy.name, 0, "prices.models", message)


def too_small(policy: "Policy", config: "Config") -> Iterator["Problem"]:
    """A warning for each budget that no message fits in, as the most that its answer can cost is reserved."""
    from guardhouse.interceptors.documents import Problem
    from guardhouse.interceptors.limits.budget.units import count_words

    server = config.server
    least = {
        "bytes": (server.max_message, "server.max_message"),
        "seconds": (ceil(server.deadline * 1000), "server.deadline"),
    }
    for budget in policy.limits.budgets:
        count, unit, period = budget.amount
        wanted, key = least.get(unit, (0, ""))
        if wanted > count:
            message = (
                f"`{budget.name}` has {count_words(count, unit)} {unit}/{period}, and each call reserves"
                f" {count_words(wanted, unit)} ({key}): all are refused; give it more, or set {key} lower"
            )
            yield Problem(policy.name, 0, "limits", message)


def summary(policy: "Policy", config: "Config") -> str:
    """One line about what is configured."""
    opened = ", ".join(sorted(path.lstrip("/") for path in policy.open_methods)) or "none"
    return (
        f"{config.path}: ok: {_count(config.models, 'model')}, {_count(policy.roles, 'role')}, "
        f"{_count(policy.bindings, 'binding')}; open methods: {opened}"
    )


def _count(things: Any, name: str) -> str:
    return f"{len(things)} {name}{'' if len(things) == 1 else 's'}"


def _print(report: Report) -> None:
    for problem in report.problems:
        click.echo(str(problem), err=True)
    for warning in report.warnings:
        click.secho(f"warning: {warning}", fg="yellow", err=True)
    if report.summary:
        ok(report.summary)


def _facts(report: Report) -> dict[str, Any]:
    return {
        "ok": not report.problems,
        "problems": [problem._asdict() for problem in report.problems],
        "warnings": [warning._asdict() for warning in report.warnings],
    }
