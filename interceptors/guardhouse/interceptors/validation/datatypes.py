"""The element types of the Open Inference Protocol v2, as one table."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple


class Datatype(NamedTuple):
    """One element type.

    Attributes:
        name: As requests and metadata write it.
        size: Bytes of one element in raw form, little-endian; 0 for BYTES, whose elements carry their length.
        field: The field of `InferTensorContents` that holds it in typed form; "" if it has no typed form.
        numpy: The numpy dtype of its elements; BF16, which numpy lacks, is the bits as an unsigned integer.
        span: Smallest and largest value, where the typed field could hold more than the type; else None.
    """

    name: str
    size: int
    field: str
    numpy: str
    span: tuple[int, int] | None = None


DATATYPES: Final[Mapping[str, Datatype]] = MappingProxyType(
    {
        kind.name: kind
        for kind in (
            Datatype("BOOL", 1, "bool_contents", "|b1"),
            Datatype("INT8", 1, "int_contents", "|i1", (-(2**7), 2**7 - 1)),
            Datatype("INT16", 2, "int_contents", "<i2", (-(2**15), 2**15 - 1)),
            Datatype("INT32", 4, "int_contents", "<i4"),
            Datatype("INT64", 8, "int64_contents", "<i8"),
            Datatype("UINT8", 1, "uint_contents", "|u1", (0, 2**8 - 1)),
            Datatype("UINT16", 2, "uint_contents", "<u2", (0, 2**16 - 1)),
            Datatype("UINT32", 4, "uint_contents", "<u4"),
            Datatype("UINT64", 8, "uint64_contents", "<u8"),
            Datatype("FP16", 2, "", "<f2"),
            Datatype("BF16", 2, "", "<u2"),
            Datatype("FP32", 4, "fp32_contents", "<f4"),
            Datatype("FP64", 8, "fp64_contents", "<f8"),
            Datatype("BYTES", 0, "bytes_contents", "|O"),
        )
    }
)
