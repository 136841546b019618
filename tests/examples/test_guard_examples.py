"""Somebody's own grpc servers, guarded by one `with`: run as they stand, called with proofs and without."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.wrappers_pb2 import DoubleValue, StringValue

from guardhouse.interceptors import Call, Chain, KeyStore, Policy, Refusal, guard, sync

EXAMPLES = Path(__file__).parents[2] / "examples"
GUARDHOUSE = str(Path(sys.executable).with_name("guardhouse"))
KINDS = ("guard_aio.py", "guard_threads.py")


def command(*arguments: str) -> str:
    """Run one command of ours; what it prints."""
    done = subprocess.run([GUARDHOUSE, *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@contextmanager
def running(arguments: list[str], folder: Path, collector: str = "") -> Iterator[str]:
    """A server in a process of its own; lends its address. It has to end well when it is told to."""
    environment = {**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{collector}"}
    with (folder / "log").open("a") as log:
        process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=log, text=True, env=environment)
        assert process.stdout is not None
        try:
            said = process.stdout.readline()
            found = re.search(r"127\.0\.0\.1:\d+", said)
            assert found, (folder / "log").read_text()
            yield found[0]
        finally:
            process.terminate()
            status = process.wait(30)
            process.stdout.close()
    assert status == 0, (folder / "log").read_text()


@dataclass(slots=True)
class Told:
    """What the callers of one example were told, and what it left behind once it had stopped."""

    answers: dict[str, Any] = field(default_factory=dict)
    lines: list[dict[str, Any]] = field(default_factory=list)
    spans: list[dict[str, Any]] = field(default_factory=list)
    verified: bool = False


def outcome(call: Callable[[], Any]) -> Any:
    """The answer, or code, reason and words of the refusal."""
    try:
        return call()
    except grpc.RpcError as error:
        refused: Any = error
        reason = dict(refused.trailing_metadata() or ()).get("guardhouse-reason", "")
        return refused.code().name, reason, refused.details()


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    """The metadata that carries *token*."""
    return (("authorization", f"Bearer {token}"),)


def ask_everything(address: str, gate: Path, right: str, wrong: str) -> dict[str, Any]:
    """One call of each kind, by a caller with *right* token, with one of the *wrong* role, and with none."""
    pki = gate / "pki"
    ca, key, certificate = ((pki / name).read_bytes() for name in ("ca.pem", "client.key", "client.pem"))
    asks = StringValue.SerializeToString, DoubleValue.FromString
    with grpc.secure_channel(address, grpc.ssl_channel_credentials(ca, key, certificate)) as channel:
        quote = channel.unary_unary("/shop.Prices/Quote", *asks)
        watch = channel.unary_stream("/shop.Prices/Watch", *asks)
        health: Any = channel.unary_unary("/grpc.health.v1.Health/Check")
        unknown: Any = channel.unary_unary("/shop.Prices/Buy")
        apple, kiwi, allowed = StringValue(value="apple"), StringValue(value="kiwi"), bearer(right)
        answers = {
            "allowed": outcome(lambda: quote(apple, metadata=allowed, timeout=10).value),
            "stream": outcome(lambda: [each.value for each in watch(apple, metadata=allowed, timeout=10)]),
            "not sold": outcome(lambda: quote(kiwi, metadata=allowed, timeout=10)),
            "health": outcome(lambda: health(b"", metadata=allowed, timeout=10)),
            "no token": outcome(lambda: quote(apple, timeout=10)),
            "no token, stream": outcome(lambda: list(watch(apple, timeout=10))),
            "no token, health": outcome(lambda: health(b"", timeout=10)),
            "wrong token": outcome(lambda: quote(apple, metadata=bearer("x"), timeout=10)),
            "wrong role": outcome(lambda: quote(apple, metadata=bearer(wrong), timeout=10)),
            "unknown": outcome(lambda: unknown(b"", metadata=allowed, timeout=10)),
            "unknown, wrong role": outcome(lambda: unknown(b"", metadata=bearer(wrong), timeout=10)),
        }
    with grpc.secure_channel(address, grpc.ssl_channel_credentials(ca)) as stranger:
        quote = stranger.unary_unary("/shop.Prices/Quote", *asks)
        answers["no certificate"] = outcome(lambda: quote(apple, metadata=allowed, timeout=10))[0]
    return answers


def credentials(kind: str, gate: Path) -> tuple[str, str]:
    """A credential of an operator, and one of an analyst, of the kind that the example asks for."""
    if kind == "guard_aio.py":
        operator = command("token", "issue", "--subject", "me", "--role", "operator", "--dir", str(gate))
        return operator, (gate / "token").read_text().strip()
    operator, analyst = (command("key", "create", name, "--dir", str(gate)) for name in ("ops-me", "app-me"))
    return operator, analyst


@pytest.fixture(scope="module", params=KINDS)
def told(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Told:
    """One run of the example: started, asked everything, stopped."""
    folder = tmp_path_factory.mktemp("shop")
    gate, store = folder / "gate", str(folder / "traces.db")
    command("init", str(gate))
    right, wrong = credentials(request.param, gate)
    result = Told()
    receive = [GUARDHOUSE, "traces", "--follow", "--quiet", "--store", store, "--listen", "127.0.0.1:0"]
    example = [sys.executable, str(EXAMPLES / request.param), str(gate), "0"]
    with running(receive, folder) as collector:
        with running(example, folder, collector) as address:
            result.answers = ask_everything(address, gate, right, wrong)
    lines = map(json.loads, (gate / "shop-ledger/ledger.jsonl").open())
    result.lines = [line for line in lines if line["kind"] == "query"]
    traces = command("traces", "--store", store, "--json", "--last", "100").splitlines()
    result.spans = [span["attributes"] for trace in traces for span in json.loads(trace)["spans"]]
    result.verified = json.loads(command("audit", "verify", str(gate / "shop-ledger"), "--json"))["intact"]
    return result


ANSWERS = {
    "allowed": 1.5,
    "stream": [1.5, 2.25],
    "not sold": ("NOT_FOUND", "", "we do not sell that"),
    "health": b"\x08\x01",
    "no token": ("UNAUTHENTICATED", "TOKEN_MISSING", "a bearer token is required"),
    "no token, stream": ("UNAUTHENTICATED", "TOKEN_MISSING", "a bearer token is required"),
    "no token, health": ("UNAUTHENTICATED", "TOKEN_MISSING", "a bearer token is required"),
    "wrong token": ("UNAUTHENTICATED", "TOKEN_INVALID", "the token is not accepted"),
    "wrong role": ("PERMISSION_DENIED", "METHOD_DENIED", "not allowed to call this method"),
    "unknown": ("UNIMPLEMENTED", "METHOD_UNKNOWN", "this server has no such method"),
    "unknown, wrong role": ("PERMISSION_DENIED", "METHOD_DENIED", "not allowed to call this method"),
    "no certificate": "UNAVAILABLE",
}


@pytest.mark.parametrize("case", ANSWERS)
def test_what_callers_are_told(told: Told, case: str) -> None:
    """The service's own answers pass unchanged, and everybody who proved too little is refused."""
    assert told.answers[case] == ANSWERS[case]


