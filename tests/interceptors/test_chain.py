"""The chain by itself: its order, its verbs, and what it makes of errors."""

from __future__ import annotations

import itertools
import threading
import time
from typing import Any

import pytest
from grpc import StatusCode as Code
from hypothesis import given
from hypothesis import strategies as st

from guardhouse.interceptors import REASONS, Call, Chain, Guard, Refusal, Stage
from guardhouse.interceptors.chain import failed, verdict
from guardhouse.interceptors.refusal import sentence


def _guard(at: Stage, log: list[str] | None = None, fails: str = "") -> Guard:
    """A guard at a stage that notes which verbs were run."""
    notes: list[str] = [] if log is None else log

    def note(verb: str) -> None:
        notes.append(f"{verb} {at.name}")
        if verb == fails:
            raise Refusal("MODEL_DENIED", at.name)

    class Notes(Guard):
        stage = at

        def admit(self, call: Call) -> None:
            note("admit")

        def inspect(self, call: Call, request: Any) -> None:
            note("inspect")

        def release(self, call: Call, response: Any) -> Any:
            note("release")
            return [*response, at.name]

        def settle(self, call: Call) -> None:
            note("settle")

    return Notes()


def test_the_order_is_the_documented_one() -> None:
    """The stages stand as the design has them, outermost first."""
    assert [stage.name for stage in sorted(Stage)] == [
        "RECORD",
        "DEADLINE",
        "IDENTITY",
        "TOKEN",
        "AUTHORIZATION",
        "RATE",
        "VALIDATION",
        "MODEL_AUTHORIZATION",
        "BUDGET",
        "ADMISSION",
        "SCREENING",
        "OUTPUT",
    ]


@pytest.mark.parametrize(("first", "second"), list(itertools.permutations(Stage, 2)))
def test_every_wrong_order_is_refused(first: Stage, second: Stage) -> None:
    """Two guards compile in the order of their stages, and in no other."""
    if first < second:
        assert Chain(_guard(first), _guard(second)).guards
        return
    with pytest.raises(
        ValueError, match=f"guards out of order: .*{first.name}.*{second.name}.*; wanted: RECORD"
    ):
        Chain(_guard(first), _guard(second))


@given(st.permutations(list(Stage)))
def test_any_permutation(stages: list[Stage]) -> None:
    """Of all orders of all guards, one compiles."""
    try:
        Chain(*map(_guard, stages))
    except ValueError:
        assert stages != sorted(stages)
    else:
        assert stages == sorted(stages)


def test_the_verbs_run_in_order() -> None:
    """Inward for what comes in, outward for what goes out and for the end."""
    log: list[str] = []
    chain = Chain(*(_guard(stage, log) for stage in (Stage.RECORD, Stage.TOKEN, Stage.OUTPUT)))
    call = chain.open("/s/m", (), known=True)
    chain.admit(call)
    chain.inspect(call, b"")
    released = chain.release(call, [])
    chain.settle(call, None)

    assert released == ["OUTPUT", "TOKEN", "RECORD"]
    assert log == [
        *("admit RECORD", "admit TOKEN", "admit OUTPUT"),
        *("inspect RECORD", "inspect TOKEN", "inspect OUTPUT"),
        *("release OUTPUT", "release TOKEN", "release RECORD"),
        *("settle OUTPUT", "settle TOKEN", "settle RECORD"),
    ]


@pytest.mark.parametrize("verb", ["admit", "inspect"])
def test_the_first_refusal_ends_it(verb: str) -> None:
    """No guard behind the one that refuses is asked."""
    log: list[str] = []
    chain = Chain(_guard(Stage.TOKEN, log, verb), _guard(Stage.RATE, log))
    call = chain.open("/s/m", (), known=True)
    with pytest.raises(Refusal):
        getattr(chain, verb)(call, *([b""] if verb == "inspect" else []))

    assert log == [f"{verb} TOKEN"]


def test_a_guard_that_fails_to_settle_stops_no_other() -> None:
    """Everybody gives back what is theirs; the record is among them."""
    log: list[str] = []
    chain = Chain(_guard(Stage.RECORD, log), _guard(Stage.BUDGET, log, "settle"))
    chain.settle(chain.open("/s/m", (), known=True), None)

    assert log == ["settle BUDGET", "settle RECORD"]


