"""What every kind of model is to the server, and what is held against its answers."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from concurrent.futures import Executor, Future
from typing import Any, ParamSpec, Protocol, TypeVar

import numpy as np

from guardhouse.interceptors.call import CURRENT, Call
from guardhouse.interceptors.validation.datatypes import DATATYPES
from guardhouse.interceptors.validation.signature import Declared, Signature, Tensor

P = ParamSpec("P")
T = TypeVar("T")
Array = np.ndarray[Any, np.dtype[Any]]
Parameters = Mapping[str, bool | int | float | str]

# What would end the server, or leave a caller without an answer, wherever a model raises it.
LEAVING = (SystemExit, KeyboardInterrupt, GeneratorExit)
# What, raised by a model's thread, would stop the event loop, or leave its caller waiting for ever.
_UNCARRIABLE = (
    *LEAVING,
    StopIteration,
    asyncio.CancelledError,
    concurrent.futures.CancelledError,
)


class ModelLoadError(Exception):
    """A model cannot be served. One line for the operator: which entry, what was found, what to write."""


class ModelBroken(Exception):  # noqa: N818 - it states what the model is
    """A model did not keep to its own signature. The caller hears MODEL_FAILED; the log has the sentence."""


class Model(Protocol):
    """One version of one model, loaded and ready."""

    @property
    def name(self) -> str:
        """As requests name it."""

    @property
    def version(self) -> str:
        """Never empty."""

    @property
    def platform(self) -> str:
        """What runs it, for `ModelMetadata`."""

    @property
    def signature(self) -> Signature:
        """What it takes and gives."""

    @property
    def blocks(self) -> bool:
        """Whether it runs in one of the threads for models that block."""

    @property
    def streams(self) -> bool:
        """Whether it gives any number of answers to one question, and is asked by `stream` alone."""

    async def infer(self, inputs: Mapping[str, Array], parameters: Parameters) -> dict[str, Array]:
        """All outputs by name, of the declared datatypes and shapes.

        Args:
            inputs: Arrays that fit the signature, by name; maybe read-only.
            parameters: What the caller set on the request.

        Raises:
            ModelBroken: It gave something else than it declares.
            Exception: Whatever the model raises.
        """

    def stream(
        self, inputs: Mapping[str, Array], parameters: Parameters
    ) -> AsyncGenerator[dict[str, Array], None]:
        """The answers to one question, each as `infer` gives its one. Close it when no more are wanted."""

    def close(self) -> None:
        """Let go of what it holds."""


def model(inputs: Declared, outputs: Declared) -> Callable[[T], T]:
    """Declare what a function, or a class with `predict` or `__call__`, takes and gives.

        @model(inputs={"image": ("FP32", [-1, 64])}, outputs={"label": ("INT64", [-1])})
        def digits(image): ...

    Args:
        inputs: For each input its datatype and shape, -1 for any size. The names are keyword arguments.
        outputs: The same for the outputs; a function that returns a tuple returns them in this order.

    Raises:
        ValueError: A name, datatype or shape that no tensor can have.
    """
    signature = Signature.of(inputs, outputs)

    def declare(target: T) -> T:
        target.signature = signature  # type: ignore[attr-defined] # any function or class takes it
        return target

    return declare


async def beside(executor: Executor, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a blocking *function* in *executor*, with the context variables of the caller.

    A call that is cancelled ends at once. What has not begun by then never does; a thread that has works
    on, and for as long the call's work is not over.
    """
    context = contextvars.copy_context()
    call, asked = CURRENT.get(None), time.monotonic_ns()

    def run() -> T:
        if call is not None:
            call.queue_ns += time.monotonic_ns() - asked
        try:
            return context.run(function, *args, **kwargs)
        except _UNCARRIABLE as error:
            raise ModelBroken(f"the model raised {type(error).__name__}") from error

    def dropped(future: Future[T]) -> None:
        if call is not None and future.cancelled():  # all its time was waiting
            call.queue_ns += time.monotonic_ns() - asked

    future = _submitted(executor, run, call)
    future.add_done_callback(dropped)
    return await asyncio.wrap_future(future)


def _submitted(executor: Executor, run: Callable[[], T], call: Call | None) -> Future[T]:
    """*run*, handed to *executor*: where the work of *call* is watched, part of it until done or dropped."""
    work = call.work if call is not None else None
    if work is None:
        return executor.submit(run)
    work.hold(run)
    try:
        future = executor.submit(run)
    except BaseException:
        work.let_go(run)
        raise
    future.add_done_callback(lambda _: work.let_go(run))
    return future


def named(result: object, signature: Signature) -> dict[str, Array]:
    """A model's *result* (array, tuple or dict) as arrays by name, held against its *signature*.

    Raises:
        ModelBroken: A name is missing or unknown, or a datatype or shape is not the declared one.
    """
    wanted = signature.output_by_name
    if isinstance(result, Mapping):
        found = dict(result)
    elif isinstance(result, tuple | list):
        found = dict(zip(wanted, result, strict=False))
        if len(result) != len(wanted):
            raise ModelBroken(f"it returned {len(result)} values, its signature has {len(wanted)} outputs")
    else:
        found = {signature.outputs[0].name: result}
    if found.keys() != wanted.keys():
        raise ModelBroken(f"it returned {sorted(map(str, found))}, its signature has {sorted(wanted)}")
    return {name: _fit(found[name], tensor) for name, tensor in wanted.items()}


def _fit(value: object, tensor: Tensor) -> Array:
    """*value* as an array, if it is one, and as declared."""
    if not isinstance(value, np.ndarray | np.generic):
        raise ModelBroken(f"output {tensor.name} is a {type(value).__name__}, not a numpy array")
    array = np.asarray(value)
    if not _has_datatype(array, tensor.datatype) or not tensor.takes(array.shape):
        got = f"{array.dtype} of shape {list(array.shape)}"
        want = f"{tensor.datatype} of shape {list(tensor.shape)}"
        raise ModelBroken(f"output {tensor.name} is {got}, its signature says {want}")
    return array


def _has_datatype(array: Array, datatype: str) -> bool:
    if datatype == "BYTES":
        return array.dtype.kind in "OSU"
    return array.dtype == np.dtype(DATATYPES[datatype].numpy)
