"""Answers for a person to read, and for JSON."""

import base64
import datetime
import math
from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from .datatypes import Array
from .errors import one_line
from .messages import Identity, LimitInfo, Result

ROWS: Final = 5  # of a batch
VALUES: Final = 16  # of one row
TOP: Final = 3  # of probabilities


def result_text(result: Result, seconds: float) -> str:
    """Return the outputs, small ones in full, as lines; then the trace, and how to see it."""
    version = f" version {one_line(result.version)}" if result.version else ""
    heading = f"{one_line(result.model)}{version}, {seconds * 1000:.1f} ms"
    lines = [heading, *_outputs(result)]
    if result.trace_id:
        lines += [f"trace {result.trace_id}", f"see it with: guardhouse traces {result.trace_id}"]
    return "\n".join(lines)


def result_json(result: Result, seconds: float) -> dict[str, Any]:
    """Return the answer as values that JSON can hold; bytes that are no text become {"base64": ...}."""
    return {
        "model": result.model,
        "version": result.version,
        "id": result.id,
        "trace_id": result.trace_id,
        "milliseconds": round(seconds * 1000, 3),
        "parameters": result.parameters,
        "datatypes": result.datatypes,
        "outputs": {name: _jsonable(array.tolist()) for name, array in result.items()},
    }


def identity_text(identity: Identity) -> str:
    """Return who the caller is as aligned lines; what is empty is left out."""
    expires = identity.expires
    entries = [
        ("subject", identity.subject),
        ("roles", ", ".join(identity.roles) or "none"),
        ("proofs", ", ".join(identity.proofs)),
        ("certificate", identity.certificate_id),
        ("issuer", identity.issuer),
        ("expires", _time(expires) if expires else ""),
        *((f"limit {each.kind}", _limit(each)) for each in identity.limits),
        ("trace", identity.trace_id),
    ]
    width = max(12, *(len(key) for key, _ in entries))
    return "\n".join(f"{key:<{width}} {one_line(value)}" for key, value in entries if value)


def _limit(each: LimitInfo) -> str:
    if each.kind == "concurrency":
        return f"{each.limit:g} at the same time, {each.remaining:g} left, for {each.scope}"
    if each.kind == "budget":
        left = f"{each.remaining:.15g} left" if each.remaining >= 0 else "what is left is not known"
        return f"{each.name}: {each.limit:.15g} {each.unit}, {left}, for {each.scope}"
    left = f"{each.remaining:g} of {each.burst:g} left, full in {each.reset:.3g} s"
    return f"{each.limit:g}/s, {left}, for {each.scope}"


def _time(seconds: int) -> str:
    try:
        return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat().replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return f"{seconds} seconds after 1970"


def _outputs(result: Result) -> Iterator[str]:
    shapes = {name: f"{result.datatypes[name]} {list(array.shape)}" for name, array in result.items()}
    name_width = max(map(len, map(one_line, shapes)), default=0)
    shape_width = max(map(len, shapes.values()), default=0)
    for name, array in result.items():
        first, *more = _rows(array)
        yield f"  {one_line(name):<{name_width}}  {shapes[name]:<{shape_width}}  {first}".rstrip()
        yield from (f"  {'':<{name_width}}  {'':<{shape_width}}  {row}" for row in more)


def _rows(array: Array) -> list[str]:
    """Describe an array, a batch by its first rows."""
    if array.size == 0:
        return ["empty"]
    width = array.shape[-1] if array.ndim > 1 else array.size
    if not _is_probabilities(array) and (array.ndim > 2 or width > VALUES):
        return [_overview(array)]
    rows = array.reshape(-1, width) if array.ndim > 1 else array.reshape(1, -1)
    more = [f"and {len(rows) - ROWS} more rows"] if len(rows) > ROWS else []
    describe = _top if _is_probabilities(array) else _values
    return [describe(row) for row in rows[:ROWS]] + more


def _is_probabilities(array: Array) -> bool:
    """Tell whether each row looks like scores that sum to 1, or to less where the server withholds some."""
    if array.dtype.kind != "f" or not 1 <= array.ndim <= 2 or array.shape[-1] < 2:
        return False
    sums = array.sum(axis=-1, dtype=np.float64)
    return bool((array >= 0).all() and (sums <= 1.02).all() and (sums > 0).all())


def _top(row: Array) -> str:
    order = np.argsort(row)[::-1][:TOP]
    return "   ".join(f"{index}: {row[index]:.3g}" for index in order if row[index] > 0)


def _values(row: Array) -> str:
    return "  ".join(_value(value) for value in row.tolist())


def _value(value: Any) -> str:
    if isinstance(value, bytes):
        return repr(one_line(value.decode(errors="backslashreplace")))
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _overview(array: Array) -> str:
    if array.dtype.kind == "O":
        return f"{array.size} texts, the first {_value(array.flat[0])}"
    return f"from {_value(array.min().item())} to {_value(array.max().item())}, mean {array.mean():.6g}"


def _jsonable(value: Any) -> Any:
    """Nested lists with what JSON lacks replaced, as the JSON form of protobuf does."""
    if isinstance(value, list):
        return [_jsonable(each) for each in value]
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return {"base64": base64.b64encode(value).decode()}
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value
