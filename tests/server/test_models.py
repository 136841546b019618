"""Models from Python: loading them, and finding them by name and version."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from textwrap import dedent
from typing import Any

import numpy as np
import pytest

from guardhouse.server.models import ModelLoadError, Models, Source, model
from guardhouse.server.models.callable import load_callable

X = np.arange(4, dtype=np.float32)

SOURCE = """
    import asyncio, threading
    import numpy as np
    from guardhouse.server.models import Signature, model

    one = dict(inputs={"x": ("FP32", [-1])}, outputs={"y": ("FP32", [-1])})
    two = dict(inputs={"x": ("FP32", [-1])}, outputs={"y": ("FP32", [-1]), "n": ("INT64", [])})

    @model(**one)
    def plain(x):
        return x * 2

    @model(**one)
    async def later(x):
        await asyncio.sleep(0)
        return x * 2

    @model(**two)
    def pair(x):
        return x * 2, np.int64(len(x))

    @model(**two)
    def table(x):
        return {"n": np.int64(len(x)), "y": x * 2}

    @model(**one)
    def scaled(x, parameters):
        return x * np.float32(parameters.get("scale", 1))

    class Doubler:
        signature = Signature.of(**one)
        steps = []
        def load(self): self.steps.append("load")
        def close(self): self.steps.append("close")
        def predict(self, x): return x * 2

    doubler = Doubler()

    @model(**one)
    class Called:
        def __call__(self, x): return x * 2

    @model(**one)
    class CalledLater:
        async def __call__(self, x): return x * 2

    class Broken:
        signature = Signature.of(**one)
        def load(self): raise RuntimeError("two\\nlines")
        def predict(self, x): return x

    class Costly:
        signature = Signature.of(**one)
        def __init__(self): raise SystemExit(3)
        def predict(self, x): return x

    class Late:
        signature = Signature.of(**one)
        async def load(self): pass
        def predict(self, x): return x

    class Mute:
        signature = Signature.of(**one)

    mute = Mute()

    class Nested:
        inner = doubler

    def undeclared(x): return x

    @model(**one)
    def misnamed(image): return image

    number = 7
"""


@pytest.fixture
def module(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of an importable module of models, new for each test."""
    (tmp_path / "guarded_models.py").write_text(dedent(SOURCE))
    (tmp_path / "fails_to_import.py").write_text("import a_package_that_is_not_there")
    (tmp_path / "exits_on_import.py").write_text("raise SystemExit('bye')")
    (tmp_path / "not_python.py").write_text("def (:")
    monkeypatch.syspath_prepend(tmp_path)
    yield "guarded_models"
    sys.modules.pop("guarded_models", None)


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    """Two threads for blocking models."""
    with ThreadPoolExecutor(2) as pool:
        yield pool


async def ask(loaded: Any, **parameters: Any) -> dict[str, Any]:
    """What *loaded* gives for `X`, as lists."""
    given = await loaded.infer({"x": X}, parameters)
    return {name: array.tolist() for name, array in given.items()}


@pytest.mark.parametrize(
    "name",
    ["plain", "later", "doubler", "Doubler", "Called", "CalledLater", "Nested.inner", "doubler.predict"],
)
async def test_every_kind_of_callable_serves(name: str, module: str, executor: Any) -> None:
    """Functions and objects, blocking and async, instances and classes, give the same answer."""
    if name == "doubler.predict":
        __import__(module)
        sys.modules[module].Doubler.predict.signature = sys.modules[module].Doubler.signature
    loaded = load_callable(f"{module}:{name}", name="m", version="1", executor=executor)

    assert await ask(loaded) == {"y": [0, 2, 4, 6]}
    assert (loaded.name, loaded.version, loaded.platform) == ("m", "1", "python")


@pytest.mark.parametrize("name", ["pair", "table"])
async def test_several_outputs_come_as_a_tuple_or_by_name(name: str, module: str, executor: Any) -> None:
    """A tuple is in the declared order; a dict in any."""
    loaded = load_callable(f"{module}:{name}", name="m", version="1", executor=executor)

    assert await ask(loaded) == {"y": [0, 2, 4, 6], "n": 4}


