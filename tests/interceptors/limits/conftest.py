"""One Redis for all tests that ask for nothing but a good one, and the stores that promise the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from guardhouse.interceptors.limits.stores import Store
from guardhouse.interceptors.limits.stores.memory import MemoryStore
from guardhouse.interceptors.limits.stores.redis import RedisStore
from guardhouse.interceptors.limits.stores.sqlite import SqliteStore

from .redis_servers import HAS_REDIS, SERVER, RedisServer, running, wait_for

DOWN = 300  # ms after which Sentinel thinks that a server is down
MakeStore = Callable[[], Store]


@pytest.fixture(scope="session")
def shared_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A server that lasts for all tests; who needs it empty takes `redis_server`."""
    if not SERVER:
        pytest.skip(HAS_REDIS.kwargs["reason"])
    with running(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def redis_server(shared_redis: RedisServer) -> RedisServer:
    """The lasting server, empty."""
    shared_redis.ask("FLUSHALL")
    return shared_redis


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A server of the test's own, to be maltreated."""
    if not SERVER:
        pytest.skip(HAS_REDIS.kwargs["reason"])
    with running(tmp_path / "redis") as server:
        yield server


@pytest.fixture(params=["memory", "sqlite", "redis"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """Each kind of store, empty."""
    if request.param == "memory":
        made: Store = MemoryStore()
    elif request.param == "sqlite":
        made = SqliteStore(tmp_path / "budgets.db")
    else:
        made = RedisStore(request.getfixturevalue("redis_server").url, timeout=5)
    yield made
    made.close()


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[tuple[RedisServer, RedisServer, RedisServer]]:
    """A primary, its replica, and the Sentinel that watches both, which knows of both."""
    if not SERVER:
        pytest.skip(HAS_REDIS.kwargs["reason"])
    with ExitStack() as stack:
        primary = stack.enter_context(running(tmp_path / "primary"))
        follow = ("--replicaof", f"127.0.0.1 {primary.port}")
        replica = stack.enter_context(running(tmp_path / "replica", *follow))
        wait_for(lambda: str(replica.port) in str(primary.ask("ROLE")))
        folder = tmp_path / "sentinel"
        folder.mkdir()
        orders = [f"monitor main 127.0.0.1 {primary.port} 1", f"down-after-milliseconds main {DOWN}"]
        orders += ["failover-timeout main 2000"]
        (folder / "sentinel.conf").write_text("".join(f"sentinel {order}\n" for order in orders))
        sentinel = stack.enter_context(running(folder))
        wait_for(lambda: str(replica.port) in str(sentinel.ask("SENTINEL", "REPLICAS", "main")))
        yield primary, replica, sentinel
