"""Requests of the Open Inference Protocol v2 that are what they claim to be, or are refused.

Everything here is decided from lengths and small numbers, before a tensor is made of what was sent. What is
said to the caller is positions, sizes and words of ours; names and values are never repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from struct import Struct
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from guardhouse.interceptors.call import Call
from guardhouse.interceptors.chain import Guard, Stage
from guardhouse.interceptors.refusal import Refusal

from .datatypes import DATATYPES, Datatype
from .heads import Heads
from .names import check_model, check_parameters, is_mark, is_tensor_name
from .packed import numbers

if TYPE_CHECKING:
    from guardhouse.protos import inference_pb2

MOST_TENSORS: Final = 256  # of inputs, and of requested outputs
MOST_DIMENSIONS: Final = 32  # as many as every numpy can hold
MOST_ELEMENTS: Final = 2**31  # of one tensor; dimensions of size 0 do not excuse the others
_UINT32: Final = Struct("<I")


def check_request(request: inference_pb2.ModelInferRequest) -> None:
    """Refuse a `ModelInferRequest` that is not what the protocol allows.

    Whether it fits a certain model is `check_signature`'s question.

    Raises:
        Refusal: NAME_INVALID, PARAMETER_INVALID, or one of the TENSOR_… reasons; INVALID_ARGUMENT all.
    """
    check_model(request.model_name, request.model_version)
    if not is_mark(request.id):
        raise Refusal("NAME_INVALID", say="the request's id")
    if request.parameters:
        check_parameters(request.parameters, "the request")
    inputs, raws = request.inputs, request.raw_input_contents
    _check_count(len(inputs), len(raws))
    if len(inputs) > 1:
        _check_distinct([tensor.name for tensor in inputs], "input")
    for position, tensor in enumerate(inputs):
        kind, elements = _check_input(tensor, position)
        if raws:
            _check_raw(tensor, position, kind, elements, raws[position])
        else:
            _check_typed(tensor, position, kind, elements)
    if request.outputs:
        _check_outputs(request.outputs)


def _check_named(request: Any) -> None:
    check_model(request.name, request.version)


def _check_named_or_all(request: Any) -> None:
    """As a name, where an empty one asks for every model."""
    if request.name or request.version:
        check_model(request.name, request.version)


def _check_repository(request: Any) -> None:
    """The repository's name is optional, and held to the rule for models."""
    if request.repository_name:
        check_model(request.repository_name)


def _check_load(request: Any) -> None:
    _check_repository(request)
    check_model(request.model_name)
    check_parameters(request.parameters, "the request")


Check = Callable[[Any], None]

# What is checked at which method; a method that is not here carries nothing to check.
CHECKS: Final[Mapping[str, Check]] = MappingProxyType(
    {
        "/inference.GRPCInferenceService/ModelInfer": check_request,
        "/inference.GRPCInferenceService/ModelStreamInfer": check_request,
        "/inference.GRPCInferenceService/ModelReady": _check_named,
        "/inference.GRPCInferenceService/ModelMetadata": _check_named,
        "/inference.GRPCInferenceService/ModelConfig": _check_named,
        "/inference.GRPCInferenceService/ModelStatistics": _check_named_or_all,
        "/inference.GRPCInferenceService/RepositoryIndex": _check_repository,
        "/inference.GRPCInferenceService/RepositoryModelLoad": _check_load,
        "/inference.GRPCInferenceService/RepositoryModelUnload": _check_load,
    }
)


class Validation(Guard):
    """Lets only requests through that are well-formed.

    Args:
        checks: By path of the method, a function that raises `Refusal` for a request message it will not
            have. The default knows every method of the protocol.
    """

    stage = Stage.VALIDATION

    def __init__(self, checks: Mapping[str, Check] = CHECKS) -> None:
        self._checks = dict(checks)
        self._heads = Heads()

    def inspect(self, call: Call, request: Any) -> None:
        """Refuse a malformed *request*; each message of a stream is one."""
        check = self._checks.get(call.method)
        if check is check_request:
            if not self._heads.known(call.raw):
                check_request(request)
                self._heads.keep(call.raw, request)
        elif check is not None:
            check(request)


def _check_count(inputs: int, raws: int) -> None:
    if not 0 < inputs <= MOST_TENSORS:
        said = f"{inputs} inputs were sent, 1 to {MOST_TENSORS} are taken"
        raise Refusal("TENSOR_COUNT", say=said)
    if raws and raws != inputs:
        said = f"{inputs} inputs need as many raw contents, {raws} were sent"
        raise Refusal("TENSOR_CONTENTS", say=said)


