"""`guardhouse audit tail`: the newest entries, and those that come."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

import click

from guardhouse.server.audit.files import ledger_at, ledger_files
from guardhouse.server.audit.follow import Follower
from guardhouse.server.audit.lines import as_line, as_text
from guardhouse.server.commands.audit import reading

FOLLOW_SECONDS: Final = 0.2


@click.command("tail")
@click.argument("path", required=False, type=click.Path(path_type=Path))
@click.option("--follow", "-f", is_flag=True, help="Go on printing new entries, until Ctrl-C.")
@click.option(
    "--last", "-n", default=20, show_default=True, type=click.IntRange(min=0), help="How many entries."
)
@click.option("--json", "as_json", is_flag=True, help="Print each entry as a line of JSON.")
def command(path: Path | None, follow: bool, last: int, as_json: bool) -> None:
    """Print the newest entries of the ledger at PATH, a folder or a file.

    By default PATH is ./ledger or ./.demo/ledger. One line for each entry, oldest first. --follow goes on
    when the ledger is rotated, replaced or cut.
    """
    show = as_line if as_json else as_text
    with reading(), Follower(partial(ledger_files, ledger_at(path)), last) as follower:
        _print_all(follower, show)
        try:
            while follow:
                time.sleep(FOLLOW_SECONDS)
                _print_all(follower, show)
        except KeyboardInterrupt:  # how following ends
            click.echo(err=True)


def _print_all(follower: Follower, show: Callable[[bytes], str]) -> None:
    """Print what is there and was not printed yet."""
    while (lines := follower.read()) is not None:
        for line in lines:
            click.echo(show(line))
