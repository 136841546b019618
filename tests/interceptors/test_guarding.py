"""`guard`, as somebody with a server of their own uses it: what it opens, what it refuses, how it closes."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from grpc import StatusCode as Code

from guardhouse.interceptors import (
    Call,
    Capturing,
    Chain,
    Guard,
    Issuer,
    KeyStore,
    Ledger,
    MethodAuthorization,
    ModelAuthorization,
    Policy,
    Refusal,
    Stage,
    guard,
)
from guardhouse.interceptors.documents import ConfigError
from guardhouse.protos import inference_pb2

from .issuers import EC, ISSUER, compact, jwk, key_set, signer
from .serving import SERVICE, pause, serving

POLICY = f"""\
open: [{SERVICE}/unary_stream]
roles:
  user:
    allow:
      - methods: [{SERVICE}/unary_unary]
      - methods: [ModelInfer]
        models: [digits]
bindings:
  - {{role: user, api_key: me}}
  - {{role: user, subject: alice}}
"""
INFER = "/inference.GRPCInferenceService/ModelInfer"


@dataclass
class Folder:
    """A policy, a store of API keys with one key in it, and the public key of an issuer."""

    path: Path
    metadata: tuple[tuple[str, str], ...] = ()

    def settings(self, **more: Any) -> dict[str, Any]:
        """What `guard` needs, for callers with API keys and no certificates."""
        usual = {"policy": self.path / "policy.yaml", "ledger": self.path / "ledger"}
        return {**usual, "api_keys": self.path / "keys.db", "certificates": False, **more}

    def lines(self) -> list[dict[str, Any]]:
        """The lines of the calls on the ledger."""
        lines = map(json.loads, (self.path / "ledger/ledger.jsonl").open())
        return [line for line in lines if line["kind"] == "query"]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    (tmp_path / "policy.yaml").write_text(POLICY)
    (tmp_path / "jwks.json").write_bytes(key_set(jwk(EC, "ec")))
    key = KeyStore(tmp_path / "keys.db").create("me", now=time.time())
    return Folder(tmp_path, (("authorization", f"Bearer {key}"),))


def bearer(**changes: Any) -> tuple[tuple[str, str], ...]:
    """The metadata of alice's token, good for ten minutes from now."""
    usual = {"iss": ISSUER, "aud": "models", "sub": "alice", "exp": time.time() + 600}
    header = {"alg": "ES256", "typ": "JWT", "kid": "ec"}
    return (("authorization", f"Bearer {compact(header, {**usual, **changes}, signer(EC, 'ES256'))}"),)


# What it opens.


def test_the_order_of_the_guards(folder: Folder) -> None:
    """The design's, whatever was given, with a guard of one's own behind ours of its stage."""

    class Mine(Guard):
        stage = Stage.RATE

    with guard(**folder.settings(more=[Mine()])) as chain:
        names = [type(each).__name__ for each in chain.guards]
    assert names == [
        *("Record", "Deadline", "Passports", "RateLimit", "Mine", "Validation", "ModelAuthorization"),
        *("Concurrency", "ReportedTokens"),
    ]


def test_a_guard_between_the_three_keeps_them_apart(folder: Folder) -> None:
    """What somebody's own guard decides about who it is cannot be remembered by ours."""

    class Mine(Guard):
        stage = Stage.TOKEN

    with guard(**folder.settings(more=[Mine()])) as chain:
        names = [type(each).__name__ for each in chain.guards]
    assert names[2:6] == ["Identity", "Tokens", "Mine", "MethodAuthorization"]


def test_captures_are_kept_only_where_asked_for(folder: Folder) -> None:
    """By default no guard keeps inputs; with `capture` one does, behind who may ask, and writes them."""
    request = inference_pb2.ModelInferRequest(model_name="digits")
    request.inputs.add(name="x", datatype="BOOL", shape=[1]).contents.bool_contents.append(True)
    capture = Capturing(folder.path / "captures", ["digits"])
    with guard(**folder.settings(capture=capture)) as chain:
        assert [type(each).__name__ for each in chain.guards][-2:] == ["ReportedTokens", "Capture"]
        call = chain.open(INFER, folder.metadata, known=True)
        call.wall = time.time()
        chain.admit(call)
        chain.inspect(call, request)
        chain.settle(call, None)
    (file,) = (folder.path / "captures").iterdir()
    assert folder.lines()[0]["capture"] == f"{file.name}:{call.span_id:016x}"
    assert file.read_bytes().count(b"\n") == 1


@pytest.mark.parametrize("colour", ["aio", "sync"])
async def test_a_call_and_a_refusal_are_recorded(folder: Folder, colour: str) -> None:
    """A key lets in, none is refused, an open method needs none; once it is closed all are on the ledger."""
    with guard(**folder.settings()) as chain:
        async with serving(colour, chain) as server:
            allowed = await server.ask("unary_unary", b"x", metadata=folder.metadata)
            nobody = await server.ask("unary_unary", b"x", metadata=())
            opened = await server.ask("unary_stream", b"x", metadata=())
    assert (allowed.messages, opened.messages) == ([b"x"], [b"x"])
    assert nobody.trailer("guardhouse-reason") == "TOKEN_MISSING"
    assert [(line["principal"], line["status"]) for line in folder.lines()] == [
        ("api_key:me", "OK"),
        ("", "UNAUTHENTICATED"),
        ("", "OK"),
    ]


