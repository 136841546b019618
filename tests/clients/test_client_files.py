"""Inputs from files: what is read, and the one line for what cannot be."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from guardhouse.clients.files import FileError, read_query, write_npz

TENSOR = {"name": "x", "datatype": "FP32", "shape": [2, 2], "data": [1, 2, 3, 4]}


def write(path: Path, content: Any) -> str:
    """Write bytes as they are, an array as .npy, anything else as JSON; return the path."""
    if isinstance(content, np.ndarray):
        np.save(path, content)
    else:
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return str(path)


def test_an_array_alone(tmp_path: Path) -> None:
    """A .npy file alone is the input, whatever its name, which may hold an equals sign."""
    array = np.arange(3, dtype=np.float32)
    query = read_query([write(tmp_path / "a=b.npy", array)])
    np.testing.assert_array_equal(query.inputs, array)


def test_lists_alone_and_by_name(tmp_path: Path) -> None:
    """JSON lists stay plain, so that the model's datatype decides; an object names several."""
    assert read_query([write(tmp_path / "x.json", [[1, 2]])]).inputs == [[1, 2]]
    named = {"a": [1.5], "b": ["text"]}
    assert read_query([write(tmp_path / "y.json", named)]).inputs == named


def test_several_files_are_named(tmp_path: Path) -> None:
    """NAME=FILE gives each input its name."""
    sources = [
        f"a={write(tmp_path / 'a.npy', np.zeros(1))}",
        f"b={write(tmp_path / 'b.json', ['t'])}",
    ]
    inputs = read_query(sources).inputs
    assert (list(inputs), inputs["b"]) == (["a", "b"], ["t"])


def test_a_request_of_the_protocols_rest_form(tmp_path: Path) -> None:
    """Datatype and shape are taken from the file, data flat or nested, with id, parameters and outputs."""
    words = {"name": "w", "datatype": "BYTES", "shape": [1], "data": ["ä"]}
    nested = TENSOR | {"name": "y", "datatype": "INT8", "data": [[1, 2], [3, 4]]}
    request = {
        "inputs": [TENSOR, nested, words],
        "id": "7",
        "parameters": {"p": 1},
        "outputs": [{"name": "o"}],
    }
    query = read_query([write(tmp_path / "x.json", request)])
    assert (query.inputs["x"].dtype, query.inputs["x"].tolist()) == (np.float32, [[1, 2], [3, 4]])
    assert (query.inputs["y"].dtype, query.inputs["y"].tolist()) == (np.int8, [[1, 2], [3, 4]])
    assert query.inputs["w"].tolist() == ["ä"]
    assert query.arguments == {"request_id": "7", "parameters": {"p": 1}, "outputs": ["o"]}


def test_a_model_with_an_input_called_inputs(tmp_path: Path) -> None:
    """An object whose "inputs" is a list of numbers is by name, not a request."""
    assert read_query([write(tmp_path / "x.json", {"inputs": [1, 2]})]).inputs == {"inputs": [1, 2]}


