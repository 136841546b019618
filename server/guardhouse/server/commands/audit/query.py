"""`guardhouse audit query`: which calls there were, and what they cost."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import click

from guardhouse.server.audit.database import Database, QueryError, searching
from guardhouse.server.audit.files import ledger_at, ledger_files
from guardhouse.server.audit.lines import as_line, as_text
from guardhouse.server.audit.question import KEYS, UNREADABLE, Query, Wanted, listing, moment, sums
from guardhouse.server.audit.sums import as_facts, as_table
from guardhouse.server.commands.audit import reading
from guardhouse.server.commands.output import note


class Moment(click.ParamType):  # type: ignore[type-arg] # generic from click 8.4 on only
    """A time, or how long ago. Gives the text that the ledger writes for it."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Read `value`; fail with what to write instead."""
        try:
            return moment(value, time.time())
        except ValueError as error:
            self.fail(str(error), param, ctx)


MOMENT: Final = Moment()


@click.command("query")
@click.argument("path", required=False, type=click.Path(path_type=Path))
@click.option(
    "--since",
    type=MOMENT,
    default=None,
    help="Calls that arrived at this time or later: 1h, 7d, or RFC 3339.",
)
@click.option("--until", type=MOMENT, default=None, help="Calls that arrived before this time.")
@click.option(
    "--principal", "principals", multiple=True, metavar="NAME", help="Calls of this principal, to the letter."
)
@click.option("--model", "models", multiple=True, metavar="NAME", help="Calls that asked for this model.")
@click.option(
    "--method",
    "methods",
    multiple=True,
    metavar="NAME",
    help="Calls of ModelInfer, or package.Service/Method.",
)
@click.option("--reason", "reasons", multiple=True, metavar="REASON", help="Calls refused for this reason.")
@click.option("--decision", type=click.Choice(["allowed", "refused"]), help="Calls with this decision.")
@click.option(
    "--sum", "keys", multiple=True, type=click.Choice(list(KEYS)), help="Sum what the calls cost, by this."
)
@click.option(
    "--limit", default=100, show_default=True, type=click.IntRange(1, 1_000_000), help="Most lines or rows."
)
@click.option("--json", "as_json", is_flag=True, help="Print lines of JSON; with --sum, one document.")
def command(path: Path | None, keys: tuple[str, ...], limit: int, as_json: bool, **wanted: Any) -> None:
    """Print the calls on the ledger at PATH that fit all that is asked, newest last; or sum what they cost.

    By default PATH is ./ledger or ./.demo/ledger. An option that may be repeated means any of its values.

    \b
    guardhouse audit query --since 1h --decision refused
    guardhouse audit query --since 7d --sum principal
    guardhouse audit query --model digits --sum hour --sum reason --json
    """
    question = Wanted(**{name: value for name, value in wanted.items() if value})
    keys = tuple(dict.fromkeys(keys))
    try:
        with reading(), searching(ledger_files(ledger_at(path))) as database:
            if keys:
                _print_sums(database.ask(sums(question, keys, limit)), keys, as_json)
            else:
                _print_lines(database.ask(listing(question, limit)), as_json)
            _note_unreadable(database)
    except QueryError as error:
        raise click.ClickException(str(error)) from error


def _print_lines(rows: Sequence[tuple[Any, ...]], as_json: bool) -> None:
    show = as_line if as_json else as_text
    for (line,) in reversed(rows):
        click.echo(show(line.encode()))


def _print_sums(rows: Sequence[tuple[Any, ...]], keys: tuple[str, ...], as_json: bool) -> None:
    total, *others = rows
    if as_json:
        facts = [as_facts(keys, row) for row in others]
        whole = as_facts((), total[len(keys) :])
        click.echo(json.dumps({"by": keys, "rows": facts, "total": whole}, indent=2))
        return
    head, *lines, last = as_table(keys, [*others, ("total", *[""] * (len(keys) - 1), *total[len(keys) :])])
    click.secho(head, bold=True)
    for line in lines:
        click.echo(line)
    click.secho(last, bold=True)


def _note_unreadable(database: Database) -> None:
    """A torn last line is usual while the server writes; more than that is for `verify` to judge."""
    ((count,),) = database.ask(Query(UNREADABLE, {}))
    if count:
        note(f"{count} lines could not be read and were left out: see `guardhouse audit verify`")
