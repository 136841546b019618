"""A collector that counts the spans it is sent, as cheaply as that can be done.

`python -m benchmarks.sink N` prints, as a line of JSON, N ports; and for every line on its input, how many
spans have come to each of them. Serves until its input ends.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

SERVICE = "opentelemetry.proto.collector.trace.v1.TraceService"


def spans_in(request: bytes) -> int:
    """How many spans an encoded ExportTraceServiceRequest holds: read by lengths alone, no span is parsed.

    The three levels (resource_spans = 1, scope_spans = 2, spans = 2) are fields of opentelemetry-proto.

    Raises:
        IndexError, ValueError: It is no such message.
    """
    return sum(
        1
        for resource in _fields(request, 0, len(request), 1)
        for scope in _fields(request, *resource, 2)
        for _ in _fields(request, *scope, 2)
    )


def _fields(message: bytes, at: int, end: int, number: int) -> Iterator[tuple[int, int]]:
    """Begin and end of every field *number* in message[at:end], all of whose fields have a length."""
    while at < end:
        tag, at = _varint(message, at)
        if tag & 7 != 2:
            raise ValueError(f"field {tag >> 3} has no length")
        length, at = _varint(message, at)
        if tag >> 3 == number:
            yield at, at + length
        at += length


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """The number at *at*, and where it ends."""
    number = shift = 0
    while True:
        byte = message[at]
        number |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return number, at


def listen(count: Callable[[int], None]) -> tuple[grpc.Server, int]:
    """A collector that tells *count* of the spans in every request; and its port."""

    def export(request: bytes, _context: Any) -> bytes:
        count(spans_in(request))
        return b""  # an ExportTraceServiceResponse: all were accepted

    server = grpc.server(ThreadPoolExecutor(1), options=[("grpc.so_reuseport", 0)])
    handlers: dict[str, Any] = {"Export": grpc.unary_unary_rpc_method_handler(export)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return server, port


def main(ports: int) -> None:
    """Serve until the input ends."""
    counts = [0] * ports

    def counter(place: int) -> Callable[[int], None]:
        def count(spans: int) -> None:
            counts[place] += spans

        return count

    servers = [listen(counter(place)) for place in range(ports)]
    print(json.dumps([port for _, port in servers]), flush=True)
    for _ in sys.stdin:
        print(json.dumps(counts), flush=True)
    for server, _ in servers:
        server.stop(0).wait()


if __name__ == "__main__":
    main(int(sys.argv[1]))
