"""Every refusal: its code, its reason, its span and its ledger line; and a model that was never asked."""

from __future__ import annotations

import base64
import json
import time

import grpc
import pytest
from cryptography.hazmat.primitives import serialization
from gate import INFER, Gate, bearer, command, query
from google.rpc import error_details_pb2, status_pb2

from guardhouse.protos import inference_pb2

UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED
INVALID = grpc.StatusCode.INVALID_ARGUMENT


def ask(gate: Gate, request: bytes, metadata=(), method: str = INFER, name: str = "client") -> grpc.RpcError:
    """Send *request* and return the refusal that must come."""
    with gate.channel(name) as channel, pytest.raises(grpc.RpcError) as refused:
        channel.unary_unary(method)(request, metadata=metadata, timeout=10)
    return refused.value


def details(error: grpc.RpcError) -> tuple[str, dict[str, str], float]:
    """Reason, ids and seconds to wait from the rich status of a refusal."""
    trailers = dict(error.trailing_metadata())
    status = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
    info, retry, wait = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo(), 0.0
    for detail in status.details:
        if detail.Is(info.DESCRIPTOR):
            detail.Unpack(info)
        if detail.Unpack(retry):
            wait = retry.retry_delay.ToNanoseconds() / 1e9
    assert info.domain == "guardhouse"
    assert trailers["guardhouse-reason"] == info.reason
    return info.reason, dict(info.metadata), wait


def refused(gate: Gate, sink, error: grpc.RpcError, code: grpc.StatusCode, reason: str) -> dict[str, object]:
    """Hold a refusal against its span and its ledger line; returns the line."""
    said, ids, _ = details(error)
    assert (error.code(), said) == (code, reason), error.details()
    end = time.monotonic() + 10
    line = span = None
    while not (line and span) and time.monotonic() < end:
        line = next((each for each in gate.ledger() if each["call"] == ids["error_id"]), None)
        span = next((each for each in sink.spans if each["span_id"] == ids["error_id"]), None)
        time.sleep(0.05)
    assert line, "no ledger line"
    assert span, "no span"
    assert (line["status"], line["reason"]) == (code.name, reason)
    assert (span["rpc.status_code"], span["guardhouse.reason"]) == (code.name, reason)
    assert span["guardhouse.decision"] == "refused"
    assert line["trace"] == span["trace_id"] == ids["trace_id"]
    return line


