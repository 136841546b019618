"""`guardhouse init`: a folder with everything a guarded model needs to start."""

from datetime import UTC, datetime
from pathlib import Path

import click

from guardhouse.server import scaffold
from guardhouse.server.commands.options import force_option, json_option
from guardhouse.server.commands.output import emit, ok, step
from guardhouse.server.pki import check_trust_domain

EXAMPLE = """\b
Example:
  guardhouse init demo
  guardhouse init fraud --trust-domain ml.example --model scores=fraud.model:score
"""


@click.command("init", epilog=EXAMPLE)
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@force_option("Replace the files that init makes, keys and API keys included; leave all others alone.")
@click.option(
    "--trust-domain",
    default=scaffold.TRUST_DOMAIN,
    show_default=True,
    metavar="NAME",
    help="SPIFFE trust domain of the certificates.",
)
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="NAME=TARGET",
    help="Serve a module:object or a .onnx file as NAME; may be repeated. By default, the digits example.",
)
@json_option("Print the files made as JSON.")
def command(
    directory: Path, trust_domain: str, models: tuple[str, ...], *, force: bool, as_json: bool
) -> None:
    """Make DIR with configuration, policy, development certificates, token key and client profile.

    The authority lives for a year, its certificates and the client's token for 30 days. Nothing that exists
    is touched without --force. Keys have mode 0600, and are for development only.
    """
    try:
        check_trust_domain(trust_domain)
        chosen = dict(scaffold.parse_model(model, directory) for model in models)
    except ValueError as error:
        raise click.UsageError(str(error), click.get_current_context()) from error
    files = scaffold.plan(trust_domain=trust_domain, models=chosen or scaffold.MODELS, now=datetime.now(UTC))
    made = scaffold.make(directory, files, force=force)
    if as_json:
        emit({"directory": str(directory), "files": [str(path) for path in made]}, as_json, "")
    else:
        tell(directory, made, next(iter(chosen or scaffold.MODELS)))


def tell(directory: Path, made: list[Path], model: str) -> None:
    """Say what was made, and what to do next."""
    ok(f"made in {directory}:")
    click.echo("\n".join(f"  {path.relative_to(directory)}" for path in made))
    click.echo(
        f"\nA token for subject {scaffold.SUBJECT!r}, good for 30 days, is in {directory / 'token'}. Next:"
    )
    step(f"guardhouse serve {directory / 'guardhouse.yaml'}")
    step(f"guardhouse infer {model} --input x.npy --profile {directory}")