def test_every_call_left_a_line_and_a_span(told: Told) -> None:
    """Eleven calls, eleven lines in an unbroken chain, eleven spans; the failed handshake left neither."""
    status = ["OK", "OK", "NOT_FOUND", "OK", *["UNAUTHENTICATED"] * 4]
    status += ["PERMISSION_DENIED", "UNIMPLEMENTED", "PERMISSION_DENIED"]
    assert [line["status"] for line in told.lines] == status
    assert sorted(span["rpc.status_code"] for span in told.spans) == sorted(status)
    assert told.verified


def test_who_asked_is_on_the_line(told: Told) -> None:
    """The allowed call is under the caller's proven name, by certificate and token both, and by its rule."""
    line = told.lines[0]
    assert (line["principal"], line["proofs"]) in (
        ("me", ["mtls", "jwt"]),
        ("api_key:ops-me", ["mtls", "api_key"]),
    )
    assert (line["method"], line["roles"]) == ("shop.Prices/Quote", ["operator"])
    assert line["rule"] == "operator.allow[0]"


@pytest.mark.parametrize("kind", KINDS)
def test_the_guard_is_ten_lines_at_most(kind: str) -> None:
    """It is one import and one `with`, and no longer than the README of the project says."""
    text = (EXAMPLES / kind).read_text()
    lines = text.partition("# The guard.\n")[2].partition("        # That was it.")[0].splitlines()
    assert 3 <= len(lines) <= 10
    assert sum(line.strip().startswith("with guard(") for line in lines) == 1
    assert text.count("guardhouse.interceptors") == 1


