"""From a collector to an exporter: address, headers, TLS, the service's name, the spans of a closed guard."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.sdk.resources import Resource as SdkResource

from guardhouse.interceptors import Collector, KeyStore, Policy, Refusal, exporter_to, guard
from guardhouse.interceptors.record.collector import mistakes
from guardhouse.interceptors.record.export.answers import Later, Taken
from guardhouse.interceptors.record.exporting import encoded, resource, transport_to

from . import certificates
from .collectors import PROTOCOLS, pki, receiving, send, until

REQUEST = b"\n\x00"  # one empty ResourceSpans


@pytest.fixture(params=PROTOCOLS)
def protocol(request: Any) -> str:
    """Either protocol."""
    return str(request.param)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a PKI."""
    return pki(tmp_path_factory.mktemp("pki"))


def test_every_span_has_left_when_the_guard_is_closed(tmp_path: Path, protocol: str) -> None:
    """The span of a call of a moment ago is with the collector, under the name of the service."""
    KeyStore(tmp_path / "keys.db")
    store = tmp_path / "keys.db"
    with receiving(protocol) as receiver:
        spans = receiver.collector()
        with guard(policy=Policy((), ()), ledger=None, api_keys=store, spans=spans, service="shop") as chain:
            call = chain.open("/a/b", (), known=True)
            with pytest.raises(Refusal) as caught:
                chain.admit(call)
            chain.settle(call, caught.value)
    (span,) = receiver.spans
    assert int.from_bytes(span.span_id) == call.span_id
    (sent,) = receiver.requests[0].resource_spans
    assert _named(sent.resource)["service.name"] == "shop"


def _named(message: Resource) -> dict[str, str]:
    return {pair.key: pair.value.string_value for pair in message.attributes}


def _resource(*service: str) -> dict[str, str]:
    return _named(Resource.FromString(encoded(resource(*service))))


def test_the_resource_names_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours has our version, another's has not, and the environment comes before both."""
    monkeypatch.delenv("OTEL_SERVICE_NAME", raising=False)
    monkeypatch.delenv("OTEL_RESOURCE_ATTRIBUTES", raising=False)
    ours, theirs = _resource(), _resource("shop")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "gate")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
    told = _resource("shop")
    names = [named["service.name"] for named in (ours, theirs, told)]
    assert names == ["guardhouse", "shop", "gate"]
    assert ours["service.version"]
    assert "service.version" not in theirs
    assert told["deployment.environment.name"] == "test"


def test_a_resource_of_every_type() -> None:
    """Attributes keep their types; a list stays a list."""
    made = SdkResource({"a": True, "b": 2, "c": 0.5, "d": "e", "f": ("g", "h")})
    found = {pair.key: pair.value for pair in Resource.FromString(encoded(made)).attributes}
    assert (found["a"].bool_value, found["b"].int_value, found["c"].double_value) == (True, 2, 0.5)
    assert [each.string_value for each in found["f"].array_value.values] == ["g", "h"]


def test_headers_are_sent(protocol: str) -> None:
    """A hosted collector knows its customers by them."""
    with receiving(protocol) as receiver:
        transport = receiver.transport(headers={"authorization": "Bearer s3cret", "x-scope-orgid": "ml"})
        assert transport.send(REQUEST, 5) == Taken(0)
        transport.close()
    (sent,) = receiver.headers
    assert (sent["authorization"], sent["x-scope-orgid"]) == ("Bearer s3cret", "ml")


def test_headers_are_not_shown(caplog: pytest.LogCaptureFixture, protocol: str) -> None:
    """Neither what describes a collector nor what is logged of one that refuses holds a header's value."""
    with receiving(protocol) as receiver:
        exporter = exporter_to(receiver.collector(headers={"authorization": "Bearer s3cret"}))
    send(exporter, 600)
    until(lambda: "takes no spans" in caplog.text)
    exporter.close(grace=0.1)
    told = repr(receiver.collector(headers={"authorization": "Bearer s3cret"}))
    assert "s3cret" not in caplog.text + told


def test_a_path(tmp_path: Path) -> None:
    """Over HTTP the endpoint may have one; the signal's comes behind it (OTLP/HTTP, "Request URL")."""
    with receiving("http/protobuf") as receiver:
        for path in ("", "/", "/otlp", "/otlp/"):
            transport = transport_to(Collector(receiver.endpoint + path, "http/protobuf"))
            assert transport.send(REQUEST, 5) == Taken(0)
            transport.close()
    assert [sent[":path"] for sent in receiver.headers] == ["/v1/traces"] * 2 + ["/otlp/v1/traces"] * 2
    assert {sent["content-type"] for sent in receiver.headers} == {"application/x-protobuf"}


def test_mutual_tls(keys: Path, protocol: str) -> None:
    """With our certificate and the right authority it works; without either nothing is sent."""
    ours = {"certificate": keys / "client.pem", "key": keys / "client.key"}
    with receiving(protocol, tls=keys) as receiver:
        for options, wanted in (
            ({"ca": keys / "ca.pem", **ours}, Taken),
            ({"ca": keys / "ca.pem"}, Later),  # no certificate of ours
            (ours, Later),  # its certificate is nobody's that we know
        ):
            transport = receiver.transport(**options)
            assert isinstance(transport.send(REQUEST, 2), wanted), options
            transport.close()
    assert receiver.asked == 1


