"""Inputs from files, and outputs to files: .npy, .npz and JSON. Nothing here ever unpickles."""

import json
import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from . import fitting, messages
from .datatypes import Array, TensorError

OIP_KEYS: Final = {"inputs", "outputs", "parameters", "id"}
_NAMED = re.compile(r"([^=/\\]+)=(.+)")


class FileError(ValueError):
    """A file cannot be used; the text names it, and says what is wrong and what to do."""


class Query(NamedTuple):
    """What files say of a query: inputs as `Client.infer` takes them, and other arguments of it."""

    inputs: Any
    arguments: dict[str, Any]


def read_query(sources: Sequence[str]) -> Query:
    """Read `FILE` (alone) or `NAME=FILE` sources. Raises FileError, with the file's name in it.

    A .npy file holds an array. A .json file holds nested lists; or, alone, an object of them by input name,
    or a request of the protocol's REST form: {"inputs": [{"name", "datatype", "shape", "data"}]}.
    """
    split = [_split(source) for source in sources]
    if len(split) == 1 and not split[0][0]:
        return _whole(split[0][1])
    inputs: dict[str, Any] = {}
    for name, path in split:
        if not name:
            raise FileError(f"{path}: with several inputs each needs its name: --input NAME={path}")
        if name in inputs:
            raise FileError(f"{path}: input {name!r} is given twice")
        inputs[name] = _value(path)
    return Query(inputs, {})


def write_npz(path: Path, outputs: Mapping[str, Array]) -> None:
    """Write the arrays, by name, as numpy's .npz; BYTES become fixed-width bytes. Raises FileError."""
    plain = {name: _unpickled(path, name, array) for name, array in outputs.items()}
    try:
        with zipfile.ZipFile(path, "w") as archive:
            for name, array in plain.items():
                with archive.open(f"{name.replace('/', '_')}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, array, allow_pickle=False)
    except OSError as error:
        raise FileError(f"cannot write {path}: {error.strerror}") from error


def _split(source: str) -> tuple[str, Path]:
    found = _NAMED.fullmatch(source)
    if found and not Path(source).exists():
        return found[1], Path(found[2])
    return "", Path(source)


def _whole(path: Path) -> Query:
    """A file that stands for the whole query."""
    value = _value(path, alone=True)
    if not isinstance(value, dict):
        return Query(value, {})
    listed = value.get("inputs")
    if isinstance(listed, list) and listed and all(isinstance(tensor, dict) for tensor in listed):
        return _request(path, value)
    return Query(value, {})


def _value(path: Path, *, alone: bool = False) -> Any:
    readers = {".npy": _read_npy, ".json": _read_json}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise FileError(f"{path}: inputs are .npy or .json files")
    try:
        value = reader(path)
    except OSError as error:
        raise FileError(f"cannot read {path}: {error.strerror}") from error
    if isinstance(value, dict) and not alone:
        raise FileError(f"{path}: this input must be a list, not an object")
    return value


def _read_npy(path: Path) -> Array:
    with path.open("rb") as file:
        try:
            array: Array = np.lib.format.read_array(file, allow_pickle=False)
        except (ValueError, EOFError, MemoryError) as error:
            raise FileError(
                f"{path} is no .npy file of plain numbers or text: write it with numpy.save"
            ) from error
    return array


def _read_json(path: Path) -> Any:
    try:
        value = json.loads(path.read_bytes(), object_pairs_hook=_object)
    except RecursionError:
        raise FileError(f"{path}: the lists are nested too deeply") from None
    except (ValueError, UnicodeDecodeError) as error:
        raise FileError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(value, list | dict) or not value:
        raise FileError(f"{path} must hold a list, or an object of lists by input name, with something in it")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is given twice in one object")
    return found


def _request(path: Path, request: dict[str, Any]) -> Query:
    """A request of the protocol's REST form."""
    unknown = sorted(request.keys() - OIP_KEYS)
    if unknown:
        raise FileError(f"{path}: a request has no {unknown[0]!r}, only {', '.join(sorted(OIP_KEYS))}")
    inputs = dict(_tensor(path, position, tensor) for position, tensor in enumerate(request["inputs"]))
    if len(inputs) != len(request["inputs"]):
        raise FileError(f"{path}: an input is named twice")
    arguments = {
        "request_id": request.get("id", ""),
        "parameters": _parameters(path, request.get("parameters", {})),
        "outputs": _output_names(path, request.get("outputs")),
    }
    if not isinstance(arguments["request_id"], str):
        raise FileError(f"{path}: the id must be text")
    return Query(inputs, arguments)


def _tensor(path: Path, position: int, tensor: dict[str, Any]) -> tuple[str, Array]:
    try:
        name, datatype, shape, data = (tensor[key] for key in ("name", "datatype", "shape", "data"))
    except KeyError as error:
        raise FileError(f"{path}: inputs[{position}] has no {error.args[0]!r}") from error
    if not isinstance(name, str) or not isinstance(datatype, str):
        raise FileError(f"{path}: inputs[{position}]: name and datatype must be text")
    if not isinstance(shape, list) or not all(type(size) is int and size >= 0 for size in shape):
        raise FileError(f"{path}: inputs[{position}]: the shape must be a list of whole numbers")
    try:
        return name, fitting.fit(name, data, datatype).reshape(shape)
    except TensorError as error:
        raise FileError(f"{path}: {error}") from error
    except ValueError as error:
        raise FileError(f"{path}: the data of input {name!r} does not fill the shape {shape}") from error


def _parameters(path: Path, parameters: Any) -> dict[str, messages.Parameter]:
    if not isinstance(parameters, dict):
        raise FileError(f"{path}: parameters must be an object")
    for key, value in parameters.items():
        try:
            messages.parameter(key, value)
        except (TypeError, ValueError) as error:
            raise FileError(f"{path}: {error}") from error
    return parameters


def _output_names(path: Path, outputs: Any) -> list[str] | None:
    if outputs is None:
        return None
    try:
        names = [output["name"] for output in outputs]
    except (TypeError, KeyError) as error:
        raise FileError(f'{path}: outputs must be a list like [{{"name": "label"}}]') from error
    if not all(isinstance(name, str) for name in names):
        raise FileError(f"{path}: the name of an output must be text")
    return names


def _unpickled(path: Path, name: str, array: Array) -> Array:
    if array.dtype.kind != "O":
        return array
    if any(element.endswith(b"\0") for element in array.flat):
        raise FileError(
            f"{path}: output {name!r} has elements that end in zero bytes, which .npz loses: use --json"
        )
    return array.astype(np.bytes_)
