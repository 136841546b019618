"""Models that are Python: `module:object`, a function or something with `predict`."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import AsyncGenerator, Callable, Mapping
from concurrent.futures import Executor
from contextlib import aclosing
from dataclasses import dataclass
from functools import reduce
from typing import Any

from guardhouse.interceptors.validation.signature import Signature

from . import answers
from .base import LEAVING, Array, ModelBroken, ModelLoadError, Parameters, beside, named

REFERENCE = "write python: package.module:object"
DECLARE = "put @model(inputs={...}, outputs={...}) on it (from guardhouse.server import model)"


@dataclass(frozen=True, slots=True)
class CallableModel:
    """A Python callable as a model.

    A blocking callable runs in the executor beside the event loop, an async one on the loop. A generator,
    of either kind, gives many answers to one question.
    """

    name: str
    version: str
    signature: Signature
    run: Callable[..., Any]
    executor: Executor
    is_async: bool
    takes_parameters: bool
    release: Callable[[], object] | None
    streams: bool = False
    platform: str = "python"

    async def infer(self, inputs: Mapping[str, Array], parameters: Parameters) -> dict[str, Array]:
        """See `Model.infer`."""
        arguments = self._arguments(inputs, parameters)
        if self.is_async:
            result = await self._run_here(arguments)
        else:
            result = await beside(self.executor, self.run, **arguments)
        return named(result, self.signature)

    async def stream(
        self, inputs: Mapping[str, Array], parameters: Parameters
    ) -> AsyncGenerator[dict[str, Array], None]:
        """See `Model.stream`."""
        given = self.run(**self._arguments(inputs, parameters))
        results = answers.here(given) if self.is_async else answers.in_threads(self.executor, given)
        async with aclosing(results):
            async for result in results:
                yield named(result, self.signature)

    def _arguments(self, inputs: Mapping[str, Array], parameters: Parameters) -> dict[str, Any]:
        return {**inputs, "parameters": parameters} if self.takes_parameters else dict(inputs)

    async def _run_here(self, arguments: Mapping[str, Any]) -> object:
        try:
            return await self.run(**arguments)
        except LEAVING as error:
            raise ModelBroken(f"the model raised {type(error).__name__}") from error

    @property
    def blocks(self) -> bool:
        """Whether it runs in one of the threads."""
        return not self.is_async

    def close(self) -> None:
        """Call the object's own `close`, if it has one."""
        if self.release is not None:
            self.release()


def load_callable(reference: str, *, name: str, version: str, executor: Executor) -> CallableModel:
    """Import *reference*, call its `load()` if it has one, and make a model of it.

    Args:
        reference: `package.module:object`; a class is called without arguments to make the object.
        name: The model's name.
        version: The model's version.
        executor: Where a blocking callable runs.

    Raises:
        ModelLoadError: It cannot be imported, loaded, called, or has no signature.
    """
    entry = f"model {name} (python: {reference})"
    found = _find(reference, entry)
    if inspect.isclass(found):
        found = _attempt(found, entry, f"{found.__name__}()")
    load, release = _verb(found, "load", entry), _verb(found, "close", entry)
    if load is not None:
        _attempt(load, entry, "load()")
    run = _runnable(found, entry)
    signature = getattr(found, "signature", None) or getattr(run, "signature", None)
    if not isinstance(signature, Signature):
        raise ModelLoadError(f"{entry}: it has no signature; {DECLARE}")
    is_async = _is(run, inspect.iscoroutinefunction) or _is(run, inspect.isasyncgenfunction)
    streams = _is(run, inspect.isgeneratorfunction) or _is(run, inspect.isasyncgenfunction)
    takes_parameters = _takes_parameters(run, signature, entry)
    return CallableModel(
        name, version, signature, run, executor, is_async, takes_parameters, release, streams
    )


def _is(run: Any, kind: Callable[[Any], bool]) -> bool:
    """Whether *run*, or what calling it runs, is of that *kind*."""
    return kind(run) or kind(type(run).__call__)


def _find(reference: str, entry: str) -> Any:
    """The object that *reference* names."""
    module_name, colon, path = reference.partition(":")
    if not colon or not all(part.isidentifier() for part in (*module_name.split("."), *path.split("."))):
        raise ModelLoadError(f"{entry}: that is not a reference; {REFERENCE}")
    module = _attempt(lambda: importlib.import_module(module_name), entry, f"importing {module_name}")
    try:
        return reduce(getattr, path.split("."), module)
    except AttributeError:
        raise ModelLoadError(f"{entry}: module {module_name} has no {path}; {REFERENCE}") from None


def _attempt(step: Callable[[], Any], entry: str, what: str) -> Any:
    """Do a *step* of somebody else's code. However it fails, say so in one line."""
    try:
        return step()
    except (Exception, SystemExit) as error:
        said = " ".join(f"{type(error).__name__}: {error}".split())
        raise ModelLoadError(f"{entry}: {what} failed: {said}") from error


def _verb(found: Any, verb: str, entry: str) -> Callable[[], object] | None:
    """The object's own `load` or `close`, a plain function; None where it has none."""
    method = getattr(found, verb, None)
    if method is None or inspect.isfunction(found):
        return None
    if not callable(method) or inspect.iscoroutinefunction(method):
        raise ModelLoadError(f"{entry}: its {verb} must be a plain function without arguments")
    return method  # type: ignore[no-any-return] # callable, as just seen


def _runnable(found: Any, entry: str) -> Callable[..., Any]:
    """What to call for an answer: `predict`, or the object itself."""
    run = getattr(found, "predict", found)
    if callable(run):
        return run  # type: ignore[no-any-return] # callable, as just seen
    kind = type(found).__name__
    raise ModelLoadError(
        f"{entry}: it is of type {kind}; want a function, or an object with predict or __call__"
    )


def _takes_parameters(run: Callable[..., Any], signature: Signature, entry: str) -> bool:
    """Whether *run* wants the request's parameters too, once it is sure that it takes the inputs by name."""
    try:
        takes = inspect.signature(run)
    except ValueError:  # some compiled callables do not tell
        return False
    names = signature.input_by_name
    extra = "parameters" in takes.parameters and "parameters" not in names
    try:
        takes.bind(**dict.fromkeys([*names, *(["parameters"] if extra else [])]))
    except TypeError as error:
        said = f"cannot be called with the inputs it declares ({', '.join(names)}): {error}"
        raise ModelLoadError(f"{entry}: it takes {takes} and {said}") from None
    return extra
