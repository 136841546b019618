"""One process of callers who race for budgets: a script, told one round after the other by its input."""

from __future__ import annotations

import json
import mmap
import struct
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

from guardhouse.interceptors.limits.budget.purse import Purse
from guardhouse.interceptors.limits.stores import Account, Short, StoreError
from guardhouse.interceptors.limits.stores.at import open_store

DEAREST = 24  # units that a call may reserve
AGAIN = 0.005  # seconds after which a caller comes again to a store that is busy
WINDOW, ENDS = "2100-01", 4_105_209_600.0


class Counter:
    """Units that were let through and not given back: a number in a file, which outlives its process."""

    def __init__(self, file: Path, place: int) -> None:
        with file.open("r+b") as opened:
            self._memory = mmap.mmap(opened.fileno(), 0)
        self._at, self._lock = place * 8, threading.Lock()
        self.begin(0)

    def begin(self, limit: int) -> None:
        """A new round, for an account of *limit*."""
        self._limit, self._units = limit, 0
        struct.pack_into("q", self._memory, self._at, 0)

    def add(self, units: int) -> None:
        """Count *units*. The parent is told where that makes too many, at whatever moment."""
        with self._lock:
            self._units += units
            struct.pack_into("q", self._memory, self._at, self._units)
            if self._units > self._limit:
                say(f"overspent: {self._units} of {self._limit}")


def say(word: str) -> None:
    """Tell the parent."""
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


def reserve(purse: Purse, account: Account, units: int) -> bool:
    """Reserve as the guard does; again where the store was busy, as a caller does."""
    while True:
        try:
            found = purse.reserve([(account, units)])
            if found is False:
                found = purse.fetch([(account, units)]) or True
            return not isinstance(found, Short)
        except StoreError:
            time.sleep(AGAIN)


def call(purse: Purse, account: Account, counter: Counter, random: Random) -> None:
    """Call until there is not one unit to be had. Some calls leave early, most need less than the worst."""
    while True:
        units = random.randint(1, DEAREST)
        if not reserve(purse, account, units):
            units = 1
            if not reserve(purse, account, units):
                return
        counter.add(units)
        if not random.randrange(4):
            time.sleep(0)  # the model works, and others come in between
        back = units if not random.randrange(6) else units - random.randint(1, units)
        counter.add(-back)  # before it is given back: others have it then
        purse.refund([(account, back)])


def main(where: str, callers: str, file: str, place: str) -> None:
    """Take part in one round after the other, until the input ends."""
    sys.setswitchinterval(1e-6)  # threads take turns at the worst moments
    purse = Purse(open_store(where, timeout=5), waits=where != "memory")
    counter = Counter(Path(file), int(place))
    with ThreadPoolExecutor(int(callers)) as pool:
        for line in sys.stdin:
            told = json.loads(line)
            account = Account(told["name"], WINDOW, told["limit"], ENDS)
            counter.begin(account.limit)
            seeds = [f"{told['seed']}/{place}/{number}" for number in range(int(callers))]
            called = [pool.submit(call, purse, account, counter, Random(seed)) for seed in seeds]
            for each in called:
                each.result()
            say("done")
    purse.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
