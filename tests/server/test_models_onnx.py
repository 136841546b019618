"""Models from ONNX files, made here by `onnx.helper` and run by onnxruntime."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from guardhouse.interceptors.refusal import Refusal
from guardhouse.server.models import ModelLoadError, Models, Source, Tensor
from guardhouse.server.models.onnx import load_onnx

FLOAT, TEXT = TensorProto.FLOAT, TensorProto.STRING


def write(path: Path, nodes: list[Any], inputs: list[Any], outputs: list[Any]) -> Path:
    """An ONNX file of one graph."""
    graph = helper.make_graph(nodes, "graph", inputs, outputs)
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("ai.onnx.ml", 3)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), path)
    return path


def info(name: str, kind: int, shape: list[Any]) -> Any:
    """What a graph declares of one tensor."""
    return helper.make_tensor_value_info(name, kind, shape)


def adder(path: Path) -> Path:
    """A file whose model gives `sum` and `scaled` of inputs `a` and `b`."""
    nodes = [helper.make_node("Add", ["a", "b"], ["sum"]), helper.make_node("Mul", ["sum", "b"], ["scaled"])]
    given = [info("a", FLOAT, ["batch", 2]), info("b", FLOAT, [None, 2])]
    return write(path, nodes, given, [info("sum", FLOAT, ["batch", 2]), info("scaled", FLOAT, ["batch", 2])])


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    """One thread for the model."""
    with ThreadPoolExecutor(1) as pool:
        yield pool


async def test_a_real_onnx_model_answers(tmp_path: Path) -> None:
    """A model loaded from its file computes, on read-only arrays as requests give them."""
    models = Models.load([Source("add", onnx=str(adder(tmp_path / "add.onnx")))])
    loaded = models.get("add")
    assert loaded is not None
    a = np.frombuffer(np.array([1, 2], np.float32).tobytes(), np.float32).reshape(1, 2)

    given = await loaded.infer({"b": a, "a": a}, {})

    assert {name: array.tolist() for name, array in given.items()} == {"sum": [[2, 4]], "scaled": [[2, 8]]}
    models.close()


def test_the_signature_is_the_file_s(tmp_path: Path, executor: Any) -> None:
    """Names, order, datatypes and shapes come from the graph; dynamic dimensions are -1."""
    loaded = load_onnx(adder(tmp_path / "add.onnx"), name="add", version="1", executor=executor)

    assert loaded.signature.inputs == (Tensor("a", "FP32", (-1, 2)), Tensor("b", "FP32", (-1, 2)))
    assert [tensor.name for tensor in loaded.signature.outputs] == ["sum", "scaled"]
    assert loaded.platform == "onnxruntime_onnx"


@pytest.mark.parametrize(
    ("kind", "datatype", "dtype"),
    [
        (TensorProto.BOOL, "BOOL", np.bool_),
        (TensorProto.INT8, "INT8", np.int8),
        (TensorProto.INT16, "INT16", np.int16),
        (TensorProto.INT32, "INT32", np.int32),
        (TensorProto.INT64, "INT64", np.int64),
        (TensorProto.UINT8, "UINT8", np.uint8),
        (TensorProto.UINT16, "UINT16", np.uint16),
        (TensorProto.UINT32, "UINT32", np.uint32),
        (TensorProto.UINT64, "UINT64", np.uint64),
        (TensorProto.FLOAT16, "FP16", np.float16),
        (TensorProto.FLOAT, "FP32", np.float32),
        (TensorProto.DOUBLE, "FP64", np.float64),
    ],
)
async def test_every_element_type_passes_through(
    kind: int, datatype: str, dtype: Any, tmp_path: Path, executor: Any
) -> None:
    """ONNX's element types are the protocol's datatypes, and arrays of them go in and come out."""
    echo = [helper.make_node("Identity", ["x"], ["y"])]
    path = write(tmp_path / "echo.onnx", echo, [info("x", kind, [None])], [info("y", kind, [None])])
    loaded = load_onnx(path, name="echo", version="1", executor=executor)

    given = await loaded.infer({"x": np.array([0, 1], dtype)}, {})

    assert loaded.signature.inputs == (Tensor("x", datatype, (-1,)),)
    assert (given["y"].dtype, given["y"].tolist()) == (np.dtype(dtype), [0, 1])


def texts(*elements: bytes) -> Any:
    """A BYTES array of shape [n, 1]."""
    array = np.empty((len(elements), 1), object)
    array[:, 0] = elements
    return array


async def test_text_goes_in_and_comes_out(tmp_path: Path, executor: Any) -> None:
    """String tensors are BYTES of UTF-8; anything else in them is the caller's mistake."""
    join = [helper.make_node("StringConcat", ["x", "x"], ["y"])]
    path = write(tmp_path / "text.onnx", join, [info("x", TEXT, [None, 1])], [info("y", TEXT, [None, 1])])
    loaded = load_onnx(path, name="text", version="1", executor=executor)

    given = await loaded.infer({"x": texts("é".encode(), b"")}, {})

    assert loaded.signature.inputs == (Tensor("x", "BYTES", (-1, 1)),)
    assert given["y"].tolist() == [["éé"], [""]]
    with pytest.raises(Refusal) as caught:
        await loaded.infer({"x": texts(b"\xff")}, {})
    assert caught.value.reason == "TENSOR_CONTENTS"


