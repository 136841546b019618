"""The core methods of the Open Inference Protocol v2, and its stream, for the models that are loaded.

They stand behind the chain, which has validated and authorized before. What they refuse they refuse as every
guard does, with `Refusal`; any other exception is the model's, and the chain keeps its text.
"""

# ruff: noqa: N802 - methods have the names the protocol gives them

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import aclosing, contextmanager
from time import perf_counter_ns
from typing import Any

import grpc

from guardhouse.interceptors.call import CURRENT
from guardhouse.interceptors.refusal import Refusal
from guardhouse.interceptors.validation.signature import Tensor, check_signature
from guardhouse.protos import inference_pb2 as pb
from guardhouse.protos.inference_pb2_grpc import GRPCInferenceServiceServicer

from .model_config import config_of
from .models import Model, Models
from .models.base import Array
from .statistics import Run, Statistics
from .streaming import EMPTY_FINAL, answered, marked
from .tensors import decode, encode, parameters

SERVICE = "inference.GRPCInferenceService"
MESSAGES: dict[str, tuple[Any, Any]] = {
    "ServerLive": (pb.ServerLiveRequest, pb.ServerLiveResponse),
    "ServerReady": (pb.ServerReadyRequest, pb.ServerReadyResponse),
    "ServerMetadata": (pb.ServerMetadataRequest, pb.ServerMetadataResponse),
    "ModelReady": (pb.ModelReadyRequest, pb.ModelReadyResponse),
    "ModelMetadata": (pb.ModelMetadataRequest, pb.ModelMetadataResponse),
    "ModelConfig": (pb.ModelConfigRequest, pb.ModelConfigResponse),
    "ModelStatistics": (pb.ModelStatisticsRequest, pb.ModelStatisticsResponse),
    "ModelInfer": (pb.ModelInferRequest, pb.ModelInferResponse),
}


NOTHING = pb.InferParameter()


def _always() -> bool:
    return True


