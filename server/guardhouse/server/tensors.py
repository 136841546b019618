"""numpy arrays out of requests, and into responses, in both forms of the protocol.

Requests are taken to have passed `guardhouse.interceptors.validation.check_request`. Raw tensors are views of
the bytes received, so they are read-only. BYTES are object arrays of `bytes`. BF16, which numpy lacks, is its
bits as uint16: `array.astype(np.uint32) << 16` seen as float32 is the number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from struct import Struct
from typing import Any

import numpy as np

from guardhouse.interceptors.validation.datatypes import DATATYPES, Datatype
from guardhouse.interceptors.validation.packed import numbers
from guardhouse.interceptors.validation.signature import Tensor
from guardhouse.protos import inference_pb2

Array = np.ndarray[Any, np.dtype[Any]]
_UINT32 = Struct("<I")


def decode(request: inference_pb2.ModelInferRequest) -> dict[str, Array]:
    """The inputs of a checked *request*, by name."""
    raws = request.raw_input_contents
    return {
        tensor.name: _decode(tensor, raws[position] if raws else None)
        for position, tensor in enumerate(request.inputs)
    }


def _decode(tensor: inference_pb2.ModelInferRequest.InferInputTensor, raw: bytes | None) -> Array:
    kind = DATATYPES[tensor.datatype]
    flat = _from_typed(tensor.contents, kind) if raw is None else _from_raw(raw, kind)
    return flat.reshape(tensor.shape[:])


def _from_raw(raw: bytes, kind: Datatype) -> Array:
    if not kind.size:
        return _objects(_elements(raw))
    if kind.name == "BOOL":  # any byte but 0 is true; numpy wants a 1
        return np.frombuffer(raw, np.uint8).astype(np.bool_)
    return np.frombuffer(raw, kind.numpy)


def _from_typed(contents: inference_pb2.InferTensorContents, kind: Datatype) -> Array:
    if not kind.field:  # no typed form: only an empty tensor gets here
        return np.empty(0, kind.numpy)
    if not kind.size:
        return _objects(contents.bytes_contents[:])
    return numbers(contents, kind).astype(kind.numpy, copy=False)


def _objects(values: Sequence[object]) -> Array:
    array = np.empty(len(values), object)
    array[:] = values
    return array


def _elements(raw: bytes) -> list[bytes]:
    """The elements of a raw BYTES tensor: each is a 4-byte little-endian length, then so many bytes."""
    elements, at, end, length_at = [], 0, len(raw), _UINT32.unpack_from
    while at < end:
        start = at + 4
        at = start + length_at(raw, at)[0]
        elements.append(raw[start:at])
    return elements


def parameters(sent: Mapping[str, inference_pb2.InferParameter]) -> dict[str, bool | int | float | str]:
    """A checked protobuf map of parameters, as plain values."""
    return {key: getattr(value, value.WhichOneof("parameter_choice") or "") for key, value in sent.items()}


def encode(
    response: inference_pb2.ModelInferResponse, outputs: Sequence[tuple[Tensor, Array]], *, raw: bool
) -> None:
    """Put *outputs* into *response*: raw if the request was, typed otherwise.

    A datatype without a typed form makes all of them raw, since the protocol has no mixture.

    Args:
        response: Where the tensors go.
        outputs: What the model declares, and what it gave: arrays of its dtype and shape.
        raw: Whether the request came raw.
    """
    raw = raw or any(not DATATYPES[tensor.datatype].field for tensor, _ in outputs)
    for tensor, array in outputs:
        kind = DATATYPES[tensor.datatype]
        made = response.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=array.shape)
        if raw:
            response.raw_output_contents.append(_to_raw(array, kind))
        else:
            values = array.ravel()
            getattr(made.contents, kind.field).extend(
                values.tolist() if kind.size else map(_as_bytes, values.tolist())
            )


def _to_raw(array: Array, kind: Datatype) -> bytes:
    """The elements of *array*, row-major and little-endian."""
    if kind.size:
        return array.astype(kind.numpy, copy=False).tobytes()
    parts: list[bytes] = []
    for element in map(_as_bytes, array.ravel().tolist()):
        parts += (_UINT32.pack(len(element)), element)
    return b"".join(parts)


def _as_bytes(element: object) -> bytes:
    """One BYTES element. Models may give text, which travels as UTF-8."""
    if isinstance(element, str):
        return element.encode()
    if isinstance(element, bytes):
        return element
    message = f"a BYTES output holds a {type(element).__name__}; want bytes or str"
    raise TypeError(message)