async def test_an_issuers_tokens_are_accepted(folder: Folder) -> None:
    """Those with its audience are, those for somebody else are not."""
    issuer = Issuer(ISSUER, audience="models", jwks=folder.path / "jwks.json")
    with guard(**folder.settings(issuers=[issuer], api_keys=None)) as chain:
        async with serving("aio", chain) as server:
            good = await server.ask("unary_unary", b"x", metadata=bearer())
            other = await server.ask("unary_unary", b"x", metadata=bearer(aud="others"))
    assert good.messages == [b"x"]
    assert other.trailer("guardhouse-reason") == "TOKEN_INVALID"


async def test_certificates_are_asked_for_unless_told_otherwise(folder: Folder) -> None:
    """By default a token alone is not enough, on a server whose connections bring no certificate."""
    settings = folder.settings()
    del settings["certificates"]
    with guard(**settings) as chain:
        async with serving("aio", chain) as server:
            outcome = await server.ask("unary_unary", b"x", metadata=folder.metadata)
    assert outcome.trailer("guardhouse-reason") == "CERTIFICATE_MISSING"


async def test_models_are_guarded_though_nobody_said_which_there_are(folder: Folder) -> None:
    """A role with some models may not use others, in a server that only has the protocol's method."""
    request = inference_pb2.ModelInferRequest(model_name="other")
    request.inputs.add(name="x", datatype="BOOL", shape=[1]).contents.bool_contents.append(True)
    with guard(**folder.settings()) as chain:
        call = chain.open(INFER, folder.metadata, known=True)
        call.wall = time.time()
        chain.admit(call)
        with pytest.raises(Refusal) as caught:
            chain.inspect(call, request)
        request.model_name = "digits"
        chain.inspect(call, request)
    assert caught.value.reason == "MODEL_DENIED"


def test_who_exists_may_be_told(folder: Folder) -> None:
    """With `exists`, an allowed model that is not served is refused."""
    request = inference_pb2.ModelInferRequest(model_name="digits")
    request.inputs.add(name="x", datatype="BOOL", shape=[1]).contents.bool_contents.append(True)
    with guard(**folder.settings(exists=lambda model, version: False)) as chain:
        call = chain.open(INFER, folder.metadata, known=True)
        call.wall = time.time()
        chain.admit(call)
        with pytest.raises(Refusal, match="no such model"):
            chain.inspect(call, request)


async def test_keys_that_cannot_be_fetched_yet_refuse_only_their_tokens(folder: Folder) -> None:
    """An address that does not answer is no error at the start; its tokens wait, API keys are served."""
    issuer = Issuer(ISSUER, "models", "https://127.0.0.1:1/jwks.json")
    with guard(**folder.settings(issuers=[issuer])) as chain:
        async with serving("aio", chain) as server:
            refused = await server.ask("unary_unary", b"x", metadata=bearer())
            served = await server.ask("unary_unary", b"x", metadata=folder.metadata)
    assert (refused.code, refused.trailer("guardhouse-reason")) == (Code.UNAVAILABLE, "KEYS_UNAVAILABLE")
    assert served.messages == [b"x"]


# What it refuses.


def jwks(text: str) -> Callable[[Path], dict[str, Any]]:
    """Settings with an issuer whose file of keys says *text*."""

    def settings(path: Path) -> dict[str, Any]:
        (path / "bad.json").write_text(text)
        return {"issuers": [Issuer(ISSUER, "models", path / "bad.json")]}

    return settings


