"""`ModelStreamInfer` over a real connection: many answers to one question, mistakes, refusals."""

from __future__ import annotations

import queue
from contextlib import aclosing

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from gate import bearer, query, until
from test_peers import credentials, tensor, triton_settings

from guardhouse.clients import AsyncClient, Client, NotFound, ServerError
from guardhouse.protos import inference_pb2 as pb
from guardhouse.protos.inference_pb2_grpc import GRPCInferenceServiceStub

END = "triton_enable_empty_final_response"


@pytest.fixture(scope="module")
def operator(gate):
    """What somebody shows who may call everything."""
    return bearer(gate.token("operator"))


@pytest.fixture(scope="module")
def stub(gate):
    """The service, over a connection with the client's certificate."""
    with gate.channel() as channel:
        yield GRPCInferenceServiceStub(channel)


def ask(model: str, *values: float, ends: bool = False, **fields) -> pb.ModelInferRequest:
    request = query(model, values)
    request.MergeFrom(pb.ModelInferRequest(**fields))
    if ends:
        request.parameters[END].bool_param = True
    return request


def value(message: pb.ModelStreamInferResponse) -> list[float]:
    return np.frombuffer(message.infer_response.raw_output_contents[0], "<f4").tolist()


def last(message: pb.ModelStreamInferResponse) -> bool:
    return message.infer_response.parameters["triton_final_response"].bool_param


def test_each_question_is_answered_in_order(stub, operator):
    """A model with one answer gives it marked as the last, with the question's id, like `ModelInfer`."""
    asked = iter([ask("double", 1, id="a"), ask("double", 2, 3, id="b"), ask("double", 4, ends=True)])
    found = list(stub.ModelStreamInfer(asked, metadata=operator, timeout=10))

    assert [value(each) for each in found] == [[2], [4, 6], [8]]
    assert [each.infer_response.id for each in found] == ["a", "b", ""]
    assert all(last(each) for each in found)


@pytest.mark.parametrize("model", ["spell", "tick"])
def test_a_model_gives_many_answers_to_one_question(stub, operator, model):
    """A generator, blocking or async: no answer is marked as the last; its end is told on demand."""
    asked = iter([ask(model, 1, 2, 3, id="a"), ask(model, 4, id="b", ends=True), ask(model, ends=True)])
    found = list(stub.ModelStreamInfer(asked, metadata=operator, timeout=10))

    assert [value(each) for each in found if each.infer_response.outputs] == [[1], [2], [3], [4]]
    assert [last(each) for each in found] == [False, False, False, False, True, True]
    assert [each.infer_response.id for each in found] == ["a", "a", "a", "b", "b", ""]
    assert found[-1].infer_response.model_name == model


def test_a_question_that_fails_leaves_the_stream_open(stub, operator, gate):
    """A wrong shape, a model that raises at once and one that raises midway: each an error message with a
    reason, in fixed words; what the model said stays here."""
    wrong = ask("double", 1, id="w")
    wrong.inputs[0].name = "z"
    asked = [wrong, ask("broken", 1, id="b"), ask("spell", 1, -1, id="s"), ask("double", 5, id="d")]
    found = list(stub.ModelStreamInfer(iter(asked), metadata=operator, timeout=10))

    assert [(each.infer_response.id, each.error_message.partition(":")[0]) for each in found] == [
        ("w", "TENSOR_UNKNOWN"),
        ("b", "MODEL_FAILED"),
        ("s", ""),
        ("s", "MODEL_FAILED"),
        ("d", ""),
    ]
    assert found[1].error_message == "MODEL_FAILED: the model failed"
    assert value(found[-1]) == [10]
    assert "canary" not in str(found)


def test_a_caller_may_want_a_status_instead(stub, operator):
    """With `triton_grpc_error: true` a model that raises ends the stream with INTERNAL."""
    asked = iter([ask("double", 1), ask("broken", 1), ask("double", 2)])
    call = stub.ModelStreamInfer(asked, metadata=(*operator, ("triton_grpc_error", "true")), timeout=10)

    assert value(next(call)) == [2]
    with pytest.raises(grpc.RpcError) as error:
        next(call)
    assert (error.value.code(), error.value.details()) == (grpc.StatusCode.INTERNAL, "the model failed")


