"""The sums of a model's questions, and its configuration, on the wire."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from guardhouse.server.statistics import Run, Statistics

TIMES = st.integers(0, 10**12)


@given(st.lists(st.tuples(TIMES, TIMES, TIMES, TIMES, TIMES), max_size=8))
def test_the_parts_add_up_to_the_whole(runs: list[tuple[int, int, int, int, int]]) -> None:
    """Whatever the times, waiting, taking, computing and giving are together what the question took."""
    sums = Statistics()
    for before, taking, computing, giving, in_threads in runs:
        run = Run(7, before)
        ready = run.taken(7 + taking)
        done = run.computed(ready, ready + computing + in_threads)
        ended = run.given(done, done + giving)
        run.in_threads = in_threads
        sums.answered(run, ended, 5.0)
    found = sums.message("m", "1").inference_stats

    parts = (found.queue, found.compute_input, found.compute_infer, found.compute_output)
    assert sum(part.ns for part in parts) == found.success.ns
    assert {part.count for part in parts} == {found.success.count} == {len(runs)}


def test_failures_are_counted_apart() -> None:
    """A question that failed is no inference, and moves nothing but its own sum."""
    sums = Statistics()
    sums.failed(Run(10, before=5), 30)
    found = sums.message("m", "2")

    assert (found.name, found.version, found.last_inference) == ("m", "2", 0)
    assert (found.inference_count, found.execution_count) == (0, 0)
    assert (found.inference_stats.fail.count, found.inference_stats.fail.ns) == (1, 25)
    assert found.inference_stats.success.ns == 0