BAD: dict[str, tuple[Callable[[Path], dict[str, Any]], type[Exception], str]] = {
    "nobody proves anything": (
        lambda path: {"tokens": False},
        ValueError,
        "neither tokens nor certificates are required",
    ),
    "no token could be accepted": (lambda path: {"api_keys": None}, ValueError, "a token is required, but"),
    "no store of keys": (lambda path: {"api_keys": path / "other.db"}, ValueError, "no such store of API"),
    "no file of keys": (
        lambda path: {"issuers": [Issuer(ISSUER, "models", path / "no.json")]},
        ValueError,
        "no.json: No such file or directory; put the issuer's public keys there",
    ),
    "not a key set": (jwks("{"), ValueError, "bad.json: .*; put the issuer's public keys there"),
    "no keys": (jwks('{"keys": []}'), ValueError, "no key in it is fit for use"),
    "plain address": (
        lambda path: {"issuers": [Issuer(ISSUER, "models", "http://keys.example/")]},
        ValueError,
        "https",
    ),
    "shared secrets": (
        lambda path: {"issuers": [Issuer(ISSUER, "models", path / "jwks.json", ["HS256"])]},
        ValueError,
        "HS256",
    ),
    "one issuer twice": (
        lambda path: {"issuers": [Issuer(ISSUER, "models", path / "jwks.json")] * 2},
        ValueError,
        "named twice",
    ),
    "no collector": (lambda path: {"spans": "127.0.0.1:4317"}, ValueError, "write http://127.0.0.1:4317"),
    "no policy": (lambda path: {"policy": path / "no.yaml"}, ConfigError, "no.yaml"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_guarded_does_not_start(folder: Folder, case: str) -> None:
    """One line says why; nothing stays open, so that the next try finds the ledger free."""
    change, kind, words = BAD[case]
    with pytest.raises(kind, match=words) as caught, guard(**folder.settings(**change(folder.path))):
        pytest.fail("it let everybody in")
    assert "\n" not in str(caught.value)
    Ledger(folder.path / "ledger").close()
    assert not (folder.path / "other.db").exists()


def test_without_tokens_a_certificate_is_required(folder: Folder) -> None:
    """Tokens may be optional where certificates are not: then a call with neither is refused."""
    with guard(**folder.settings(tokens=False, certificates=True)) as chain:
        with pytest.raises(Refusal) as caught:
            chain.admit(chain.open(f"/{SERVICE}/unary_unary", (), known=True))
    assert caught.value.reason == "CERTIFICATE_MISSING"


# How it closes.


@pytest.mark.parametrize("colour", ["aio", "sync"])
async def test_a_call_that_outlives_its_server_is_recorded(folder: Folder, colour: str) -> None:
    """Cut off by `stop`, and still running when all is closed: its line is there, once, and says so."""
    begun, over = asyncio.Event(), list[bool]()

    async def slow(messages: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        async for message in messages:
            loop.call_soon_threadsafe(begun.set)
            while not over:
                await pause(0.005)
            yield message

    loop = asyncio.get_running_loop()
    entered = guard(**folder.settings())
    async with serving(colour, entered.__enter__(), slow) as server:
        call = server.start("unary_unary", b"x", metadata=folder.metadata)
        await begun.wait()
        entered.__exit__(None, None, None)
        recorded = folder.lines()
        late = await server.ask("unary_unary", b"x", metadata=folder.metadata)
        over.append(True)
        with pytest.raises(Exception, match=r"CANCELLED"):
            await call
    assert [(line["status"], line["note"]) for line in recorded] == [("CANCELLED", "the server stopped")]
    assert folder.lines() == recorded
    assert late.trailer("guardhouse-reason") == "LEDGER_UNAVAILABLE"


def test_an_error_inside_is_passed_on_and_all_is_closed(folder: Folder) -> None:
    """What goes wrong with the server is not hidden, and the ledger is free again."""
    with pytest.raises(RuntimeError, match="no port"), guard(**folder.settings()):
        raise RuntimeError("no port")
    Ledger(folder.path / "ledger").close()


# Which methods are open.


def policy(*methods: str) -> Policy:
    """A policy that opens *methods* to all."""
    return Policy((), (), open_methods=methods)


def test_the_policys_open_methods_hold_in_a_chain_that_is_told_nothing() -> None:
    """They are open without being named again; named otherwise, or to be none, they are not."""
    authorization = MethodAuthorization(policy("/a/Open"))
    assert Chain(authorization).open_methods == {"/a/Open"}
    assert Chain(authorization, open_methods=()).open_methods == set()
    assert Chain(authorization, open_methods=["/a/Other"]).open_methods == {"/a/Other"}


def test_two_policies_must_agree_on_what_is_open() -> None:
    """What one of them keeps closed stays closed; a guard that knows of no methods has no say."""
    first, second = (MethodAuthorization(policy("/a/Open", f"/a/{name}")) for name in ("One", "Two"))
    silent = ModelAuthorization(lambda model, version: True)
    assert Chain(first, second, silent).open_methods == {"/a/Open"}
    assert Chain(silent).open_methods == set()


def test_an_open_method_is_open_in_a_chain_of_ones_own() -> None:
    """Nobody needs no credential there, and needs one everywhere else."""
    chain = Chain(MethodAuthorization(policy("/a/Open")))
    chain.admit(chain.open("/a/Open", (), known=True))
    with pytest.raises(Refusal, match="nobody proved anything"):
        chain.admit(chain.open("/a/Other", (), known=True))


# A guard of one's own.


def test_a_guard_of_ones_own_refuses(folder: Folder) -> None:
    """A guard behind authorization sees who calls, and its refusal ends the call."""

    class NotMe(Guard):
        def admit(self, call: Call) -> None:
            if call.principal.api_key == "me":
                raise Refusal("METHOD_DENIED", "not today")

    with guard(**folder.settings(more=[NotMe()])) as chain:
        call = chain.open(f"/{SERVICE}/unary_unary", folder.metadata, known=True)
        call.wall = time.time()
        with pytest.raises(Refusal, match="not today"):
            chain.admit(call)
