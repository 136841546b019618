"""Whether a server in plain text answers the call that will be measured."""

from __future__ import annotations

import grpc

from benchmarks.echo import INFER
from benchmarks.load import check, request


def answers(port: int) -> None:
    """Ask once. Raises what went wrong."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        ask: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(INFER)
        check(ask(request(), timeout=5))
