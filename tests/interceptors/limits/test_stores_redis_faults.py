"""What goes wrong with a Redis: told in one line, nothing half done, and over when it is over."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from guardhouse.interceptors.limits.stores import StoreError, Want
from guardhouse.interceptors.limits.stores.breaker import PAUSE, Breaker
from guardhouse.interceptors.limits.stores.redis import RedisStore

from .accounts import WINDOW, account, spent, take
from .redis_servers import HAS_REDIS, RedisServer, running, wait_for

SHORT = 0.2  # seconds that a server is given which will not answer
KEY = f"{{guardhouse}}:budget:ann@{WINDOW}"


@pytest.fixture
def store(own_redis: RedisServer) -> RedisStore:
    """A store in which ann has spent 3 of 10, in a Redis to be maltreated."""
    made = RedisStore(own_redis.url, timeout=5)
    take(made, 3, account())
    return made


def _fails(store: RedisStore, told: str) -> None:
    """In one line; and of two accounts, nothing is taken from either."""
    with pytest.raises(StoreError, match=rf"^redis://127\.0\.0\.1:\d+: [^\n]*{told}[^\n]*$"):
        store.take([Want(account("bob"), 1, 1), Want(account(), 1, 1)])
    with pytest.raises(StoreError, match=r"^redis://[^\n]+$"):
        store.give([(account(), 1)])


def test_stopped(store: RedisStore, own_redis: RedisServer) -> None:
    """Refused while it is gone; used again by the next who asks. Without persistence it has forgotten."""
    own_redis.stop()
    _fails(store, "refused")
    own_redis.start()
    assert take(store, 1, account()) == 1
    assert spent(store) == {("ann", WINDOW): 1}


def test_started_anew_between(store: RedisStore, own_redis: RedisServer) -> None:
    """A restart that nobody noticed fails nobody: a connection that has been closed is not used."""
    own_redis.stop()
    own_redis.start()
    assert take(store, 1, account()) == 1


def test_frozen(own_redis: RedisServer) -> None:
    """A server that hangs is given its time and no more. What it was asked it may do once it wakes; then that
    is spent, and no more than once for each time it was asked.
    """
    store = RedisStore(own_redis.url, timeout=SHORT)
    take(store, 3, account())
    own_redis.signal(signal.SIGSTOP)
    try:
        for _ in range(2):
            with pytest.raises(StoreError, match="Timeout"):
                take(store, 1, account())
    finally:
        own_redis.signal(signal.SIGCONT)
    wait_for(lambda: own_redis.ask("PING"))
    assert 3 <= spent(store)["ann", WINDOW] <= 5


def test_frozen_behind_a_breaker(own_redis: RedisServer) -> None:
    """One caller waits for a server that hangs; the next do not; woken, it is used again after the pause."""
    now = 100.0
    store = Breaker(RedisStore(own_redis.url, timeout=SHORT), lambda: now)
    own_redis.signal(signal.SIGSTOP)
    try:
        with pytest.raises(StoreError, match="Timeout"):
            take(store, 1, account())
        with pytest.raises(
            StoreError, match=r"^not tried, having just failed: redis://127\.0\.0\.1:\d+: Timeout"
        ):
            take(store, 1, account())
    finally:
        own_redis.signal(signal.SIGCONT)
    wait_for(lambda: own_redis.ask("PING"))
    now += PAUSE
    assert take(store, 1, account()) == 1


def test_scripts_flushed(store: RedisStore, own_redis: RedisServer) -> None:
    """A lost script is sent again, unnoticed."""
    for _ in range(2):
        own_redis.ask("SCRIPT", "FLUSH")
        assert take(store, 1, account()) == 1
        own_redis.ask("SCRIPT", "FLUSH")
        store.give([(account(), 1)])
    assert spent(store) == {("ann", WINDOW): 3}


def test_all_flushed(store: RedisStore, own_redis: RedisServer) -> None:
    """What Redis is told to forget, is forgotten: as the docstring says."""
    own_redis.ask("FLUSHALL")
    assert "FLUSHALL" in str(RedisStore.__doc__)
    assert take(store, 10, account()) == 10


def test_full(store: RedisStore, own_redis: RedisServer) -> None:
    """No memory left: nothing is taken, nothing is thrown out to make room; with room again, all goes on."""
    own_redis.ask("CONFIG", "SET", "maxmemory", "1")
    _fails(store, "OutOfMemoryError|OOM")
    own_redis.ask("CONFIG", "SET", "maxmemory", "0")
    assert spent(store) == {("ann", WINDOW): 3}
    assert take(store, 1, account()) == 1


@pytest.mark.parametrize(
    "command", [("SET", KEY, "x"), ("HSET", KEY, "spent", "many"), ("HSET", KEY, "spent", "")]
)
def test_not_one_of_ours(store: RedisStore, own_redis: RedisServer, command: tuple[str, ...]) -> None:
    """A key in our place that is no hash, or no number: nothing is taken from the other account either."""
    own_redis.ask("DEL", KEY)
    own_redis.ask(*command)
    with pytest.raises(StoreError, match=r"^redis://[^\n]+$"):
        store.take([Want(account("bob"), 1, 1), Want(account(), 1, 1)])
    assert own_redis.ask("KEYS", "*bob*") == []
    own_redis.ask("DEL", KEY)
    assert take(store, 1, account()) == 1


def test_a_replica(own_redis: RedisServer, tmp_path: Path) -> None:
    """A replica refuses; promoted, it knows what was spent, and goes on although it never had the scripts."""
    with running(tmp_path / "replica", "--replicaof", f"127.0.0.1 {own_redis.port}") as replica:
        primary, store = RedisStore(own_redis.url, timeout=5), RedisStore(replica.url, timeout=5)
        take(primary, 3, account())
        wait_for(lambda: replica.ask("EXISTS", KEY))
        _fails(store, "ReadOnlyError|READONLY")
        own_redis.stop()
        replica.ask("REPLICAOF", "NO", "ONE")
        assert store.take([Want(account(), 1, 99)]) == (7,)


@HAS_REDIS
def test_demoted(own_redis: RedisServer, tmp_path: Path) -> None:
    """A primary that becomes a replica refuses from then on; and is used again when it is one no more."""
    store = RedisStore(own_redis.url, timeout=5)
    take(store, 3, account())
    with running(tmp_path / "other") as other:
        own_redis.ask("REPLICAOF", "127.0.0.1", other.port)
        with pytest.raises(StoreError, match=r"ReadOnlyError|READONLY"):
            take(store, 1, account())
    own_redis.ask("REPLICAOF", "NO", "ONE")
    assert take(store, 1, account()) == 1