async def test_a_callable_that_asks_for_parameters_gets_them(module: str, executor: Any) -> None:
    """The request's parameters are passed to whoever names them in its own."""
    loaded = load_callable(f"{module}:scaled", name="m", version="1", executor=executor)

    assert await ask(loaded, scale=3) == {"y": [0, 3, 6, 9]}


async def test_objects_are_loaded_once_and_closed(module: str, executor: Any) -> None:
    """`load` runs before the first question, and `close` when the models are closed."""
    models = Models.load([Source("m", "1", python=f"{module}:doubler")])
    steps = sys.modules[module].Doubler.steps

    assert steps == ["load"]
    models.close()
    assert steps == ["load", "close"]


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("no_such_module:model", "importing no_such_module failed: ModuleNotFoundError: No module named"),
        ("fails_to_import:model", "No module named 'a_package_that_is_not_there'"),
        ("exits_on_import:model", "importing exits_on_import failed: SystemExit: bye"),
        ("not_python:model", "importing not_python failed: SyntaxError"),
        ("guarded_models:absent", "module guarded_models has no absent; write python: package.module:object"),
        ("guarded_models.plain", "that is not a reference; write python: package.module:object"),
        ("guarded_models:", "that is not a reference"),
        (":plain", "that is not a reference"),
        ("../evil:plain", "that is not a reference"),
        (
            "guarded_models:number",
            "it is of type int; want a function, or an object with predict or __call__",
        ),
        ("guarded_models:mute", "it is of type Mute; want a function"),
        ("guarded_models:undeclared", "it has no signature; put @model(inputs={...}, outputs={...}) on it"),
        ("guarded_models:misnamed", "it takes (image) and cannot be called with the inputs it declares (x)"),
        ("guarded_models:Broken", "load() failed: RuntimeError: two lines"),
        ("guarded_models:Costly", "Costly() failed: SystemExit: 3"),
        ("guarded_models:Late", "its load must be a plain function without arguments"),
    ],
)
def test_what_cannot_be_loaded_says_why_in_one_line(
    reference: str, said: str, module: str, executor: Any
) -> None:
    """Each way a model can fail to load names the entry, what was found and what to write."""
    with pytest.raises(ModelLoadError) as caught:
        load_callable(reference, name="digits", version="1", executor=executor)

    line = str(caught.value)
    assert line.startswith(f"model digits (python: {reference}): ")
    assert said in line
    assert "\n" not in line


def test_declarations_are_checked_where_they_are_written() -> None:
    """A mistake in `@model` is an error of the module that makes it."""
    with pytest.raises(ValueError, match="want a datatype of"):
        model(inputs={"x": ("float", [-1])}, outputs={"y": ("FP32", [-1])})


def test_a_source_has_exactly_one_origin() -> None:
    """Neither origin, or both, is an error that names the model."""
    for source in (Source("m"), Source("m", python="a:b", onnx="c.onnx")):
        with pytest.raises(ModelLoadError, match="model m: want one of python"):
            Models.load([source])


def test_versions_are_found_and_the_highest_is_the_default(module: str) -> None:
    """An empty version finds the highest, by number; unknown names and versions find nothing."""
    versions = ["9", "10", "1.9", "1.10"]
    models = Models.load([Source("m", version, python=f"{module}:plain") for version in versions])

    assert [models.get("m", version).version for version in ["", *versions]] == ["10", *versions]  # type: ignore[union-attr] # a None would fail here
    assert models.versions("m") == ["1.9", "1.10", "9", "10"]
    assert [models.get("m", "2"), models.get("n"), models.versions("n")] == [None, None, []]
    assert [models.exists("m"), models.exists("m", "9"), models.exists("m", "2")] == [True, True, False]
    assert len(list(models)) == 4
    models.close()


def test_a_version_is_configured_once(module: str) -> None:
    """The same name and version twice is refused, not resolved in silence."""
    with pytest.raises(ModelLoadError, match="model m: version 1 is there twice"):
        Models.load([Source("m", python=f"{module}:plain"), Source("m", python=f"{module}:later")])


def test_models_loaded_before_a_failure_are_closed(module: str) -> None:
    """One entry that fails leaves none half open."""
    with pytest.raises(ModelLoadError):
        Models.load([Source("a", python=f"{module}:doubler"), Source("b", python=f"{module}:absent")])

    assert sys.modules[module].Doubler.steps == ["load", "close"]