def test_one_answer_is_not_asked_of_a_model_that_gives_many(stub, operator, gate):
    """`ModelInfer` is refused, and the model not asked."""
    before = gate.calls()
    with pytest.raises(grpc.RpcError) as error:
        stub.ModelInfer(ask("spell", 1), metadata=operator, timeout=10)

    assert error.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert dict(error.value.trailing_metadata())["guardhouse-reason"] == "MODEL_STREAMS"
    assert gate.calls() == before


@pytest.mark.parametrize(("model", "mark"), [("spell", b"s"), ("tick", b"t")])
def test_the_model_stops_when_its_caller_leaves(stub, operator, gate, model, mark):
    """A caller who leaves after the first of a million answers: the model is closed, soon after."""
    before, ended = gate.calls(mark), gate.calls(b"|")
    call = stub.ModelStreamInfer(iter([ask(model, *([1.0] * 500_000))]), metadata=operator, timeout=30)
    assert value(next(call)) == [1]
    call.cancel()

    until(lambda: gate.calls(b"|") == ended + 1)
    assert gate.calls(mark) - before < 500_000


def test_each_message_is_guarded(stub, operator, gate):
    """Who may not call the stream hears so before the model; a model that is not there ends the stream."""
    before = gate.calls()
    codes = []
    for metadata in ((), bearer(gate.token("trickle"))):
        with pytest.raises(grpc.RpcError) as error:
            list(stub.ModelStreamInfer(iter([ask("double", 1)]), metadata=metadata, timeout=10))
        codes.append(error.value.code())
    assert codes == [grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED]
    assert gate.calls() == before

    call = stub.ModelStreamInfer(iter([ask("double", 1), ask("nothing", 1)]), metadata=operator, timeout=10)
    assert value(next(call)) == [2]
    with pytest.raises(grpc.RpcError) as error:
        next(call)
    assert error.value.code() is grpc.StatusCode.NOT_FOUND


def test_tritonclient_streams(gate, operator):
    """NVIDIA's client opens a stream, asks two models on it, and hears of a mistake, as it does of Triton."""
    heard: queue.Queue = queue.Queue()
    with triton.InferenceServerClient(**triton_settings(gate)) as client:
        client.start_stream(lambda result, error: heard.put((result, error)), headers=dict(operator))
        client.async_stream_infer("double", [tensor(triton)], request_id="1")
        _, none = first = heard.get(timeout=10)
        client.async_stream_infer("broken", [tensor(triton)], request_id="2")
        nothing, said = heard.get(timeout=10)
        client.async_stream_infer(
            "spell",
            [tensor(triton, np.array([7], np.float32))],
            request_id="3",
            enable_empty_final_response=True,
        )
        many = [heard.get(timeout=10)[0] for _ in range(2)]
        client.stop_stream()

    assert none is None
    assert first[0].as_numpy("y").tolist() == [3.0, -4.0, 6.5]
    assert nothing is None
    assert "MODEL_FAILED" in str(said)
    assert many[0].as_numpy("y").tolist() == [7]
    assert [each.get_response().parameters["triton_final_response"].bool_param for each in many] == [
        False,
        True,
    ]


def test_our_client_streams(gate):
    """Each answer as it comes, plain numbers in the declared datatype; a failure after two of them."""
    shown = credentials(gate, gate.token("operator"))
    with Client(gate.target, credentials=shown) as client:
        found = [each["y"].tolist() for each in client.stream("spell", [1, 2, 3])]
        broken = client.stream("spell", {"x": np.array([1, 2, -1], np.float32)})
        began = [next(broken)["y"].tolist(), next(broken)["y"].tolist()]
        with pytest.raises(ServerError) as failed:
            next(broken)
        with pytest.raises(NotFound):
            next(client.stream("nothing", {"x": np.array([1], np.float32)}))

    assert found == [[1], [2], [3]]
    assert began == [[1], [2]]
    assert failed.value.reason == "MODEL_FAILED"


async def test_our_async_client_streams(gate):
    """The same; leaving it in the middle ends the model's work."""
    shown, ended = credentials(gate, gate.token("operator")), gate.calls(b"|")
    async with AsyncClient(gate.target, credentials=shown) as client:
        found = [each["y"].tolist() async for each in client.stream("tick", [1, 2])]
        async with aclosing(client.stream("tick", [1.0] * 100_000)) as answers:
            assert (await anext(answers))["y"].tolist() == [1]

    assert found == [[1], [2]]
    until(lambda: gate.calls(b"|") == ended + 2)
