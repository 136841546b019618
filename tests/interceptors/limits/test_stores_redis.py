"""What the Redis store leaves in a Redis, who it is there, and by which ways it comes."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509

from guardhouse.interceptors.limits.stores import GRACE, StoreError
from guardhouse.interceptors.limits.stores.redis import BATCH, RedisStore
from guardhouse.interceptors.limits.stores.redis_client import Tls
from tests.interceptors.certificates import CLIENT, SERVER, authority, leaf

from .accounts import ENDS, WINDOW, account, draw, drip, hold, spent, take
from .redis_servers import HAS_REDIS, RIGHTS, RedisServer, free_port, running

KEY = f"{{guardhouse}}:budget:ann@{WINDOW}"
MINUTE = 60.0  # how far two readings of one clock may lie apart on a busy machine


def _expiry(server: RedisServer, key: str = KEY) -> float:
    """Seconds since the epoch; before it, if the key has no time to live."""
    seconds, _ = server.ask("TIME")  # type: ignore[misc]
    left = server.ask("PTTL", key)
    assert isinstance(left, int)
    return int(seconds) + left / 1000 if left >= 0 else left


@pytest.fixture
def store(redis_server: RedisServer) -> RedisStore:
    """A store in an empty Redis."""
    return RedisStore(redis_server.url, timeout=5)


def test_the_key(store: RedisStore, redis_server: RedisServer) -> None:
    """One hash for each account, under a tag that keeps all of them in one slot, and nothing else."""
    take(store, 3, account(limit=10))
    assert redis_server.ask("KEYS", "*") == [KEY]
    assert redis_server.ask("HGETALL", KEY) == {"spent": "3", "limit": "10", "ends": repr(ENDS)}


def test_every_key_expires(store: RedisStore, redis_server: RedisServer) -> None:
    """A day after the window's end; both verbs see to it, whatever somebody else did to the key."""
    take(store, 3, account())
    assert _expiry(redis_server) == pytest.approx(ENDS + GRACE, abs=MINUTE)
    redis_server.ask("PERSIST", KEY)
    store.give([(account(), 1)])
    assert _expiry(redis_server) == pytest.approx(ENDS + GRACE, abs=MINUTE)
    redis_server.ask("PERSIST", KEY)
    take(store, 1, account())
    assert _expiry(redis_server) == pytest.approx(ENDS + GRACE, abs=MINUTE)


def test_kept_while_it_is_touched(store: RedisStore, redis_server: RedisServer) -> None:
    """A caller whose clock is years behind does not spend without end: Redis keeps the key a day by its own
    clock.
    """
    old = account(ends=1_000_000.0)
    assert [take(store, 5, old) for _ in range(3)] == [5, 5, None]
    seconds, _ = redis_server.ask("TIME")  # type: ignore[misc]
    assert _expiry(redis_server) == pytest.approx(int(seconds) + GRACE, abs=MINUTE)
    store.give([(old, 1)])
    assert _expiry(redis_server) == pytest.approx(int(seconds) + GRACE, abs=MINUTE)


def test_more_accounts_than_one_answer_holds(store: RedisStore) -> None:
    """Entries are read some hundred at a time, and none is lost between."""
    for number in range(BATCH + 3):
        take(store, 1, account(f"n{number}"))
    assert len(spent(store)) == BATCH + 3


def test_keys_of_others(store: RedisStore, redis_server: RedisServer) -> None:
    """What else is in the database is neither told nor forgotten."""
    redis_server.ask("SET", "budget:ann", "x")
    take(store, 1, account())
    assert store.reset("*") == 0
    assert spent(store) == {("ann", WINDOW): 1}
    assert redis_server.ask("GET", "budget:ann") == "x"


def test_a_database_of_its_own(redis_server: RedisServer) -> None:
    """`?db=` names another database, of another spending."""
    for number in (1, 2):
        take(RedisStore(f"{redis_server.url}?db={number}", timeout=5), number, account())
    assert spent(RedisStore(f"{redis_server.url}/1", timeout=5)) == {("ann", WINDOW): 1}
    assert spent(RedisStore(redis_server.url, timeout=5)) == {}


@HAS_REDIS
def test_a_socket_of_the_file_system(tmp_path: Path) -> None:
    """`unix://` reaches a server that listens on no port."""
    socket = tmp_path / "r.sock"
    with running(tmp_path / "redis", "--unixsocket", str(socket)):
        store = RedisStore(f"unix://{socket}?db=1", timeout=5)
        assert take(store, 1, account()) == 1
        store.close()


