"""docs/tracing.md and docs/ledger.md say of every attribute and field what a real server writes."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Sequence
from typing import Any

import grpc
import numpy as np
import pytest

from guardhouse.clients import Client, GuardhouseError
from guardhouse.interceptors import Call
from guardhouse.interceptors.record.lines import Lines
from guardhouse.interceptors.usage import Usage

from .running import ROOT, Gate, blocks, rows, shell

TRACING = (ROOT / "docs/tracing.md").read_text()
LEDGER = (ROOT / "docs/ledger.md").read_text()
CALLERS = "ab" * 16
IMAGE = np.zeros((1, 64), dtype=np.float32)
TOKENS = ("input_tokens", "output_tokens")
SELDOM = (*TOKENS, "degraded")  # on lines of few calls
KINDS = {str: "text", int: "number", list: "list of text"}


@pytest.fixture(scope="module")
def lines(gate: Gate) -> list[dict[str, Any]]:
    """The ledger after calls of every kind: allowed, refused, of an unknown method, of a stream, linked."""
    operator = (("authorization", f"Bearer {gate.token('operator')}"),)
    parent = ("traceparent", f"00-{CALLERS}-{'cd' * 8}-01")
    with Client.from_profile(gate.folder / "gate") as client:
        client.infer("digits", {"image": IMAGE}, version="1", metadata=[parent])
        with pytest.raises(GuardhouseError):
            client.infer("fraud", {"image": IMAGE})
    with gate.channel() as channel:
        unknown: Any = channel.unary_unary("/no.Such/Method")
        with pytest.raises(grpc.RpcError):
            unknown(b"", metadata=operator)
        with pytest.raises(grpc.RpcError):
            unknown(b"")
        reflect: Any = channel.stream_stream("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")
        assert len(list(reflect(iter([b":\x00", b":\x00"]), metadata=operator))) == 2
    end = time.monotonic() + 10
    while len(_queries(gate.ledger())) < 5 and time.monotonic() < end:
        time.sleep(0.02)
    return gate.ledger()


@pytest.fixture(scope="module")
def spans(gate: Gate, lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The spans of the same calls, as the receiver was given them."""
    end = time.monotonic() + 10
    while True:
        done = shell("guardhouse traces --store traces.db --json --last 1000", gate.folder)
        found = [span for line in done.out.splitlines() for span in json.loads(line)["spans"]]
        if len(found) >= len(_queries(lines)) or time.monotonic() > end:
            return found
        time.sleep(0.1)


