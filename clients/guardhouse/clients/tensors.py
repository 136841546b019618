"""One tensor to the wire and back, raw or typed, as the Open Inference Protocol (version 2) has it."""

import math
import struct
from collections.abc import Iterator

import numpy as np

from guardhouse.protos import inference_pb2 as pb

from .datatypes import DTYPES, TYPED_FIELDS, Array, MalformedTensor, TensorError, datatype_of
from .fitting import survives

_LENGTH = struct.Struct("<I")


def to_raw(array: Array) -> bytes:
    """Return the array's elements as raw contents: row-major, little-endian, without padding.

    A BYTES element is its length, as 4 bytes, and then its bytes; str is sent as UTF-8.
    """
    if datatype_of(array) == "BYTES":
        return b"".join(_LENGTH.pack(len(element)) + element for element in _elements(array))
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def to_typed(array: Array) -> pb.InferTensorContents:
    """Return the array's elements as typed contents. Raises TensorError for FP16 and BF16."""
    datatype = datatype_of(array)
    if datatype not in TYPED_FIELDS:
        raise TensorError(f"{datatype} has no typed form: send it raw")
    values = list(_elements(array)) if datatype == "BYTES" else array.ravel().tolist()
    contents = pb.InferTensorContents()
    getattr(contents, TYPED_FIELDS[datatype]).extend(values)
    return contents


def from_raw(datatype: str, shape: tuple[int, ...], raw: bytes) -> Array:
    """Return raw contents as an array that shares their memory, and so is read-only.

    BYTES gives an array of bytes objects; BF16, which numpy lacks, is widened to float32 (exactly).
    Raises MalformedTensor where the bytes are not what datatype and shape imply.
    """
    count = _count(shape)
    if datatype == "BYTES":
        return _shaped(_split(raw, count), shape)
    dtype = np.dtype("<u2") if datatype == "BF16" else DTYPES.get(datatype)
    if dtype is None:
        raise MalformedTensor(f"unknown datatype {datatype[:20]!r}")
    if len(raw) != count * dtype.itemsize:
        raise MalformedTensor(
            f"{len(raw)} bytes where {datatype} {list(shape)} takes {count * dtype.itemsize}"
        )
    array: Array = np.frombuffer(raw, dtype) if raw else np.empty(0, dtype)
    if datatype == "BF16":
        array = (array.astype(np.uint32) << 16).view(np.float32)
    return _shaped(array, shape)


def from_typed(datatype: str, shape: tuple[int, ...], contents: pb.InferTensorContents) -> Array:
    """Return typed contents as an array. Raises MalformedTensor where they do not fit datatype and shape."""
    field, count = TYPED_FIELDS.get(datatype), _count(shape)
    if field is None:
        raise MalformedTensor(f"datatype {datatype[:20]!r} has no typed form")
    values = getattr(contents, field)
    if len(values) != count:
        raise MalformedTensor(f"{len(values)} elements where {datatype} {list(shape)} takes {count}")
    if datatype == "BYTES":
        return _shaped(_objects(list(values)), shape)
    dtype = DTYPES[datatype]
    array = np.array(values, np.int64 if dtype.itemsize < 4 and dtype.kind in "iu" else dtype)
    if array.dtype != dtype and not survives(array, dtype):
        raise MalformedTensor(f"an element is out of the range of {datatype}")
    return _shaped(array.astype(dtype, copy=False), shape)


def _elements(array: Array) -> Iterator[bytes]:
    """The elements of a BYTES array in row-major order. Raises TensorError for what UTF-8 cannot hold."""
    for position, element in enumerate(array.ravel().tolist()):
        try:
            yield element if isinstance(element, bytes) else element.encode()
        except UnicodeEncodeError as error:
            raise TensorError(f"element {position} is no valid text: send it as bytes") from error


def _split(raw: bytes, count: int) -> Array:
    """Cut raw BYTES into its elements; every length is checked against what is there."""
    if len(raw) < count * _LENGTH.size:
        raise MalformedTensor(f"{len(raw)} bytes cannot hold {count} BYTES elements")
    found, start = [], 0
    for _ in range(count):
        if len(raw) - start < _LENGTH.size:
            raise MalformedTensor("a BYTES element is cut off")
        end = start + _LENGTH.size + _LENGTH.unpack_from(raw, start)[0]
        if end > len(raw):
            raise MalformedTensor("a BYTES element is longer than what is there")
        found.append(raw[start + _LENGTH.size : end])
        start = end
    if start != len(raw):
        raise MalformedTensor("there are bytes after the last BYTES element")
    return _objects(found)


def _objects(elements: list[bytes]) -> Array:
    array = np.empty(len(elements), dtype=object)
    array[:] = elements
    return array


def _count(shape: tuple[int, ...]) -> int:
    if any(size < 0 for size in shape):
        raise MalformedTensor(f"a dimension is negative: {list(shape)}")
    return math.prod(shape)


def _shaped(array: Array, shape: tuple[int, ...]) -> Array:
    try:
        return array.reshape(shape)
    except ValueError as error:  # more dimensions than numpy has, or larger than memory could ever be
        raise MalformedTensor("the shape is none that numpy can hold") from error
