"""The services beside the models: health, reflection and WhoAmI, and what the policy opens to everybody."""

from __future__ import annotations

import signal
import subprocess

import grpc
import pytest
from gate import COMMAND, POLICY, Gate, bearer, environment, until
from google.protobuf import descriptor_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from guardhouse.protos import guardhouse_pb2, guardhouse_pb2_grpc, inference_pb2, inference_pb2_grpc

Code = grpc.StatusCode
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICES = [
    "grpc.health.v1.Health",
    "grpc.reflection.v1alpha.ServerReflection",
    "guardhouse.v1.Guardhouse",
    "inference.GRPCInferenceService",
]


@pytest.fixture(scope="module")
def operator(gate):
    """What an operator shows."""
    return bearer(gate.token("operator"))


@pytest.fixture(scope="module")
def channel(gate):
    """A connection with the client's certificate."""
    with gate.channel() as found:
        yield found


def refused(call, *arguments, **settings) -> grpc.StatusCode:
    """The status of a call that streams its answers, or gives none."""
    try:
        list(call(*arguments, timeout=10, **settings))
    except grpc.RpcError as error:
        return error.code()
    return Code.OK


def test_health(channel, operator):
    """The operator may ask for the health of each service, once and for every change of it."""
    stub = health_pb2_grpc.HealthStub(channel)
    names = ["", *SERVICES[2:]]
    found = [
        stub.Check(health_pb2.HealthCheckRequest(service=name), metadata=operator, timeout=10).status
        for name in names
    ]
    watch = stub.Watch(health_pb2.HealthCheckRequest(), metadata=operator, timeout=10)

    assert found == [SERVING] * len(names)
    assert next(watch).status == SERVING
    watch.cancel()
    unknown = health_pb2.HealthCheckRequest(service="no.Such")
    with pytest.raises(grpc.RpcError) as error:
        stub.Check(unknown, metadata=operator, timeout=10)
    assert error.value.code() is Code.NOT_FOUND


def test_health_is_for_those_whom_the_policy_lets(channel, token):
    """The analyst may not ask for health, and nobody may without a token."""
    stub = health_pb2_grpc.HealthStub(channel)
    request = health_pb2.HealthCheckRequest()

    assert refused(stub.Check, request, metadata=bearer(token)) is Code.PERMISSION_DENIED
    assert refused(stub.Watch, request, metadata=bearer(token)) is Code.PERMISSION_DENIED
    assert refused(stub.Check, request) is Code.UNAUTHENTICATED
    assert refused(stub.Watch, request) is Code.UNAUTHENTICATED


def reflect(channel, metadata, *requests):
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    asked = (reflection_pb2.ServerReflectionRequest(**request) for request in requests)
    return list(stub.ServerReflectionInfo(asked, metadata=metadata, timeout=10))


def test_reflection_lists_the_services(channel, operator):
    """Every service that is there, and no other."""
    (answer,) = reflect(channel, operator, {"list_services": ""})

    assert sorted(service.name for service in answer.list_services_response.service) == SERVICES


@pytest.mark.parametrize("service", SERVICES)
def test_reflection_describes_each_service(channel, operator, service):
    """The description of each service names its methods, so that tools can call it without our files."""
    (answer,) = reflect(channel, operator, {"file_containing_symbol": service})

    files = [
        descriptor_pb2.FileDescriptorProto.FromString(raw)
        for raw in answer.file_descriptor_response.file_descriptor_proto
    ]
    described = {f"{file.package}.{found.name}": found for file in files for found in file.service}
    assert described[service].method


def test_reflection_describes_what_we_serve(channel, operator):
    """What reflection tells of our own services is what our stubs were made of."""
    for module, symbol in ((inference_pb2, SERVICES[3]), (guardhouse_pb2, SERVICES[2])):
        (answer,) = reflect(channel, operator, {"file_containing_symbol": symbol})
        assert module.DESCRIPTOR.serialized_pb in answer.file_descriptor_response.file_descriptor_proto


def test_reflection_is_for_those_whom_the_policy_lets(channel, token):
    """Reflection answers neither the analyst nor a stranger."""
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    request = reflection_pb2.ServerReflectionRequest(list_services="")

    assert (
        refused(stub.ServerReflectionInfo, iter([request]), metadata=bearer(token)) is Code.PERMISSION_DENIED
    )
    assert refused(stub.ServerReflectionInfo, iter([request])) is Code.UNAUTHENTICATED


