"""Where a Redis is, read from a URL: one server, those that Sentinel watches, or a cluster.

The forms are those of redis-py, and more strict: what is not understood is refused, not left out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

SCHEMES: Final = {  # scheme: kind, TLS, port
    "redis": ("server", False, 6379),
    "rediss": ("server", True, 6379),
    "unix": ("socket", False, 0),
    "redis+sentinel": ("sentinel", False, 26379),
    "rediss+sentinel": ("sentinel", True, 26379),
    "redis+cluster": ("cluster", False, 6379),
    "rediss+cluster": ("cluster", True, 6379),
}
HOST: Final = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<name>[^\[\]:\s]+))(?::(?P<port>[0-9]{1,5}))?")
FORMS: Final = "redis://USER:PASSWORD@HOST:PORT?db=N, rediss:// with TLS, unix:///PATH, \
redis+sentinel://HOST:PORT,HOST:PORT/SERVICE or redis+cluster://HOST:PORT,HOST:PORT"


@dataclass(frozen=True, slots=True)
class RedisUrl:
    """A URL's parts. What has no user and password is to be shown: `shown`.

    Attributes:
        kind: "server", "socket", "sentinel" or "cluster".
        tls: Whether to speak TLS, to the servers and to the Sentinels.
        hosts: Servers, Sentinels or some nodes of the cluster, with their ports; none for a socket.
        place: The path of the socket, or the name of the service that Sentinel watches; else "".
        db: The number of the database.
        user: Of the ACL; "" for the default user.
        password: "" for none.
        shown: The URL without user and password.
    """

    kind: str
    tls: bool
    hosts: tuple[tuple[str, int], ...]
    place: str
    db: int
    user: str
    password: str = field(repr=False)
    shown: str


def parse(url: str) -> RedisUrl:
    """The parts of *url*.

    Raises:
        ValueError: It is no such URL. The text tells what is wrong, and has no password in it.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ValueError(f"no URL of a Redis; write {FORMS}") from None
    if parts.scheme not in SCHEMES or parts.fragment:
        raise ValueError(f"no URL of a Redis; write {FORMS}")
    kind, tls, port = SCHEMES[parts.scheme]
    secret, _, where = parts.netloc.rpartition("@")
    user, _, password = secret.partition(":")
    path_db, place = _path(kind, parts.path)
    query_db = _database(parts.query)
    shown = f"{parts.scheme}://{where}{parts.path}"
    found = (kind, tls, _hosts(kind, where, port), place, query_db or path_db or 0)
    result = RedisUrl(*found, unquote(user), unquote(password), shown)
    _check(result, path_db is not None and query_db is not None)
    return result


def _hosts(kind: str, where: str, port: int) -> tuple[tuple[str, int], ...]:
    if kind == "socket":
        if where:
            raise ValueError("the path of a socket begins with a third slash; write unix:///PATH")
        return ()
    found = [HOST.fullmatch(host) for host in where.split(",")]
    hosts = tuple((host["six"] or host["name"], int(host["port"] or port)) for host in found if host)
    if len(hosts) < len(found) or not all(0 < number < 65536 for _, number in hosts):
        raise ValueError(f"not every host is HOST or HOST:PORT; write {FORMS}")
    return hosts


def _path(kind: str, path: str) -> tuple[int | None, str]:
    """The number of a database, or a name, that the path of a URL of this kind is."""
    rest = unquote(path).strip("/")
    if kind == "socket":
        return None, unquote(path)
    if kind == "sentinel":
        return None, rest
    if not rest:
        return None, ""
    if kind == "cluster" or not (rest.isascii() and rest.isdecimal()):
        raise ValueError(f"a path that means nothing; write {FORMS}")
    return int(rest), ""


def _database(query: str) -> int | None:
    if not query:
        return None
    pairs = parse_qsl(query, keep_blank_values=True)
    if [key for key, _ in pairs] != ["db"] or not re.fullmatch("[0-9]{1,5}", pairs[0][1]):
        raise ValueError("after '?' only db=NUMBER is understood")
    return int(pairs[0][1])


def _check(url: RedisUrl, twice: bool) -> None:
    if twice:
        raise ValueError("the database is given twice; leave out its path or its ?db=")
    if url.kind in ("socket", "sentinel") and not url.place.strip("/"):
        raise ValueError(f"the socket's path or the service's name is missing; write {FORMS}")
    if url.kind == "server" and len(url.hosts) > 1:
        raise ValueError("more than one host; write redis+sentinel:// or redis+cluster://")
    if url.kind == "cluster" and url.db:
        raise ValueError("a cluster has but database 0; leave out db=")
    if url.user and not url.password:
        raise ValueError(
            "a user without a password; write USER:PASSWORD@, or :PASSWORD@ for the default user"
        )