@pytest.fixture
def office_hours() -> Any:
    """The guard of examples/README.md, as it stands there."""
    (snippet,) = re.findall(r"(?s)```python\n(.*?)```", (EXAMPLES / "README.md").read_text())
    names: dict[str, Any] = {}
    exec(snippet, names)
    return names["OfficeHours"]


def test_the_guard_of_the_readme_refuses_by_the_hour(office_hours: Any) -> None:
    """Served from nine to five, to the second; an open method always."""
    chain = Chain(office_hours(9, 17), open_methods=["/shop.Prices/Open"])
    noted = {}
    for hour in (8.999, 9, 16.999, 17, 24):
        for method in ("Quote", "Open"):
            call = chain.open(f"/shop.Prices/{method}", (), known=True)
            call.wall = 1_800_000_000 // 86400 * 86400 + hour * 3600
            noted[method, hour] = note(chain, call)
    refused = [key for key, text in noted.items() if text == "outside office hours"]
    assert refused == [("Quote", 8.999), ("Quote", 17), ("Quote", 24)]
    assert sum(text == "" for text in noted.values()) == 7


def note(chain: Chain, call: Call) -> str:
    """The note of the refusal with which the chain turns *call* away, or ""."""
    try:
        chain.admit(call)
    except Refusal as refusal:
        return refusal.note
    return ""


@pytest.mark.parametrize(("hours", "told"), [((0, 24), "1.5"), ((0, 0), "METHOD_DENIED")])
def test_the_guard_of_the_readme_serves(
    office_hours: Any, hours: tuple[int, int], told: str, tmp_path: Path
) -> None:
    """Put in by `more=`, it lets a caller with a key through to a real server, or refuses it."""
    policy = Policy.parse(
        "roles: {all: {allow: [{methods: [shop.Prices/Quote]}]}}\nbindings: [{role: all, api_key: me}]\n"
    )
    key = KeyStore(tmp_path / "keys.db").create("me", now=time.time())
    settings: Any = {
        "policy": policy,
        "ledger": None,
        "api_keys": tmp_path / "keys.db",
        "certificates": False,
    }
    with guard(**settings, more=[office_hours(*hours)]) as chain:
        server = grpc.server(ThreadPoolExecutor(2), interceptors=[sync(chain)])
        quote: Any = grpc.unary_unary_rpc_method_handler(lambda request, context: b"1.5")
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("shop.Prices", {"Quote": quote}),)
        )
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            ask: Any = channel.unary_unary("/shop.Prices/Quote")
            found = outcome(lambda: ask(b"", metadata=bearer(key), timeout=10))
        server.stop(None).wait()
    assert (found[1] if isinstance(found, tuple) else found.decode()) == told


@pytest.mark.parametrize("kind", KINDS)
def test_the_service_knows_nothing_of_its_guard(kind: str) -> None:
    """Nothing of ours is imported or named in the part that was there before."""
    text = (EXAMPLES / kind).read_text()
    service = text[text.index("PRICES = ") : re.search("(async )?def serve", text).start()]  # type: ignore[union-attr] # it is there
    assert "guardhouse" not in service
