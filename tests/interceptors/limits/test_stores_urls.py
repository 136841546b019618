"""Where a Redis is, read from a URL, and which lines of configuration name a store."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from guardhouse.interceptors.limits.stores import StoreError
from guardhouse.interceptors.limits.stores.at import open_store, problem
from guardhouse.interceptors.limits.stores.redis_url import parse

from .accounts import account, take


@pytest.mark.parametrize(
    ("url", "kind", "tls", "hosts", "place", "db"),
    [
        ("redis://h", "server", False, (("h", 6379),), "", 0),
        ("redis://h:1/", "server", False, (("h", 1),), "", 0),
        ("redis://h:1/3", "server", False, (("h", 1),), "", 3),
        ("rediss://h:1?db=4", "server", True, (("h", 1),), "", 4),
        ("redis://[::1]:1", "server", False, (("::1", 1),), "", 0),
        ("unix:///run/r.sock?db=2", "socket", False, (), "/run/r.sock", 2),
        ("redis+sentinel://a:1,b/main", "sentinel", False, (("a", 1), ("b", 26379)), "main", 0),
        ("rediss+sentinel://a/main?db=1", "sentinel", True, (("a", 26379),), "main", 1),
        ("redis+cluster://a:1,b:2", "cluster", False, (("a", 1), ("b", 2)), "", 0),
        ("rediss+cluster://a", "cluster", True, (("a", 6379),), "", 0),
    ],
)
def test_forms(
    url: str, kind: str, tls: bool, hosts: tuple[tuple[str, int], ...], place: str, db: int
) -> None:
    """Every form that is understood, its hosts, and the port that is meant if none is written."""
    found = parse(url)
    assert (found.kind, found.tls, found.hosts, found.place, found.db) == (kind, tls, hosts, place, db)
    assert (found.user, found.password) == ("", "")


@pytest.mark.parametrize(
    "url",
    ["redis://u%40:s%3Acret%2F@h:1", "unix://u%40:s%3Acret%2F@/r", "redis+cluster://u%40:s%3Acret%2F@a,b"],
)
def test_user_and_password(url: str) -> None:
    """Both are percent-decoded, and neither is in what is shown."""
    found = parse(url)
    assert (found.user, found.password) == ("u@", "s:cret/")
    assert "cret" not in found.shown + repr(found)
    assert "@" not in found.shown
    assert parse("redis://:s@h").user == ""


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://h", "no URL of a Redis"),
        ("redis:h", "a path that means nothing"),
        ("redis://h:99999", "not every host"),
        ("redis://h:0", "not every host"),
        ("redis://h:x", "not every host"),
        ("redis://a b", "not every host"),
        ("redis://[::1", "no URL of a Redis"),
        ("redis://a,b", "more than one host"),
        ("redis://h/x", "a path that means nothing"),
        ("redis://h/1?db=2", "given twice"),
        ("redis://h?timeout=9", "only db=NUMBER"),
        ("redis://h?db=-1", "only db=NUMBER"),
        ("redis://h?db=1&db=2", "only db=NUMBER"),
        ("redis://h#x", "no URL of a Redis"),
        ("unix://r.sock", "third slash"),
        ("unix://", "is missing"),
        ("redis+sentinel://h", "is missing"),
        ("redis+cluster://h?db=1", "but database 0"),
        ("redis+cluster://h/1", "a path that means nothing"),
        ("redis://user@h", "without a password"),
    ],
)
def test_mistakes(url: str, told: str) -> None:
    """What is not understood is refused, and what to write is told."""
    with pytest.raises(ValueError, match=told):
        parse(url)


@pytest.mark.parametrize(
    "url", ["redis://u:hunter2@h:x", "redis://u:hunter2@a,b", "http://u:hunter2@h", "redis://u:hunter2@[h"]
)
def test_mistakes_keep_the_secret(url: str) -> None:
    """Whatever is wrong with a URL, the words about it have no password in them."""
    assert problem(url)
    assert "hunter2" not in problem(url)


@pytest.mark.parametrize("where", ["memory", "sqlite:budgets.db", "redis://h", "redis+cluster://h"])
def test_what_names_a_store(where: str) -> None:
    """The kinds of store there are."""
    assert problem(where) == ""


@pytest.mark.parametrize("where", ["", "Memory", "sqlite", "sqlite:", "sqlite3:x", "/a/b.db", "postgres://h"])
def test_what_names_none(where: str) -> None:
    """Anything else is refused with what to write."""
    assert "sqlite:PATH" in problem(where)
    with pytest.raises(ValueError, match="sqlite:PATH"):
        open_store(where)


def test_opened(tmp_path: Path) -> None:
    """A store that can be away stands behind a breaker: after its trouble it is not tried again at once."""
    take(open_store("memory"), 1, account())
    store = open_store(f"sqlite:{tmp_path / 'budgets.db'}")
    assert take(store, 1, account()) == 1
    (tmp_path / "budgets.db").unlink()
    with pytest.raises(StoreError, match=r"budgets\.db: No such file"):
        take(store, 1, account())
    with pytest.raises(StoreError, match="not tried"):
        take(store, 1, account())
    store.close()


@pytest.mark.parametrize("url", ["redis://:hunter2@h", "redis+cluster://:hunter2@h"])
def test_without_redis_py(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """The package that speaks to a Redis is not part of every installation: the start says how to get it."""
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(StoreError, match=r"^redis.*://h: .*pip install 'guardhouse\[redis\]'$"):
        open_store(url)


def test_redis_opened_while_it_is_away() -> None:
    """A Redis that is away when the server starts is no reason not to start: its first use tells."""
    store = open_store("redis://:hunter2@127.0.0.1:1")
    with pytest.raises(StoreError, match=r"^redis://127\.0\.0\.1:1: ConnectionError") as caught:
        take(store, 1, account())
    assert "hunter2" not in str(caught.value)
    with pytest.raises(StoreError, match="not tried"):
        take(store, 1, account())
    store.close()
