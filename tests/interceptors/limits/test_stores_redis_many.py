"""Several Redis servers: those that Sentinel watches, and a cluster."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from guardhouse.interceptors.limits.stores import Store, StoreError
from guardhouse.interceptors.limits.stores.redis import RedisStore

from .accounts import WINDOW, account, spent, take
from .redis_servers import HAS_REDIS, RIGHTS, RedisServer, running, wait_for

pytestmark = HAS_REDIS
SLOTS = 16_384
OUR_SLOT = 14_486  # of {guardhouse}
MORE_RIGHTS = "+command +cluster|slots"


def _goes(store: Store) -> bool:
    """Whether one unit can be taken."""
    try:
        return take(store, 1, account(limit=1000)) == 1
    except StoreError:
        return False


def test_failover(watched: tuple[RedisServer, RedisServer, RedisServer]) -> None:
    """The primary freezes: the store fails until the replica is promoted, then goes on there, and knows what
    was spent. The old one wakes, and thinks that it is the primary still: it is not asked.
    """
    primary, replica, sentinel = watched
    store = RedisStore(f"redis+sentinel://127.0.0.1:1,127.0.0.1:{sentinel.port}/main", timeout=0.2)
    assert take(store, 100, account(limit=1000)) == 100
    wait_for(lambda: replica.ask("EXISTS", f"{{guardhouse}}:budget:ann@{WINDOW}"))
    primary.signal(signal.SIGSTOP)
    assert not _goes(store)
    wait_for(lambda: _goes(store))
    assert spent(store) == {("ann", WINDOW): 101}
    primary.signal(signal.SIGCONT)
    assert _goes(store)
    assert spent(store) == spent(RedisStore(replica.url, timeout=5)) == {("ann", WINDOW): 102}


def test_no_such_service(watched: tuple[RedisServer, RedisServer, RedisServer]) -> None:
    """A service that Sentinel does not know is told."""
    store = RedisStore(f"redis+sentinel://127.0.0.1:{watched[2].port}/other", timeout=5)
    with pytest.raises(StoreError, match=r"^redis\+sentinel://[^\n]*No master found for 'other'[^\n]*$"):
        take(store, 1, account())


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[RedisServer, RedisServer]]:
    """Two nodes, of which the second has our slot and all above it."""
    with ExitStack() as stack:
        options = ("--cluster-enabled", "yes", "--cluster-node-timeout", "2000")
        first = stack.enter_context(running(tmp_path / "first", *options))
        second = stack.enter_context(running(tmp_path / "second", *options))
        first.ask("CLUSTER", "ADDSLOTS", *range(OUR_SLOT))
        second.ask("CLUSTER", "ADDSLOTS", *range(OUR_SLOT, SLOTS))
        first.ask("CLUSTER", "MEET", "127.0.0.1", second.port)
        for node in (first, second):
            wait_for(lambda node=node: _is_whole(node))
        yield first, second


def _is_whole(node: RedisServer) -> bool:
    state = str(node.ask("CLUSTER", "INFO"))
    return "cluster_state:ok" in state.replace("': '", ":") and str(SLOTS) in state


def _use(store: Store) -> None:
    """Every verb."""
    assert take(store, 3, account()) == 3
    assert take(store, 3, account("bob")) == 3
    assert take(store, 1, account(window="2101-01")) == 1
    store.give([(account(), 1), (account("bob"), 1)])
    assert spent(store) == {("ann", WINDOW): 2, ("ann", "2101-01"): 1, ("bob", WINDOW): 2}
    assert store.reset("ann") == 2
    assert store.reset("bob") == 1


def test_cluster(cluster: tuple[RedisServer, RedisServer]) -> None:
    """Any node leads to the one that has the slot, and when the slot is given to another, to that. A node
    named as if it were a server of its own tells that the slot is elsewhere. All with the rights that the
    docstring names.
    """
    first, second = cluster
    assert MORE_RIGHTS in str(RedisStore.__doc__)
    assert first.ask("CLUSTER", "KEYSLOT", "{guardhouse}:budget:x@y") == OUR_SLOT
    login, _ = (node.admit(f"{RIGHTS} {MORE_RIGHTS}") for node in cluster)
    store = RedisStore(f"redis+cluster://{login}@127.0.0.1:1,127.0.0.1:{first.port}", timeout=5)
    _use(store)
    with pytest.raises(StoreError, match="Moved"):
        take(RedisStore(first.url, timeout=5), 1, account())
    for node in (first, second):
        node.ask("CLUSTER", "SETSLOT", OUR_SLOT, "NODE", first.ask("CLUSTER", "MYID"))
    _use(store)
    assert take(store, 1, account()) == 1
    assert first.ask("DBSIZE") == 1
    store.close()


def test_cluster_node_away(cluster: tuple[RedisServer, RedisServer]) -> None:
    """The node that has the slot freezes: the store fails; it goes on once the node wakes."""
    first, second = cluster
    store = RedisStore(f"redis+cluster://127.0.0.1:{first.port}", timeout=0.2)
    assert _goes(store)
    second.signal(signal.SIGSTOP)
    for _ in range(2):
        with pytest.raises(StoreError, match=r"^redis\+cluster://[^\n]+$"):
            take(store, 1, account())
    second.signal(signal.SIGCONT)
    wait_for(lambda: _goes(store))