def _queries(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [line for line in lines if line["kind"] == "query"]


def kinds(table: str) -> dict[str, str]:
    """Name and type of what *table* documents."""
    return {row[0]: row[1] for row in rows(table)}


def test_every_attribute_is_documented_and_seen(spans: list[dict[str, Any]]) -> None:
    """The attributes of real spans are those of the table, by name and type, and no others."""
    table = TRACING.partition("## Attributes")[2].partition("##")[0]
    seen = {key: KINDS[type(value)] for span in spans for key, value in span["attributes"].items()}
    seldom = ("captured calls", "shadowed calls", "degraded calls", "calls whose model tells its tokens")
    elsewhere = {row[0] for row in rows(table) if row[2] in seldom}
    tokens = {f"gen_ai.usage.{name}" for name in TOKENS}
    ours = {f"guardhouse.{name}" for name in ("capture", "shadow", "degraded")}
    assert elsewhere == ours | tokens  # seen in test_spans.py
    assert seen == {key: kind for key, kind in kinds(table).items() if key not in elsewhere}


def test_what_is_on_every_span_is_on_every_span(spans: list[dict[str, Any]]) -> None:
    """What the table says is on every span is; so is, behind mutual TLS, what known callers have."""
    table = TRACING.partition("## Attributes")[2].partition("##")[0]
    always = {row[0] for row in rows(table) if row[2] in ("every span", "over TCP", "known callers")}
    assert set.intersection(*(set(span["attributes"]) for span in spans)) == always


def test_the_resource_is_documented(spans: list[dict[str, Any]]) -> None:
    """Every attribute of the resource is named in the document."""
    named = {
        key if not key.startswith("telemetry.sdk.") else "telemetry.sdk.*" for key in spans[0]["resource"]
    }
    assert all(f"`{key}`" in TRACING for key in named)


def test_a_span_is_a_root_with_a_link(spans: list[dict[str, Any]]) -> None:
    """No span has a parent; the caller's trace is a link, and never the id of ours."""
    linked = [span for span in spans if span["links"]]
    assert [span["links"][0]["trace_id"] for span in linked] == [CALLERS]
    assert all(span["parent_span_id"] == "" and span["kind"] == "SERVER" for span in spans)


def test_spans_and_lines_are_of_the_same_calls(
    spans: list[dict[str, Any]], lines: list[dict[str, Any]]
) -> None:
    """Each line has one span: its id is the line's `call`, and both tell the same story."""
    told = {span["span_id"]: span["attributes"] for span in spans}
    queries = _queries(lines)
    assert {line["call"] for line in queries} == told.keys()
    for line in queries:
        span = told[line["call"]]
        assert (span["rpc.status_code"], span.get("guardhouse.reason", "")) == (
            line["status"],
            line["reason"],
        )
        assert (span.get("guardhouse.principal", ""), span.get("guardhouse.rule", "")) == (
            line["principal"],
            line["rule"],
        )


def test_every_field_is_documented_and_seen(lines: list[dict[str, Any]]) -> None:
    """The fields of every call's line are those of the table, in its order, with its types."""
    table = kinds(LEDGER.partition("## A line")[2].partition("##")[0])
    usual = {key: kind for key, kind in table.items() if key not in SELDOM}
    for line in _queries(lines):
        assert [(key, KINDS[type(value)]) for key, value in line.items()] == list(usual.items())


def test_a_line_of_which_everything_is_told_has_every_field() -> None:
    """Those of the table but the chain's own, in its order, with its types."""
    table = kinds(LEDGER.partition("## A line")[2].partition("##")[0])
    call = Call("/x/Y", (), True, 0, 0, usage=Usage(12, 340), degraded="analyst")
    line = json.loads(Lines(Keeper()).body(call))

    assert (line["input_tokens"], line["output_tokens"]) == (12, 340)
    assert [(key, KINDS[type(value)]) for key, value in line.items()] == list(table.items())[:-2]
    assert list(table)[-2:] == ["seq", "prev"]


class Keeper:
    """A book that keeps nothing."""

    def append_many(self, bodies: Sequence[bytes]) -> int:
        return len(bodies)


def test_the_first_line_is_a_genesis(lines: list[dict[str, Any]]) -> None:
    """The ledger's own first lines stand in the documented order, with the documented members."""
    assert (lines[0]["kind"], lines[0]["scheme"], lines[0]["prev"]) == ("genesis", "sha256", "0" * 64)
    table = LEDGER.partition("## The ledger's own lines")[2].partition("##")[0]
    told = {row[0]: set(re.findall(r"`(\w+)`", row[1])) for row in rows(table)}
    assert set(told) == {"genesis", "rotation", "start", "stop", "checkpoint", "gap"}
    own = [line for line in lines if line["kind"] != "query"]
    assert [line["kind"] for line in own[:3]] == ["genesis", "start", "checkpoint"]
    for line in own:
        assert set(line) == told[line["kind"]] | {"kind", "time", "seq", "prev"}


def test_the_snippet_verifies_and_finds_a_change(reader: Any, lines: list[dict[str, Any]]) -> None:
    """The ten lines in the document pass over a real ledger, and stop at one that was changed."""
    (snippet,) = blocks(ROOT / "docs/ledger.md", "python")
    found: dict[str, Any] = {}
    exec(snippet, found)
    path = reader / "gate/ledger/ledger.jsonl"
    text = path.read_bytes()
    assert found["before"] == hashlib.sha256(text.splitlines()[-1]).hexdigest()
    changed = text.replace(b'"status":"OK"', b'"status":"ok"', 1)
    copy = reader / "copy.jsonl"
    copy.write_bytes(changed)
    with pytest.raises(AssertionError, match="line 5"):
        exec(snippet.replace("gate/ledger/ledger.jsonl", "copy.jsonl"), {})
    assert shell("guardhouse audit verify copy.jsonl", reader).status == 1


def test_the_head_is_that_of_the_last_line(reader: Any, lines: list[dict[str, Any]]) -> None:
    """What the document says to note elsewhere is what `verify --json` has."""
    verdict = json.loads(shell("guardhouse audit verify gate/ledger --json", reader).out)
    last = (reader / "gate/ledger/ledger.jsonl").read_bytes().splitlines()[verdict["last"] - 1]
    assert verdict["head"] == hashlib.sha256(last).hexdigest()
