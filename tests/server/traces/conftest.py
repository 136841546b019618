"""Spans, requests and receivers for the tests: official messages, a generic stub, real ports and files."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans
from opentelemetry.proto.trace.v1.trace_pb2 import Span as Message

from guardhouse.server.traces.store import Store

METHOD = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
START = 1_795_000_000_000_000_000
COMMAND = "from guardhouse.server.commands.traces import command; command(prog_name='guardhouse traces')"


def text(key: str, value: str) -> KeyValue:
    return KeyValue(key=key, value=AnyValue(string_value=value))


def span_message(number: int, trace: int = 1, **fields: Any) -> Message:
    """A well-formed span; its ids are made of the two numbers."""
    known = {
        "trace_id": trace.to_bytes(16, "big"),
        "span_id": number.to_bytes(8, "big"),
        "name": f"span {number}",
        "start_time_unix_nano": START + number * 1000,
        "end_time_unix_nano": START + number * 1000 + 5_000_000,
    }
    return Message(**{**known, **fields})


def own_span(number: int, trace: int = 1) -> Message:
    """A span as our own server makes it."""
    said = {
        "rpc.method": "inference.GRPCInferenceService/ModelInfer",
        "rpc.status_code": "OK",
        "guardhouse.principal": "spiffe://acme/ns/ml/sa/notebook",
        "guardhouse.model": "digits",
        "guardhouse.decision": "allowed",
    }
    return span_message(number, trace, kind=2, attributes=[text(key, said[key]) for key in said])


def request_of(*spans: Message) -> ExportTraceServiceRequest:
    scope = ScopeSpans(scope=InstrumentationScope(name="tests", version="1"), spans=spans)
    resource = Resource(attributes=[text("service.name", "somebody")])
    return ExportTraceServiceRequest(resource_spans=[ResourceSpans(resource=resource, scope_spans=[scope])])


@contextmanager
def exporter(address: str) -> Iterator[Callable[..., ExportTraceServiceResponse]]:
    """A function that sends a request (a message, or any bytes) to *address*."""
    options = [("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(address, options=options) as channel:
        call: grpc.UnaryUnaryMultiCallable[bytes, ExportTraceServiceResponse] = channel.unary_unary(
            METHOD, response_deserializer=ExportTraceServiceResponse.FromString
        )

        def export(request: ExportTraceServiceRequest | bytes, **how: Any) -> ExportTraceServiceResponse:
            data = request if isinstance(request, bytes) else request.SerializeToString()
            return call(data, timeout=30, **how)

        yield export


class Otlp:
    """What the tests of this folder share, as one fixture."""

    START = START
    span = staticmethod(span_message)
    own_span = staticmethod(own_span)
    request = staticmethod(request_of)
    exporter = staticmethod(exporter)
    text = staticmethod(text)


@pytest.fixture
def otlp() -> type[Otlp]:
    return Otlp


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "traces.db") as opened:
        yield opened


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start `guardhouse traces` as a process of its own; whatever is left of it at the end is stopped."""
    started: list[subprocess.Popen[str]] = []
    environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path / "state"), "PYTHONIOENCODING": "utf-8"}

    def run(*arguments: str, **environment_more: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", COMMAND, *arguments],
            cwd=tmp_path,
            env={**environment, **environment_more},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        started.append(process)
        return process

    yield run
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()