def corrupt(path: Path) -> Path:
    """A file that is no model."""
    path.write_bytes(b"this is\nno model")
    return path


def empty(path: Path) -> Path:
    """A file of no bytes."""
    path.write_bytes(b"")
    return path


def sequence(path: Path) -> Path:
    """A model whose output is a sequence, which the protocol cannot carry."""
    made = helper.make_tensor_sequence_value_info("y", FLOAT, [None])
    return write(path, [helper.make_node("SequenceConstruct", ["x"], ["y"])], [info("x", FLOAT, [1])], [made])


def nameless(path: Path) -> Path:
    """A model that takes no inputs at all."""
    constant = helper.make_tensor("value", FLOAT, [1], [1.0])
    return write(path, [helper.make_node("Constant", [], ["y"], value=constant)], [], [info("y", FLOAT, [1])])


def absent(path: Path) -> Path:
    """No file."""
    return path


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (absent, "there is no such file; write onnx: path/to/model.onnx"),
        (corrupt, "onnxruntime cannot open it: "),
        (empty, "onnxruntime cannot open it: "),
        (sequence, "y is a seq(tensor(float)), which the protocol cannot carry; export it with tensors only"),
        (nameless, "a signature needs inputs"),
    ],
)
def test_what_cannot_be_loaded_says_why_in_one_line(
    make: Any, said: str, tmp_path: Path, executor: Any
) -> None:
    """A missing, corrupt or unfit file names the entry and what to do."""
    path = make(tmp_path / "model.onnx")

    with pytest.raises(ModelLoadError) as caught:
        load_onnx(path, name="m", version="1", executor=executor)

    line = str(caught.value)
    assert line.startswith(f"model m (onnx: {path}): ")
    assert said in line
    assert "\n" not in line


def test_without_onnxruntime_the_error_says_what_to_install(
    tmp_path: Path, executor: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The extra is named, in words that can be pasted."""
    monkeypatch.setitem(sys.modules, "onnxruntime", None)

    with pytest.raises(ModelLoadError, match=r"pip install 'guardhouse\[onnx\]'"):
        load_onnx(adder(tmp_path / "add.onnx"), name="add", version="1", executor=executor)


async def test_a_failure_inside_the_model_is_an_exception_and_no_refusal(
    tmp_path: Path, executor: Any
) -> None:
    """Shapes the graph cannot combine fail in onnxruntime: the model's failure, its text for the log."""
    loaded = load_onnx(adder(tmp_path / "add.onnx"), name="add", version="1", executor=executor)

    with pytest.raises(Exception, match=r"(?i)broadcast|dimension") as caught:
        await loaded.infer({"a": np.ones((2, 2), np.float32), "b": np.ones((3, 2), np.float32)}, {})
    assert not isinstance(caught.value, Refusal)
