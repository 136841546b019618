"""Models that are ONNX files, run by onnxruntime on the CPU."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from guardhouse.interceptors.refusal import Refusal
from guardhouse.interceptors.validation.signature import Signature, Tensor

from .base import Array, ModelLoadError, Parameters, beside, named

INSTALL = "pip install 'guardhouse[onnx]'"
LOG_ERRORS = 3  # onnxruntime's severities: 0 verbose to 4 fatal
DATATYPE_BY_TYPE = {
    "tensor(bool)": "BOOL",
    "tensor(int8)": "INT8",
    "tensor(int16)": "INT16",
    "tensor(int32)": "INT32",
    "tensor(int64)": "INT64",
    "tensor(uint8)": "UINT8",
    "tensor(uint16)": "UINT16",
    "tensor(uint32)": "UINT32",
    "tensor(uint64)": "UINT64",
    "tensor(float16)": "FP16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(string)": "BYTES",
}


@dataclass(frozen=True, slots=True)
class OnnxModel:
    """An onnxruntime session as a model; it runs in the executor, and lets go of the GIL there."""

    name: str
    version: str
    signature: Signature
    session: Any
    executor: Executor
    platform: str = "onnxruntime_onnx"
    blocks: bool = True
    streams: bool = False

    async def infer(self, inputs: Mapping[str, Array], parameters: Parameters) -> dict[str, Array]:
        """See `Model.infer`. Refuses BYTES that are not UTF-8, since strings in ONNX are."""
        return named(await beside(self.executor, self._run, inputs), self.signature)

    async def stream(
        self, inputs: Mapping[str, Array], parameters: Parameters
    ) -> AsyncGenerator[dict[str, Array], None]:
        """See `Model.stream`: its one answer."""
        yield await self.infer(inputs, parameters)

    def _run(self, inputs: Mapping[str, Array]) -> tuple[Array, ...]:
        feed = {name: _texts(array) if array.dtype.kind == "O" else array for name, array in inputs.items()}
        return tuple(self.session.run(list(self.signature.output_by_name), feed))

    def close(self) -> None:
        """Nothing: the session goes with its last reference."""


def _texts(array: Array) -> Array:
    """The bytes of *array* as text: onnxruntime would take the `repr` of bytes."""
    texts = np.empty(array.size, object)
    try:
        texts[:] = [element.decode() for element in array.ravel().tolist()]
    except UnicodeDecodeError:
        said = "this model takes text, and a BYTES element is not UTF-8"
        raise Refusal("TENSOR_CONTENTS", say=said) from None
    return texts.reshape(array.shape)


def load_onnx(path: Path, *, name: str, version: str, executor: Executor, threads: int = 1) -> OnnxModel:
    """Open the ONNX file at *path*.

    Args:
        path: The file.
        name: The model's name.
        version: The model's version.
        executor: Where it runs; as many calls run at once as it has threads.
        threads: Threads that one call may use inside an operator.

    Raises:
        ModelLoadError: onnxruntime or the file is missing, or the file is no model that can be served.
    """
    entry = f"model {name} (onnx: {path})"
    try:
        import onnxruntime
    except ImportError:
        raise ModelLoadError(f"{entry}: onnxruntime is not installed; {INSTALL}") from None
    if not path.is_file():
        raise ModelLoadError(f"{entry}: there is no such file; write onnx: path/to/model.onnx")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = LOG_ERRORS
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own family has no common base
        said = " ".join(str(error).split())
        raise ModelLoadError(f"{entry}: onnxruntime cannot open it: {said}") from error
    try:
        signature = Signature(_tensors(session.get_inputs(), entry), _tensors(session.get_outputs(), entry))
    except ValueError as error:  # a name or a side that the protocol does not allow
        raise ModelLoadError(f"{entry}: {error}") from None
    return OnnxModel(name, version, signature, session, executor)


def _tensors(nodes: list[Any], entry: str) -> tuple[Tensor, ...]:
    return tuple(_tensor(node, entry) for node in nodes)


def _tensor(node: Any, entry: str) -> Tensor:
    datatype = DATATYPE_BY_TYPE.get(node.type)
    if datatype is None:
        advice = "export it with tensors only (for skl2onnx: options={'zipmap': False})"
        raise ModelLoadError(
            f"{entry}: {node.name} is a {node.type}, which the protocol cannot carry; {advice}"
        )
    shape = tuple(size if isinstance(size, int) and size >= 0 else -1 for size in node.shape)
    return Tensor(node.name, datatype, shape)