class Evil:
    """Writes a file if it is ever unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path("/nonexistent").touch, ())


BAD: dict[str, tuple[str, Any, str]] = {
    "missing": ("x.npy", None, "cannot read .*x.npy: No such file"),
    "other kind": ("x.csv", b"1,2", "inputs are .npy or .json files"),
    "no npy": ("x.npy", b"text", "is no .npy file of plain numbers or text"),
    "empty npy": ("x.npy", b"", "is no .npy file"),
    "pickled": ("x.npy", np.array([Evil()], object), "is no .npy file of plain numbers"),
    "no JSON": ("x.json", b"[1,", "is not valid JSON: "),
    "no UTF-8": ("x.json", b'["\xff"]', "is not valid JSON"),
    "deep": ("x.json", b"[" * 100_000, "nested too deeply"),
    "a number": ("x.json", 5, "must hold a list, or an object"),
    "nothing": ("x.json", [], "must hold a list, or an object"),
    "a name twice": ("x.json", b'{"a": [1], "a": [2]}', "given twice"),
    "input twice": ("x.json", {"inputs": [TENSOR, TENSOR]}, "an input is named twice"),
    "unknown key": ("x.json", {"inputs": [TENSOR], "input": 1}, "a request has no 'input', only id"),
    "no datatype": (
        "x.json",
        {"inputs": [{"name": "x", "shape": [], "data": 1}]},
        r"inputs\[0\] has no 'datatype'",
    ),
    "name no text": ("x.json", {"inputs": [TENSOR | {"name": 1}]}, "name and datatype must be text"),
    "shape no list": ("x.json", {"inputs": [TENSOR | {"shape": 4}]}, "the shape must be a list"),
    "shape unmet": ("x.json", {"inputs": [TENSOR | {"shape": [3]}]}, r"does not fill the shape \[3\]"),
    "data too large": (
        "x.json",
        {"inputs": [TENSOR | {"datatype": "INT8", "data": [300] * 4}]},
        "cannot hold 300",
    ),
    "data ragged": ("x.json", {"inputs": [TENSOR | {"data": [[1], [2, 3]]}]}, "input 'x'"),
    "data null": ("x.json", {"inputs": [TENSOR | {"data": None}]}, "input 'x'"),
    "id no text": ("x.json", {"inputs": [TENSOR], "id": 7}, "the id must be text"),
    "parameters": ("x.json", {"inputs": [TENSOR], "parameters": {"p": [1]}}, "parameter 'p' must be"),
    "parameters no object": (
        "x.json",
        {"inputs": [TENSOR], "parameters": [1]},
        "parameters must be an object",
    ),
    "outputs": ("x.json", {"inputs": [TENSOR], "outputs": ["o"]}, "outputs must be a list like"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_get_one_clear_line(tmp_path: Path, case: str) -> None:
    """Each failure is one line that names the file and says what is wrong."""
    name, content, problem = BAD[case]
    path = tmp_path / name
    source = str(path) if content is None else write(path, content)
    with pytest.raises(FileError, match=problem) as caught:
        read_query([source])
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_several_files_need_distinct_names(tmp_path: Path) -> None:
    """Two files without names, or with the same one, are refused with what to write."""
    source = write(tmp_path / "x.json", [1])
    with pytest.raises(FileError, match="with several inputs each needs its name: --input NAME="):
        read_query([source, source])
    with pytest.raises(FileError, match="input 'a' is given twice"):
        read_query([f"a={source}"] * 2)
    with pytest.raises(FileError, match="this input must be a list, not an object"):
        read_query([f"a={write(tmp_path / 'y.json', {'b': [1]})}"])


def test_outputs_are_written_for_numpy(tmp_path: Path) -> None:
    """The .npz opens without unpickling, with every array under its name, text as bytes."""
    arrays = {
        "file": np.zeros((2, 0)),
        "words": np.array([b"a", b"bcd"], object),
        "half": np.array(1, np.float16),
    }
    write_npz(tmp_path / "out", arrays)
    with np.load(tmp_path / "out", allow_pickle=False) as loaded:
        assert {name: loaded[name].dtype.kind for name in loaded} == {"file": "f", "words": "S", "half": "f"}
        assert loaded["words"].tolist() == [b"a", b"bcd"]
        assert loaded["file"].shape == (2, 0)


def test_what_an_npz_would_change_is_refused(tmp_path: Path) -> None:
    """Bytes that end in zeros would come back shorter, so they are not written."""
    with pytest.raises(FileError, match="zero bytes"):
        write_npz(tmp_path / "out.npz", {"x": np.array([b"a\0"], object)})
    assert not (tmp_path / "out.npz").exists()


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    """An output that cannot be written is one line."""
    with pytest.raises(FileError, match=r"cannot write .*out\.npz: No such file"):
        write_npz(tmp_path / "none" / "out.npz", {})