def test_settle_runs_once_under_threads() -> None:
    """However many ends a call has, it is settled once, and the first end counts."""
    log: list[str] = []
    chain = Chain(_guard(Stage.RECORD, log))
    for _ in range(200):
        call, barrier = chain.open("/s/m", (), known=True), threading.Barrier(4)

        def end(call: Call = call, barrier: threading.Barrier = barrier) -> None:
            barrier.wait()
            chain.settle(call, None)

        threads = [threading.Thread(target=end) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        chain.settle(call, Refusal("INTERNAL"))
        assert call.status is Code.OK

    assert log == ["settle RECORD"] * 200


@pytest.mark.parametrize("verb", ["admit", "inspect", "release", "settle"])
def test_a_guard_that_would_wait_is_refused(verb: str) -> None:
    """A coroutine that nobody awaits would let everybody through: such a guard does not compile."""

    async def waits(self: Guard, *given: Any) -> None:
        raise Refusal("TOKEN_MISSING")

    def yields(self: Guard, *given: Any) -> Any:
        yield Refusal("TOKEN_MISSING")

    for function in (waits, yields):
        guard = type("Waits", (Guard,), {verb: function})()
        with pytest.raises(TypeError, match="not a plain function"):
            Chain(guard)


def test_a_guard_without_verbs_costs_nothing() -> None:
    """A verb nobody overrides is not called at all."""
    chain = Chain(Guard(), Guard())

    assert (chain._admits, chain._inspects, chain._releases, chain._settles) == ((), (), (), ())


def test_ids_are_unique_and_never_zero() -> None:
    """A hundred thousand calls have as many ids of each kind; zero is no id (W3C Trace Context)."""
    chain = Chain()
    calls = [chain.open("/s/m", (), known=True) for _ in range(100_000)]

    assert len({call.trace_id for call in calls}) == len({call.span_id for call in calls}) == 100_000
    assert all(0 < call.trace_id < 2**128 and 0 < call.span_id < 2**64 for call in calls)


def test_open_methods_are_exact() -> None:
    """Only the very path that was listed is open: no prefix, no other case, no missing slash."""
    chain = Chain(open_methods=["/grpc.health.v1.Health/Check"])
    listed = "/grpc.health.v1.Health/Check"
    others = [listed[1:], listed + "/", listed.lower(), "/" + listed, listed[:-1], "", "/"]

    assert chain.open(listed, (), known=True).open
    assert not any(chain.open(other, (), known=True).open for other in others)


def test_what_errors_mean() -> None:
    """A refusal stands for itself; anything else is a defect, in fixed words, its text for the log alone."""
    call = Chain().open("/s/m", (), known=True)
    refusal = Refusal("TOKEN_EXPIRED")
    ours, models = verdict(ValueError("canary"), call), failed(call, ValueError("canary"))

    assert verdict(refusal, call) is refusal
    assert (ours.reason, ours.code, ours.words) == ("INTERNAL", Code.INTERNAL, "internal error")
    assert (models.reason, models.code, models.words) == ("MODEL_FAILED", Code.INTERNAL, "the model failed")
    assert "canary" not in ours.note + models.note + str(ours) + str(models)


def test_no_reason_says_unknown_or_ok() -> None:
    """UNKNOWN is a defect: only a service behind the chain has no code of ours, and it brings its own."""
    codes = {reason: answer.code for reason, answer in REASONS.items() if reason != "HANDLER"}

    assert not {Code.OK, Code.UNKNOWN} & set(codes.values())
    assert all(answer.words for answer in REASONS.values())


@given(st.text(max_size=3000))
def test_a_sentence_fits(text: str) -> None:
    """Whatever the words, they are legal UTF-8 and at most a KiB in the encoding of `grpc-message`."""
    cut = sentence(text)
    wire = sum(1 if " " <= char <= "~" else 3 * len(char.encode()) for char in cut)

    assert wire <= 1024
    assert text.encode("utf-8", "replace").decode().startswith(cut)


def test_a_settled_call_holds_no_message_and_no_credential() -> None:
    """It may lie for a while before it is recorded: a message that was refused is not kept for as long."""
    chain = Chain()
    call = chain.open("/a.B/c", (("authorization", "Bearer x"), ("traceparent", "t")), known=True)
    call.raw, call.auth = b"message", {"x509_pem_cert": [b"pem"]}
    chain.settle(call, Refusal("TENSOR_SHAPE"))

    assert (call.raw, dict(call.auth), call.metadata) == (b"", {}, (("traceparent", "t"),))


def test_a_call_that_is_cut_off_in_the_model_has_sane_times():
    """Settled while the model still runs, a call has spent there the time until now, not less than none."""
    chain = Chain()
    call = chain.open("/s/m", (), known=True)
    call.model_ns = -call.opened_ns  # as the shell marks that the model began

    chain.settle(call, Refusal("CANCELLED"))

    assert 0 <= call.model_ns <= call.ended_ns - call.opened_ns


def test_the_time_of_a_model_that_was_asked_is_never_nothing() -> None:
    """Work that waits for two workers at once may wait longer than all of it took; it was asked, though."""
    chain = Chain()
    call = chain.open("/a.B/c", (), known=True)
    call.model_ns, call.queue_ns = -time.monotonic_ns(), 3_600_000_000_000
    chain.settle(call, None)

    assert call.model_ns == 1
