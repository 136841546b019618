"""What a model declares it takes and gives, and whether a request fits it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from guardhouse.interceptors.refusal import Refusal

from .datatypes import DATATYPES
from .names import is_tensor_name

if TYPE_CHECKING:
    from guardhouse.protos import inference_pb2

Declared = Mapping[str, tuple[str, Sequence[int]]]


@dataclass(frozen=True, slots=True)
class Tensor:
    """One input or output of a model.

    Attributes:
        name: As requests name it.
        datatype: A key of `DATATYPES`.
        shape: Its dimensions; -1 is one of any size, 0 included.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        """Raise ValueError, in one line, for what no tensor can be."""
        if not is_tensor_name(self.name):
            raise ValueError(f"tensor name {self.name[:40]!r}: want 1 to 256 printable characters")
        if self.datatype not in DATATYPES:
            raise ValueError(
                f"tensor {self.name}: want a datatype of {', '.join(DATATYPES)}; got {self.datatype!r}"
            )
        if any(type(size) is not int or size < -1 for size in self.shape):
            raise ValueError(f"tensor {self.name}: shape {list(self.shape)}: want whole numbers, -1 for any")

    def takes(self, shape: Sequence[int]) -> bool:
        """Whether *shape* fits the declared one."""
        if len(shape) != len(self.shape):
            return False
        return all(want in (-1, size) for want, size in zip(self.shape, shape, strict=True))


@dataclass(frozen=True)
class Signature:
    """The inputs and outputs of a model, in the order it declares them. Names are unique on each side."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    def __post_init__(self) -> None:
        """Raise ValueError for a side that is empty or names a tensor twice."""
        for side, tensors in (("inputs", self.inputs), ("outputs", self.outputs)):
            if not tensors:
                raise ValueError(f"a signature needs {side}")
            if len({tensor.name for tensor in tensors}) < len(tensors):
                raise ValueError(f"a signature names one of its {side} twice")

    @classmethod
    def of(cls, inputs: Declared, outputs: Declared) -> Signature:
        """A signature from `{name: (datatype, shape)}` for each side; ValueError where that is not one."""
        return cls(_tensors(inputs), _tensors(outputs))

    @cached_property
    def input_by_name(self) -> Mapping[str, Tensor]:
        """Inputs by name, in order."""
        return {tensor.name: tensor for tensor in self.inputs}

    @cached_property
    def output_by_name(self) -> Mapping[str, Tensor]:
        """Outputs by name, in order."""
        return {tensor.name: tensor for tensor in self.outputs}


def _tensors(declared: Declared) -> tuple[Tensor, ...]:
    return tuple(Tensor(name, datatype, tuple(shape)) for name, (datatype, shape) in declared.items())


def check_signature(request: inference_pb2.ModelInferRequest, signature: Signature) -> None:
    """Refuse a well-formed *request* that does not fit *signature*.

    `check_request` must have passed: names are taken to be unique.

    Raises:
        Refusal: TENSOR_UNKNOWN, TENSOR_DATATYPE, TENSOR_SHAPE or TENSOR_COUNT.
    """
    known = signature.input_by_name
    inputs = request.inputs
    for position, tensor in enumerate(inputs):
        want = known.get(tensor.name)
        if want is None:
            raise Refusal("TENSOR_UNKNOWN", say=f"input {position}")
        if tensor.datatype != want.datatype:
            said = f"input {position}: {tensor.datatype} was sent, the model takes {want.datatype}"
            raise Refusal("TENSOR_DATATYPE", say=said)
        shape = tensor.shape[:]
        if not want.takes(shape):
            said = f"input {position}: {shape} was sent, the model takes {list(want.shape)}"
            raise Refusal("TENSOR_SHAPE", say=said)
    if len(inputs) != len(known):
        raise Refusal("TENSOR_COUNT", say=f"the model takes {len(known)} inputs, {len(inputs)} were sent")
    for position, output in enumerate(request.outputs):
        if output.name not in signature.output_by_name:
            raise Refusal("TENSOR_UNKNOWN", say=f"requested output {position}")
