"""What the client does, without the waiting: each call is a generator, and two thin drivers run it.

A generator yields steps, `Send` (one RPC) and `Wait` (seconds), and is sent the `Answer`, or thrown the
`grpc.RpcError`, that came of it. So the order of things, the deadline, the retries and the errors are
written once, for the sync client and the async one, and are tested without either.
"""

import math
import re
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

import grpc
import numpy.typing as npt
from grpc import StatusCode

from guardhouse.protos import guardhouse_pb2
from guardhouse.protos import inference_pb2 as pb

from . import errors, fitting, messages, retry, tracing
from .datatypes import Array, TensorError
from .messages import Identity, ModelInfo, Parameter, Result, ServerInfo

Metadata = Sequence[tuple[str, str | bytes]]


class Send(NamedTuple):
    """Make this RPC, within *timeout* seconds."""

    method: str
    request: Any
    timeout: float
    metadata: Metadata


class Wait(NamedTuple):
    """Do nothing for so long."""

    seconds: float


class Answer(NamedTuple):
    """The response of an RPC, and the trailing metadata it came with."""

    message: Any
    trailers: Iterable[tuple[str, Any]]

    @property
    def trace_id(self) -> str:
        """The trace that the server says this call is."""
        return errors.trace_id(dict(self.trailers))


T = TypeVar("T")
Flow = Generator[Send | Wait, Any, T]

_KEY = re.compile(r"[a-z0-9_.-]+")


