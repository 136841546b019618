"""Requests made of arrays, and answers made into values that know nothing of protobuf."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from grpc import StatusCode

from guardhouse.protos import guardhouse_pb2
from guardhouse.protos import inference_pb2 as pb

from . import tensors
from .datatypes import Array, MalformedTensor, TensorError, datatype_of
from .errors import ServerError, one_line

Parameter = bool | int | float | str


class Result(Mapping[str, Array]):
    """The outputs of one query by name, in the server's order, and what else came with them.

    Attributes:
        model, version, id: As the server says; `id` repeats the request's.
        trace_id: The trace of the call, 32 hexadecimal digits; "" where the server names none.
        parameters: Extras of the answer.
        datatypes: The protocol's datatype of each output.
    """

    __slots__ = ("_outputs", "datatypes", "id", "model", "parameters", "trace_id", "version")

    def __init__(self, response: pb.ModelInferResponse, trace_id: str = "") -> None:
        self.model = response.model_name
        self.version = response.model_version
        self.id = response.id
        self.trace_id = trace_id
        self.parameters = {key: parameter_value(value) for key, value in response.parameters.items()}
        self.datatypes = {tensor.name: tensor.datatype for tensor in response.outputs}
        self._outputs = dict(_decoded(response))

    def __getitem__(self, name: str) -> Array:
        return self._outputs[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._outputs)

    def __len__(self) -> int:
        return len(self._outputs)

    def __repr__(self) -> str:
        shapes = ", ".join(
            f"{name}: {self.datatypes[name]} {list(array.shape)}" for name, array in self.items()
        )
        return f"<Result of {self.model!r} version {self.version!r}: {shapes}; trace {self.trace_id or '?'}>"


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """A tensor that a model takes or gives; a dimension of -1 may have any size."""

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What a model says of itself."""

    name: str
    versions: tuple[str, ...]
    platform: str
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """What a server says of itself."""

    name: str
    version: str
    extensions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LimitInfo:
    """A limit on the caller, and what is left of it now.

    Of kind "rate": `limit` calls a second, `burst` at once, `remaining` now, all again in `reset` seconds. Of
    kind "concurrency": `limit` calls at the same time, `remaining` more now; `burst` and `reset` are 0.
    Of kind "budget": `limit` of `unit`, "elements/day", `remaining` now (-1: not known), all again in `reset`
    seconds; refusals call it `name`.
    """

    scope: str
    kind: str
    limit: float
    burst: float
    remaining: float
    reset: float
    name: str = ""
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the server takes the caller for; `expires` is in seconds since 1970, None where nothing does."""

    subject: str
    roles: tuple[str, ...]
    proofs: tuple[str, ...]
    certificate_id: str
    issuer: str
    expires: int | None
    limits: tuple[LimitInfo, ...]
    trace_id: str = ""


def infer_request(
    model: str,
    arrays: Mapping[str, Array],
    *,
    version: str = "",
    outputs: Iterable[str] | None = None,
    parameters: Mapping[str, Parameter] | None = None,
    request_id: str = "",
    raw: bool = True,
) -> pb.ModelInferRequest:
    """Return the request that carries the arrays. Raises TensorError for what the protocol cannot carry."""
    request = pb.ModelInferRequest()
    try:
        request.model_name, request.model_version, request.id = model, version, request_id
        for name, array in arrays.items():
            _add_input(request, name, array, raw=raw)
        for name in outputs or ():
            request.outputs.add(name=name)
        for key, value in (parameters or {}).items():
            request.parameters[key].CopyFrom(parameter(key, value))
    except UnicodeEncodeError as error:
        raise TensorError(f"{error.object!r} is no text that UTF-8 can hold") from error
    return request


def parameter(key: str, value: Parameter) -> pb.InferParameter:
    """Return the value as a parameter; a whole number that int64 cannot hold goes as uint64.

    Raises TypeError for another type, and ValueError for a number too large.
    """
    match value:
        case bool():
            return pb.InferParameter(bool_param=value)
        case int() if -(2**63) <= value < 2**63:
            return pb.InferParameter(int64_param=value)
        case int() if 0 <= value < 2**64:
            return pb.InferParameter(uint64_param=value)
        case int():
            raise ValueError(f"parameter {key!r} is a larger number than the protocol has room for")
        case float():
            return pb.InferParameter(double_param=value)
        case str():
            return pb.InferParameter(string_param=value)
    raise TypeError(f"parameter {key!r} must be bool, int, float or str, not {type(value).__name__}")


def parameter_value(received: pb.InferParameter) -> Parameter | None:
    """Return what the parameter holds; None where it is empty or of a kind unknown here."""
    choice = received.WhichOneof("parameter_choice")
    return getattr(received, choice) if choice else None


def result(response: pb.ModelInferResponse, trace_id: str) -> Result:
    """Return the answer as arrays. Raises ServerError where it contradicts itself."""
    try:
        return Result(response, trace_id)
    except MalformedTensor as error:
        message = one_line(f"the server's answer is malformed: {error}")
        raise ServerError(message, code=StatusCode.INTERNAL, trace_id=trace_id) from error


def streamed(message: pb.ModelStreamInferResponse) -> Result:
    """One answer of a stream. Raises ServerError for a mistake that other servers tell without a status."""
    if message.error_message:
        raise ServerError(" ".join(message.error_message.split()))
    return result(message.infer_response, "")


def model_info(response: pb.ModelMetadataResponse) -> ModelInfo:
    """Return a model's metadata as plain values."""
    inputs, outputs = (
        tuple(TensorInfo(tensor.name, tensor.datatype, tuple(tensor.shape)) for tensor in found)
        for found in (response.inputs, response.outputs)
    )
    return ModelInfo(response.name, tuple(response.versions), response.platform, inputs, outputs)


