"""A redis-py client that tries once, for a stated time, with a stated number of connections.

By itself redis-py 8 tries ten times, with pauses, and each Sentinel and node as often; and a command that
timed out may have been done: to repeat a `take` is to take twice.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from . import StoreError
from .redis_url import RedisUrl


class Tls(NamedTuple):
    """Files in PEM, for `rediss`.

    Attributes:
        ca: Who vouches for the server; None for the system's authorities.
        certificate: Ours, if the server asks for one.
        key: Its key.
    """

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None


def client_maker(url: RedisUrl, timeout: float, connections: int, tls: Tls) -> Callable[[], Any]:
    """Makes clients that connect when they are used; a cluster's connects as it is made, or raises.

    Args:
        url: Where.
        timeout: Seconds for each connect, each write and each read.
        connections: How many there may be, to each node; one more is `redis.MaxConnectionsError` at once.
        tls: For `rediss`.

    Raises:
        StoreError: redis-py is not installed.
    """
    try:
        import redis
    except ImportError:
        raise StoreError(f"{url.shown}: needs redis-py; run: pip install 'guardhouse[redis]'") from None
    transport = _transport(timeout) | (_tls(tls) if url.tls else {})
    login = {"username": url.user or None, "password": url.password or None}
    pool = transport | login | {"max_connections": connections}
    if url.kind == "cluster":
        return lambda: _cluster(url, pool)
    if url.kind == "sentinel":
        return lambda: _primary(url, transport, pool | {"db": url.db})
    if url.kind == "socket":
        return lambda: redis.Redis(unix_socket_path=url.place, db=url.db, **pool)
    host, port = url.hosts[0]
    return lambda: redis.Redis(host, port, db=url.db, **pool)


def _cluster(url: RedisUrl, options: dict[str, Any]) -> Any:
    from redis import cluster

    nodes = [cluster.ClusterNode(host, port) for host, port in url.hosts]  # type: ignore[no-untyped-call]
    return cluster.RedisCluster(startup_nodes=nodes, require_full_coverage=False, **options)


def _primary(url: RedisUrl, asking: dict[str, Any], options: dict[str, Any]) -> Any:
    from redis.sentinel import Sentinel

    watchers = Sentinel(url.hosts, sentinel_kwargs=asking)  # type: ignore[no-untyped-call]
    return watchers.master_for(url.place, **options)  # type: ignore[no-untyped-call]


def _transport(timeout: float) -> dict[str, Any]:
    """RESP 2, and nothing said of ourselves: so a connect is AUTH and SELECT, and no more."""
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    once = Retry(NoBackoff(), 0)
    timeouts = {"socket_timeout": timeout, "socket_connect_timeout": timeout}
    return timeouts | {"retry": once, "protocol": 2, "driver_info": None}


def _tls(tls: Tls) -> dict[str, Any]:
    files = {"ssl_ca_certs": tls.ca, "ssl_certfile": tls.certificate, "ssl_keyfile": tls.key}
    named = {option: str(file) for option, file in files.items() if file is not None}
    return {"ssl": True, "ssl_cert_reqs": "required", "ssl_check_hostname": True} | named
