"""The waterfall: what it says of a query, and that nothing can break it."""

import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardhouse.server.traces.headline import notes
from guardhouse.server.traces.spans import Span
from guardhouse.server.traces.text import Look, cells
from guardhouse.server.traces.tree import in_order
from guardhouse.server.traces.waterfall import parts, render

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
MS = 1_000_000


def own(decision: str = "allowed", code: str = "OK", **more: object) -> Span:
    """A span of our own server, 2 ms long."""
    said = {
        "rpc.method": "inference.GRPCInferenceService/ModelInfer",
        "rpc.status_code": code,
        "guardhouse.principal": "spiffe://acme/ns/ml/sa/notebook",
        "guardhouse.model": "digits",
        "guardhouse.decision": decision,
        **{f"guardhouse.{key}": value for key, value in more.items()},
    }
    return Span(TRACE, "a" * 16, name="Infer", kind=2, start_ns=5 * MS, end_ns=7 * MS, attributes=said)


def plain(number: int, parent: int = 0, start: int = 0, end: int = 10, **more: Any) -> Span:
    parent_id = f"{parent:016x}" if parent else ""
    return Span(TRACE, f"{number:016x}", parent_id, f"n{number}", start_ns=start, end_ns=end, **more)


def noted(*spans: Span) -> list[str]:
    return [note for node in in_order(spans) for note in notes(node, Look())]


def test_an_allowed_query_reads_as_a_sentence() -> None:
    """Method, model, principal, decision and code stand on one line, with a bar and how long it took."""
    assert render([own()], Look()) == [
        f"trace {TRACE}  1970-01-01 00:00:00.005Z  2.00 ms  1 span",
        "  ModelInfer digits  spiffe://acme/ns/ml/sa/notebook  allowed OK      " + "█" * 20 + "   2.00 ms",
    ]


def test_a_refused_query_stands_out_and_says_why() -> None:
    """Without any colour a refusal has a mark and a word of its own, its reason and its rule below."""
    _, line, why = render([own("refused", "PERMISSION_DENIED", reason="MODEL", rule="analyst")], Look(120))
    assert line.startswith("✗ ModelInfer digits  spiffe://acme/ns/ml/sa/notebook  REFUSED PERMISSION_DENIED ")
    assert why == "  · MODEL, rule analyst"


def test_a_long_principal_gives_way_to_the_decision() -> None:
    """The decision is never cut for the sake of a long identity; of that its end is kept."""
    span = own("refused", "PERMISSION_DENIED", principal="spiffe://" + "very/" * 50 + "notebook")
    assert re.search(r"  …\S+/notebook  REFUSED PERMISSION_DENIED ", render([span], Look())[1])


def test_a_call_without_a_principal_is_nobodys() -> None:
    """A refusal before any identity was proved says so."""
    span = own("refused", "UNAUTHENTICATED")
    nobody = {key: value for key, value in span.attributes.items() if key != "guardhouse.principal"}
    line = render([Span(TRACE, "a" * 16, attributes=nobody)], Look())[1]
    assert "digits  nobody  REFUSED UNAUTHENTICATED" in line


def test_an_unknown_method_is_named_as_it_was_asked_for() -> None:
    """Of a method that the server does not have, the conventions keep the caller's own words apart."""
    unknown = {**own("refused").attributes, "rpc.method": "_OTHER", "rpc.method_original": "a.B/Steal"}
    assert "✗ Steal digits" in render([Span(TRACE, "a" * 16, attributes=unknown)], Look())[1]


def test_guards_and_model_are_drawn_one_after_the_other() -> None:
    """The measured parts of a query have rows of their own, on the same scale."""
    lines = render([own(chain_us=500, model_us=1000.0)], Look())
    assert lines[2].endswith("▒▒▒▒▒" + " " * 15 + "    500 µs")
    assert lines[3].endswith(" " * 5 + "▒" * 10 + " " * 5 + "   1.00 ms")
    assert [lines[2][:10], lines[3][:9]] == ["  · guards", "  · model"]


@pytest.mark.parametrize("nonsense", ["12", None, -1, 0, float("nan"), float("inf"), [1], 2**60])
def test_a_part_that_is_no_length_is_not_drawn(nonsense: object) -> None:
    """Timings that make no sense are left out, not guessed."""
    assert parts(own(chain_us=nonsense), 0) == []


def test_links_are_shown() -> None:
    """The trace that the caller named is linked, never joined; of many links only some are shown."""
    link = {"trace_id": "b" * 32, "span_id": "c" * 16}
    span = own()
    linked = Span(TRACE, "a" * 16, attributes=span.attributes, links=[link] * 6)
    assert noted(linked)[3:] == [f"caller's trace {'b' * 32}", "2 more links"]
    assert noted(plain(1, links=[link])) == [f"linked trace {'b' * 32}"]


