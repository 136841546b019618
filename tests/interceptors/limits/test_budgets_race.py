"""64 callers race for one budget, a thousand times over: all of it can be spent, and never one unit more.

They are threads of one process or of four, each with a purse of its own, on each kind of store. What counts
is what was let through and not given back, as the callers count it, not as purse and store say.
"""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import NamedTuple

import pytest

from guardhouse.interceptors.limits.budget.purse import AHEAD
from guardhouse.interceptors.limits.stores.at import open_store

from . import spending

CALLERS = 64
RACES = pytest.mark.parametrize(
    ("kind", "processes"), [("memory", 1), ("sqlite", 1), ("sqlite", 4), ("redis", 1), ("redis", 4)]
)


class Round(NamedTuple):
    """One race. *killed*: the place of the process that was killed in it, or None."""

    name: str
    limit: int
    used: int
    killed: int | None


class Racers:
    """So many processes, each with its share of the callers, and the file in which they count."""

    def __init__(self, where: str, processes: int, folder: Path) -> None:
        self._where, self._count = where, processes
        self._file = folder / "used"
        self._file.write_bytes(bytes(8 * processes))
        self._processes = [self._start(place) for place in range(processes)]

    def race(self, name: str, limit: int, seed: str, kill: Random | None) -> Round:
        """All race for one account; one of them is killed in the middle, at a moment by *kill*."""
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write(json.dumps({"name": name, "limit": limit, "seed": seed}) + "\n")
            process.stdin.flush()
        killed = None if kill is None else kill.randrange(self._count)
        if killed is not None:
            assert kill is not None
            time.sleep(kill.random() * 0.02)  # any moment of it will do
            self._processes[killed].kill()
        for place, process in enumerate(self._processes):
            assert process.stdout is not None
            if place != killed:
                assert process.stdout.readline() == "done\n", name
        used = sum(struct.unpack(f"{self._count}q", self._file.read_bytes()))
        if killed is not None:
            self._end(killed)
            self._processes[killed] = self._start(killed)
        return Round(name, limit, used, killed)

    def close(self) -> None:
        """End them, as a server ends: what they have in hand goes back."""
        for place in range(self._count):
            self._end(place)

    def _start(self, place: int) -> subprocess.Popen[str]:
        told = [self._where, str(CALLERS // self._count), str(self._file), str(place)]
        command = [sys.executable, spending.__file__, *told]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def _end(self, place: int) -> None:
        with self._processes[place] as process:
            assert process.stdin is not None
            process.stdin.close()


@pytest.fixture
def where(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The store, as the configuration names it."""
    if kind == "redis":
        return str(request.getfixturevalue("redis_server").url)
    return "memory" if kind == "memory" else f"sqlite:{tmp_path / 'budgets.db'}"


@pytest.fixture
def racers(where: str, processes: int, tmp_path: Path) -> Iterator[Racers]:
    """The processes, ended with the test."""
    with ExitStack() as stack:
        made = Racers(where, processes, tmp_path)
        stack.callback(made.close)
        yield made


def races(racers: Racers, rounds: int, kill_each: int | None) -> list[Round]:
    """So many rounds; in one of *kill_each* a process is killed."""
    random, found = Random(rounds), []
    for number in range(rounds):
        kill = random if kill_each and number % kill_each == kill_each - 1 else None
        limit = random.randint(200, 1500)
        found.append(racers.race(f"round-{number}", limit, str(number), kill))
    racers.close()
    return found


def lost(race: Round, processes: int) -> int:
    """The most that a killed process can have held: what each of its callers had reserved, as much again
    that they had just given back, and what was taken ahead.
    """
    if race.killed is None:
        return 0
    return 2 * CALLERS // processes * spending.DEAREST + race.limit // AHEAD


def judge(rounds: list[Round], where: str, processes: int) -> None:
    """Never more than the limit; 99 % of it, but for what a killed process held; and the store agrees."""
    for each in rounds:
        assert each.used <= each.limit, each
        assert each.used >= 0.99 * (each.limit - lost(each, processes)), each
    whole = [each.used / each.limit for each in rounds if each.killed is None]
    print(f"{where}, {processes}: {len(rounds)} rounds, at least {min(whole):.2%} of a budget was spent")
    if where == "memory":
        return
    store = open_store(where, timeout=5)
    spent = {entry.name: entry.spent for entry in store.entries()}
    store.close()
    for each in rounds:
        if each.killed is None:
            assert spent[each.name] == each.used, each
        else:
            assert each.used <= spent[each.name] <= each.limit, each


@RACES
def test_64_callers_race_one_budget(racers: Racers, where: str, processes: int) -> None:
    """Some leave early, most need less than they reserved, and now and then a process is killed (SIGKILL)."""
    judge(races(racers, 25, 10 if processes > 1 else None), where, processes)


@pytest.mark.soak
@pytest.mark.timeout(300)
@RACES
def test_a_thousand_races(racers: Racers, where: str, processes: int) -> None:
    """The same, a thousand times."""
    judge(races(racers, 1000, 40 if processes > 1 else None), where, processes)
