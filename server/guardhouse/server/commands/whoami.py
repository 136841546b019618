"""`guardhouse whoami`: who the server takes you for."""

import json
from dataclasses import asdict
from typing import Any

import click

from .infer import Connection, calling, connection_options


@click.command("whoami")
@connection_options
def command(*, as_json: bool, **options: Any) -> None:
    """Print who the server takes you for: subject, roles, what proved it, and what is left of your limits."""
    with calling(Connection(**options), as_json=as_json) as client:
        from guardhouse.clients import terminal

        identity = client.whoami()
        click.echo(json.dumps(asdict(identity)) if as_json else terminal.identity_text(identity))
