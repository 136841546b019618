"""docs/audit.md: its commands run against a real server that captures, and say what it says."""

from __future__ import annotations

import json
import re
import time
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from guardhouse.clients import Client, GuardhouseError
from guardhouse.interceptors.capture.lines import Message, decode, encode
from guardhouse.protos import inference_pb2
from guardhouse.server.audit.question import KEYS
from guardhouse.server.config import load

from .running import GUARDHOUSE, ROOT, Gate, blocks, commands, receiver, rows, served, shell

AUDIT = ROOT / "docs/audit.md"
EXAMPLE = "2026-11-25T10.jsonl:00f067aa0ba902b7"
IMAGE = np.full((1, 64), 7, dtype=np.float32)

pytest.importorskip("sklearn", reason="the digits example needs scikit-learn (guardhouse[demo])")
pytest.importorskip("duckdb", reason="guardhouse[audit]")


@pytest.fixture(scope="module")
def captured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    """A server with the document's `capture`, that was asked once, and once in vain."""
    folder = tmp_path_factory.mktemp("reader")
    assert shell(f"{GUARDHOUSE} init gate", folder).status == 0
    config = folder / "gate/guardhouse.yaml"
    config.write_text(config.read_text() + blocks(AUDIT, "yaml")[0])
    with receiver(folder, "traces.db") as collector, served(folder, "gate", collector) as address:
        with Client.from_profile(folder / "gate") as client:
            client.infer("digits", {"image": IMAGE})
            with pytest.raises(GuardhouseError):
                client.infer("fraud", {"image": IMAGE})
        gate = Gate(folder, address)
        end = time.monotonic() + 10
        while len(gate.ledger()) < 3 and time.monotonic() < end:
            time.sleep(0.02)
        while not list((folder / "gate/captures").iterdir()) and time.monotonic() < end:
            time.sleep(0.02)
        yield gate


def reference(gate: Gate) -> str:
    """The `capture` of the call that was captured."""
    end = time.monotonic() + 10  # the line comes a moment after the answer
    while True:
        found = [str(line["capture"]) for line in gate.ledger() if line.get("capture")]
        if found or time.monotonic() > end:
            return found[0]
        time.sleep(0.02)


@pytest.mark.parametrize("line", commands(AUDIT))
def test_the_commands_run(line: str, captured: Gate) -> None:
    """Each command of the document ends well; of an example's call stands a real one."""
    real = reference(captured)
    line = line.replace(EXAMPLE, real).replace(EXAMPLE.partition(":")[2], real.partition(":")[2])
    done = shell(line, captured.folder)
    assert done.status == 0, done.err
    assert "\x1b" not in done.out


def test_the_call_that_was_allowed_is_captured_and_no_other(captured: Gate) -> None:
    """The ledger's line leads to what was sent and answered; the call refused before has nothing kept."""
    kept = [(line["model"], bool(line["capture"])) for line in captured.ledger() if line["kind"] == "query"]
    assert kept == [("digits", True), ("fraud", False)]
    line = f"guardhouse audit show {reference(captured)} --captures gate/captures --json"
    request, response = map(json.loads, shell(line, captured.folder).out.splitlines())
    asked = inference_pb2.ModelInferRequest.FromString(b64decode(request["data"]))
    assert IMAGE.tobytes() in asked.raw_input_contents
    assert response["type"] == "inference.ModelInferResponse"


def test_no_token_is_in_a_capture(captured: Gate) -> None:
    """The token that the client sent stands in no file of captures, which nobody else may read."""
    token = (captured.folder / "gate/token").read_bytes().strip()
    folder = captured.folder / "gate/captures"
    files = list(folder.iterdir())
    assert files
    assert all(token not in file.read_bytes() for file in files)
    assert [path.stat().st_mode & 0o777 for path in (folder, *files)] == [0o700, *[0o600] * len(files)]


def test_the_server_says_that_it_captures(captured: Gate, tmp_path: Path) -> None:
    """What is captured is among what the server prints when it starts, as the configuration has it."""
    from guardhouse.server.assembly import assembled
    from guardhouse.server.report import report

    config = load(captured.folder / "gate/guardhouse.yaml", [f"audit.path={tmp_path}/ledger"])
    with assembled(config) as parts:
        told = report(config, parts, "127.0.0.1:1")["captures"]
    assert re.fullmatch(
        r"INPUTS AND OUTPUTS of digits are kept in .*gate/captures for 7d, 1GiB in all", str(told)
    )


def test_the_sums_and_the_options_are_those_of_the_command() -> None:
    """The document names each option that finds calls, and each key that calls can be summed by."""
    text = AUDIT.read_text()
    table = {row[0] for row in rows(text.partition("## query")[2].partition("\n## ")[0])}
    told = set(re.findall(r"^  (--[a-z]+) ", shell("guardhouse audit query --help", ROOT).out, re.MULTILINE))
    assert table == told - {"--sum", "--limit", "--json"}
    summed = text.partition("`--sum` adds up")[2].partition("(UTC)")[0]
    assert re.findall(r"`(\w+)`", summed) == list(KEYS)


def test_the_members_of_a_capture_are_those_of_a_line() -> None:
    """The document names the members of a line of captures, in their order."""
    line: Any = decode(encode(Message(1, 0, "m", "request", 1, "t", 1, b"x")))
    told = AUDIT.read_text().partition("as JSON lines:")[2].replace("(`request` or `response`)", "")
    assert re.findall(r"`(\w+)`", told) == list(line)
