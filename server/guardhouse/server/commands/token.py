"""`guardhouse token`: tokens of the development issuer."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from guardhouse.server import issuer
from guardhouse.server.commands.frame import Group
from guardhouse.server.commands.options import (
    Duration,
    dir_option,
    find_directory,
    json_option,
    load_certificate,
    read_file,
)
from guardhouse.server.commands.output import emit


@click.group("token", cls=Group)
def command() -> None:
    """Issue tokens from the development issuer."""


@command.command("issue")
@click.option("--subject", required=True, metavar="NAME", help="Whom the token names: `sub`.")
@click.option("--role", "roles", multiple=True, metavar="ROLE", help="A value of `roles`; may be repeated.")
@click.option(
    "--ttl", "lifetime", type=Duration(), default="1h", show_default=True, help="How long it is valid."
)
@click.option("--audience", default=issuer.AUDIENCE, show_default=True, help="Whom it is for: `aud`.")
@click.option(
    "--claim",
    "claims",
    multiple=True,
    metavar="NAME=VALUE",
    help="One more claim; VALUE is JSON where it reads as JSON, else text; may be repeated.",
)
@click.option(
    "--bind",
    "certificate",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="CERT.PEM",
    help="Only the holder of this client certificate may use the token (RFC 8705).",
)
@dir_option
@json_option("Print the token and its claims as JSON.")
def issue(
    subject: str,
    roles: tuple[str, ...],
    lifetime: timedelta,
    audience: str,
    claims: tuple[str, ...],
    certificate: Path | None,
    directory: Path | None,
    *,
    as_json: bool,
) -> None:
    """Sign a token with DIR/pki/token.key and print it: nothing else goes to stdout.

    Example: guardhouse token issue --subject ann --role analyst --ttl 15m
    """
    path = find_directory(directory) / "pki" / "token.key"
    try:
        key = issuer.load_key(read_file(path))
    except ValueError as error:
        raise click.ClickException(f"{path}: {error}") from error
    try:
        token = issuer.issue_token(
            key,
            subject,
            roles=roles,
            now=datetime.now(UTC).timestamp(),
            ttl=lifetime.total_seconds(),
            audience=audience,
            claims=parse_claims(claims),
            bound_to=issuer.thumbprint(load_certificate(certificate)) if certificate else None,
        )
    except ValueError as error:
        raise click.UsageError(str(error), click.get_current_context()) from error
    emit({"token": token.text, "kid": token.kid, "claims": token.claims}, as_json, token.text)


def parse_claims(pairs: tuple[str, ...]) -> dict[str, Any]:
    """Read NAME=VALUE pairs. Raises ValueError for one without a name, or a name given twice."""
    claims: dict[str, Any] = {}
    for pair in pairs:
        name, mark, value = pair.partition("=")
        if not mark or not name:
            raise ValueError(f"{pair!r} is no claim: write NAME=VALUE")
        if name in claims:
            raise ValueError(f'the claim {name!r} is given twice: write a list, {name}=\'["a", "b"]\'')
        claims[name] = parse_value(value)
    return claims


def parse_value(text: str) -> Any:
    """Return the JSON value of `text`, or `text` itself where it is none (RFC 8259: NaN is none)."""
    try:
        return json.loads(text, parse_constant=reject)
    except ValueError:
        return text


def reject(constant: str) -> None:
    """Refuse what JSON has not, and Python's reader has: NaN and the infinities."""
    raise ValueError(constant)
