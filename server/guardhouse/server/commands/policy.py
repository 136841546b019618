"""`guardhouse policy`: what does the policy say about a call, and why?"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from guardhouse.server.commands.frame import Group
from guardhouse.server.commands.options import CONFIG, find_directory
from guardhouse.server.commands.output import emit

if TYPE_CHECKING:
    from guardhouse.interceptors.call import Principal
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

    Without --config and --policy: the configuration in this folder, or .demo. Exit code 0: allowed;
    1: denied; 2: the question cannot be answered.
    """
    policy = _policy(config_path, policy_path)
    who = _principal(principal, claims, api_key)
    explanation = policy.explain(who, _path(method), model)
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
    certificate = name if name.startswith("spiffe://") else ""
    subject = "" if certificate else name
    return Principal(
        name=name or api_key, certificate=certificate, subject=subject, api_key=api_key, claims=values
    )
