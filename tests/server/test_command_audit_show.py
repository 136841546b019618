"""`guardhouse audit show` on real captures."""

from __future__ import annotations

import json
from base64 import b64decode
from pathlib import Path

import pytest

from guardhouse.interceptors.capture import Store
from guardhouse.interceptors.capture.lines import Message, reference
from guardhouse.protos import inference_pb2

from .conftest import Run

NOW = 1_795_600_800
CALL = 0xABCDEF0123456789


@pytest.fixture
def captures(tmp_path: Path) -> Path:
    """A question with a name that would clear the screen, its answer, and another that was cut."""
    folder = tmp_path / "captures"
    store = Store(folder, limit=1 << 20, keep=3600, clock=lambda: NOW)
    request = inference_pb2.ModelInferRequest(model_name="digits", id="\x1b[2J\u202e")
    request.raw_input_contents.append(b"\x1b]0;evil\x07")
    response = inference_pb2.ModelInferResponse(model_name="digits").SerializeToString()
    asked = request.SerializeToString()
    at = NOW * 10**9
    name = "inference.ModelInfer"
    store.put(Message(CALL, at, "digits", "request", 1, f"{name}Request", len(asked), asked))
    store.put(Message(CALL, at, "digits", "response", 1, f"{name}Response", len(response), response))
    store.put(Message(7, at, "digits", "request", 1, f"{name}Request", 100_000, b"\x0a\xff\x1b"))
    store.close()
    return folder


def test_a_call_is_shown_as_text_that_commands_no_terminal(captures: Path, run: Run) -> None:
    """Question and answer by their fields; escapes are escaped; who may see it is said on stderr."""
    for wanted in (reference(CALL, NOW * 10**9), f"{CALL:016x}"):
        said = run("audit", "show", wanted, "--captures", captures)
        assert said.status == 0
        assert f"2026-11-25T10:00:00Z  {CALL:016x}  digits  request  1" in said.out
        assert '  id: "\\033[2J\\342\\200\\256"' in said.out
        assert "response" in said.out
        assert all(" " <= char <= "~" or char == "\n" for char in said.out)
        assert "who may read the captures" in said.err


def test_a_program_gets_the_bytes(captures: Path, run: Run) -> None:
    """One line of JSON for each message, with its bytes as they were."""
    said = run("audit", "show", f"{CALL:016x}", "--captures", captures, "--json")
    request, response = map(json.loads, said.out.splitlines())
    assert inference_pb2.ModelInferRequest.FromString(b64decode(request["data"])).model_name == "digits"
    assert (request["part"], response["part"]) == ("request", "response")


def test_what_was_cut_is_shown_as_bytes(captures: Path, run: Run) -> None:
    """A message that cannot be read any more is hexadecimal digits, and says how long it was."""
    said = run("audit", "show", f"{7:016x}", "--captures", captures)
    assert "100000 bytes, the first 3 kept\n  0a ff 1b\n" in said.out


def test_the_usual_folder_is_found(captures: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside a server, its folder need not be named."""
    monkeypatch.chdir(captures.parent)
    assert run("audit", "show", f"{CALL:016x}").status == 0


@pytest.mark.parametrize(
    ("wanted", "status", "words"),
    [
        ("0" * 16, 1, "nothing is kept of this call"),
        ("2026-11-25T11.jsonl:" + "0" * 16, 1, "nothing is kept of this call"),
        ("../../../etc/passwd", 2, "neither the `capture` of a record nor the id of a call"),
        ("dropped", 2, "neither"),
    ],
)
def test_what_is_not_there(wanted: str, status: int, words: str, captures: Path, run: Run) -> None:
    """Nothing found is a failure that says why that may be; nonsense is wrong usage."""
    said = run("audit", "show", wanted, "--captures", captures)
    assert (said.status, said.out) == (status, "")
    assert words in said.err


def test_without_a_folder_it_says_so(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """No folder of captures is one line that says what to do."""
    monkeypatch.chdir(tmp_path)
    said = run("audit", "show", "0" * 16)
    assert said.status == 1
    assert "name it with --captures" in said.err
