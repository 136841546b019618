"""Tokens as models report them: by a function, or in their answers."""

from __future__ import annotations

import contextvars
import sys
import threading

import pytest

from guardhouse.interceptors import ReportedTokens, report_tokens
from guardhouse.interceptors.call import CURRENT, Call
from guardhouse.interceptors.methods import MODEL_INFER, MODEL_METADATA, MODEL_STREAM_INFER
from guardhouse.interceptors.usage import MOST, Usage
from guardhouse.protos import inference_pb2


@pytest.fixture
def call() -> Call:
    """The call that is being served."""
    made = Call(MODEL_INFER, (), True, 0, 0)
    CURRENT.set(made)
    return made


def answer(**told: object) -> inference_pb2.ModelInferResponse:
    response = inference_pb2.ModelInferResponse(model_name="m")
    for name, value in told.items():
        kind = {int: "int64_param", float: "double_param", str: "string_param"}[type(value)]
        setattr(response.parameters[name], kind, value)
    return response


def test_reports_of_a_call_add_up(call: Call) -> None:
    """The prompt first, the answer piece by piece."""
    report_tokens(input=12)
    report_tokens(output=300)
    report_tokens(output=40)

    assert call.usage == Usage(12, 340)


def test_a_call_without_a_report_holds_none(call: Call) -> None:
    """What was never told is not 0: it is not known. And it costs the call no attribute of its own."""
    assert call.usage is None
    assert "usage" not in vars(call)


def test_numbers_of_other_libraries_count(call: Call) -> None:
    """Whatever stands for a whole number, like those of numpy."""
    numpy = pytest.importorskip("numpy")
    report_tokens(input=numpy.int64(3), output=numpy.uint32(4))

    assert call.usage == Usage(3, 4)


@pytest.mark.parametrize("wrong", [-1, MOST + 1, 2**70])
def test_a_number_that_cannot_be_one_of_tokens_is_the_models_mistake(call: Call, wrong: int) -> None:
    """It raises in the model, and counts nothing: no report ever gives units back."""
    with pytest.raises(ValueError, match="no numbers of tokens; report 0 to"):
        report_tokens(input=5, output=wrong)
    assert call.usage is None


def test_half_a_token_is_refused(call: Call) -> None:
    """Money is counted in whole numbers."""
    with pytest.raises(TypeError):
        report_tokens(output=1.5)  # type: ignore[arg-type]
    assert call.usage is None


def test_outside_of_a_call_there_is_nothing_to_count() -> None:
    """A model that runs by itself is told so."""
    with pytest.raises(LookupError):
        contextvars.Context().run(report_tokens, input=1)


def test_threads_of_one_model_lose_nothing(call: Call) -> None:
    """Eight of them report at once, each in a copy of the call's context, and interrupt each other often."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    context = contextvars.copy_context

    def work() -> None:
        for _ in range(2000):
            report_tokens(input=1, output=2)

    threads = [threading.Thread(target=context().run, args=(work,)) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    sys.setswitchinterval(usual)

    assert call.usage == Usage(16_000, 32_000)


def test_sums_stay_countable(call: Call) -> None:
    """Reports that add up to more than a store can count stop there."""
    report_tokens(output=MOST)
    report_tokens(output=MOST)

    assert call.usage == Usage(0, MOST)


def test_an_answer_tells_its_tokens(call: Call) -> None:
    """By its parameters, each response for itself; it leaves as it was."""
    told = answer(input_tokens=12, output_tokens=3)
    left = ReportedTokens().release(call, told)
    ReportedTokens().release(call, answer(output_tokens=4))

    assert left is told
    assert call.usage == Usage(12, 7)


def test_an_answer_in_a_stream_tells_them_too() -> None:
    """Inside of the stream's own message."""
    call = Call(MODEL_STREAM_INFER, (), True, 0, 0)
    message = inference_pb2.ModelStreamInferResponse(infer_response=answer(output_tokens=9))
    ReportedTokens().release(call, message)

    assert call.usage == Usage(0, 9)


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"input_tokens": -5, "output_tokens": 10},
        {"output_tokens": 2**62},
        {"output_tokens": "10"},
        {"output_tokens": 10.0},
        {"tokens": 10},
    ],
)
def test_what_an_answer_cannot_mean_is_not_told(call: Call, told: dict[str, object]) -> None:
    """Negative, absurd, of another type, of another name: as if the model had said nothing."""
    ReportedTokens().release(call, answer(**told))

    assert call.usage is None


def test_other_messages_are_left_alone() -> None:
    """Of other methods, of whatever type: their parameters are their own."""
    call = Call(MODEL_METADATA, (), True, 0, 0)

    assert ReportedTokens().release(call, b"bytes") == b"bytes"
    ReportedTokens().release(call, answer(output_tokens=9))
    assert call.usage is None
