"""`guardhouse serve`: put the guard around the models of a configuration, until told to stop."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path

import click
import uvloop

from guardhouse.interceptors.ledger import LedgerError
from guardhouse.interceptors.record.collector import TracingError
from guardhouse.server.app import PortInUse, serve
from guardhouse.server.assembly import Parts, assembled
from guardhouse.server.commands.options import set_option
from guardhouse.server.config import Config, check_files, load
from guardhouse.server.models import ModelLoadError
from guardhouse.server.report import report
from guardhouse.server.scheduling import run_in_batches
from guardhouse.server.transport import unsafe_grpcio

PATIENCE = 1.0  # seconds for the threads of models, once everything is closed


@click.command("serve", short_help="Serve the models of a configuration, guarded.")
@click.argument("config", type=click.Path(path_type=Path))
@set_option
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
    run_in_batches()
    try:
        with assembled(settings) as parts:
            uvloop.run(serve(settings, parts, lambda address: _announce(settings, parts, address, as_json)))
    except (PortInUse, ModelLoadError, LedgerError, TracingError) as error:
        raise click.ClickException(str(error)) from error
    click.echo("stopped; every call is on the ledger", err=True)
    _leave()


def _leave() -> None:
    """End the process, also where a model's thread does not come to its end: Python would wait for it."""
    for number in (signal.SIGTERM, signal.SIGINT):  # Python puts the deadly defaults back as it ends
        signal.signal(number, signal.SIG_IGN)
    until = time.monotonic() + PATIENCE
    others = [each for each in threading.enumerate() if each is not threading.main_thread()]
    theirs = [each for each in others if not each.daemon]
    for thread in theirs:
        thread.join(max(0.0, until - time.monotonic()))
    if not any(thread.is_alive() for thread in theirs):
        return
    click.echo("guardhouse: warning: a model still computes and is given up", err=True)
    logging.shutdown()
    sys.stdout.flush()
    os._exit(0)  # ledger and spans are closed by now


def _announce(settings: Config, parts: Parts, address: str, as_json: bool) -> None:
    facts = report(settings, parts, address)
    if as_json:
        click.echo(json.dumps(facts))
        return
    width = max(map(len, facts))
    for name, value in facts.items():
        click.echo(f"  {name:<{width}}  {', '.join(value) if isinstance(value, list) else value}")
    click.secho(f"serving on {address}; stop with Ctrl-C", fg="green")
