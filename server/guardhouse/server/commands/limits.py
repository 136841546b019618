"""`guardhouse limits`: what has been spent of budgets, and budgets begun anew."""

from __future__ import annotations

import getpass
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from guardhouse.server.commands.frame import Group
from guardhouse.server.commands.options import json_option, set_option
from guardhouse.server.commands.output import emit, note

if TYPE_CHECKING:
    from guardhouse.interceptors.limits.stores import Entry, Store
    from guardhouse.server.config import Config

OPERATORS: Final = "operators"  # the folder beside the ledger's files: the server holds those
TIMEOUT: Final = 5.0  # seconds for a Redis: a person can wait longer than a call

config_argument = click.argument("config", type=click.Path(path_type=Path))


class Unreachable(click.ClickException):
    """There is no store that could be asked."""

    exit_code = 2


@click.group("limits", cls=Group)
def command() -> None:
    """Show what has been spent of budgets, or begin one anew.

    Of a store of its own memory a server alone can tell: `guardhouse whoami` asks it.
    """


@command.command("show")
@config_argument
@click.option("--past", is_flag=True, help="Windows that are over, too.")
@set_option
@json_option("Print the accounts as JSON.")
def show(config: Path, overrides: tuple[str, ...], *, past: bool, as_json: bool) -> None:
    """List the accounts in the store of CONFIG, a guardhouse.yaml: how much was spent of how much.

    What servers have in hand counts as spent: up to a five-hundredth for each.

    \b
    guardhouse limits show gate/guardhouse.yaml
    guardhouse limits show gate/guardhouse.yaml --json
    """
    now = time.time()
    with opened(_settings(config, overrides)) as store:
        entries = [entry for entry in store.entries() if past or entry.ends > now]
    emit({"accounts": [_facts(entry) for entry in entries]}, as_json, _table(entries))


@command.command("reset")
@config_argument
@click.argument("account")
@set_option
@json_option("Print how many windows were begun anew as JSON.")
def reset(config: Path, account: str, overrides: tuple[str, ...], *, as_json: bool) -> None:
    """Forget what was spent from ACCOUNT, in all windows; `limits show` prints its name.

    It is written down before it is done, in the folder `operators` of the ledger. Units that servers have in
    hand stay theirs.

    \b
    guardhouse limits reset gate/guardhouse.yaml "tenants calls/day claim.tenant=acme"
    """
    settings = _settings(config, overrides)
    with opened(settings) as store:
        if not any(entry.name == account for entry in store.entries()):
            raise click.ClickException(f"there is no account {account!r}: see `guardhouse limits show`")
        _write_down(settings, account)
        count = store.reset(account)
    emit({"reset": count}, as_json, f"began {account} anew: {count} window{'s' if count != 1 else ''}")
    if not as_json:
        note(f"written down in {settings.audit.path / OPERATORS}, for `guardhouse audit verify`")


def _settings(config: Path, overrides: tuple[str, ...]) -> Config:
    from guardhouse.server.config import load

    return load(config, overrides)


@contextmanager
def opened(settings: Config) -> Iterator[Store]:
    """The store, if it outlasts a server. A file that no server has made yet is not made."""
    from guardhouse.interceptors.limits.stores import StoreError
    from guardhouse.server.opened import budget_store

    kind, _, path = settings.limits.store.partition(":")
    if kind == "memory":
        raise Unreachable(
            "limits.store is memory, which its server alone can tell of; write sqlite:budgets.db"
        )
    if kind == "sqlite" and not Path(path).exists():
        raise Unreachable(f"{path} is not there: no server has kept budgets in it yet")
    try:
        with closing(budget_store(settings.limits, TIMEOUT)) as store:
            yield store
    except StoreError as error:
        raise Unreachable(str(error)) from error


def _write_down(settings: Config, account: str) -> None:
    """Put it on a ledger of the operators' own, keyed and signed as the server's is."""
    from guardhouse.interceptors.ledger import Ledger
    from guardhouse.interceptors.ledger.chain import stamp
    from guardhouse.server.opened import ledger_keys

    key, signer = ledger_keys(settings.audit)
    folder = settings.audit.path / OPERATORS
    with closing(Ledger(folder, durability="strict", key=key, signer=signer)) as book:
        who = getpass.getuser()
        entry = {"kind": "limits.reset", "time": stamp(time.time()), "account": account, "by": who}
        if not book.wait(book.append(entry), TIMEOUT):
            raise click.ClickException(f"it could not be written down, and was not done: {book.trouble}")


def _unit(entry: Entry) -> str:
    """What is counted: it is in the name of the account."""
    return entry.name.split()[1].partition("/")[0] if " " in entry.name else ""


def _left(entry: Entry) -> int:
    return max(0, entry.limit - entry.spent)


def _facts(entry: Entry) -> dict[str, Any]:
    """What is shown of an account, in the unit that is in its name; its end as ISO 8601 in UTC."""
    from guardhouse.interceptors.limits.budget.units import smallest

    scale = smallest(_unit(entry))
    numbers = {"limit": entry.limit, "spent": entry.spent, "left": _left(entry)}
    return {
        "account": entry.name,
        "window": entry.window,
        **{key: number if scale == 1 else number / scale for key, number in numbers.items()},
        "ends": datetime.fromtimestamp(entry.ends, UTC).isoformat(timespec="seconds"),
    }


def _table(entries: Iterable[Entry]) -> str:
    rows = [("account", "window", "spent", "limit", "left"), *map(_row, entries)]
    if len(rows) == 1:
        return "nothing has been spent in any window that is not over"
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if place < 2 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def _row(entry: Entry) -> tuple[str, ...]:
    """The cells of an account: money to its last digit, never in billionths, and never as 1e-07."""
    from guardhouse.interceptors.limits.budget.units import count_words

    numbers = entry.spent, entry.limit, _left(entry)
    return entry.name, entry.window, *(count_words(number, _unit(entry)) for number in numbers)
