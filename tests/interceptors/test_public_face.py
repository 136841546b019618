"""What `guardhouse.interceptors` offers by name, and what importing it costs."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

import guardhouse.interceptors as face


@pytest.mark.parametrize("name", face.__all__)
def test_every_name_is_there(name: str) -> None:
    """What `__all__` promises can be had, and those read late are the very objects of their modules."""
    found = getattr(face, name)
    if name in face._LATER:
        module, _, original = face._LATER[name].partition(":")
        home = importlib.import_module(f"guardhouse.interceptors.{module}")
        assert found is getattr(home, original or name)


def test_nothing_is_promised_twice_or_forgotten() -> None:
    """The names that are read late are promised; a name that nobody promised is an error."""
    assert set(face._LATER) <= set(face.__all__) <= set(dir(face))
    assert len(face.__all__) == len(set(face.__all__))
    with pytest.raises(AttributeError, match="Tokenz"):
        face.Tokenz  # type: ignore[attr-defined] # noqa: B018 - the point


HEAVY = ("numpy", "cryptography", "yaml", "joserfc", "opentelemetry")


def test_the_package_is_light_until_something_heavy_is_asked_for() -> None:
    """Importing it loads none of the libraries that only some of the guards need."""
    code = f"import sys, guardhouse.interceptors; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_any_name_can_be_imported_first() -> None:
    """No cycle: every name is to be had in an interpreter that has imported nothing else."""
    code = "import sys; from guardhouse.interceptors import {0}; assert {0}"
    for name in ("guard", "Tokens", "Policy", "sync", "JwksSource"):
        subprocess.run([sys.executable, "-c", code.format(name)], check=True)
