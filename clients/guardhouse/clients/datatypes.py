"""The protocol's datatypes beside numpy's, as tables."""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

# Raw contents are little-endian. BYTES and BF16 have no dtype of numpy's own.
DTYPES: Final[dict[str, np.dtype[Any]]] = {
    "BOOL": np.dtype("?"),
    "UINT8": np.dtype("u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
}

# The field of InferTensorContents for each datatype; FP16 and BF16 have none and travel raw.
TYPED_FIELDS: Final[dict[str, str]] = {
    "BOOL": "bool_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}

_NAMES: Final[dict[str, str]] = {dtype.name: name for name, dtype in DTYPES.items()} | {"bfloat16": "BF16"}


class TensorError(ValueError):
    """A tensor cannot be sent as it is; the text says which, why, and what to do. Nothing was sent."""


class MalformedTensor(ValueError):  # noqa: N818 - what was found, not what went wrong here
    """A received tensor contradicts itself: its shape, datatype and contents do not agree."""


def datatype_of(array: Array) -> str:
    """Return the protocol's name for the array's dtype; strings and objects are BYTES.

    Raises TensorError for a dtype that the protocol has no name for, such as complex or datetime64.
    """
    if array.dtype.kind in "OSU":
        return "BYTES"
    try:
        return _NAMES[array.dtype.name]
    except KeyError:
        raise TensorError(f"dtype {array.dtype} has no datatype in the protocol: convert it first") from None