def test_tls_is_for_the_name_that_was_asked_for(tmp_path: Path, protocol: str) -> None:
    """A certificate of the right authority that is for another host is wrong for this one."""
    keys = pki(tmp_path)
    other = certificates.leaf(certificates.dns("other.example"), purposes=(certificates.SERVER,))
    (keys / "server.pem").write_bytes(other.pem)
    (keys / "server.key").write_bytes(other.key)
    options = {"ca": keys / "ca.pem", "certificate": keys / "client.pem", "key": keys / "client.key"}
    with receiving(protocol, tls=keys) as receiver:
        transport = receiver.transport(**options)
        assert isinstance(transport.send(REQUEST, 2), Later)
        transport.close()
    assert receiver.asked == 0


@pytest.mark.parametrize(
    "break_it",
    [
        lambda folder: (folder / "ca.pem").write_text("x"),
        lambda folder: (folder / "ca.pem").unlink(),
        lambda folder: (folder / "client.key").write_bytes(certificates.authority().key),
        lambda folder: (folder / "client.pem").write_text(""),
    ],
    ids=["garbage", "gone", "another's key", "empty"],
)
def test_files_that_are_no_good(tmp_path: Path, protocol: str, break_it: Any) -> None:
    """They are refused at once: a channel would only fail for ever."""
    folder = pki(tmp_path)
    break_it(folder)
    options = {"ca": folder / "ca.pem", "certificate": folder / "client.pem", "key": folder / "client.key"}
    with pytest.raises(ValueError, match="the collector's ca, certificate or key cannot be used"):
        exporter_to(Collector("https://localhost:1", protocol, **options))  # type: ignore[arg-type]


GOOD_ENDPOINTS = ["http://127.0.0.1:4317", "http://[::1]:4317/", "https://collector.example:4317"]
BAD_ENDPOINTS = [
    "",
    "127.0.0.1:4317",
    "http://host",
    "ftp://host:1",
    "http://a@host:1",
    "http://host:0",
    "http://host:65536",
    "http://1.2.3:1",
    "http://[::g]:1",
    "http://host:1/v1/traces",
    "http://host:1/?a=b",
    "http://host:1\n",
]


def test_an_endpoint_is_a_scheme_a_host_and_a_port() -> None:
    """Anything else is refused in a line that shows how it looks."""
    for endpoint in GOOD_ENDPOINTS:
        exporter_to(endpoint).close()
    for endpoint in BAD_ENDPOINTS:
        with pytest.raises(ValueError, match=r"is not http\(s\)://host:port"):
            exporter_to(endpoint)


WRONG: dict[str, tuple[dict[str, Any], str, str]] = {
    "a path over grpc": ({"endpoint": "http://a:1/b"}, "endpoint", "or write protocol: http/protobuf"),
    "the whole path": (
        {"endpoint": "http://a:1/v1/traces", "protocol": "http/protobuf"},
        "endpoint",
        "is added anyway",
    ),
    "ca without TLS": ({"endpoint": "http://a:1", "ca": "ca.pem"}, "ca", "write an https:// endpoint"),
    "certificate alone": ({"certificate": "c.pem"}, "certificate", "stands alone; write key too"),
    "key alone": ({"key": "c.key"}, "key", "stands alone; write certificate too"),
    "small spool": ({"spool_limit": 1}, "spool_limit", "write 8MiB or more"),
    "capitals": ({"headers": {"X-Tenant": "a"}}, "headers.X-Tenant", "in lower case"),
    "a protocol's": ({"headers": {"grpc-timeout": "1S"}}, "headers.grpc-timeout", "belongs to the protocol"),
    "binary": ({"headers": {"x-bin": "a"}}, "headers.x-bin", "belongs to the protocol"),
    "a line break": ({"headers": {"x": "a\r\nb: c"}}, "headers.x", "has a value that no header can have"),
    "no ASCII": ({"headers": {"x": "\u00e9"}}, "headers.x", "has a value that no header can have"),
    "a secret in the clear": (
        {"endpoint": "http://collector:1", "headers": {"x-api-key": "s"}},
        "headers.x-api-key",
        "in plain text; write an https:// endpoint",
    ),
}


@pytest.mark.parametrize(("options", "key", "words"), WRONG.values(), ids=WRONG)
def test_a_mistake(options: dict[str, Any], key: str, words: str) -> None:
    """Each is told by the name of what is wrong, and what to write instead; `exporter_to` refuses it."""
    wrong = Collector(**{"endpoint": "https://collector.example:1", **options})
    ((found, problem),) = mistakes(wrong)
    assert (found, words in problem) == (key, True)
    with pytest.raises(ValueError, match=r"write|take it out"):
        exporter_to(wrong)


def test_what_is_no_mistake() -> None:
    """A secret within this machine, or over TLS; a name that is no secret anywhere."""
    for endpoint, header in (
        ("http://127.0.0.1:1", "authorization"),
        ("http://localhost:1", "authorization"),
        ("http://[::1]:1", "authorization"),
        ("https://collector:1", "authorization"),
        ("http://collector:1", "x-scope-orgid"),
    ):
        assert list(mistakes(Collector(endpoint, headers={header: "a"}))) == []