def signed(gate: Gate, header: dict, claims: dict, signature: bytes | None = None) -> str:
    """A token of our own making: with a signature given, or one of the development issuer's key."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, utils

    def part(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    text = part(json.dumps(header).encode()) + "." + part(json.dumps(claims).encode())
    if signature is None:
        key = serialization.load_pem_private_key((gate.folder / "pki" / "token.key").read_bytes(), None)
        r, s = utils.decode_dss_signature(key.sign(text.encode(), ec.ECDSA(hashes.SHA256())))
        signature = r.to_bytes(32, "big") + s.to_bytes(32, "big")
    return f"{text}.{part(signature)}"


def claims_of(gate: Gate, **changes) -> dict:
    payload = gate.token().split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return {name: value for name, value in {**claims, **changes}.items() if value is not None}


def header_of(gate: Gate, **changes) -> dict:
    kid = json.loads((gate.folder / "pki" / "jwks.json").read_text())["keys"][0]["kid"]
    return {"alg": "ES256", "typ": "JWT", "kid": kid, **changes}


def hs256(gate: Gate) -> str:
    """Signed with the public key as if it were a shared secret."""
    import hashlib
    import hmac

    key = serialization.load_pem_private_key((gate.folder / "pki" / "token.key").read_bytes(), None)
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    bare = signed(gate, header_of(gate, alg="HS256"), claims_of(gate), b"")
    mac = hmac.new(public, bare.rstrip(".").encode(), hashlib.sha256).digest()
    return bare + base64.urlsafe_b64encode(mac).rstrip(b"=").decode()


def unused_bits(gate: Gate) -> str:
    """The same signature, spelt another way: its last character carries bits that mean nothing."""
    token = gate.token()
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    last = alphabet.index(token[-1])
    return token[:-1] + alphabet[last ^ 1]


def revoked_key(gate: Gate) -> str:
    key = command("key", "create", "app-revoked", "--dir", str(gate.folder))
    command("key", "revoke", "app-revoked", "--dir", str(gate.folder))
    time.sleep(0.6)  # the running server looks every quarter of a second
    return key


TOKENS = {
    "garbage": (lambda gate: "garbage", "TOKEN_INVALID"),
    "expired": (
        lambda gate: signed(gate, header_of(gate), claims_of(gate, exp=int(time.time()) - 3600)),
        "TOKEN_EXPIRED",
    ),
    "alg none": (
        lambda gate: signed(gate, header_of(gate, alg="none"), claims_of(gate), b""),
        "TOKEN_INVALID",
    ),
    "HS256 with the public key": (hs256, "TOKEN_INVALID"),
    "wrong audience": (
        lambda gate: signed(gate, header_of(gate), claims_of(gate, aud="others")),
        "TOKEN_INVALID",
    ),
    "wrong issuer": (
        lambda gate: signed(gate, header_of(gate), claims_of(gate, iss="https://guardhouse.local/de")),
        "TOKEN_INVALID",
    ),
    "no expiry": (lambda gate: signed(gate, header_of(gate), claims_of(gate, exp=None)), "TOKEN_INVALID"),
    "bound to another certificate": (
        lambda gate: signed(gate, header_of(gate), claims_of(gate, cnf={"x5t#S256": "A" * 43})),
        "TOKEN_INVALID",
    ),
    "JWE": (lambda gate: "a.b.c.d.e", "TOKEN_INVALID"),
    "9 KiB": (lambda gate: "a" * 9216, "TOKEN_INVALID"),
    "non-canonical base64url": (unused_bits, "TOKEN_INVALID"),
    "padded": (lambda gate: gate.token() + "=", "TOKEN_INVALID"),
    "unknown API key": (lambda gate: "gh_abcdefghijkl_" + "A" * 43, "TOKEN_INVALID"),
    "revoked API key": (revoked_key, "TOKEN_INVALID"),
}


@pytest.mark.parametrize("name", TOKENS)
def test_a_bad_token_is_refused_before_the_model(gate, sink, name):
    """Each bad token is UNAUTHENTICATED, on the ledger and in a span, and the model is not called."""
    make, reason = TOKENS[name]
    before = gate.calls()

    error = ask(gate, query().SerializeToString(), bearer(make(gate)))

    line = refused(gate, sink, error, UNAUTHENTICATED, reason)
    assert line["note"], "the ledger says precisely why"
    assert gate.calls() == before


def test_no_token(gate, sink):
    """A certificate alone is not enough where tokens are required."""
    error = ask(gate, query().SerializeToString())

    line = refused(gate, sink, error, UNAUTHENTICATED, "TOKEN_MISSING")
    assert line["principal"] == "spiffe://guardhouse.local/client"
    assert line["request_bytes"] == 0


def test_two_tokens(gate, sink, token):
    """Two credentials are no credential, though one of them is good."""
    error = ask(gate, query().SerializeToString(), bearer(token) + bearer("other"))

    refused(gate, sink, error, UNAUTHENTICATED, "TOKEN_INVALID")


def tensors(**changes) -> bytes:
    request = query()
    tensor = request.inputs[0]
    for name, value in changes.items():
        if name == "raw":
            request.raw_input_contents[:] = value
        elif name == "shape":
            tensor.shape[:] = value
        elif name == "twice":
            request.inputs.append(tensor)
            request.raw_input_contents.append(request.raw_input_contents[0])
        elif name == "typed":
            tensor.contents.fp32_contents.extend(value)
        elif name == "model_name":
            request.model_name = value
        elif name == "parameter":
            request.parameters[value].string_param = "x"
        else:
            setattr(tensor, name, value)
    return request.SerializeToString()


def lying_bytes() -> bytes:
    request = query()
    request.inputs[0].datatype, request.inputs[0].shape[:] = "BYTES", [1]
    request.raw_input_contents[0] = (1_000_000).to_bytes(4, "little") + b"short"
    return request.SerializeToString()


MALFORMED = {
    "one byte short": (tensors(raw=[b"\0" * 7]), "TENSOR_CONTENTS"),
    "one byte long": (tensors(raw=[b"\0" * 9]), "TENSOR_CONTENTS"),
    "negative": (tensors(shape=[-2]), "TENSOR_SHAPE"),
    "overflowing": (tensors(shape=[2**62, 4]), "TENSOR_SHAPE"),
    "rank 10,000": (tensors(shape=[1] * 10_000), "TENSOR_SHAPE"),
    "unknown datatype": (tensors(datatype="FP7"), "TENSOR_DATATYPE"),
    "not the model's datatype": (tensors(datatype="INT32"), "TENSOR_DATATYPE"),
    "raw and typed": (tensors(typed=[1.0, 2.0]), "TENSOR_CONTENTS"),
    "raw missing": (tensors(raw=[]), "TENSOR_CONTENTS"),
    "one raw too many": (tensors(raw=[b"\0" * 8, b""]), "TENSOR_CONTENTS"),
    "named twice": (tensors(twice=True), "TENSOR_DUPLICATE"),
    "unknown name": (tensors(name="z"), "TENSOR_UNKNOWN"),
    "lying lengths": (lying_bytes(), "TENSOR_CONTENTS"),
    "traversal": (tensors(model_name="../double"), "NAME_INVALID"),
    "line break": (tensors(model_name="double\n"), "NAME_INVALID"),
    "reserved parameter": (tensors(parameter="shared_memory_region"), "PARAMETER_INVALID"),
    "no protobuf": (b"\xff" * 10, "MESSAGE_UNREADABLE"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_request_is_refused_before_the_model(gate, sink, token, name):
    """Each malformed tensor is INVALID_ARGUMENT with its reason, recorded, and the model is not called."""
    request, reason = MALFORMED[name]
    before = gate.calls()

    error = ask(gate, request, bearer(token))

    refused(gate, sink, error, INVALID, reason)
    assert gate.calls() == before


def test_a_method_not_allowed(gate, sink, token):
    """The analyst may not ask for reflection, though the server has it."""
    method = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"

    error = ask(gate, b"", bearer(token), method)

    refused(gate, sink, error, grpc.StatusCode.PERMISSION_DENIED, "METHOD_DENIED")


def test_a_model_not_allowed_and_one_that_is_not_there_look_alike(gate, sink, token):
    """A denied model and an unknown one get the same words, so that names cannot be guessed."""
    before = gate.calls()
    denied = ask(gate, query("ghost").SerializeToString(), bearer(token))
    unknown = ask(gate, query("nowhere").SerializeToString(), bearer(token))

    refused(gate, sink, denied, grpc.StatusCode.PERMISSION_DENIED, "MODEL_DENIED")
    refused(gate, sink, unknown, grpc.StatusCode.PERMISSION_DENIED, "MODEL_DENIED")
    assert denied.details() == unknown.details()
    assert gate.calls() == before


def test_an_unknown_model_to_one_who_may_list(gate, sink):
    """NOT_FOUND is for callers who may know what there is."""
    error = ask(gate, query("nowhere").SerializeToString(), bearer(gate.token("operator")))

    refused(gate, sink, error, grpc.StatusCode.NOT_FOUND, "MODEL_UNKNOWN")


def test_unknown_methods(gate, sink, token):
    """An unknown method is UNIMPLEMENTED only to a caller who may call anything."""
    method = "/inference.GRPCInferenceService/Nothing"

    nobody = ask(gate, b"", (), method)
    analyst = ask(gate, b"", bearer(token), method)
    operator = ask(gate, b"", bearer(gate.token("operator")), method)

    refused(gate, sink, nobody, UNAUTHENTICATED, "TOKEN_MISSING")
    refused(gate, sink, analyst, grpc.StatusCode.PERMISSION_DENIED, "METHOD_DENIED")
    refused(gate, sink, operator, grpc.StatusCode.UNIMPLEMENTED, "METHOD_UNKNOWN")


def test_over_the_rate(gate, sink):
    """Beyond its burst a caller is told when to come back, in all the ways the protocol has."""
    trickle = bearer(gate.token("trickle"))
    with gate.channel() as channel:
        for _ in range(2):
            channel.unary_unary(INFER)(query().SerializeToString(), metadata=trickle, timeout=10)
    before = gate.calls()

    error = ask(gate, query().SerializeToString(), trickle)

    refused(gate, sink, error, grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED")
    wait = details(error)[2]
    assert 3000 < wait <= 3600
    assert int(dict(error.trailing_metadata())["grpc-retry-pushback-ms"]) == pytest.approx(wait * 1000, abs=1)
    assert gate.calls() == before


def test_a_caller_without_roles(gate, sink):
    """A good token that no binding knows allows nothing."""
    error = ask(gate, query().SerializeToString(), bearer(gate.token("stranger")))

    line = refused(gate, sink, error, grpc.StatusCode.PERMISSION_DENIED, "METHOD_DENIED")
    assert line["roles"] == []


@pytest.mark.parametrize("model", ["broken", "misshapen"])
def test_a_failing_model_is_internal_in_fixed_words(gate, sink, token, model):
    """A model that raises, or gives the wrong shape, is INTERNAL, and its words stay with the operator."""
    error = ask(gate, query(model).SerializeToString(), bearer(token))

    refused(gate, sink, error, grpc.StatusCode.INTERNAL, "MODEL_FAILED")
    assert error.details() == "the model failed"
    assert b"canary" not in repr(error.trailing_metadata()).encode()


def test_every_method_needs_credentials(gate):
    """No method of any service answers a caller who shows no token: health and reflection neither."""
    services = {
        "inference.GRPCInferenceService": [
            method.name
            for method in inference_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods
        ],
        "guardhouse.v1.Guardhouse": ["WhoAmI"],
        "grpc.health.v1.Health": ["Check", "Watch"],
        "grpc.reflection.v1alpha.ServerReflection": ["ServerReflectionInfo"],
        "grpc.channelz.v1.Channelz": ["GetServers"],
    }

    for service, methods in services.items():
        for method in methods:
            error = ask(gate, b"", (), f"/{service}/{method}")
            assert error.code() is UNAUTHENTICATED, (service, method)


class TestCertificates:
    """What TLS turns away never becomes a call: nothing to record, and nothing is served."""

    def test_no_certificate(self, gate, token):
        """A client without a certificate does not get through the handshake."""
        authority = (gate.folder / "pki" / "ca.pem").read_bytes()
        target = "localhost:" + gate.address.rpartition(":")[2]
        with grpc.secure_channel(target, grpc.ssl_channel_credentials(authority)) as channel:
            with pytest.raises(grpc.RpcError) as error:
                channel.unary_unary(INFER)(query().SerializeToString(), metadata=bearer(token), timeout=5)
        assert error.value.code() is grpc.StatusCode.UNAVAILABLE

    def test_a_certificate_of_another_authority(self, gate, token, tmp_path):
        """A certificate signed by somebody else's authority is worth nothing."""
        command("init", str(tmp_path / "other"))
        mine, theirs = gate.folder / "pki", tmp_path / "other" / "pki"
        credentials = grpc.ssl_channel_credentials(
            (mine / "ca.pem").read_bytes(),
            (theirs / "client.key").read_bytes(),
            (theirs / "client.pem").read_bytes(),
        )
        target = "localhost:" + gate.address.rpartition(":")[2]
        with grpc.secure_channel(target, credentials) as channel:
            with pytest.raises(grpc.RpcError) as error:
                channel.unary_unary(INFER)(query().SerializeToString(), metadata=bearer(token), timeout=5)
        assert error.value.code() is grpc.StatusCode.UNAVAILABLE

    def test_an_expired_certificate(self, gate, sink, token):
        """A certificate past its end is refused, in the handshake or, on an open connection, by the chain."""
        folder = str(gate.folder)
        identity = "spiffe://guardhouse.local/brief"
        command("cert", "issue", "--spiffe-id", identity, "--out", "brief", "--ttl", "2s", "--dir", folder)
        with gate.channel("brief") as channel:
            method = channel.unary_unary(INFER)
            method(query().SerializeToString(), metadata=bearer(token), timeout=10)
            time.sleep(2.5)
            with pytest.raises(grpc.RpcError) as late:
                method(query().SerializeToString(), metadata=bearer(token), timeout=10)
        fresh = ask(gate, query().SerializeToString(), bearer(token), name="brief")

        refused(gate, sink, late.value, UNAUTHENTICATED, "CERTIFICATE_EXPIRED")
        assert fresh.code() is grpc.StatusCode.UNAVAILABLE