def _check_outputs(outputs: Sequence[Any]) -> None:
    if len(outputs) > MOST_TENSORS:
        said = f"{len(outputs)} outputs were asked for, {MOST_TENSORS} at most are given"
        raise Refusal("TENSOR_COUNT", say=said)
    for position, output in enumerate(outputs):
        if not is_tensor_name(output.name):
            raise Refusal("NAME_INVALID", say=f"the name of output {position}")
        if output.parameters:
            check_parameters(output.parameters, f"output {position}")
    _check_distinct([output.name for output in outputs], "output")


def _check_distinct(names: list[str], side: str) -> None:
    if len(set(names)) == len(names):
        return
    second = next(position for position, name in enumerate(names) if name in names[:position])
    raise Refusal("TENSOR_DUPLICATE", say=f"{side} {second} has the name of an earlier one")


def _check_input(tensor: Any, position: int) -> tuple[Datatype, int]:
    """The datatype of *tensor* and the number of its elements, if its head is in order."""
    if not is_tensor_name(tensor.name):
        raise Refusal("NAME_INVALID", say=f"the name of input {position}")
    kind = DATATYPES.get(tensor.datatype)
    if kind is None:
        raise Refusal("TENSOR_DATATYPE", say=f"input {position}: want one of {', '.join(DATATYPES)}")
    if tensor.parameters:
        check_parameters(tensor.parameters, f"input {position}")
    return kind, _elements(tensor.shape, position)


def _elements(shape: Sequence[int], position: int) -> int:
    """The number of elements of *shape*. Each step is bounded, so no product grows out of hand."""
    if len(shape) > MOST_DIMENSIONS:
        said = f"input {position}: {len(shape)} dimensions, {MOST_DIMENSIONS} at most are taken"
        raise Refusal("TENSOR_SHAPE", say=said)
    product, empty = 1, False
    for size in shape:
        if size < 0:
            raise Refusal("TENSOR_SHAPE", say=f"input {position}: a dimension is negative")
        if size == 0:
            empty = True
            continue
        product *= size
        if product > MOST_ELEMENTS:
            said = f"input {position}: more than {MOST_ELEMENTS} elements"
            raise Refusal("TENSOR_SHAPE", say=said)
    return 0 if empty else product


def _check_raw(tensor: Any, position: int, kind: Datatype, elements: int, raw: bytes) -> None:
    """Refuse raw contents that are not exactly the elements of the shape, or that come with typed ones."""
    if tensor.HasField("contents") and tensor.contents.ByteSize():
        raise Refusal("TENSOR_CONTENTS", say=f"input {position}: raw and typed contents exclude each other")
    if not kind.size:
        _check_raw_bytes(tensor, position, elements, raw)
    elif len(raw) != elements * kind.size:
        needs, sent = f"{elements * kind.size} bytes", f"{len(raw)} were sent"
        raise _misfit(tensor, position, needs, sent)


def _check_raw_bytes(tensor: Any, position: int, elements: int, raw: bytes) -> None:
    """Refuse BYTES whose length prefixes do not lead, in *elements* steps, exactly to the end."""
    end = len(raw)
    at, last, read = 0, end - 4, _UINT32.unpack_from
    for _ in range(elements):
        if at > last:  # no room for another length: so there are never more steps than a quarter of the bytes
            at = -1
            break
        at += 4 + read(raw, at)[0]
    if at != end:
        raise _misfit(tensor, position, f"{elements} elements", f"their lengths do not add up to {end} bytes")


def _check_typed(tensor: Any, position: int, kind: Datatype, elements: int) -> None:
    """Refuse typed contents that are not exactly the elements of the shape in the datatype's own field."""
    fields = tensor.contents.ListFields()
    if any(field.name != kind.field for field, _ in fields):
        want = f"{kind.name} travels in {kind.field}" if kind.field else f"{kind.name} travels raw only"
        raise Refusal("TENSOR_CONTENTS", say=f"input {position}: {want}")
    values = fields[0][1] if fields else ()
    if len(values) != elements:
        where = kind.field or "raw contents"
        raise _misfit(tensor, position, f"{elements} elements in {where}", f"{len(values)} were sent")
    if kind.span and elements:
        low, high = kind.span
        sent = numbers(tensor.contents, kind)
        if sent.min() < low or sent.max() > high:
            raise Refusal("TENSOR_CONTENTS", say=f"input {position}: a value lies outside of {kind.name}")


def _misfit(tensor: Any, position: int, needs: str, sent: str) -> Refusal:
    said = f"input {position}: {tensor.datatype} of shape {tensor.shape[:]} needs {needs}, {sent}"
    return Refusal("TENSOR_CONTENTS", say=said)
