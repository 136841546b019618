"""`guardhouse key`: an API key is shown once, listed without itself, and revoked by id or name."""

import json
import stat
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from guardhouse.interceptors.tokens.keys import mistyped


def listed(run: Any, made: Path) -> list[dict[str, Any]]:
    """The keys as `guardhouse key list --json` tells them."""
    keys: list[dict[str, Any]] = json.loads(run("key", "list", "--dir", made, "--json").out)["keys"]
    return keys


@pytest.mark.parametrize("name", [["app-web"], ["--name", "app-web"], ["app-web", "--name", "app-web"]])
def test_create_prints_the_key_once(run: Any, made: Path, name: list[str]) -> None:
    """Stdout is the bare key, and neither the store nor the list holds it."""
    said = run("key", "create", *name, "--dir", made)
    key = said.out.strip()
    assert said.status == 0
    assert not mistyped(key)
    assert "only now" in said.err
    assert key.encode() not in (made / "keys.db").read_bytes()
    assert key not in run("key", "list", "--dir", made).out
    assert [entry["name"] for entry in listed(run, made)] == ["app-web"]


def test_create_takes_note_and_expiry(run: Any, made: Path) -> None:
    """--note and --expires are kept; --json tells the key, its id and its end."""
    begun = time.time()
    options = ["--note", "for the web", "--expires", "90d", "--json"]
    data = json.loads(run("key", "create", "app-web", *options, "--dir", made).out)
    (entry,) = listed(run, made)
    assert not mistyped(data["key"])
    assert (entry["id"], entry["note"], entry["state"]) == (data["id"], "for the web", "active")
    lasts = datetime.fromisoformat(data["expires"]).timestamp() - 90 * 86_400
    assert begun - 1 <= lasts <= time.time() + 1


@pytest.mark.parametrize("by", ["id", "name"])
def test_revoke_by_id_or_name(run: Any, made: Path, by: str) -> None:
    """A revoked key is listed as such; another one stays; revoking it again is an error."""
    data = json.loads(run("key", "create", "app-web", "--dir", made, "--json").out)
    run("key", "create", "app-other", "--dir", made)
    assert run("key", "revoke", data[by], "--dir", made).status == 0
    assert {entry["name"]: entry["state"] for entry in listed(run, made)} == {
        "app-web": "revoked",
        "app-other": "active",
    }
    again = run("key", "revoke", data[by], "--dir", made)
    assert (again.status, len(again.err.splitlines())) == (1, 1)
    assert "guardhouse key list" in again.err


def test_revoke_by_name_takes_all_of_that_name(run: Any, made: Path) -> None:
    """Two keys of one name are revoked together, and --json counts them."""
    for _ in range(2):
        run("key", "create", "app-web", "--dir", made)
    assert json.loads(run("key", "revoke", "app-web", "--dir", made, "--json").out) == {"revoked": 2}


def test_list_is_a_table_for_people(run: Any, made: Path) -> None:
    """A person sees a line per key under a heading, or how to make the first key."""
    assert "guardhouse key create" in run("key", "list", "--dir", made).out
    run("key", "create", "app-web", "--dir", made)
    heading, line = run("key", "list", "--dir", made).out.splitlines()
    assert heading.split()[:3] == ["id", "name", "state"]
    assert line.split()[1:3] == ["app-web", "active"]


def test_keys_option_names_the_store_itself(run: Any, tmp_path: Path) -> None:
    """--keys needs no folder of init; creating makes the store 0600, listing and revoking do not make one."""
    store = tmp_path / "own.db"
    for command in (["list"], ["revoke", "x"]):
        said = run("key", *command, "--keys", store)
        assert (said.status, len(said.err.splitlines())) == (1, 1)
    assert not store.exists()
    assert run("key", "create", "app-web", "--keys", store).status == 0
    assert stat.S_IMODE(store.stat().st_mode) == 0o600
    assert "app-web" in run("key", "list", "--keys", store).out


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["one", "--name", "two"],
        ["bad name"],
        ["app-web", "--expires", "soon"],
        ["app-web", "--note", "two\nlines"],
    ],
)
def test_wrong_usage_makes_no_key(run: Any, made: Path, options: list[str]) -> None:
    """No name, two names, a name or expiry that cannot be: one line, nothing on stdout, no key."""
    said = run("key", "create", *options, "--dir", made)
    assert (said.status, said.out, len(said.err.splitlines())) == (2, "", 1)
    assert listed(run, made) == []


def test_broken_store_is_one_line(run: Any, made: Path) -> None:
    """A store that is no database, or open to others, is named in one line, without a traceback."""
    (made / "keys.db").chmod(0o644)
    said = run("key", "create", "app-web", "--dir", made)
    assert (said.status, len(said.err.splitlines())) == (1, 1)
    assert "chmod 600" in said.err
    (made / "keys.db").chmod(0o600)
    (made / "keys.db").write_bytes(b"not a database, but long enough to be taken for one" * 20)
    said = run("key", "list", "--dir", made)
    assert (said.status, len(said.err.splitlines())) == (1, 1)
    assert "keys.db" in said.err
