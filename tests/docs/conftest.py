"""A guarded model that documents can be held against: a folder, a receiver of traces, a running server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from .running import GUARDHOUSE, Gate, receiver, served, shell

pytest.importorskip("sklearn", reason="the digits example needs scikit-learn (guardhouse[demo])")


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    """The folder `gate`, as documents call it, and its server; commands are typed in the folder above."""
    from guardhouse_examples import digits

    folder = tmp_path_factory.mktemp("reader")
    assert shell(f"{GUARDHOUSE} init gate", folder).status == 0
    np.save(folder / "digit.npy", digits.sample())
    with receiver(folder, "traces.db") as collector, served(folder, "gate", collector) as address:
        yield Gate(folder, address)


@pytest.fixture
def reader(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder above `gate`, as the present one."""
    monkeypatch.chdir(gate.folder)
    return gate.folder
