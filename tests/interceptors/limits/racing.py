"""One process of a race for an account: a script, with its part of the race as arguments."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from random import Random
from typing import TypeVar

from guardhouse.interceptors.limits.stores import Account, Short, Store, StoreError, Want
from guardhouse.interceptors.limits.stores.redis import RedisStore
from guardhouse.interceptors.limits.stores.sqlite import SqliteStore

THREADS = 4
T = TypeVar("T")


def open_racing(where: str) -> Store:
    """The store itself, with no breaker before it, and with time enough for a busy machine."""
    return RedisStore(where, timeout=10) if where.startswith("redis:") else SqliteStore(where)


def race(store: Store, of: Account, takes: int, random: Random) -> int:
    """Take *takes* times, and give some back each time, or all when there is nothing left; what is kept."""
    kept = 0
    for _ in range(takes):
        most = random.randint(1, 40)
        taken = when_free(lambda most=most: store.take([Want(of, 1, most)]))
        short = isinstance(taken, Short)
        kept += 0 if isinstance(taken, Short) else taken[0]
        back = kept if short else random.randint(0, kept)
        when_free(lambda back=back: store.give([(of, back)]))
        kept -= back
    return kept


def when_free(verb: Callable[[], T]) -> T:
    """Again while another process has the file: nothing has happened then, which is so of no other error."""
    while True:
        try:
            return verb()
        except StoreError as error:
            if "locked" not in str(error) and "busy" not in str(error):
                raise


def _main(where: str, name: str, window: str, limit: str, ends: str, takes: str, seed: str) -> None:
    store, of = open_racing(where), Account(name, window, int(limit), float(ends))
    kept: list[int] = []

    def run(number: int) -> None:
        kept.append(race(store, of, int(takes), Random(f"{seed}/{number}")))

    racers = [threading.Thread(target=run, args=(number,)) for number in range(THREADS)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    store.close()
    if len(kept) < THREADS:
        sys.exit("a thread of the race has failed")
    sys.stdout.write(str(sum(kept)))


if __name__ == "__main__":
    _main(*sys.argv[1:])
