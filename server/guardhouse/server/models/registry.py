"""The models a server has, by name and version."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from .base import Model, ModelLoadError
from .callable import load_callable
from .onnx import load_onnx

LOG = logging.getLogger("guardhouse")


@dataclass(frozen=True, slots=True)
class Source:
    """Where a model comes from: one of *python* (`module:object`) and *onnx* (a file)."""

    name: str
    version: str = "1"
    python: str = ""
    onnx: str = ""


class Models:
    """Loaded models. Every look-up is one dictionary access, however many there are.

    Args:
        models: Each name and version once; the highest version of a name is its default.
        executor: Shut down when the models are closed.

    Raises:
        ModelLoadError: A name and version come twice.
    """

    def __init__(self, models: Iterable[Model], executor: Executor | None = None) -> None:
        self._executor = executor
        self._by_name: dict[str, dict[str, Model]] = {}
        for model in models:
            versions = self._by_name.setdefault(model.name, {})
            if model.version in versions:
                message = f"model {model.name}: version {model.version} is there twice; give each its own"
                raise ModelLoadError(message)
            versions[model.version] = model
        self._found = {
            (name, version): model
            for name, versions in self._by_name.items()
            for version, model in versions.items()
        }
        for name, versions in self._by_name.items():
            self._found[name, ""] = versions[max(versions, key=_rank)]

    @classmethod
    def load(cls, sources: Iterable[Source], *, threads: int = 4) -> Models:
        """Load every source, in order.

        Args:
            sources: Where they come from.
            threads: How many blocking models may run at once, over all models.

        Raises:
            ModelLoadError: One cannot be loaded; those that were are closed again.
        """
        executor = ThreadPoolExecutor(threads, thread_name_prefix="guardhouse-model")
        loaded: list[Model] = []
        try:
            for source in sources:
                loaded.append(load(source, executor))  # noqa: PERF401 - those before a failure are closed
            return cls(loaded, executor)
        except BaseException:
            _close(loaded, executor)
            raise

    def get(self, name: str, version: str = "") -> Model | None:
        """The model, an empty *version* being its default; None where there is none."""
        return self._found.get((name, version))

    def exists(self, name: str, version: str = "") -> bool:
        """Whether `get` finds one."""
        return (name, version) in self._found

    def blocks(self, name: str, version: str = "") -> bool:
        """Whether it runs in one of the threads; also where there is none."""
        model = self._found.get((name, version))
        return model is None or model.blocks

    def versions(self, name: str) -> list[str]:
        """The versions of *name*, lowest first."""
        return sorted(self._by_name.get(name, ()), key=_rank)

    def __iter__(self) -> Iterator[Model]:
        for versions in self._by_name.values():
            yield from versions.values()

    def close(self) -> None:
        """Close every model; calls that wait for a thread are given up."""
        _close(self, self._executor)


def load(source: Source, executor: Executor) -> Model:
    """Load one model; ModelLoadError if it has not exactly one origin, or cannot be loaded."""
    if bool(source.python) == bool(source.onnx):
        raise ModelLoadError(f"model {source.name}: want one of python: module:object and onnx: file")
    if source.python:
        return load_callable(source.python, name=source.name, version=source.version, executor=executor)
    return load_onnx(Path(source.onnx), name=source.name, version=source.version, executor=executor)


def _close(models: Iterable[Model], executor: Executor | None) -> None:
    for model in models:
        try:
            model.close()
        except Exception:  # one that fails to close keeps no other open
            LOG.exception("model %s %s failed to close", model.name, model.version)
    if executor is not None:
        executor.shutdown(wait=False, cancel_futures=True)


def _rank(version: str) -> tuple[tuple[bool, int, str], ...]:
    """An order of versions in which 10 comes after 9, and 1.10 after 1.9."""
    parts = re.findall(r"[0-9]+|[^0-9]+", version)
    return tuple((part.isdigit(), int(part) if part.isdigit() else 0, part) for part in parts)
