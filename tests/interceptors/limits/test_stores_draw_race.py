"""Threads and processes that race for a rate and for slots: never more together than there are."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from guardhouse.interceptors.limits.stores import Drip, Store

from . import racing_draw
from .accounts import SLOW, draw, hold
from .racing import open_racing
from .racing_draw import LIMIT, THREADS, Board, race_for_slots, race_for_units, run
from .redis_servers import wait_for

ROOT = Path(__file__).parents[3]
PROCESSES = 4
ROUNDS = 250  # of each thread
BURST = 500
RATES = [pytest.param(SLOW, id="slow"), pytest.param(0.01, id="dripping")]


@pytest.fixture(params=["sqlite", "redis"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where processes meet."""
    if request.param == "redis":
        return str(request.getfixturevalue("redis_server").url)
    open_racing(str(tmp_path / "pot.db")).close()
    return str(tmp_path / "pot.db")


def _start(where: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", racing_draw.__name__, where, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)


def _made(processes: list[subprocess.Popen[str]]) -> int:
    made = [int(process.communicate()[0] or -1) for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes)
    return sum(made)


def _is_all_and_no_more(store: Store, rate: Drip, units: int, seconds: float) -> None:
    """To the last unit of the burst, and then what has dripped in that time at most."""
    rest = draw(store, rate._replace(most=BURST))[0]
    assert BURST <= units + rest <= BURST * (1 + 1e-9) + seconds / rate.interval


@pytest.mark.parametrize("interval", RATES)
def test_threads_draw(store: Store, interval: float) -> None:
    """Four threads on one store, of each kind."""
    rate, begin = Drip("pot", interval, BURST * interval, 1, 1), time.monotonic()
    units = sum(run(lambda racer: race_for_units(store, rate, racer, ROUNDS), 0))
    _is_all_and_no_more(store, rate, units, time.monotonic() - begin)


@pytest.mark.parametrize("interval", RATES)
def test_processes_draw(where: str, interval: float) -> None:
    """Four processes of four threads each."""
    rate, begin = Drip("pot", interval, BURST * interval, 1, 1), time.monotonic()
    arguments = (ROUNDS, rate.interval, rate.tolerance)
    units = _made([_start(where, "units", number, *arguments) for number in range(PROCESSES)])
    store = open_racing(where)
    _is_all_and_no_more(store, rate, units, time.monotonic() - begin)
    store.close()


def test_threads_hold(store: Store, tmp_path: Path) -> None:
    """Four threads, each a process to the store, of each kind."""
    board = Board(tmp_path / "board", THREADS)
    held = run(lambda racer: race_for_slots(store, board, racer, ROUNDS), 0)
    assert hold(store, "rest", LIMIT, name="pot") == LIMIT - sum(held)


def test_processes_hold(where: str, tmp_path: Path) -> None:
    """Four processes of four threads: at no time is use made of more slots than the limit; and what they have
    at the end is what the others lack.
    """
    Board(board := tmp_path / "board", PROCESSES * THREADS)
    held = _made([_start(where, "slots", number, ROUNDS, board) for number in range(PROCESSES)])
    store = open_racing(where)
    assert hold(store, "rest", LIMIT, name="pot") == LIMIT - held
    store.close()


def test_a_killed_process(where: str) -> None:
    """Its slots come back after its time, and not before."""
    seconds = 0.5
    dying = _start(where, "die", 0, 0, seconds)
    assert dying.stdout is not None
    since = float(dying.stdout.readline())
    assert dying.stdout.readline() == "held\n"
    dying.kill()
    dying.communicate()
    store = open_racing(where)
    wait_for(lambda: hold(store, "heir", LIMIT, name="pot") == LIMIT)
    assert time.monotonic() - since >= seconds * 0.99
    store.close()
