"""`guardhouse traces` without --follow: what is in the store, printed."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from guardhouse.server.commands.traces import command
from guardhouse.server.traces.store import Store


@pytest.fixture
def filled(tmp_path: Path, otlp: Any) -> Path:
    """A store of three traces."""
    from guardhouse.server.traces.otlp import read_request

    path = tmp_path / "filled.db"
    spans = [otlp.own_span(1, 0xA << 124), otlp.own_span(2, 0xB << 124), otlp.span(3, 0xC << 124)]
    with Store.open(path) as store:
        store.add(read_request(otlp.request(*spans)).spans)
    return path


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["dd"], "no trace begins with dd"),
        (["zz"], "hex digits"),
        (["--follow", "--listen", "127.0.0.1:0", "zz"], "hex digits"),
    ],
)
def test_a_prefix_that_finds_nothing(filled: Path, arguments: list[str], says: str) -> None:
    """A trace that is not there, or an id that cannot be one, is one line too."""
    result = CliRunner().invoke(command, [*arguments, "--store", str(filled)])
    assert result.exit_code == 1
    assert says in result.stderr
    assert result.stderr.count("\n") == 1


def test_an_emptied_store_is_empty(tmp_path: Path) -> None:
    """A store that exists but holds nothing says how to fill it."""
    Store.open(tmp_path / "t.db").close()
    result = CliRunner().invoke(command, ["--store", str(tmp_path / "t.db")])
    assert result.exit_code == 1
    assert "guardhouse traces --follow" in result.stderr


def test_the_last_traces_are_printed(filled: Path) -> None:
    """Without --follow the newest traces are printed, oldest of them first, without colour in a pipe."""
    result = CliRunner().invoke(command, ["--last", "2", "--store", str(filled)])
    assert result.exit_code == 0
    assert re.findall(r"^trace (.)", result.stdout, re.MULTILINE) == ["b", "c"]
    assert "\x1b" not in result.stdout


def test_one_trace_by_the_beginning_of_its_id(filled: Path) -> None:
    """A prefix prints that trace alone; --json gives it to programs, in ASCII."""
    result = CliRunner().invoke(command, ["b", "--json", "--store", str(filled)])
    assert result.exit_code == 0
    assert result.stdout.isascii()
    document = json.loads(result.stdout)
    assert document["trace_id"] == "b" + "0" * 31
    assert document["spans"][0]["attributes"]["guardhouse.decision"] == "allowed"


def test_the_store_of_this_folder_or_the_demo_comes_first(
    filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without --store it is ./traces.db, else .demo/traces.db, else the one in the state folder."""
    here, demo = tmp_path / "traces.db", tmp_path / ".demo" / "traces.db"
    state = tmp_path / "state" / "guardhouse" / "traces.db"
    demo.parent.mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert str(state) in CliRunner().invoke(command, ["b"]).stderr
    for path, last in ((state, 1), (demo, 2), (here, 3)):
        _some_of(filled, path, last)
        listed = CliRunner().invoke(command, [])
        assert len(re.findall("(?m)^trace ", listed.stdout)) == last
        assert CliRunner().invoke(command, ["c"]).stdout.startswith("trace c")


def _some_of(store: Path, path: Path, last: int) -> None:
    """Put the *last* traces of *store* into a store at *path*."""
    with Store.reading(store) as source, Store.open(path) as target:
        for spans in source.recent(last):
            target.add(spans)


def test_the_width_is_the_terminals(filled: Path) -> None:
    """Lines are as wide as the terminal, 100 columns where nobody knows."""
    runner = CliRunner()
    wide = runner.invoke(command, ["a", "--store", str(filled)], env={"COLUMNS": "140"})
    unknown = runner.invoke(command, ["a", "--store", str(filled)], env={"COLUMNS": None})
    assert len(wide.stdout.splitlines()[1]) == 140
    assert len(unknown.stdout.splitlines()[1]) == 100


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_colour_on_a_terminal_only(filled: Path, no_color: str, coloured: bool) -> None:
    """On a terminal there is colour, unless NO_COLOR asks for none."""
    pty = pytest.importorskip("pty", reason="needs a pseudo terminal")

    source = "from guardhouse.server.commands.traces import command; command()"
    controller, terminal = pty.openpty()
    environment = {**os.environ, "NO_COLOR": no_color, "TERM": "xterm", "PYTHONIOENCODING": "utf-8"}
    arguments = [sys.executable, "-c", source, "a", "--store", str(filled)]
    process = subprocess.Popen(arguments, stdout=terminal, env=environment)
    assert process.wait(timeout=30) == 0
    os.close(terminal)
    shown = os.read(controller, 65536).decode()
    os.close(controller)
    assert "ModelInfer" in shown
    assert ("\x1b[" in shown) is coloured