def test_any_other_attribute_of_ours_is_shown() -> None:
    """Which guard, how many units, and whatever is added later, stand in a line without a change here."""
    span = own("refused", guard="rate", units=64, error_id="3f\x1b", capture="c/1", later=[1, "x"])
    assert noted(span) == [r"capture c/1, error_id 3f\x1b, guard rate, later [1, 'x'], units 64"]
    assert noted(own(proofs=["mtls"], chain_us=1, queue_us=2, model_us=3)) == []
    assert noted(own(**{f"n{n:02}": n for n in range(50)}))[0].count(",") == 7


def test_the_queue_is_drawn_between_guards_and_model() -> None:
    """Waiting for a worker is a part of its own."""
    assert parts(own(chain_us=1, queue_us=2, model_us=3), 0) == [
        ("guards", 0, 1000),
        ("queue", 1000, 3000),
        ("model", 3000, 6000),
    ]


def test_an_endless_name_is_cut_before_it_costs() -> None:
    """Text of megabytes is shown as its beginning."""
    lines = render([replace(plain(1), name="\x1b" * 5_000_000)], Look())
    assert lines[1].startswith(r"  \x1b\x1b")
    assert cells(lines[1]) == 100


def test_an_error_says_its_message() -> None:
    """A failed span of anybody's has a mark and its status message; hostile text in it is escaped."""
    line = render([plain(1, status=2, message="\x1b[31mgone\n")], Look())[1]
    assert line.startswith(r"! n1  ERROR \x1b[31mgone\n ")


def test_a_span_without_an_end_says_so() -> None:
    """Times that run backwards are no negative length."""
    assert render([plain(1, start=50, end=0)], Look())[1].endswith("   no end")


def test_colour_marks_the_decision() -> None:
    """On a terminal a refusal is red, what is allowed green; the words are the same."""
    refused, allowed = render([own("refused")], Look(colour=True)), render([own()], Look(colour=True))
    assert "\x1b[1;31m✗ \x1b[0m\x1b[1;31mModelInfer" in refused[1]
    assert "\x1b[32mModelInfer" in allowed[1]
    assert re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(refused)) == "\n".join(render([own("refused")], Look()))


def test_ascii_is_enough() -> None:
    """A terminal without Unicode gets bars and marks that it can draw."""
    lines = render([own("refused", chain_us=40, principal="é" * 60)], Look(ascii_only=True))
    assert "\n".join(lines).isascii()
    assert lines[1].startswith("x ModelInfer")


def test_nothing_is_nothing() -> None:
    """No spans, no lines."""
    assert render([], Look()) == []


TEXT = st.text(st.characters(exclude_categories=[]), max_size=30)
VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=4,
)
OUR_KEYS = ("principal", "model", "decision", "reason", "rule", "chain_us", "queue_us", "model_us", "units")
KEY = st.sampled_from(["rpc.method", "rpc.status_code", *(f"guardhouse.{key}" for key in OUR_KEYS)]) | TEXT
DECISION = st.fixed_dictionaries(
    {}, optional={"guardhouse.decision": st.sampled_from(["allowed", "refused"])}
)
IDS = st.sampled_from(["", "1", "2", "3", "4"]) | TEXT
TIME = st.integers(0, 2**63 - 1) | st.integers(0, 100)
SPAN = st.builds(
    Span,
    trace_id=st.just(TRACE),
    span_id=IDS,
    parent_id=IDS,
    name=TEXT,
    kind=st.integers(),
    start_ns=TIME,
    end_ns=TIME,
    status=st.integers(-1, 3),
    message=TEXT,
    attributes=st.builds(dict.__or__, st.dictionaries(KEY, VALUE, max_size=5), DECISION),
    links=st.lists(st.fixed_dictionaries({}, optional={"trace_id": TEXT}), max_size=7),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(SPAN, min_size=1, max_size=8), st.integers(-5, 200), st.booleans())
def test_any_spans_can_be_drawn(spans: list[Span], width: int, ascii_only: bool) -> None:
    """Any spans give a header and a line each, besides parts and notes, printable and within the width."""
    look = Look(width, ascii_only=ascii_only)
    lines = render(spans, look)
    assert len(lines) == 1 + sum(
        1 + len(parts(node.span, node.start)) + len(list(notes(node, look))) for node in in_order(spans)
    )
    for line in lines:
        assert line.isprintable()
        assert cells(line) <= max(40, width)
        assert line.isascii() or not ascii_only


@settings(max_examples=50, deadline=None)
@given(st.lists(SPAN, min_size=1, max_size=5))
def test_colour_changes_no_word(spans: list[Span]) -> None:
    """With our own colour codes taken out, the lines are those without colour: nobody else's codes get in."""
    painted = "\n".join(render(spans, Look(colour=True)))
    assert re.sub(r"\x1b\[[0-9;]*m", "", painted) == "\n".join(render(spans, Look()))
