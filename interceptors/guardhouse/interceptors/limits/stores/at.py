"""The store that a line of configuration names."""

from __future__ import annotations

from typing import Final

from . import Store
from .breaker import Breaker
from .memory import MemoryStore
from .redis_client import Tls
from .redis_url import SCHEMES, parse

FORMS: Final = 'write "memory", "sqlite:PATH" or the URL of a Redis, redis://HOST:PORT'


def problem(where: str) -> str:
    """What is wrong with *where*, and what to write; or "". Without I/O, and without the password in it."""
    if where == "memory" or (where.startswith("sqlite:") and where != "sqlite:"):
        return ""
    if where.partition("://")[0] not in SCHEMES:
        return FORMS
    try:
        parse(where)
    except ValueError as error:
        return str(error)
    return ""


def open_store(where: str, *, timeout: float = 0.1, tls: Tls | None = None) -> Store:
    """The store that *where* names; one that can be away stands behind a breaker.

    Args:
        where: "memory", "sqlite:PATH" (from the working directory, if relative), or a URL (see `redis_url`).
        timeout: Seconds that Redis is given to connect, and for each answer.
        tls: Files for `rediss`.

    Raises:
        ValueError: *where* is none of these.
        StoreError: The SQLite file cannot be used, or redis-py is not installed.
    """
    trouble = problem(where)
    if trouble:
        raise ValueError(trouble)
    if where == "memory":
        return MemoryStore()
    if where.startswith("sqlite:"):
        from .sqlite import SqliteStore

        return Breaker(SqliteStore(where.removeprefix("sqlite:")))
    from .redis import RedisStore

    return Breaker(RedisStore(where, timeout=timeout, tls=tls))