def server_info(response: pb.ServerMetadataResponse) -> ServerInfo:
    """Return a server's metadata as plain values."""
    return ServerInfo(response.name, response.version, tuple(response.extensions))


def identity(response: guardhouse_pb2.WhoAmIResponse, trace_id: str) -> Identity:
    """Return who the caller is as plain values."""
    return Identity(
        subject=response.subject,
        roles=tuple(response.roles),
        proofs=tuple(response.proofs),
        certificate_id=response.certificate_id,
        issuer=response.issuer,
        expires=response.expires_unix_seconds or None,
        limits=tuple(map(_limit, response.limits)),
        trace_id=trace_id,
    )


def _limit(each: guardhouse_pb2.Limit) -> LimitInfo:
    numbers = each.limit, each.burst, each.remaining, each.reset_seconds
    return LimitInfo(each.scope, each.kind, *numbers, each.name, each.unit)


def _add_input(request: pb.ModelInferRequest, name: str, array: Array, *, raw: bool) -> None:
    try:
        tensor = request.inputs.add(name=name, datatype=datatype_of(array), shape=array.shape)
        if raw:
            request.raw_input_contents.append(tensors.to_raw(array))
        else:
            tensor.contents.CopyFrom(tensors.to_typed(array))
    except TensorError as error:
        raise TensorError(f"input {name!r}: {error}") from error


def _decoded(response: pb.ModelInferResponse) -> Iterator[tuple[str, Array]]:
    contents = response.raw_output_contents
    if contents and len(contents) != len(response.outputs):
        raise MalformedTensor(f"{len(contents)} raw contents for {len(response.outputs)} outputs")
    for position, tensor in enumerate(response.outputs):
        shape = tuple(tensor.shape)
        try:
            if contents:
                yield tensor.name, tensors.from_raw(tensor.datatype, shape, contents[position])
            else:
                yield tensor.name, tensors.from_typed(tensor.datatype, shape, tensor.contents)
        except MalformedTensor as error:
            raise MalformedTensor(f"output {tensor.name!r}: {error}") from error
