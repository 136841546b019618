"""`guardhouse top`: live, who asks what, what is refused, and what it costs."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final

import click
import orjson

from guardhouse.server.audit.files import ledger_at, ledger_files
from guardhouse.server.audit.follow import Follower
from guardhouse.server.commands.audit import reading
from guardhouse.server.commands.options import Duration
from guardhouse.server.top.screen import drawing
from guardhouse.server.top.table import View, facts, lines
from guardhouse.server.top.window import KEYS, Row, Window

LOOK_BACK: Final = 100_000  # lines that are read of what was there before
HEAD: Final = 2  # which line of the table has the heads
PAGE: Final = (120, 1000)  # columns and lines where there is no terminal

Look = Callable[[], tuple[list[Row], View]]


@click.command("top")
@click.argument("path", required=False, type=click.Path(path_type=Path))
@click.option(
    "--by", type=click.Choice(KEYS), default="principal", show_default=True, help="One row for each."
)
@click.option("--window", type=Duration(), default="60s", show_default=True, help="How far back it looks.")
@click.option("--interval", type=Duration(), default="1s", show_default=True, help="How often it looks.")
@click.option("--once", is_flag=True, help="Look once, and end.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object, on one line, for each look.")
def command(
    path: Path | None, by: str, window: timedelta, interval: timedelta, once: bool, as_json: bool
) -> None:
    """Show who asks what, how often, what is refused and what it costs, from the ledger at PATH.

    PATH is the ledger's folder, or the guardhouse.yaml that names it; by default ./ledger or ./.demo/ledger.
    q or Ctrl-C ends it.
    """
    ledger = ledger_of(path)
    with reading():
        ledger = ledger_at(ledger)
        with Follower(partial(ledger_files, ledger), LOOK_BACK) as follower:
            look = partial(_look, follower, Window(window.total_seconds(), by), str(ledger), by)
            try:
                _show(look, interval.total_seconds(), once, as_json)
            except KeyboardInterrupt:  # how looking ends
                return


def ledger_of(path: Path | None) -> Path | None:
    """The ledger that *path* means: itself, or the one that a configuration names."""
    if path is None or path.suffix not in {".yaml", ".yml"}:
        return path
    from guardhouse.server.config import load

    return load(path).audit.path


def _show(look: Look, interval: float, once: bool, as_json: bool) -> None:
    if as_json or once or not (sys.stdin.isatty() and sys.stdout.isatty()):
        for rows, view in _looks(look, interval, once):
            click.echo(
                json.dumps(facts(rows, view)) if as_json else "\n".join(lines(rows, view, *PAGE)) + "\n"
            )
        return
    with drawing() as screen:
        while True:
            screen.draw(lines(*look(), *screen.size()), HEAD)
            if not screen.wait(interval):
                return


def _looks(look: Look, interval: float, once: bool) -> Iterator[tuple[list[Row], View]]:
    yield look()
    while not once:
        time.sleep(interval)
        yield look()


def _look(follower: Follower, window: Window, title: str, by: str) -> tuple[list[Row], View]:
    """Take what is new on the ledger, and see what the window has."""
    while (some := follower.read()) is not None:
        for line in some:
            window.take(_entry(line), time.time())
    now = time.time()
    return window.rows(now), View(title, now, window.covered(now), by)


def _entry(line: bytes) -> dict[str, Any]:
    """The entry in *line*; {} where it is none."""
    try:
        entry = orjson.loads(line)
    except ValueError:
        return {}
    return entry if isinstance(entry, dict) else {}
