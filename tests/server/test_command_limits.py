"""`guardhouse limits`: what was spent, and budgets begun anew, which is written down."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from guardhouse.interceptors.limits.stores import Account, Want
from guardhouse.interceptors.limits.stores.sqlite import SqliteStore

NAME = "tenants calls/day claim.tenant=acme"


@pytest.fixture
def config(tmp_path: Path, run) -> Path:
    """A configuration whose store is a SQLite file beside it, not made yet."""
    assert run("init", tmp_path / "gate").status == 0
    file = tmp_path / "gate/guardhouse.yaml"
    file.write_text(file.read_text().replace("store: memory", "store: sqlite:budgets.db"))
    return file


@pytest.fixture
def spent(config: Path) -> Path:
    """The same, once something was spent: in this window and in one that is over."""
    store = SqliteStore(config.parent / "budgets.db")
    later = time.time() + 3600
    accounts = [
        Account(NAME, "2099-01-01", 1000, later),
        Account("all seconds/hour", "2099-01-01T10", 60_000, later),
        Account(NAME, "2020-01-01", 1000, time.time() - 60),
    ]
    for account in accounts:
        store.take([Want(account, 250, 250)])
    store.close()
    return config


def test_show_lists_what_was_spent(spent: Path, run) -> None:
    """For a person in columns, with time in seconds; windows that are over only if asked for."""
    said, past = run("limits", "show", spent), run("limits", "show", spent, "--past")

    lines = [line.split() for line in said.out.splitlines()]
    assert lines[0] == ["account", "window", "spent", "limit", "left"]
    assert lines[1] == ["all", "seconds/hour", "2099-01-01T10", "0.25", "60", "59.75"]
    assert lines[2] == [*NAME.split(), "2099-01-01", "250", "1000", "750"]
    assert len(lines) == 3
    assert len(past.out.splitlines()) == 4


def test_show_tells_money_in_its_currency(config: Path, run) -> None:
    """To the last digit, never in billionths, and never as 1.5e-07."""
    store = SqliteStore(config.parent / "budgets.db")
    account = Account("purse USD/day", "2099-01-01", 12_500_000_000, time.time() + 3600)
    store.take([Want(account, 150, 150)])
    store.close()
    (_, line) = run("limits", "show", config).out.splitlines()
    (told,) = json.loads(run("limits", "show", config, "--json").out)["accounts"]

    assert line.split() == ["purse", "USD/day", "2099-01-01", "0.00000015", "12.50", "12.49999985"]
    assert (told["limit"], told["spent"], told["left"]) == (12.5, 1.5e-07, 12.49999985)


def test_show_for_a_program(spent: Path, run) -> None:
    """The same as JSON, with the end of the window."""
    accounts = json.loads(run("limits", "show", spent, "--json").out)["accounts"]

    assert [account["left"] for account in accounts] == [59.75, 750]
    assert all(account["ends"].endswith("+00:00") for account in accounts)


def test_reset_begins_anew_and_is_written_down(spent: Path, run) -> None:
    """Every window of the account is forgotten; who did it is on a ledger that verifies."""
    said = run("limits", "reset", spent, NAME)
    left = json.loads(run("limits", "show", spent, "--past", "--json").out)["accounts"]
    folder = spent.parent / "ledger/operators"
    lines = [json.loads(line) for line in (folder / "ledger.jsonl").read_text().splitlines()]
    (entry,) = [line for line in lines if line["kind"] == "limits.reset"]

    assert (said.status, said.out) == (0, f"began {NAME} anew: 2 windows\n")
    assert [account["account"] for account in left] == ["all seconds/hour"]
    assert entry["account"] == NAME
    assert entry["by"]
    assert run("audit", "verify", folder).status == 0


def test_reset_twice_goes_on_in_one_chain(spent: Path, run) -> None:
    """Each reset continues the ledger of the ones before."""
    assert run("limits", "reset", spent, NAME).status == 0
    assert run("limits", "reset", spent, "all seconds/hour").status == 0
    verdict = json.loads(run("audit", "verify", spent.parent / "ledger/operators", "--json").out)

    assert verdict["intact"]


def test_an_account_that_is_not_there(spent: Path, run) -> None:
    """A slip in the name is an error, writes nothing down, and says where names are."""
    said = run("limits", "reset", spent, "tenants")

    assert (said.status, said.out) == (1, "")
    assert "there is no account 'tenants': see `guardhouse limits show`" in said.err
    assert not (spent.parent / "ledger/operators").exists()


def test_what_cannot_be_written_down_is_not_done(spent: Path, run) -> None:
    """Nobody resets a budget without a trace."""
    (spent.parent / "ledger").mkdir(exist_ok=True)
    (spent.parent / "ledger/operators").write_text("in the way")
    said = run("limits", "reset", spent, NAME)

    assert said.status == 1
    assert len(json.loads(run("limits", "show", spent, "--past", "--json").out)["accounts"]) == 3


def test_a_store_that_nobody_has_made(config: Path, run) -> None:
    """No empty file is made by looking: it would hide a slip in the path."""
    said = run("limits", "show", config)

    assert said.status == 2
    assert "budgets.db is not there: no server has kept budgets in it yet" in said.err
    assert not (config.parent / "budgets.db").exists()


def test_memory_is_its_servers_own(config: Path, run) -> None:
    """What another process holds in memory cannot be told, and the error says what to do."""
    said = run("limits", "show", config, "--set", "limits.store=memory")

    assert said.status == 2
    assert "limits.store is memory, which its server alone can tell of; write sqlite:budgets.db" in said.err


def test_a_redis_that_is_not_there(config: Path, run) -> None:
    """One line without the password."""
    said = run("limits", "show", config, "--set", "limits.store=redis://127.0.0.1:1")

    assert said.status == 2
    assert "redis://127.0.0.1:1" in said.err
    assert "Traceback" not in said.err
