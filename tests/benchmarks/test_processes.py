"""Processor time, from what the system writes about processes."""

from __future__ import annotations

import os

import pytest

from benchmarks.processes import TICKS, cpu, family, parent_and_cpu, port_in

STAT = (
    "4711 ({name}) S 42 4711 4711 0 -1 4194560 500 0 0 0 {user} {system} {childs} {childs_system} 20 0 9 0 1"
)


@pytest.mark.parametrize("name", ["python", "a b", "x) R 1 2 3 4 5", "((", ""])
def test_a_line_of_proc(name: str) -> None:
    """User and system time, one's own and the ended children's; whatever the process is called."""
    line = STAT.format(name=name, user=3 * TICKS, system=TICKS, childs=2 * TICKS, childs_system=TICKS // 2)
    assert parent_and_cpu(line) == (42, 6.5)


@pytest.mark.parametrize(
    ("pid", "found"), [(1, {1, 2, 3, 4, 5, 6}), (2, {2, 4, 5}), (3, {3, 6}), (6, {6}), (99, {99})]
)
def test_a_process_and_all_that_descend_from_it(pid: int, found: set[int]) -> None:
    """Children and theirs, but nobody else's."""
    assert family(pid, {1: 0, 2: 1, 3: 1, 4: 2, 5: 4, 6: 3}) == found


def test_processor_time_of_a_real_process() -> None:
    """What /proc says of this process is at least what it knows of itself, but for a tick of each kind."""
    known = sum(os.times()[:4])
    assert cpu(os.getpid()) >= known - 4 / TICKS


@pytest.mark.parametrize("line", ["8443\n", '{"address": "127.0.0.1:8443", "models": []}\n'])
def test_the_port_that_a_server_prints(line: str) -> None:
    """A number, or the report of `guardhouse serve --json`."""
    assert port_in(line) == 8443
