"""What each version of a model has done since it was loaded, for `ModelStatistics`. Times in nanoseconds."""

from __future__ import annotations

from dataclasses import dataclass

from guardhouse.protos import inference_pb2 as pb


@dataclass(slots=True)
class Run:
    """Where the time of one question goes.

    Attributes:
        began: When the server took it up; monotonic.
        before: It had waited for its turn by then.
        in_threads: It waited for a thread; known at its end.
        taking: Its tensors were made into arrays.
        computing: The model worked, or waited for a thread.
        giving: The answers were made into tensors.
    """

    began: int
    before: int = 0
    in_threads: int = 0
    taking: int = 0
    computing: int = 0
    giving: int = 0

    def taken(self, now: int) -> int:
        """Its tensors are arrays; returns *now*, as the others do."""
        self.taking = now - self.began
        return now

    def computed(self, since: int, now: int) -> int:
        """The model has given an answer."""
        self.computing += now - since
        return now

    def given(self, since: int, now: int) -> int:
        """An answer is made into tensors."""
        self.giving += now - since
        return now


class Statistics:
    """The sums of one version of one model. Its methods are called on one thread."""

    __slots__ = (
        "_computing",
        "_failed",
        "_failed_ns",
        "_giving",
        "_last",
        "_queue",
        "_runs",
        "_taking",
        "_took",
    )

    def __init__(self) -> None:
        self._runs = self._took = self._failed = self._failed_ns = self._last = 0
        self._queue = self._taking = self._computing = self._giving = 0

    def answered(self, run: Run, now: int, wall: float) -> None:
        """*run* went well, and ended *now*; *wall* is the same in seconds since 1970."""
        self._runs += 1
        self._took += now - run.began + run.before
        self._queue += run.before + run.in_threads
        self._taking += run.taking
        self._computing += run.computing - run.in_threads
        self._giving += run.giving
        self._last = int(wall * 1000)

    def failed(self, run: Run, now: int) -> None:
        """*run* was refused, failed, or lost its caller."""
        self._failed += 1
        self._failed_ns += now - run.began + run.before

    def message(self, name: str, version: str) -> pb.ModelStatistics:
        """The sums on the wire. No batches are made: each question is one inference, and one execution."""
        runs = self._runs

        def total(ns: int, count: int = runs) -> pb.StatisticDuration:
            return pb.StatisticDuration(count=count, ns=ns)

        taking, computing, giving = total(self._taking), total(self._computing), total(self._giving)
        sums = pb.InferStatistics(
            success=total(self._took),
            fail=total(self._failed_ns, self._failed),
            queue=total(self._queue),
            compute_input=taking,
            compute_infer=computing,
            compute_output=giving,
        )
        return pb.ModelStatistics(
            name=name,
            version=version,
            last_inference=self._last,
            inference_count=runs,
            execution_count=runs,
            inference_stats=sums,
        )
