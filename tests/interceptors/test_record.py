"""A line and a span for every call."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from grpc import StatusCode as Code
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans

from guardhouse.interceptors import Call, Chain, Guard, Principal, Refusal, Stage
from guardhouse.interceptors.ledger.chain import encode
from guardhouse.interceptors.policy.grants import Grant
from guardhouse.interceptors.policy.rules import Role
from guardhouse.interceptors.record import Record
from guardhouse.interceptors.record.lines import Lines, entry
from guardhouse.interceptors.record.spans import Spans

from .serving import COLOURS, SHAPES, Token, serving


class Pages:
    """A book in memory."""

    def __init__(self, fails: bool = False) -> None:
        self.lines: list[dict[str, object]] = []
        self._fails = fails

    def append_many(self, bodies: Sequence[bytes]) -> int:
        if self._fails:
            raise OSError("no space left on device")
        self.lines += map(json.loads, bodies)
        return len(self.lines)


def _settled(refusal: Refusal | None = None) -> Call:
    call = Call("/inference.GRPCInferenceService/ModelInfer", (), True, 1_700_000_000_123_456_789, 1_000_000)
    call.trace_id, call.span_id, call.peer = 0xAB, 0xCD, "ipv4:127.0.0.1:1"
    call.principal = Principal("spiffe://acme/a", proofs=("mtls",), claims={"secret": "claim"})
    call.metadata = (("authorization", "Bearer secret"), ("x", "secret"))
    call.model, call.version, call.rule, call.model_ns = "digits", "1", "r", 300_000
    Chain().settle(call, refusal)
    call.ended_ns = 3_000_000
    return call


def test_a_line_of_an_allowed_call() -> None:
    """Who asked what, when, from where, how it was decided and what it cost; times are microseconds."""
    assert entry(_settled()) == {
        "kind": "query",
        "time": "2023-11-14T22:13:20.123456Z",
        "call": "00000000000000cd",
        "trace": "000000000000000000000000000000ab",
        "method": "inference.GRPCInferenceService/ModelInfer",
        "model": "digits",
        "version": "1",
        "principal": "spiffe://acme/a",
        "issuer": "",
        "certificate": "",
        "proofs": ("mtls",),
        "roles": (),
        "peer": "ipv4:127.0.0.1:1",
        "status": "OK",
        "guard": "",
        "reason": "",
        "note": "",
        "rule": "r",
        "units": 0,
        "requests": 0,
        "responses": 0,
        "request_bytes": 0,
        "response_bytes": 0,
        "chain_us": 1700,
        "queue_us": 0,
        "model_us": 300,
        "total_us": 2000,
        "shadow": "",
        "capture": "",
    }


def test_a_line_names_the_budgets_in_shadow() -> None:
    """Those that would have refused the call; the next call's line is not touched by it."""
    pages, calls = Pages(), [_settled(), _settled()]
    calls[0].shadow = "trial all"
    Lines(pages).take(calls)

    assert [line["shadow"] for line in pages.lines] == ["trial all", ""]


def test_a_line_names_limits_that_were_decided_without_their_store() -> None:
    """On the lines of such calls, and no others."""
    pages, calls = Pages(), [_settled(), _settled()]
    calls[0].degraded = "analyst all"
    Lines(pages).take(calls)

    assert [line.get("degraded") for line in pages.lines] == ["analyst all", None]


NAMES = st.text(max_size=20)
NUMBERS = st.integers(0, 2**40)


@given(NAMES, NAMES, NAMES, NAMES, st.lists(NUMBERS, min_size=8, max_size=8))
def test_a_line_from_kept_parts_says_the_same(
    name: str, model: str, rule: str, peer: str, numbers: list[int]
) -> None:
    """What is put together from parts kept of earlier calls is the entry, member for member."""
    lines, call = Lines(Pages()), _settled()
    call.principal = Principal(name, issuer=name, proofs=("jwt",))
    call.model, call.rule, call.peer, call.wall_ns = model, rule, peer, numbers[0]
    call.requests, call.responses, call.request_bytes, call.response_bytes, call.units = numbers[1:6]
    call.queue_ns, call.model_ns = numbers[6:]

    for _ in range(2):  # made, and kept
        body = lines.body(call)
        assert body.isascii()
        assert json.loads(body) == json.loads(encode(entry(call)))


def test_a_line_tells_the_roles_that_were_held() -> None:
    """Also where the same caller held others a call before: somebody's own guard may grant by the hour."""
    pages, roles = Pages(), ("day", "night")
    calls = [_settled(), _settled()]
    for call, role in zip(calls, roles, strict=True):
        call.principal, call.grant = calls[0].principal, Grant([Role(role)])
    Lines(pages).take(calls)

    assert [line["roles"] for line in pages.lines] == [["day"], ["night"]]


def test_a_line_of_a_refused_call() -> None:
    """Reason and note are there; credentials, claims and metadata are not."""
    line = entry(_settled(Refusal("MODEL_DENIED", "no rule")))

    assert (line["status"], line["reason"], line["note"]) == ("PERMISSION_DENIED", "MODEL_DENIED", "no rule")
    assert "secret" not in json.dumps(line)


def test_a_book_that_cannot_take_lines_closes_the_door() -> None:
    """A call that could not be recorded is refused before anybody works for it, and may come back."""
    with pytest.raises(Refusal) as refused:
        Record(healthy=lambda: False).admit(_settled())

    assert (refused.value.reason, refused.value.retry_after) == ("LEDGER_UNAVAILABLE", 1.0)
    Record().admit(_settled())


def test_a_line_that_fails_does_not_cost_the_span() -> None:
    """The trace still shows a call whose line could not be written."""
    spans: list[int] = []
    record = Record(Lines(Pages(fails=True)), Spans(lambda _raw, count: spans.append(count)))
    Chain(record).settle(_settled_open(), None)
    record.flush()

    assert spans == [1]


def _settled_open() -> Call:
    call = _settled()
    call.closed = False
    return call


class Denies(Guard):
    """Refuses one word."""

    stage = Stage.SCREENING

    def inspect(self, call: Call, request: Any) -> None:
        if request == b"bad":
            raise Refusal("MODEL_DENIED")


@pytest.mark.parametrize("colour", COLOURS)
async def test_calls_are_lines_are_spans(colour: str) -> None:
    """Calls of all shapes and outcomes: as many lines and spans as calls, one by one the same."""
    pages, spans, outcomes = Pages(), list[bytes](), list[tuple[str | None, Code]]()
    record = Record(Lines(pages), Spans(lambda raw, _count: spans.append(raw)))
    chain = Chain(record, Token(), Denies())
    async with serving(colour, chain) as served:
        for shape in SHAPES:
            for message in (b"good", b"bad"):
                for metadata in ((), (("authorization", "x"),)):
                    outcome = await served.ask(shape, message, metadata=metadata)
                    outcomes.append((outcome.trailer("guardhouse-trace-id"), outcome.code))
        record.flush()
    written = [span for raw in spans for span in ScopeSpans.FromString(raw).spans]

    assert len(outcomes) == len(pages.lines) == len(written) == 16
    lines = [(line["trace"], line["status"]) for line in pages.lines]
    assert lines == [(trace, code.name) for trace, code in outcomes]
    assert [span.trace_id.hex() for span in written] == [trace for trace, _ in outcomes]
    assert {code for _, code in outcomes} == {Code.OK, Code.PERMISSION_DENIED, Code.UNAUTHENTICATED}
