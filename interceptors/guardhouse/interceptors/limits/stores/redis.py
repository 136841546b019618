"""Limits of many machines, in one Redis 6 or later, or Valkey."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any, Final

from . import GRACE, Account, Drawn, Drip, Entry, Hold, Short, StoreError, Want, redis_rates, redis_slots
from .checks import check_drips, check_holds, check_units, check_wants
from .redis_client import Tls, client_maker
from .redis_scripts import GIVE, READ, TAKE
from .redis_url import parse

PREFIX: Final = "{guardhouse}:budget:"  # the hash tag keeps all keys in one slot: a script may touch no other
CONNECTIONS: Final = 16
BATCH: Final = 500  # accounts read in one step
LONGEST_TEXT: Final = 200  # characters of an error
GRACE_MS: Final = int(GRACE * 1000)


class RedisStore:
    """Keys `{guardhouse}:budget:NAME@WINDOW`, `{guardhouse}:rate:NAME` and `{guardhouse}:slots:NAME`, each a
    hash with a time to live.

    `take`, `give`, `draw` and `hold` are a script each, run whole or not at all, and tried once. They block
    for *timeout* to connect, and as long for each read; where a name has several addresses, or there are
    several Sentinels or nodes, for as long at each of them. Looking up a name takes what the system takes.

    What Redis forgets, this store forgets: after FLUSHALL, a restart without persistence, or a failover to a
    replica that had not yet heard of the last takes, that spending is gone. Have `appendonly yes` and
    `maxmemory-policy noeviction`; with `min-replicas-to-write 1` a primary cut off from its replicas refuses.

    Rates and slots go by Redis's clock, in microseconds. Where that is set ahead, or Redis forgets, a rate is
    full once more, and slots are nobody's until their processes say again how many they have.

    A user needs `+evalsha +eval +hget +hmget +hgetall +hset +hdel +pexpireat +time +scan +del` on
    `~{guardhouse}:*`; with another database than 0 also `+select`, in a cluster also
    `+command +cluster|slots`.

    Args:
        url: See `redis_url`.
        timeout: Seconds.
        connections: How many threads may use the store at once; one more is a StoreError at once.
        tls: For the schemes that begin with `rediss`.

    Raises:
        ValueError: The URL is none.
        StoreError: redis-py is not installed. That Redis is away is seen at the first use.
    """

    def __init__(
        self, url: str, *, timeout: float = 0.1, connections: int = CONNECTIONS, tls: Tls | None = None
    ) -> None:
        self._url, self._timeout = parse(url), timeout
        self._open = client_maker(self._url, timeout, connections, tls or Tls())
        self._lock = threading.Lock()
        self._client: Any = None

    def take(self, wants: Sequence[Want]) -> tuple[int, ...] | Short:
        """See `Store`."""
        check_wants(wants)
        arguments: list[object] = [GRACE_MS]
        for (_, _, limit, ends), least, most in wants:
            arguments += [limit, repr(ends), _expiry(ends), least, most]
        with self._session() as client:
            reply = _run(client, TAKE, [_key(want.account) for want in wants], arguments)
            return _taken(wants, reply) if wants else ()

    def give(self, units: Sequence[tuple[Account, int]]) -> None:
        """See `Store`."""
        check_units(units)
        arguments: list[object] = [GRACE_MS]
        for account, count in units:
            arguments += [count, _expiry(account.ends)]
        with self._session() as client:
            _run(client, GIVE, [_key(account) for account, _ in units], arguments)

    def draw(self, drips: Sequence[Drip]) -> tuple[Drawn, ...]:
        """See `Store`."""
        check_drips(drips)
        with self._session() as client:
            return redis_rates.answers(drips, _run(client, redis_rates.DRAW, *redis_rates.question(drips)))

    def hold(self, process: str, holds: Sequence[Hold], seconds: float) -> tuple[int, ...]:
        """See `Store`."""
        check_holds(process, holds, seconds)
        asked = redis_slots.question(process, holds, seconds)
        with self._session() as client:
            return redis_slots.answers(holds, _run(client, redis_slots.HOLD, *asked))

    def entries(self) -> Iterator[Entry]:
        """See `Store`. Looks through all keys of the database: for operators."""
        keys = sorted(self._keys("*"), key=_parts)
        for start in range(0, len(keys), BATCH):
            yield from self._read(keys[start : start + BATCH])

    def reset(self, name: str) -> int:
        """See `Store`. Looks through all keys of the database: for operators."""
        keys = [key for key in self._keys(f"{_literal(name)}@*") if _parts(key)[0] == name]
        with self._session() as client:
            return int(client.delete(*keys)) if keys else 0

    def close(self) -> None:
        """See `Store`."""
        client, self._client = self._client, None
        if client is not None:
            with suppress(Exception):  # nothing is owed to a connection that is in trouble
                client.close()

    def _keys(self, pattern: str) -> set[str]:
        with self._session() as client:
            found = client.scan_iter(match=f"{_literal(PREFIX)}{pattern}", count=1000)
            return {key.decode() for key in found}

    def _read(self, keys: list[str]) -> list[Entry]:
        with self._session() as client:
            rows = zip(keys, _run(client, READ, keys, []), strict=True)
            return [Entry(*_parts(key), int(row[0]), int(row[1]), float(row[2])) for key, row in rows if row]

    @contextmanager
    def _session(self) -> Iterator[Any]:
        """A client; whatever goes wrong is told as StoreError, and is the end of that client.

        So the next verb begins anew: it looks up the name, asks Sentinel or the cluster, and does not go on
        with a primary that has become a replica. Verbs under way keep the old one to their end.
        """
        client = None
        try:
            client = self._current()
            yield client
        except StoreError:
            raise
        except Exception as error:  # redis-py lets out what a server's nonsense makes it stumble over
            if type(error).__name__ != "MaxConnectionsError":
                self._forget(client)
            raise StoreError(f"{self._url.shown}: {self._words(error)}") from None

    def _current(self) -> Any:
        """The client in use, made if there is none. A cluster is asked for its nodes as it is made."""
        client = self._client
        if client is not None:
            return client
        if not self._lock.acquire(timeout=self._timeout):
            raise StoreError(f"{self._url.shown}: is being connected to")
        try:
            if self._client is None:
                self._client = self._open()
            return self._client
        finally:
            self._lock.release()

    def _forget(self, client: Any) -> None:
        if self._client is client:
            self._client = None

    def _words(self, error: Exception) -> str:
        """*error* in one line. Redis repeats a command it does not know, and AUTH has the password in it;
        redis-py tells all it knows of each Sentinel.
        """
        text = " ".join(f"{type(error).__name__}: {error}".split())
        text = re.split(r",? with args| : <", text)[0]
        if self._url.password:
            text = text.replace(self._url.password, "***")
        return text[:LONGEST_TEXT]


def _run(client: Any, script: str, keys: list[str], arguments: list[object]) -> Any:
    """The script by its digest; by its text if Redis has not got it: after SCRIPT FLUSH or a restart."""
    from redis.exceptions import NoScriptError

    if not keys:
        return []
    try:
        return client.evalsha(_digest(script), len(keys), *keys, *arguments)
    except NoScriptError:
        return client.eval(script, len(keys), *keys, *arguments)


@cache
def _digest(script: str) -> str:
    return hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()


def _taken(wants: Sequence[Want], reply: list[Any]) -> tuple[int, ...] | Short:
    """What TAKE's *reply* means. Raises for one that it cannot have made."""
    short, *units = (int(number) for number in reply)
    if short:
        (left,), want = units, wants[short - 1]
        if not (short > 0 and 0 <= left < want.least):
            raise ValueError("an answer that is none")
        return Short(want.account, left)
    for want, count in zip(wants, units, strict=True):
        if not want.least <= count <= want.most:
            raise ValueError("an answer that is none")
    return tuple(units)


def _key(account: Account) -> str:
    return f"{PREFIX}{account.name}@{account.window}"


def _parts(key: str) -> tuple[str, str]:
    """The name and the window in a key; no window has an "@" in it."""
    name, _, window = key.removeprefix(PREFIX).rpartition("@")
    return name, window


def _expiry(ends: float) -> int:
    """Milliseconds since the epoch."""
    return int((ends + GRACE) * 1000)


def _literal(text: str) -> str:
    """A glob that matches *text* alone."""
    return re.sub(r"([*?\[\]\\^-])", r"\\\1", text)
