"""docs/tracing.md shows a trace as `guardhouse traces` draws it, and says the bounds that the code has."""

from __future__ import annotations

from guardhouse.server.commands.traces import TICK
from guardhouse.server.traces.follow import PATIENCE
from guardhouse.server.traces.listen import DEFAULT_LISTEN, after
from guardhouse.server.traces.printing import MOST_DRAWN, MOST_PER_TICK, MOST_READ
from guardhouse.server.traces.receiver_http import PATH, PROTOBUF
from guardhouse.server.traces.spans import Span
from guardhouse.server.traces.store import KEEP
from guardhouse.server.traces.text import Look
from guardhouse.server.traces.waterfall import render

from .running import ROOT, blocks

LOOKING = (ROOT / "docs/tracing.md").read_text().partition("## Looking at them")[2]
TRACE = "f4863ccdb572876739a87a992b98b37d"
ROOT_ID, CLASSIFY = "3e0b924f71c9037d", "e92b33bac8743411"
SECOND = 1_795_601_841_000_000_000
SAID = {
    "rpc.method": "inference.GRPCInferenceService/ModelInfer",
    "rpc.status_code": "OK",
    "guardhouse.decision": "allowed",
    "guardhouse.principal": "demo",
    "guardhouse.model": "digits",
    "guardhouse.rule": "analyst.allow[0]",
    "guardhouse.chain_us": 4457,
    "guardhouse.model_us": 1613,
}


def span(span_id: str, parent: str, name: str, start: int, end: int, said: dict[str, object]) -> Span:
    """A span of the example; its times are nanoseconds within a second."""
    return Span(TRACE, span_id, parent, name, start_ns=SECOND + start, end_ns=SECOND + end, attributes=said)


def test_the_example_is_what_is_drawn() -> None:
    """The waterfall in the document is that of the call that was recorded for it, to the letter."""
    spans = [
        span("a6eb3734b7651f3a", ROOT_ID, "normalise", 951_956_345, 952_081_551, {"rows": 1}),
        span("7a6e2f2111b62948", CLASSIFY, "scores", 952_378_931, 952_516_255, {}),
        span("035487e104b926a2", CLASSIFY, "confidence", 952_648_360, 952_707_077, {}),
        span(CLASSIFY, ROOT_ID, "classify", 952_348_927, 952_799_494, {"confidence": 0.6}),
        span(ROOT_ID, "", "inference.GRPCInferenceService/ModelInfer", 946_943_178, 953_013_832, SAID),
    ]
    assert "\n".join(render(spans, Look())) + "\n" in blocks(ROOT / "docs/tracing.md", "text")


def test_the_bounds_are_those_of_the_code() -> None:
    """How long it waits, how much it draws, reads and keeps, and where it listens."""
    told = " ".join(LOOKING.split())
    assert (TICK, PATIENCE * TICK) == (0.25, 5)
    assert "at most 5 s" in told
    assert f"more than {MOST_PER_TICK} traces in a quarter of a second" in told
    assert f"thousands of spans in a trace | draws {MOST_DRAWN}" in told
    assert f"of at most {MOST_READ:,} spans each" in told
    assert f"the newest {KEEP:,} spans" in told
    assert f"on {DEFAULT_LISTEN} for OTLP/gRPC" in told
    assert (
        f"after it, {after(DEFAULT_LISTEN).rpartition(':')[2]}, for OTLP/HTTP (protobuf, at `{PATH}`)" in told
    )
    assert PROTOBUF in told