def whoami(channel, metadata) -> guardhouse_pb2.WhoAmIResponse:
    stub = guardhouse_pb2_grpc.GuardhouseStub(channel)
    return stub.WhoAmI(guardhouse_pb2.WhoAmIRequest(), metadata=metadata, timeout=10)


def test_whoami(channel, token):
    """The caller reads who it is taken for, and by what proof."""
    answer = whoami(channel, bearer(token))

    assert (answer.subject, list(answer.roles), list(answer.proofs)) == (
        "tester",
        ["analyst"],
        ["mtls", "jwt"],
    )
    assert answer.certificate_id == "spiffe://guardhouse.local/client"
    assert answer.issuer
    assert answer.expires_unix_seconds > 0


def test_whoami_shows_how_limits_shrink(gate, channel):
    """Each call, WhoAmI included, leaves one less, until one is refused."""
    counted = bearer(gate.token("counted"))
    answers = [whoami(channel, counted) for _ in range(5)]

    (limit,) = answers[0].limits
    assert (limit.kind, limit.burst) == ("rate", 5)
    assert [answer.limits[0].remaining for answer in answers] == [4, 3, 2, 1, 0]
    with pytest.raises(grpc.RpcError) as error:
        whoami(channel, counted)
    assert error.value.code() is Code.RESOURCE_EXHAUSTED


OPENED = """
open:
  - inference.GRPCInferenceService/ServerLive
"""


@pytest.fixture
def opened(tmp_path, sink):
    """A server whose policy opens one method."""
    made = Gate(tmp_path / "demo", sink.port)
    (made.folder / "policy.yaml").write_text(OPENED + POLICY)
    made.start()
    yield made
    if made.process.poll() is None:
        made.stop()


def test_open_opens_one_method(opened):
    """A method that the policy opens is answered without a token; no other is, and the report says so."""
    with opened.channel() as channel:
        stub = inference_pb2_grpc.GRPCInferenceServiceStub(channel)
        assert stub.ServerLive(inference_pb2.ServerLiveRequest(), timeout=10).live
        others = {
            refused(stub.ServerReady, inference_pb2.ServerReadyRequest()),
            refused(stub.ModelInfer, inference_pb2.ModelInferRequest()),
            refused(health_pb2_grpc.HealthStub(channel).Check, health_pb2.HealthCheckRequest()),
        }

    assert others == {Code.UNAUTHENTICATED}
    assert opened.report["open to all"] == ["/inference.GRPCInferenceService/ServerLive"]


def test_the_report_as_json(gate):
    """`serve --json` prints one line, which a program reads: where, what, for whom."""
    report = gate.report

    assert report["address"].startswith("127.0.0.1:")
    assert "double 1 (python)" in report["models"]
    assert report["open to all"] == "nothing: every method needs a credential"
    assert any(role.startswith("trickle (1 calls in 3600") for role in report["roles"])
    assert report["certificates"] == "a client certificate is required"


def test_the_report_for_people(opened):
    """Without --json the report is text, a fact on a line, with what is open to all."""
    assert opened.stop() == 0
    process = subprocess.Popen(
        [COMMAND, "serve", str(opened.folder / "guardhouse.yaml")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(opened.witness),
    )
    try:
        lines = iter(process.stdout.readline, "")
        text = []
        for line in lines:
            text.append(line.strip())
            if line.startswith("serving on "):
                break
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    finally:
        process.kill()

    assert process.returncode == 0
    assert "open to all   /inference.GRPCInferenceService/ServerLive" in text
    assert text[-1].startswith("serving on 127.0.0.1:")
    assert errors == "stopped; every call is on the ledger\n"


def test_health_changes_when_the_server_stops(opened):
    """Who watches is told NOT_SERVING as soon as the server is told to stop, and does not keep it."""
    operator = bearer(opened.token("operator"))
    with opened.channel() as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), metadata=operator)
        assert next(watch).status == SERVING
        opened.process.send_signal(signal.SIGTERM)
        assert next(watch).status == NOT_SERVING
        until(lambda: opened.process.poll() is not None, 15)

    assert opened.process.returncode == 0, opened.log()
