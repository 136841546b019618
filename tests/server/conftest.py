"""What tests of the command line share: a way to run a command, and a folder made by init."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from guardhouse.server.commands import main


class Said(NamedTuple):
    """What a command left behind."""

    status: int
    out: str
    err: str


Run = Callable[..., Said]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `guardhouse` with the given arguments, in this process, through its real entry point."""

    def call(*arguments: object) -> Said:
        capsys.readouterr()
        status = main([str(argument) for argument in arguments])
        return Said(status, *capsys.readouterr())

    return call


@pytest.fixture
def made(run: Run, tmp_path: Path) -> Path:
    """Return a folder that `guardhouse init` made."""
    folder = tmp_path / "made"
    said = run("init", folder)
    assert said.status == 0, said.err
    return folder