@dataclass(slots=True)
class Calls:
    """The calls of one client: its settings, and the input declarations of models it has met.

    Threads may share it: the one thing that changes is a dictionary, by single operations.
    """

    token: Callable[[], str]
    timeout: float
    max_attempts: int
    clock: Callable[[], float]
    chance: Callable[[], float]
    known: dict[tuple[str, str], tuple[messages.TensorInfo, ...]] = field(default_factory=dict)

    def infer(
        self,
        model: str,
        inputs: Any,
        *,
        version: str = "",
        outputs: Iterable[str] | None = None,
        parameters: Mapping[str, Parameter] | None = None,
        request_id: str = "",
        timeout: float | None = None,
        metadata: Metadata = (),
        raw: bool = True,
    ) -> Flow[Result]:
        """One query; see `Client.infer`."""
        deadline = self._deadline(timeout)
        arrays = yield from self._arrays(model, version, inputs, deadline, metadata)
        request = messages.infer_request(
            model,
            arrays,
            version=version,
            outputs=outputs,
            parameters=parameters,
            request_id=request_id,
            raw=raw,
        )
        try:
            answer = yield from self._call("ModelInfer", request, deadline, metadata)
        except (errors.InvalidArgument, errors.NotFound):
            self.known.pop((model, version), None)  # the model may have changed since it was asked
            raise
        return messages.result(answer.message, answer.trace_id)

    def question(
        self,
        model: str,
        inputs: Any,
        *,
        version: str = "",
        outputs: Iterable[str] | None = None,
        parameters: Mapping[str, Parameter] | None = None,
        request_id: str = "",
        timeout: float | None = None,
        metadata: Metadata = (),
    ) -> Flow[Send]:
        """What to open a stream with; see `Client.stream`. Never sent twice: it may have been answered."""
        deadline = self._deadline(timeout)
        arrays = yield from self._arrays(model, version, inputs, deadline, metadata)
        request = messages.infer_request(
            model,
            arrays,
            version=version,
            outputs=outputs,
            parameters=parameters,
            request_id=request_id,
            raw=True,
        )
        left = max(deadline - self.clock(), 0.0)
        wants_status = ("triton_grpc_error", "true")
        return Send("ModelStreamInfer", request, left, (*self._metadata(metadata), wants_status))

    def metadata(self, model: str, *, version: str = "", timeout: float | None = None) -> Flow[ModelInfo]:
        """What a model takes and gives."""
        request = pb.ModelMetadataRequest(name=model, version=version)
        answer = yield from self._call("ModelMetadata", request, self._deadline(timeout))
        return messages.model_info(answer.message)

    def ready(
        self, model: str | None = None, *, version: str = "", timeout: float | None = None
    ) -> Flow[bool]:
        """Whether the server, or one model, takes queries."""
        if model is None:
            answer = yield from self._call("ServerReady", pb.ServerReadyRequest(), self._deadline(timeout))
        else:
            request = pb.ModelReadyRequest(name=model, version=version)
            answer = yield from self._call("ModelReady", request, self._deadline(timeout))
        return bool(answer.message.ready)

    def live(self, *, timeout: float | None = None) -> Flow[bool]:
        """Whether the server runs."""
        answer = yield from self._call("ServerLive", pb.ServerLiveRequest(), self._deadline(timeout))
        return bool(answer.message.live)

    def server_metadata(self, *, timeout: float | None = None) -> Flow[ServerInfo]:
        """Who is answering."""
        request = pb.ServerMetadataRequest()
        answer = yield from self._call("ServerMetadata", request, self._deadline(timeout))
        return messages.server_info(answer.message)

    def whoami(self, *, timeout: float | None = None) -> Flow[Identity]:
        """Who the server takes the caller for."""
        request = guardhouse_pb2.WhoAmIRequest()
        answer = yield from self._call("WhoAmI", request, self._deadline(timeout))
        return messages.identity(answer.message, answer.trace_id)

    def _arrays(
        self, model: str, version: str, inputs: Any, deadline: float, metadata: Metadata
    ) -> Flow[dict[str, Array]]:
        """The inputs as named arrays; the model is asked where name or datatype are not given."""
        named = isinstance(inputs, Mapping)
        if named and not any(fitting.is_plain(value) for value in inputs.values()):
            return {name: fitting.as_array(name, value) for name, value in inputs.items()}
        declared = yield from self._declared(model, version, deadline, metadata)
        return _fit_named(inputs, declared) if named else _fit_single(model, inputs, declared)

    def _declared(
        self, model: str, version: str, deadline: float, metadata: Metadata
    ) -> Flow[tuple[messages.TensorInfo, ...]]:
        known = self.known.get((model, version))
        if known is None:
            request = pb.ModelMetadataRequest(name=model, version=version)
            answer = yield from self._call("ModelMetadata", request, deadline, metadata)
            known = self.known[model, version] = messages.model_info(answer.message).inputs
        return known

    def _call(self, method: str, request: Any, deadline: float, metadata: Metadata = ()) -> Flow[Answer]:
        """Make one RPC, again where the server says so, until the deadline."""
        attempt = 0
        while (remaining := deadline - self.clock()) > 0:
            attempt += 1
            try:
                answer: Answer = yield Send(method, request, remaining, self._metadata(metadata))
            except grpc.RpcError as failure:
                error = errors.from_rpc(failure)
                seconds = retry.wait(
                    error, attempt, self.max_attempts, deadline - self.clock(), self.chance()
                )
                if seconds is None:
                    raise error from failure
            else:
                return answer
            yield Wait(seconds)
        raise errors.DeadlineExceeded(
            "the time given to the call has passed", code=StatusCode.DEADLINE_EXCEEDED
        )

    def _deadline(self, timeout: float | None) -> float:
        return self.clock() + (self.timeout if timeout is None else check_timeout(timeout))

    def _metadata(self, own: Metadata) -> Metadata:
        """The metadata of one attempt; a key that the caller gives is the caller's."""
        for key, _ in own:
            if not _KEY.fullmatch(key):
                raise ValueError(f"metadata key {key!r} must be lower-case letters, digits, and any of _ . -")
        token, trace = self.token(), tracing.traceparent()
        ours = [("authorization", f"Bearer {token}")] if token else []
        ours += [("traceparent", trace)] if trace else []
        given = {key for key, _ in own}
        return (*(pair for pair in ours if pair[0] not in given), *own)


def check_timeout(timeout: float) -> float:
    """Return the timeout. Raises ValueError unless it is a positive, finite number of seconds."""
    if not (math.isfinite(timeout) and timeout > 0):
        raise ValueError(f"a timeout is a positive number of seconds, not {timeout!r}")
    return timeout


def _fit_named(
    inputs: Mapping[str, npt.ArrayLike], declared: tuple[messages.TensorInfo, ...]
) -> dict[str, Array]:
    """Arrays as they are, plain numbers as the model declares them."""
    datatypes = {tensor.name: tensor.datatype for tensor in declared}
    return {
        name: fitting.fit(name, value, datatypes[name])
        if fitting.is_plain(value) and name in datatypes
        else fitting.as_array(name, value)
        for name, value in inputs.items()
    }


def _fit_single(
    model: str, value: npt.ArrayLike, declared: tuple[messages.TensorInfo, ...]
) -> dict[str, Array]:
    if len(declared) != 1:
        names = ", ".join(repr(tensor.name) for tensor in declared) or "none"
        raise TensorError(
            f"model {model!r} has {len(declared)} inputs: give a mapping with the names {names}"
        )
    tensor = declared[0]
    return {tensor.name: fitting.add_batch(fitting.fit(tensor.name, value, tensor.datatype), tensor.shape)}
