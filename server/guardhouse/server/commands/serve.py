"""`guardhouse serve`: put the guard around the models of a configuration, until told to stop."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import click
import uvloop

from guardhouse.interceptors.ledger import LedgerError
from guardhouse.server.app import PortInUse, serve
from guardhouse.server.assembly import Parts, assembled
from guardhouse.server.config import Config, check_files, load
from guardhouse.server.models import ModelLoadError
from guardhouse.server.report import report
from guardhouse.server.transport import unsafe_grpcio


@click.command("serve", short_help="Serve the models of a configuration, guarded.")
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Put a value over the file's.")
@click.option("--json", "as_json", is_flag=True, help="Print the start-up report as one line of JSON.")
def command(config: Path, overrides: tuple[str, ...], as_json: bool) -> None:
    """Serve the models of CONFIG, a guardhouse.yaml, until SIGTERM or Ctrl-C; then drain and exit 0.

    \b
    guardhouse serve demo/guardhouse.yaml
    guardhouse serve demo/guardhouse.yaml --set listen=127.0.0.1:9443
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("guardhouse.interceptors").setLevel(logging.INFO)
    if warning := unsafe_grpcio():
        click.echo(f"guardhouse: warning: {warning}", err=True)
    settings = load(config, overrides)
    check_files(settings)
    try:
        with assembled(settings) as parts:
            uvloop.run(serve(settings, parts, lambda address: _announce(settings, parts, address, as_json)))
    except (PortInUse, ModelLoadError, LedgerError) as error:
        raise click.ClickException(str(error)) from error
    click.echo("stopped; every call is on the ledger", err=True)


def _announce(settings: Config, parts: Parts, address: str, as_json: bool) -> None:
    facts = report(settings, parts, address)
    if as_json:
        click.echo(json.dumps(facts))
        return
    width = max(map(len, facts))
    for name, value in facts.items():
        click.echo(f"  {name:<{width}}  {', '.join(value) if isinstance(value, list) else value}")
    click.secho(f"serving on {address}; stop with Ctrl-C", fg="green")
