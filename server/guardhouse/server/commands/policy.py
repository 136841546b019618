"""`guardhouse policy`: what does the policy say about a call, and why?"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from guardhouse.server.commands.frame import Group
from guardhouse.server.commands.options import CONFIG, find_directory
from guardhouse.server.commands.output import emit

if TYPE_CHECKING:
    from guardhouse.interceptors.call import Call, Principal
    from guardhouse.interceptors.limits.rules import Budget
    from guardhouse.interceptors.policy import Explanation, Policy

EXAMPLE = """\b
Example:
  guardhouse policy explain --principal spiffe://acme/ns/ml/sa/notebook --method ModelInfer --model digits
  guardhouse policy explain --policy policy.yaml --claim roles=analyst --method ServerReady
"""
_FILE = click.Path(path_type=Path)


class Unusable(click.ClickException):
    """There is no policy to ask, or the question makes no sense: neither allowed nor denied."""

    exit_code = 2


@click.group("policy", cls=Group)
def command() -> None:
    """Explain which rule of a policy decides a call."""


@command.command("explain", epilog=EXAMPLE)
@click.option(
    "--config", "config_path", type=_FILE, metavar="FILE", help="Configuration that names the policy."
)
@click.option("--policy", "policy_path", type=_FILE, metavar="FILE", help="The policy itself.")
@click.option(
    "--principal", default="", metavar="ID", help="SPIFFE id of a certificate, or `sub` of a token."
)
@click.option(
    "--claim", "claims", multiple=True, metavar="NAME=VALUE", help="A claim of the token; repeatable."
)
@click.option("--api-key", default="", metavar="NAME", help="Name of an API key.")
@click.option("--method", required=True, help="ModelInfer, or package.Service/Method.")
@click.option("--model", default="", metavar="NAME", help="The model that the call names.")
@click.option("--json", "as_json", is_flag=True, help="Print the explanation as JSON.")
@click.pass_context
def explain_command(
    context: click.Context,
    config_path: Path | None,
    policy_path: Path | None,
    principal: str,
    claims: tuple[str, ...],
    api_key: str,
    method: str,
    model: str,
    as_json: bool,
) -> None:
    """Say whether a call would be allowed, and every binding and rule that was considered.

    Of a configuration whose store outlasts its servers it is told too what is left of each budget; of a
    subject's own with --claim iss=ISSUER, as each issuer has its subjects.

    Without --config and --policy: the configuration in this folder, or .demo. Exit code 0: allowed;
    1: denied; 2: the question cannot be answered.
    """
    policy = _policy(config_path, policy_path)
    who, path = _principal(principal, claims, api_key), _path(method)
    with _lefts(config_path, policy_path, who, path, model) as left:
        explanation = policy.explain(who, path, model, left)
    emit(facts(explanation), as_json, "\n".join(explanation.lines()))
    context.exit(0 if explanation.decision.allowed else 1)


def facts(explanation: "Explanation") -> dict[str, Any]:
    """The explanation as plain values."""
    return {
        "allowed": explanation.decision.allowed,
        "rule": explanation.decision.rule,
        "why": explanation.why,
        "method": explanation.method,
        "model": explanation.model,
        "roles": list(explanation.roles),
        "limits": list(explanation.limits),
        "bindings": [finding._asdict() for finding in explanation.bindings],
        "rules": [finding._asdict() for finding in explanation.rules],
    }


def _policy(config_path: Path | None, policy_path: Path | None) -> "Policy":
    from guardhouse.interceptors.documents import ConfigError
    from guardhouse.interceptors.policy import Policy

    if config_path is not None and policy_path is not None:
        raise click.UsageError("--config and --policy both name a policy; give one of them")
    try:
        return Policy.load(policy_path or _policy_of(config_path))
    except ConfigError as error:
        raise Unusable(str(error)) from error


@contextmanager
def _lefts(
    config_path: Path | None, policy_path: Path | None, who: "Principal", path: str, model: str
) -> Iterator[Callable[["Budget"], str]]:
    """What says how much is left of a budget to such a call: from the store, where one can be asked."""
    from guardhouse.interceptors.call import Call
    from guardhouse.server.commands.limits import Unreachable, opened
    from guardhouse.server.config import load

    def unknown(_budget: "Budget") -> str:
        return ""

    if policy_path is not None:
        yield unknown
        return
    try:
        with opened(load(config_path or find_directory(None) / CONFIG)) as store:
            entries = {(entry.name, entry.window): entry.spent for entry in store.entries()}
    except Unreachable:
        yield unknown
        return
    call = Call(path, (), True, time.time_ns(), 0, wall=time.time(), principal=who, model=model)
    yield partial(_left_words, entries, call)


def _left_words(spent: Mapping[tuple[str, str], int], call: "Call", budget: "Budget") -> str:
    """What is left to *call*; "" where that is not known: nobody says from which network it would come, and
    a subject is one of its issuer's.
    """
    from guardhouse.interceptors.limits.budget.accounts import Accounts
    from guardhouse.interceptors.limits.budget.units import amount_words

    who = call.principal
    named = who.name and (who.issuer or not who.subject)
    if "peer" in budget.per or ("principal" in budget.per and not named):
        return ""
    account = Accounts().of(budget, call)
    left = max(0, account.limit - spent.get((account.name, account.window), 0))
    return f" ({amount_words(budget.amount._replace(count=left))} left)"


def _policy_of(config_path: Path | None) -> Path:
    from guardhouse.server.config import load

    return load(config_path or find_directory(None) / CONFIG).policy


def _path(method: str) -> str:
    from guardhouse.interceptors.policy.patterns import exact_method

    try:
        return exact_method(method.removeprefix("/"))
    except ValueError as error:
        raise Unusable(f"--method: {error}") from error


def _principal(name: str, claims: tuple[str, ...], api_key: str) -> "Principal":
    from guardhouse.interceptors.call import Principal

    values: dict[str, list[str]] = {}
    for claim in claims:
        key, equals, value = claim.partition("=")
        if not (key and equals and value):
            raise Unusable(f"--claim: `{claim}` is not name=value; write for example roles=analyst")
        values.setdefault(key, []).append(value)
    said = {key: found[0] if len(found) == 1 else found for key, found in values.items()}
    certificate = name if name.startswith("spiffe://") else ""
    subject = "" if certificate else name
    return Principal(
        name=f"api_key:{api_key}" if api_key else name,
        certificate=certificate,
        subject=subject,
        issuer=str(said.get("iss", "")),
        api_key=api_key,
        claims=said,
    )
