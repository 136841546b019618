"""The six core methods, asked as the server asks them and once over a real connection."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import grpc.aio
import numpy as np
import pytest

from guardhouse.interceptors.refusal import Refusal
from guardhouse.protos import inference_pb2 as pb
from guardhouse.protos.inference_pb2_grpc import GRPCInferenceServiceStub
from guardhouse.server.models import ModelBroken, Models, Signature, Source
from guardhouse.server.servicer import SERVICE, Inference, handlers


class Doubler:
    """Doubles `x`, counts its rows, and remembers how often it was asked."""

    signature = Signature.of(
        inputs={"x": ("FP32", [-1, 2])}, outputs={"y": ("FP32", [-1, 2]), "rows": ("INT64", [])}
    )

    def __init__(self) -> None:
        self.asked = 0
        self.lies = False

    def predict(self, x: Any, parameters: Any) -> Any:
        """Twice `x`, or `scale` times."""
        self.asked += 1
        rows = np.float32(1) if self.lies else np.int64(len(x))
        return x * np.float32(parameters.get("scale", 2)), rows


@pytest.fixture
def doubler() -> Iterator[Doubler]:
    """The model behind the servicer: the witness of whether it was asked."""
    module = type(sys)("served_models")
    made = vars(module)["doubler"] = Doubler()
    sys.modules["served_models"] = module
    yield made
    del sys.modules["served_models"]


@pytest.fixture
def served(doubler: Doubler) -> Iterator[dict[str, Any]]:
    """The handlers of a server with `doubler` in versions 9 and 10."""
    models = Models.load([Source("d", version, python="served_models:doubler") for version in ("9", "10")])
    yield handlers(Inference(models, name="guardhouse", version="1.2"))
    models.close()


async def ask(served: dict[str, Any], method: str, request: Any) -> Any:
    """The answer to *request*, through the handler's own serializers."""
    handler = served[f"/{SERVICE}/{method}"]
    request = handler.request_deserializer(request.SerializeToString())
    raw = handler.response_serializer(await handler.unary_unary(request, None))
    return getattr(pb, f"{method}Response").FromString(raw)


def question(*, raw: bool = True, **fields: Any) -> Any:
    """A question to `d` with one row."""
    request = pb.ModelInferRequest(**{"model_name": "d", **fields})
    tensor = request.inputs.add(name="x", datatype="FP32", shape=[1, 2])
    row = np.array([1, 2], np.float32)
    if raw:
        request.raw_input_contents.append(row.tobytes())
    else:
        tensor.contents.fp32_contents.extend(row.tolist())
    return request


def test_only_the_core_methods_and_the_stream_are_served(served: dict[str, Any]) -> None:
    """The other methods that the protocol file declares do not exist on the server."""
    assert sorted(path.rpartition("/")[2] for path in served) == [
        "ModelConfig",
        "ModelInfer",
        "ModelMetadata",
        "ModelReady",
        "ModelStatistics",
        "ModelStreamInfer",
        "ServerLive",
        "ServerMetadata",
        "ServerReady",
    ]


async def test_the_server_says_what_it_is(served: dict[str, Any]) -> None:
    """Live, ready, and named."""
    live = await ask(served, "ServerLive", pb.ServerLiveRequest())
    ready = await ask(served, "ServerReady", pb.ServerReadyRequest())
    metadata = await ask(served, "ServerMetadata", pb.ServerMetadataRequest())

    assert (live.live, ready.ready) == (True, True)
    assert (metadata.name, metadata.version, list(metadata.extensions)) == ("guardhouse", "1.2", [])


async def test_a_server_that_drains_is_live_and_not_ready() -> None:
    """Readiness of the server and of its models follows `is_ready`."""
    served = handlers(Inference(Models([]), is_ready=lambda: False))

    assert (await ask(served, "ServerLive", pb.ServerLiveRequest())).live
    assert not (await ask(served, "ServerReady", pb.ServerReadyRequest())).ready


async def test_metadata_is_the_model_s_signature(served: dict[str, Any]) -> None:
    """Names, datatypes and shapes as declared; the versions there are; the platform."""
    ready = await ask(served, "ModelReady", pb.ModelReadyRequest(name="d", version="9"))
    metadata = await ask(served, "ModelMetadata", pb.ModelMetadataRequest(name="d"))

    assert ready.ready
    assert (metadata.name, list(metadata.versions), metadata.platform) == ("d", ["9", "10"], "python")
    assert [(tensor.name, tensor.datatype, list(tensor.shape)) for tensor in metadata.inputs] == [
        ("x", "FP32", [-1, 2])
    ]
    assert [(tensor.name, tensor.datatype, list(tensor.shape)) for tensor in metadata.outputs] == [
        ("y", "FP32", [-1, 2]),
        ("rows", "INT64", []),
    ]