def _user(server: RedisServer, rights: str, database: int = 0) -> RedisStore:
    login = server.admit(rights)
    return RedisStore(server.url.replace("//", f"//{login}@") + f"?db={database}", timeout=5)


def _use(store: RedisStore) -> None:
    """Every verb."""
    take(store, 3, account())
    store.give([(account(), 1)])
    assert spent(store) == {("ann", WINDOW): 2}
    assert store.reset("ann") == 1
    assert draw(store, drip(most=3)) == [3]
    assert [hold(store, "p", slots) for slots in (3, 0)] == [3, 0]


def test_the_rights_it_needs(own_redis: RedisServer) -> None:
    """A user of the ACL with the rights that the docstring names can do everything; without any one, not."""
    assert RIGHTS in str(RedisStore.__doc__)
    _use(_user(own_redis, RIGHTS))
    _use(_user(own_redis, f"{RIGHTS} +select", database=1))
    for right in RIGHTS.split():
        own_redis.ask("FLUSHALL")
        own_redis.ask("SCRIPT", "FLUSH")
        with pytest.raises(StoreError, match=r"^redis://[^\n]*(ermission|can't run this)[^\n]*$"):
            _use(_user(own_redis, RIGHTS.replace(f"{right} ", "").removesuffix(right)))
        for key in own_redis.ask("KEYS", "*"):  # type: ignore[attr-defined]
            assert own_redis.ask("PTTL", key) != -1, "left without a time to live"


@pytest.mark.parametrize("login", ["", "nobody:hunter2@", ":hunter2@"])
def test_nobody_it_knows(own_redis: RedisServer, login: str) -> None:
    """No password, a wrong user, a wrong password: told in one line, without the password."""
    own_redis.ask("ACL", "SETUSER", "default", "resetpass", ">right")
    store = RedisStore(own_redis.url.replace("//", f"//{login}"), timeout=5)
    with pytest.raises(StoreError, match=r"^redis://127[^\n]*Authentication[^\n]*$") as caught:
        take(store, 1, account())
    assert "hunter2" not in str(caught.value)


@pytest.fixture
def tls_files(tmp_path: Path) -> Callable[..., Tls]:
    """Writes an authority's certificate, and a leaf with its key."""

    def write(name: str, *names: x509.GeneralName, purpose: x509.ObjectIdentifier, by: str = "redis") -> Tls:
        pair = leaf(*names, purposes=(purpose,), signed_by=by)
        files = Tls(*(tmp_path / f"{name}.{part}" for part in ("ca", "pem", "key")))
        for file, content in zip(files, (authority(by).pem, *pair), strict=True):
            assert file is not None
            file.write_bytes(content)
        return files

    return write


@HAS_REDIS
def test_tls(tmp_path: Path, tls_files: Callable[..., Tls]) -> None:
    """With TLS on both sides: the right files come through; an authority that the server's certificate is not
    of, a name that it does not bear, and no certificate of our own do not.
    """
    loopback = x509.IPAddress(ip_address("127.0.0.1"))
    server, ours = tls_files("server", loopback, purpose=SERVER), tls_files("ours", purpose=CLIENT)
    other = tls_files("other", purpose=CLIENT, by="other")
    port = free_port()
    files = (
        "--tls-cert-file",
        server.certificate,
        "--tls-key-file",
        server.key,
        "--tls-ca-cert-file",
        server.ca,
    )
    options = ("--tls-port", port, *files, "--tls-auth-clients", "yes")
    with running(tmp_path / "redis", *map(str, options)):
        url = f"rediss://127.0.0.1:{port}"
        store = RedisStore(url, timeout=5, tls=ours)
        assert take(store, 1, account()) == 1
        store.close()
        wrong = [
            (url, ours._replace(ca=other.ca), "CERTIFICATE_VERIFY_FAILED"),
            (f"rediss://localhost:{port}", ours, "CERTIFICATE_VERIFY_FAILED|refused"),
            (url, Tls(ca=ours.ca), "ConnectionError"),
        ]
        for where, tls, told in wrong:
            with pytest.raises(StoreError, match=told):
                take(RedisStore(where, timeout=5, tls=tls), 1, account())
