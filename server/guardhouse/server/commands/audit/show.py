"""`guardhouse audit show`: what was captured of a call."""

import json
from pathlib import Path
from typing import Final

import click

from guardhouse.interceptors.capture.find import find
from guardhouse.server.audit.captured import as_facts, as_text
from guardhouse.server.commands.audit import reading
from guardhouse.server.commands.output import note

FOLDERS: Final = ("captures", ".demo/captures")


@click.command("show")
@click.argument("wanted", metavar="REF|CALL-ID")
@click.option(
    "--captures",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="The folder of captures.  [default: ./captures or ./.demo/captures]",
)
@click.option(
    "--json", "as_json", is_flag=True, help="Print each message as a line of JSON, its bytes in base64."
)
def command(wanted: str, folder: Path | None, as_json: bool) -> None:
    """Print the inputs and outputs that were captured of one call.

    REF is what the ledger's line has as `capture`; with the id of a call alone every file is looked through.
    What is printed is what a caller sent and was answered, unredacted.
    """
    folder = folder or next((Path(each) for each in FOLDERS if Path(each).is_dir()), None)
    if folder is None or not folder.is_dir():
        raise click.ClickException("no folder of captures here: name it with --captures")
    note("what follows was sent and answered in confidence: show it to those alone who may read the captures")
    found = False
    try:
        with reading():
            for facts in find(folder, wanted):
                click.echo(json.dumps(as_facts(facts)) if as_json else as_text(facts))
                found = True
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    if not found:
        raise click.ClickException(
            "nothing is kept of this call: it was not captured, dropped, or is deleted"
        )