async def test_a_raw_question_gets_a_raw_answer(served: dict[str, Any]) -> None:
    """The answer holds every output, the id, and the version that was chosen."""
    answer = await ask(served, "ModelInfer", question(id="mine"))

    assert (answer.model_name, answer.model_version, answer.id) == ("d", "10", "mine")
    assert [(output.name, list(output.shape)) for output in answer.outputs] == [("y", [1, 2]), ("rows", [])]
    assert np.frombuffer(answer.raw_output_contents[0], "<f4").tolist() == [2, 4]
    assert np.frombuffer(answer.raw_output_contents[1], "<i8").tolist() == [1]


async def test_a_typed_question_gets_a_typed_answer(served: dict[str, Any]) -> None:
    """The same answer in typed contents, and nothing raw."""
    answer = await ask(served, "ModelInfer", question(raw=False, model_version="9"))

    assert answer.model_version == "9"
    assert list(answer.outputs[0].contents.fp32_contents) == [2, 4]
    assert list(answer.outputs[1].contents.int64_contents) == [1]
    assert not answer.raw_output_contents


async def test_only_the_outputs_asked_for_are_sent_in_the_order_asked(served: dict[str, Any]) -> None:
    """Asking for outputs leaves the others out."""
    for names in (["rows"], ["rows", "y"]):
        request = question()
        for name in names:
            request.outputs.add(name=name)
        answer = await ask(served, "ModelInfer", request)

        assert [output.name for output in answer.outputs] == names
        assert len(answer.raw_output_contents) == len(names)


async def test_parameters_reach_the_model(served: dict[str, Any]) -> None:
    """A parameter of the request changes what the model does with it."""
    request = question(parameters={"scale": pb.InferParameter(int64_param=5)})

    answer = await ask(served, "ModelInfer", request)

    assert np.frombuffer(answer.raw_output_contents[0], "<f4").tolist() == [5, 10]


@pytest.mark.parametrize(
    ("method", "request_"),
    [
        ("ModelReady", pb.ModelReadyRequest(name="e")),
        ("ModelReady", pb.ModelReadyRequest(name="d", version="11")),
        ("ModelMetadata", pb.ModelMetadataRequest(name="e")),
        ("ModelInfer", question(model_name="e")),
        ("ModelInfer", question(model_version="11")),
    ],
)
async def test_an_unknown_model_or_version_is_refused(
    method: str, request_: Any, served: dict[str, Any]
) -> None:
    """MODEL_UNKNOWN, from each method that names a model."""
    with pytest.raises(Refusal) as caught:
        await ask(served, method, request_)
    assert caught.value.reason == "MODEL_UNKNOWN"


async def test_what_does_not_fit_the_signature_never_reaches_the_model(
    served: dict[str, Any], doubler: Doubler
) -> None:
    """A well-formed question in the wrong datatype, shape or names is refused; the model is not asked."""
    reasons = []
    changes: list[dict[str, Any]] = [{"datatype": "INT32"}, {"shape": [2, 1]}, {"name": "z"}]
    for change in changes:
        request = question()
        request.inputs[0].ClearField("shape" if "shape" in change else "name")
        request.inputs[0].MergeFrom(pb.ModelInferRequest.InferInputTensor(**{"name": "x", **change}))
        with pytest.raises(Refusal) as caught:
            await ask(served, "ModelInfer", request)
        reasons.append(caught.value.reason)

    assert reasons == ["TENSOR_DATATYPE", "TENSOR_SHAPE", "TENSOR_UNKNOWN"]
    assert doubler.asked == 0


async def test_an_answer_that_breaks_the_signature_does_not_leave(
    served: dict[str, Any], doubler: Doubler
) -> None:
    """A model that answers otherwise than declared fails, even where the bad output was not asked for."""
    doubler.lies = True
    request = question()
    request.outputs.add(name="y")

    with pytest.raises(ModelBroken, match="output rows is float32"):
        await ask(served, "ModelInfer", request)
    assert doubler.asked == 1


async def test_the_handlers_serve_a_real_connection(served: dict[str, Any]) -> None:
    """Registered in a grpc.aio server, they answer the generated stub."""
    server = grpc.aio.server()
    methods = {path.rpartition("/")[2]: handler for path, handler in served.items()}
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, methods)])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            answer = await GRPCInferenceServiceStub(channel).ModelInfer(question(), timeout=60)
    finally:
        await server.stop(None)

    assert np.frombuffer(answer.raw_output_contents[0], "<f4").tolist() == [2, 4]