class Inference(GRPCInferenceServiceServicer):
    """The service as `grpc.aio` handlers.

    Args:
        models: What it serves.
        is_ready: Whether queries are taken now; False while the server drains.
        name: The server's name in its metadata.
        version: The server's version there.
    """

    def __init__(
        self,
        models: Models,
        *,
        is_ready: Callable[[], bool] = _always,
        name: str = "guardhouse",
        version: str = "",
    ) -> None:
        self._models = models
        self._is_ready = is_ready
        self._sums = {(model.name, model.version): Statistics() for model in models}
        self._identity = pb.ServerMetadataResponse(name=name, version=version)

    async def ServerLive(self, request: pb.ServerLiveRequest, context: Any) -> pb.ServerLiveResponse:
        """Live as long as it answers."""
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(self, request: pb.ServerReadyRequest, context: Any) -> pb.ServerReadyResponse:
        """Ready unless it drains; every model was loaded before the first call."""
        return pb.ServerReadyResponse(ready=self._is_ready())

    async def ServerMetadata(
        self, request: pb.ServerMetadataRequest, context: Any
    ) -> pb.ServerMetadataResponse:
        """Name and version, and no extensions of the protocol."""
        return self._identity

    async def ModelReady(self, request: pb.ModelReadyRequest, context: Any) -> pb.ModelReadyResponse:
        """MODEL_UNKNOWN, or ready as the server is."""
        self._find(request.name, request.version)
        return pb.ModelReadyResponse(ready=self._is_ready())

    async def ModelMetadata(self, request: pb.ModelMetadataRequest, context: Any) -> pb.ModelMetadataResponse:
        """The signature of one model, and the versions there are of it."""
        model = self._find(request.name, request.version)
        return pb.ModelMetadataResponse(
            name=model.name,
            versions=self._models.versions(model.name),
            platform=model.platform,
            inputs=_metadata(model.signature.inputs),
            outputs=_metadata(model.signature.outputs),
        )

    async def ModelConfig(self, request: pb.ModelConfigRequest, context: Any) -> pb.ModelConfigResponse:
        """What runs one model, and its tensors."""
        return pb.ModelConfigResponse(config=config_of(self._find(request.name, request.version)))

    async def ModelStatistics(
        self, request: pb.ModelStatisticsRequest, context: Any
    ) -> pb.ModelStatisticsResponse:
        """What one version of a model, or each of them, has done since it was loaded."""
        self._find(request.name, request.version)
        versions = [request.version] if request.version else self._models.versions(request.name)
        found = [self._sums[request.name, version].message(request.name, version) for version in versions]
        return pb.ModelStatisticsResponse(model_stats=found)

    async def ModelInfer(self, request: pb.ModelInferRequest, context: Any) -> pb.ModelInferResponse:
        """Ask the model; answer in the form, raw or typed, of the question.

        Raises:
            Refusal: MODEL_UNKNOWN, MODEL_STREAMS, or a TENSOR_… reason for what does not fit the model's
                signature.
            Exception: Whatever the model raises, or `ModelBroken`.
        """
        model = self._find(request.model_name, request.model_version)
        if model.streams:
            raise Refusal("MODEL_STREAMS")
        with self._counted(model) as run:
            check_signature(request, model.signature)
            inputs = decode(request)
            ready = run.taken(perf_counter_ns())
            given = await model.infer(inputs, _parameters(request))
            done = run.computed(ready, perf_counter_ns())
            response = _response(request, model, given)
            run.given(done, perf_counter_ns())
        return response

    async def ModelStreamInfer(
        self, request_iterator: AsyncIterator[pb.ModelInferRequest], context: Any
    ) -> AsyncGenerator[pb.ModelStreamInferResponse, None]:
        """Answer each question as `ModelInfer` would, or as often as its model does; see `streaming`."""
        async with aclosing(
            answered(request_iterator, self._responses, context.invocation_metadata())
        ) as given:
            async for message in given:
                yield message

    async def _responses(self, request: pb.ModelInferRequest) -> AsyncGenerator[pb.ModelInferResponse, None]:
        model = self._find(request.model_name, request.model_version)
        if not model.streams:
            yield marked(await self.ModelInfer(request, None), last=True)
            return
        with self._counted(model) as run:
            check_signature(request, model.signature)
            inputs = decode(request)
            mark = run.taken(perf_counter_ns())
            async with aclosing(model.stream(inputs, _parameters(request))) as given:
                async for outputs in given:  # which of them is the last is not known before the end
                    mark = run.computed(mark, perf_counter_ns())
                    response = marked(_response(request, model, outputs), last=False)
                    run.given(mark, perf_counter_ns())
                    yield response
                    mark = perf_counter_ns()
        if request.parameters and request.parameters.get(EMPTY_FINAL, NOTHING).bool_param:
            yield marked(_headed(request, model), last=True)

    @contextmanager
    def _counted(self, model: Model) -> Iterator[Run]:
        """One question to *model*, in its statistics however it ends."""
        call, sums = CURRENT.get(None), self._sums[model.name, model.version]
        queued = call.queue_ns if call is not None else 0  # that of earlier questions too, after the first
        run = Run(perf_counter_ns(), queued if call is not None and call.requests <= 1 else 0)
        try:
            yield run
        except BaseException:
            sums.failed(run, perf_counter_ns())
            raise
        run.in_threads = call.queue_ns - queued if call is not None else 0
        sums.answered(run, perf_counter_ns(), time.time())

    def _find(self, name: str, version: str) -> Model:
        model = self._models.get(name, version)
        if model is None:
            raise Refusal("MODEL_UNKNOWN")
        return model


def _parameters(request: pb.ModelInferRequest) -> dict[str, bool | int | float | str]:
    """Those of *request* that are for its model."""
    found = parameters(request.parameters)
    found.pop(EMPTY_FINAL, None)
    return found


def _response(
    request: pb.ModelInferRequest, model: Model, given: Mapping[str, Array]
) -> pb.ModelInferResponse:
    """What *model* has *given*, as far as it was asked for, in the form of the question."""
    asked = [output.name for output in request.outputs] or given
    response = _headed(request, model)
    declared = model.signature.output_by_name
    outputs = [(declared[name], given[name]) for name in asked]
    encode(response, outputs, raw=bool(request.raw_input_contents))
    return response


def _headed(request: pb.ModelInferRequest, model: Model) -> pb.ModelInferResponse:
    """An answer to *request* without outputs."""
    return pb.ModelInferResponse(model_name=model.name, model_version=model.version, id=request.id)


def _metadata(tensors: Iterable[Tensor]) -> list[pb.ModelMetadataResponse.TensorMetadata]:
    return [
        pb.ModelMetadataResponse.TensorMetadata(
            name=tensor.name, datatype=tensor.datatype, shape=tensor.shape
        )
        for tensor in tensors
    ]


def handlers(servicer: Inference) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
    """What serves each path. Methods that are not here do not exist, to whoever may know that."""
    found: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        f"/{SERVICE}/{method}": grpc.unary_unary_rpc_method_handler(
            getattr(servicer, method), asks.FromString, answers.SerializeToString
        )
        for method, (asks, answers) in MESSAGES.items()
    }
    found[f"/{SERVICE}/ModelStreamInfer"] = grpc.stream_stream_rpc_method_handler(
        servicer.ModelStreamInfer,
        pb.ModelInferRequest.FromString,
        pb.ModelStreamInferResponse.SerializeToString,
    )
    return found
