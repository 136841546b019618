"""One process of a race for a rate or for slots: a script, with its part of the race as arguments."""

from __future__ import annotations

import fcntl
import struct
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

from guardhouse.interceptors.limits.stores import Drip, Hold, Store
from tests.interceptors.limits.racing import open_racing, when_free

THREADS = 4
LIMIT = 10
CELL = struct.Struct("q")


class Board:
    """A file on which each racer writes how many slots it makes use of, and reads what all do."""

    def __init__(self, path: Path, racers: int) -> None:
        self._path = path
        if not path.exists():
            path.write_bytes(bytes(CELL.size * racers))

    def write(self, racer: int, slots: int) -> None:
        """In one step; raises if all together are more than the limit."""
        with self._path.open("r+b", buffering=0) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(racer * CELL.size)
            file.write(CELL.pack(slots))
            file.seek(0)
            total = sum(cell for (cell,) in CELL.iter_unpack(file.read()))
        if total > LIMIT:
            raise AssertionError(f"{total} slots of {LIMIT}")


def race_for_slots(store: Store, board: Board, racer: int, rounds: int) -> int:
    """Want more and fewer, and make use of all that it has; what it has at the end."""
    random, has = Random(racer), 0
    for _ in range(rounds):
        wants = random.randint(0, LIMIT)
        board.write(racer, min(has, wants))  # no longer of those that it lets go; not yet of more
        has = when_free(lambda wants=wants: store.hold(f"racer{racer}", [Hold("pot", LIMIT, wants)], 600))[0]
        board.write(racer, has)
    return has


def race_for_units(store: Store, rate: Drip, racer: int, rounds: int) -> int:
    """Draw some, over and over; how many that made."""
    random, units = Random(racer), 0
    for _ in range(rounds):
        drip = rate._replace(most=random.randint(1, 9))
        units += when_free(lambda drip=drip: store.draw([drip]))[0].units
    return units


def run(race: Callable[[int], int], first: int) -> list[int]:
    """So many threads, from the first racer on; what each came to."""
    made: list[int] = []
    racers = [
        threading.Thread(target=lambda n=n: made.append(race(n))) for n in range(first, first + THREADS)
    ]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    if len(made) < THREADS:
        sys.exit("a thread of the race has failed")
    return made


def _main(where: str, what: str, number: str, rounds: str, *rest: str) -> None:
    store, first = open_racing(where), int(number) * THREADS
    if what == "slots":
        board = Board(Path(rest[0]), 0)
        made = run(lambda racer: race_for_slots(store, board, racer, int(rounds)), first)
    elif what == "units":
        rate = Drip("pot", float(rest[0]), float(rest[1]), 1, 1)
        made = run(lambda racer: race_for_units(store, rate, racer, int(rounds)), first)
    else:  # hold all, say since when at the earliest, and wait to be killed
        print(time.monotonic(), flush=True)
        store.hold("dying", [Hold("pot", LIMIT, LIMIT)], float(rest[0]))
        print("held", flush=True)
        time.sleep(600)
    print(sum(made))


if __name__ == "__main__":
    _main(*sys.argv[1:])
