"""Processes that race for one account: what they hold together is what is spent, and at most the limit."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from random import Random

import pytest

from guardhouse.interceptors.limits.stores import Store, Want

from . import racing
from .accounts import account, spent

PROCESSES = 4
TAKES = 250  # by each thread, of which each process has several; with as many gives
POT = account("pot", limit=100)


def test_threads(store: Store) -> None:
    """Eight threads of one process on one store, of each kind."""
    kept: list[int] = []
    racers = [
        threading.Thread(target=lambda n=n: kept.append(racing.race(store, POT, 50, Random(n))))
        for n in range(8)
    ]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    assert len(kept) == 8
    _is_all_there(store, sum(kept))


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_processes(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Four processes of several threads each, with the pot nearly always empty; looked at all the time."""
    where = request.getfixturevalue("redis_server").url if kind == "redis" else str(tmp_path / "pot.db")
    store = racing.open_racing(where)
    processes = [_racer(where, seed) for seed in range(PROCESSES)]
    while any(process.poll() is None for process in processes):
        assert all(units <= POT.limit for units in spent(store).values())
    kept = [int(process.communicate()[0]) for process in processes]
    assert [process.returncode for process in processes] == [0] * PROCESSES
    _is_all_there(store, sum(kept))
    store.close()


def _racer(where: str, seed: int) -> subprocess.Popen[str]:
    numbers = [str(POT.limit), str(POT.ends), str(TAKES), str(seed)]
    command = [sys.executable, racing.__file__, where, POT.name, POT.window, *numbers]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def _is_all_there(store: Store, kept: int) -> None:
    """What is held is what is spent; and the rest, to the last unit, can be taken."""
    assert spent(store) == {("pot", POT.window): kept}
    rest = POT.limit - kept
    assert store.take([Want(POT, rest, POT.limit)]) == (rest,)
    assert spent(store) == {("pot", POT.window): POT.limit}
