"""Values to arrays, and arrays to the datatype a model declares: never with a silent loss."""

from typing import Any

import numpy as np
import numpy.typing as npt

from .datatypes import DTYPES, Array, TensorError, datatype_of


def is_plain(value: Any) -> bool:
    """Tell whether the value is made of Python numbers alone, so that no dtype was ever chosen for it."""
    return isinstance(_first_leaf(value), bool | int | float | list | tuple)


def as_array(name: str, value: npt.ArrayLike) -> Array:
    """Return the value as an array; nested lists of str and bytes become an array of objects.

    Raises TensorError where it is ragged, or holds what is neither a number nor text.
    """
    text = isinstance(_first_leaf(value), str | bytes)
    try:
        array = np.array(value, dtype=object) if text else np.asarray(value)
        datatype = datatype_of(array)
    except (ValueError, TypeError) as error:
        raise TensorError(f"input {name!r}: {error}") from error
    if datatype == "BYTES":
        _check_elements(name, array, mixed=is_plain(value))
    return array


def fit(name: str, value: npt.ArrayLike, datatype: str) -> Array:
    """Return the value as an array of the datatype that the model declares for it.

    An array is converted where every value survives (int64 7 becomes FP32 7.0; float64 0.1 does not become
    FP32). Plain Python numbers have no precision of their own, so they are rounded to that of a
    floating-point datatype, but never to infinity, and never to an integer.

    Raises TensorError where the values do not fit.
    """
    array = as_array(name, value)
    found = datatype_of(array)
    if found == datatype:
        return array
    target = DTYPES.get(datatype)
    if target is None or found in ("BYTES", "BF16"):
        raise TensorError(f"input {name!r} is {datatype} and cannot be made of {_describe(array, value)}")
    if is_plain(value):
        convert = _rounded if target.kind == "f" else _whole
        return convert(name, np.array(value, dtype=object), target, datatype)
    if not survives(array, target):
        hint = f"convert it yourself, with .astype(np.{target.name})"
        raise TensorError(f"input {name!r} is {datatype}, which cannot hold every value given: {hint}")
    return array.astype(target)


def survives(array: Array, target: np.dtype[Any]) -> bool:
    """Tell whether every value of a numeric array is the same number in the target dtype."""
    if array.size == 0:
        return True
    if array.dtype.kind == target.kind == "f":
        with np.errstate(over="ignore"):
            return bool(np.array_equal(array.astype(target).astype(array.dtype), array, equal_nan=True))
    if array.dtype.kind == "f" and not (np.isfinite(array) & (np.trunc(array) == array)).all():
        return False
    low, high = _whole_numbers(target)
    return low <= int(array.min()) and int(array.max()) <= high


def add_batch(array: Array, shape: tuple[int, ...]) -> Array:
    """Return the array with a first dimension of 1 where it is one item of a declared batch [-1, ...]."""
    fits = len(shape) == array.ndim + 1 and shape[0] == -1
    if fits and all(want in (-1, have) for want, have in zip(shape[1:], array.shape, strict=True)):
        return array[np.newaxis]
    return array


def _whole_numbers(target: np.dtype[Any]) -> tuple[int, int]:
    """Return the range within which the dtype holds every whole number."""
    if target.kind == "b":
        return 0, 1
    if target.kind == "f":
        reach = 2 ** (np.finfo(target).nmant + 1)
        return -reach, reach
    limits = np.iinfo(target)
    return int(limits.min), int(limits.max)


def _rounded(name: str, numbers: Array, target: np.dtype[Any], datatype: str) -> Array:
    """Python numbers as floating point, each the nearest there is."""
    exact = numbers.astype(np.float64)
    with np.errstate(over="ignore"):
        rounded = exact.astype(target)
    if (np.isinf(rounded) & ~np.isinf(exact)).any():
        raise TensorError(f"input {name!r} is {datatype}, which cannot hold numbers this large")
    return rounded


def _whole(name: str, numbers: Array, target: np.dtype[Any], datatype: str) -> Array:
    """Python numbers as integers or booleans, compared as Python numbers: numpy would go by way of float."""
    low, high = _whole_numbers(target)
    for number in numbers.flat:
        if number != number or not low <= number <= high or int(number) != number:
            raise TensorError(f"input {name!r} is {datatype}, which cannot hold {number!r}")
    return numbers.astype(target)


def _check_elements(name: str, array: Array, *, mixed: bool) -> None:
    if mixed:
        raise TensorError(f"input {name!r} holds something that is not a number, among numbers")
    if array.dtype.kind != "O":
        return
    for position, element in enumerate(array.flat):
        if not isinstance(element, str | bytes):
            kind = type(element).__name__
            problem = (
                "lists of different lengths" if kind in ("list", "tuple") else f"element {position} is {kind}"
            )
            raise TensorError(f"input {name!r}: {problem}; it takes str or bytes, in even rows")


def _first_leaf(value: Any) -> Any:
    while isinstance(value, list | tuple) and value:
        value = value[0]
    return value


def _describe(array: Array, value: Any) -> str:
    return (
        "text"
        if datatype_of(array) == "BYTES"
        else f"a list of {array.dtype}"
        if is_plain(value)
        else str(array.dtype)
    )
