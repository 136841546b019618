"""Rates and slots in a Redis: the keys, by whose clock, and what goes wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from guardhouse.interceptors.limits.stores import Drawn, Hold, StoreError
from guardhouse.interceptors.limits.stores.redis import RedisStore

from .accounts import draw, drip, hold
from .redis_servers import HAS_REDIS, RIGHTS, RedisServer, running, wait_for

RATE, SLOTS = "{guardhouse}:rate:ann", "{guardhouse}:slots:ann"
HOUR = 3600
VERBS = {"draw": lambda store: draw(store, drip()), "hold": lambda store: hold(store, "p", 1)}


@pytest.fixture
def store(redis_server: RedisServer) -> RedisStore:
    """A store in an empty Redis."""
    return RedisStore(redis_server.url, timeout=5)


def test_the_keys(store: RedisStore, redis_server: RedisServer) -> None:
    """One hash for each rate and one for each name of slots, under the tag that keeps all in one slot."""
    assert draw(store, drip(most=3)) == [3]
    assert hold(store, "p", 2) == 2
    keys = redis_server.ask("KEYS", "*")
    assert isinstance(keys, list)
    assert sorted(keys) == [RATE, SLOTS]
    assert redis_server.ask("HGET", RATE, "owed") == "3"
    slots, _, lasts = str(redis_server.ask("HGET", SLOTS, "p")).split()
    assert (slots, lasts) == ("2", "600000000")


def _lives(server: RedisServer, key: str) -> float:
    left = server.ask("PTTL", key)
    assert isinstance(left, int)
    return left / 1000


def test_every_key_expires(store: RedisStore, redis_server: RedisServer) -> None:
    """A rate when it is full again, slots when the last time is over; whatever others did to the key."""
    for _ in range(2):
        draw(store, drip(most=5, interval=100.0))
        assert _lives(redis_server, RATE) == pytest.approx(float(str(_owed(redis_server))) * 100, abs=60)
        hold(store, "p", 1, seconds=1000)
        hold(store, "q", 1, seconds=500)
        assert _lives(redis_server, SLOTS) == pytest.approx(1000, abs=60)
        redis_server.ask("PERSIST", RATE)
        redis_server.ask("PERSIST", SLOTS)


def _owed(server: RedisServer) -> object:
    return server.ask("HGET", RATE, "owed")


def test_no_key_for_nothing(store: RedisStore, redis_server: RedisServer) -> None:
    """What owes nothing, and of which nobody has slots, leaves none; nor do those whose time is over."""
    draw(store, drip(least=11, most=11))
    assert hold(store, "p", 0) == 0
    wait_for(lambda: redis_server.ask("KEYS", "*") == [])
    assert hold(store, "p", 1, seconds=5) == 1
    assert hold(store, "q", 1, seconds=50) == 1
    redis_server.elapse(5)
    assert hold(store, "r", 1) == 1
    assert redis_server.ask("HKEYS", SLOTS) == ["q", "r"]
    assert [hold(store, "q", 0), hold(store, "r", 0)] == [0, 0]
    assert redis_server.ask("KEYS", "*") == []


def test_a_rate_that_is_far_lower_than_it_was(store: RedisStore, redis_server: RedisServer) -> None:
    """May owe for longer than Redis can count, and is kept for as long as that goes."""
    assert draw(store, drip(most=10**9, burst=10**9, interval=1.0)) == [10**9]
    assert draw(store, drip(interval=9e11)) == [0]
    assert _lives(redis_server, RATE) > 1e12


def test_time_goes_by(store: RedisStore, redis_server: RedisServer) -> None:
    """Unit by unit a rate fills up, to the burst and no further; slots are over after their time."""
    rate = drip(most=10, burst=10, interval=1000.0)
    assert draw(store, rate) == [10]
    redis_server.elapse(3999)
    assert draw(store, rate._replace(least=4)) == [0]
    redis_server.elapse(1)
    assert draw(store, rate._replace(least=4)) == [4]
    redis_server.elapse(1e6)
    assert draw(store, rate) == [10]
    assert hold(store, "dead", 10, seconds=1000) == 10
    redis_server.elapse(900)
    assert hold(store, "p", 1) == 0
    redis_server.elapse(100)
    assert hold(store, "p", 1) == 1
    redis_server.elapse(1000)
    assert [hold(store, "p", 10), hold(store, "q", 1)] == [10, 0]


def test_a_clock_set_back(store: RedisStore, redis_server: RedisServer) -> None:
    """By an hour, or to a replica that is behind: nobody is richer, and nobody waits for it to catch up."""
    rate = drip(most=10, burst=10, interval=100.0)
    assert draw(store, rate) == [10]
    assert hold(store, "dead", 10, seconds=500) == 10
    redis_server.elapse(-HOUR)
    assert draw(store, rate) == [0]
    assert hold(store, "p", 1) == 0
    assert _lives(redis_server, SLOTS) == pytest.approx(500, abs=60)
    redis_server.elapse(400)
    assert draw(store, rate) == [4]
    assert hold(store, "p", 1) == 0
    redis_server.elapse(100)
    assert hold(store, "p", 1) == 1


def test_the_clock_of_the_server(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """That of the machine that asks says nothing."""
    monkeypatch.setattr("time.time", lambda: 0.0)
    monkeypatch.setattr("time.monotonic", lambda: 0.0)
    store = RedisStore(redis_server.url, timeout=5)
    assert draw(store, drip(most=10)) == [10]
    assert hold(store, "p", 1) == 1
    seconds, _ = redis_server.ask("TIME")  # type: ignore[misc]
    assert int(str(redis_server.ask("HGET", RATE, "at"))) // 10**6 == pytest.approx(int(seconds), abs=60)
    assert int(str(redis_server.ask("HGET", SLOTS, "p")).split()[1]) // 10**6 == pytest.approx(
        int(seconds), abs=60
    )


def test_scripts_flushed(store: RedisStore, redis_server: RedisServer) -> None:
    """A lost script is sent again, unnoticed, and done once."""
    for number in range(1, 3):
        redis_server.ask("SCRIPT", "FLUSH")
        assert store.draw([drip()]) == (Drawn(1, 0.0, 10 - number),)
        redis_server.ask("SCRIPT", "FLUSH")
        assert hold(store, "p", 7) == 7


@pytest.mark.parametrize(
    ("command", "verb"),
    [
        (("SET", RATE, "x"), "draw"),
        (("HSET", RATE, "owed", "many"), "draw"),
        (("HSET", RATE, "owed", "1", "at", ""), "draw"),
        (("SET", SLOTS, "x"), "hold"),
        (("HSET", SLOTS, "q", "many"), "hold"),
        (("HSET", SLOTS, "q", "1 2"), "hold"),
    ],
)
def test_not_one_of_ours(
    store: RedisStore, redis_server: RedisServer, command: tuple[str, ...], verb: str
) -> None:
    """A key in our place that is no hash, or no numbers: told, and nothing done to the other name either."""
    redis_server.ask(*command)
    wanted: dict[str, Callable[[], object]] = {
        "draw": lambda: store.draw([drip("bob"), drip()]),
        "hold": lambda: store.hold("p", [Hold("bob", 1, 1), Hold("ann", 1, 1)], 10),
    }
    with pytest.raises(StoreError, match=r"^redis://[^\n]+$"):
        wanted[verb]()
    assert redis_server.ask("KEYS", "*bob*") == []
    redis_server.ask("DEL", RATE, SLOTS)
    wanted[verb]()


@pytest.mark.parametrize("verb", VERBS)
def test_no_right_to_let_keys_expire(own_redis: RedisServer, verb: str) -> None:
    """Then none is made that would stay for ever."""
    login = own_redis.admit(RIGHTS.replace("+pexpireat ", ""))
    store = RedisStore(own_redis.url.replace("//", f"//{login}@"), timeout=5)
    with pytest.raises(StoreError, match="ermission"):
        VERBS[verb](store)
    assert own_redis.ask("KEYS", "*") == []


@pytest.mark.parametrize("verb", VERBS)
def test_full(own_redis: RedisServer, verb: str) -> None:
    """No memory left: nothing is done; but slots can be let go."""
    store = RedisStore(own_redis.url, timeout=5)
    assert draw(store, drip(most=4)) == [4]
    assert hold(store, "q", 4) == 4
    own_redis.ask("CONFIG", "SET", "maxmemory", "1")
    with pytest.raises(StoreError, match=r"OutOfMemoryError|OOM"):
        VERBS[verb](store)
    assert hold(store, "q", 0) == 0
    own_redis.ask("CONFIG", "SET", "maxmemory", "0")
    assert draw(store, drip(most=10)) == [6]
    assert hold(store, "p", 10) == 10


@HAS_REDIS
def test_a_replica(own_redis: RedisServer, tmp_path: Path) -> None:
    """A replica refuses; promoted, it knows what is owed and who has what."""
    with running(tmp_path / "replica", "--replicaof", f"127.0.0.1 {own_redis.port}") as replica:
        primary, store = RedisStore(own_redis.url, timeout=5), RedisStore(replica.url, timeout=5)
        draw(primary, drip(most=4))
        hold(primary, "q", 4)
        wait_for(lambda: replica.ask("EXISTS", SLOTS))
        for verb in VERBS.values():
            with pytest.raises(StoreError, match=r"ReadOnlyError|READONLY"):
                verb(store)
        own_redis.stop()
        replica.ask("REPLICAOF", "NO", "ONE")
        assert draw(store, drip(most=10)) == [6]
        assert hold(store, "p", 10) == 6


def test_restarted(own_redis: RedisServer) -> None:
    """Without persistence it has forgotten: a burst is there once more, and slots are whose who says so."""
    assert "slots are nobody's until" in " ".join(str(RedisStore.__doc__).split())
    store = RedisStore(own_redis.url, timeout=5)
    assert [draw(store, drip(most=10)), hold(store, "p", 6)] == [[10], 6]
    own_redis.stop()
    with pytest.raises(StoreError, match="refused"):
        draw(store, drip())
    own_redis.start()
    assert [draw(store, drip(most=10)), hold(store, "q", 6), hold(store, "p", 6)] == [[10], 6, 4]
