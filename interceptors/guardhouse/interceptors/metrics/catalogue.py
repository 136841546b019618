"""Every metric there is: its name, kind, unit and labels. docs/metrics.md has the same table.

Each has its OTLP name; the Prometheus name follows from it as a collector would make it (OpenTelemetry
specification, "Prometheus and OpenMetrics compatibility"), so that a dashboard does not depend on the way.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

# `rpc.server.call.duration` (semantic conventions v1.45, RPC metrics) asks for these, in seconds.
STANDARD: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
# The guards take some 0.1 ms, and a small model no more: what is ours begins lower.
FINE: Final = (1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)

SUFFIXES: Final = {"s": "_seconds", "By": "_bytes"}


class Metric(NamedTuple):
    """One metric.

    Attributes:
        otlp: Its name in OTLP; "." becomes "_" for Prometheus.
        kind: What it is; a histogram's observations are in seconds.
        unit: UCUM; what stands in {braces} only explains.
        labels: The names of its labels. One whose value is empty is left out.
        words: What it says, in a sentence.
        bounds: A histogram's upper bounds, each belonging to its bucket.
    """

    otlp: str
    kind: Literal["counter", "gauge", "histogram"]
    unit: str
    labels: tuple[str, ...]
    words: str
    bounds: tuple[float, ...] = ()

    @property
    def name(self) -> str:
        """The Prometheus name."""
        name = self.otlp.replace(".", "_")
        name = name.removesuffix(suffix := SUFFIXES.get(self.unit, "")) + suffix
        return f"{name}_total" if self.kind == "counter" else name


CALL_DURATION: Final = Metric(
    "rpc.server.call.duration",
    "histogram",
    "s",
    ("rpc.system.name", "rpc.method", "rpc.status_code", "error.type"),
    "From the headers of a call to its end.",
    STANDARD,
)
CALLS: Final = Metric(
    "guardhouse.calls", "counter", "{call}", ("method", "model", "status"), "Calls that have ended."
)
REFUSALS: Final = Metric(
    "guardhouse.refusals",
    "counter",
    "{call}",
    ("guard", "reason"),
    "Calls that were refused, failed or were broken off.",
)
UNITS: Final = Metric(
    "guardhouse.units", "counter", "{unit}", ("model",), "What calls were charged against limits."
)
DEGRADED: Final = Metric(
    "guardhouse.degraded",
    "counter",
    "{call}",
    ("model",),
    "Calls about which a limit was decided without its store, which did not answer.",
)
REQUEST_BYTES: Final = Metric(
    "guardhouse.request.bytes", "counter", "By", ("method",), "Request messages, unpacked."
)
RESPONSE_BYTES: Final = Metric(
    "guardhouse.response.bytes", "counter", "By", ("method",), "Response messages."
)
INPUT_TOKENS: Final = Metric(
    "guardhouse.input.tokens", "counter", "{token}", ("model",), "Tokens that models took in, as they say."
)
OUTPUT_TOKENS: Final = Metric(
    "guardhouse.output.tokens", "counter", "{token}", ("model",), "Tokens that models gave, as they say."
)
CHAIN_DURATION: Final = Metric(
    "guardhouse.chain.duration", "histogram", "s", (), "A call's time outside of model and queue.", FINE
)
QUEUE_DURATION: Final = Metric(
    "guardhouse.queue.duration",
    "histogram",
    "s",
    ("model",),
    "A call's time waiting for a free worker.",
    FINE,
)
MODEL_DURATION: Final = Metric(
    "guardhouse.model.duration",
    "histogram",
    "s",
    ("model",),
    "In the model, or whatever stands behind the guards.",
    FINE,
)
IN_FLIGHT: Final = Metric("guardhouse.calls.in_flight", "gauge", "{call}", (), "Calls that have not ended.")
WAITING: Final = Metric(
    "guardhouse.calls.waiting", "gauge", "{call}", (), "Calls that wait for their turn at a model."
)
RATE_KEYS: Final = Metric(
    "guardhouse.rate.keys", "gauge", "{key}", (), "Buckets of callers that the rate limiter keeps."
)
SPANS_SENT: Final = Metric(
    "guardhouse.spans.sent", "counter", "{span}", (), "Spans that the collector has taken."
)
SPANS_LOST: Final = Metric(
    "guardhouse.spans.lost", "counter", "{span}", ("reason",), "Spans that nobody will see."
)
SPANS_QUEUED: Final = Metric("guardhouse.spans.queued", "gauge", "{span}", (), "Spans that wait in memory.")
SPANS_SPOOLED: Final = Metric("guardhouse.spans.spooled", "gauge", "{span}", (), "Spans that wait on disk.")
LEDGER_HEALTHY: Final = Metric(
    "guardhouse.ledger.healthy", "gauge", "", (), "1 while lines reach the disk; at 0 calls are refused."
)
LEDGER_LAG: Final = Metric("guardhouse.ledger.lag_lines", "gauge", "{line}", (), "Lines not yet on disk.")
LEDGER_LINES: Final = Metric(
    "guardhouse.ledger.lines", "counter", "{line}", (), "Lines put on disk since the start."
)
LEDGER_SEQUENCE: Final = Metric(
    "guardhouse.ledger.sequence", "gauge", "{line}", (), "The number of the ledger's newest line."
)
PUSHES: Final = Metric(
    "guardhouse.metrics.pushes", "counter", "{push}", ("outcome",), "Pushes of these metrics over OTLP."
)
BUILD: Final = Metric(
    "guardhouse.build_info", "gauge", "", ("version",), "1, with the version of guardhouse."
)
UPTIME: Final = Metric("process.uptime", "gauge", "s", (), "How long the process has been counting.")
CPU_TIME: Final = Metric("process.cpu.time", "counter", "s", (), "Processor time of the process.")
MEMORY: Final = Metric("process.memory.usage", "gauge", "By", (), "Resident memory; on Linux only.")

CATALOGUE: Final = (
    CALLS,
    REFUSALS,
    CALL_DURATION,
    CHAIN_DURATION,
    QUEUE_DURATION,
    MODEL_DURATION,
    REQUEST_BYTES,
    RESPONSE_BYTES,
    UNITS,
    DEGRADED,
    INPUT_TOKENS,
    OUTPUT_TOKENS,
    IN_FLIGHT,
    WAITING,
    RATE_KEYS,
    SPANS_SENT,
    SPANS_LOST,
    SPANS_QUEUED,
    SPANS_SPOOLED,
    LEDGER_HEALTHY,
    LEDGER_LAG,
    LEDGER_LINES,
    LEDGER_SEQUENCE,
    PUSHES,
    BUILD,
    UPTIME,
    CPU_TIME,
    MEMORY,
)
