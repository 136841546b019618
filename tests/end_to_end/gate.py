"""A whole guarded server in its own process, as `guardhouse serve` starts it, and what it leaves behind."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import grpc
import grpc.aio

from guardhouse.interceptors.ledger.file import rotated
from guardhouse.protos import inference_pb2

COMMAND = str(Path(sys.executable).with_name("guardhouse"))
HERE = Path(__file__).parent
Options = Sequence[tuple[str, int | str]]
INFER = "/inference.GRPCInferenceService/ModelInfer"
OWN = ("grpc.use_local_subchannel_pool", 1)  # a connection shared with no other channel

POLICY = """
roles:
  analyst:
    allow:
      - methods: [ModelInfer, ModelMetadata, ModelReady]
        models: [double, slow, patient, large, broken, misshapen, ghost]
      - {methods: [ServerLive, ServerReady, ServerMetadata, guardhouse.v1.Guardhouse/WhoAmI]}
    deny:
      - {methods: [ModelInfer], models: [ghost]}
    limits: {rate: 100000/s, burst: 100000}
  trickle:
    allow: [{methods: [ModelInfer], models: [double]}]
    limits: {rate: 1/h, burst: 2}
  hasty:
    allow: [{methods: [ModelInfer], models: [double]}]
    limits: {rate: 2/s, burst: 1}
  counted:
    allow: [{methods: [guardhouse.v1.Guardhouse/WhoAmI]}]
    limits: {rate: 1/h, burst: 5}
  operator:
    allow: [{methods: ["*"], models: ["*"]}]
    limits: {rate: 100000/s, burst: 100000}
bindings:
  - {role: analyst, claim: {roles: analyst}}
  - {role: trickle, claim: {roles: trickle}}
  - {role: hasty, claim: {roles: hasty}}
  - {role: counted, claim: {roles: counted}}
  - {role: operator, claim: {roles: operator}}
  - {role: analyst, api_key: app-*}
"""

MODELS = """
models:
  - {name: double, python: "witness_model:double"}
  - {name: slow, python: "witness_model:slow"}
  - {name: patient, python: "witness_model:patient"}
  - {name: large, python: "witness_model:large"}
  - {name: broken, python: "witness_model:broken"}
  - {name: spell, python: "witness_model:spell"}
  - {name: tick, python: "witness_model:tick"}
  - {name: misshapen, python: "witness_model:misshapen"}
"""


def command(*arguments: str, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    """Run one command of ours; returns what it printed."""
    done = subprocess.run(
        [COMMAND, *arguments], capture_output=True, text=True, cwd=cwd, env={**os.environ, **(env or {})}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def environment(witness: Path) -> dict[str, str]:
    """What a server needs to find the models of these tests."""
    path = os.pathsep.join(filter(None, (str(HERE), os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path, "GUARDHOUSE_TEST_WITNESS": str(witness)}


class Gate:
    """A folder that `init` made, changed for tests, and the server that runs on it."""

    def __init__(self, folder: Path, collector: int) -> None:
        self.folder = folder
        self.witness = folder / "witness"
        command("init", str(folder))
        config = (folder / "guardhouse.yaml").read_text()
        start, end = config.index("models:"), config.index("\n# ", config.index("models:"))
        config = config[:start] + MODELS.lstrip() + config[end:]
        config = config.replace("127.0.0.1:8443", "127.0.0.1:0").replace(":4317", f":{collector}")
        (folder / "guardhouse.yaml").write_text(config)
        (folder / "policy.yaml").write_text(POLICY)
        self.process: subprocess.Popen[str] | None = None
        self.address = ""
        self.report: dict[str, object] = {}

    def start(self, *arguments: str) -> Gate:
        self.process = subprocess.Popen(
            [COMMAND, "serve", str(self.folder / "guardhouse.yaml"), "--json", *arguments],
            stdout=subprocess.PIPE,
            stderr=(self.folder / "stderr").open("w"),
            text=True,
            env=environment(self.witness),
        )
        line = self.process.stdout.readline()
        assert line, self.log()
        self.report = json.loads(line)
        self.address = self.report["address"]
        return self

    def stop(self) -> int:
        """SIGTERM; returns the exit status."""
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(60)
        self.process.stdout.close()
        return status

    def kill(self) -> None:
        """SIGKILL, which a server cannot hear; no matter if it has ended already."""
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if self.process:
            self.process.stdout.close()

    @contextmanager
    def held(self) -> Iterator[None]:
        """SIGSTOP, and SIGCONT afterwards: what is done meanwhile happens to the server all at once."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def token(self, role: str = "analyst", *more: str) -> str:
        return command(
            "token", "issue", "--subject", "tester", "--role", role, "--dir", str(self.folder), *more
        )

    def credentials(self, name: str = "client") -> grpc.ChannelCredentials:
        pki = self.folder / "pki"
        return grpc.ssl_channel_credentials(
            (pki / "ca.pem").read_bytes(),
            (pki / f"{name}.key").read_bytes(),
            (pki / f"{name}.pem").read_bytes(),
        )

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    @property
    def target(self) -> str:
        return f"localhost:{self.port}"

    def channel(self, name: str = "client", options: Options = ()) -> grpc.Channel:
        return grpc.secure_channel(self.target, self.credentials(name), list(options))

    def aio(self, options: Options = ()) -> grpc.aio.Channel:
        """A connection of its own, shared with no other channel of the process."""
        own = ("grpc.use_local_subchannel_pool", 1)
        return grpc.aio.secure_channel(self.target, self.credentials(), [own, *options])

    def calls(self, mark: bytes = b"") -> int:
        """How often any model has been called, or the one that leaves this mark."""
        seen = self.witness.read_bytes() if self.witness.exists() else b""
        return seen.count(mark) if mark else len(seen)

    def log(self) -> str:
        """What the server has said on stderr."""
        return (self.folder / "stderr").read_text()

    def verified(self) -> dict[str, object]:
        """What `guardhouse audit verify` says of the ledger; it fails where the ledger is not whole."""
        return json.loads(command("audit", "verify", str(self.folder / "ledger"), "--json"))

    @property
    def ledger_file(self) -> Path:
        return self.folder / "ledger" / "ledger.jsonl"

    def entries(self, *kinds: str) -> list[dict[str, object]]:
        """The whole lines of all the ledger's files, all or those of some kinds."""
        files = [*rotated(self.folder / "ledger"), self.ledger_file]
        lines = itertools.chain.from_iterable(file.read_bytes().splitlines(keepends=True) for file in files)
        found = [json.loads(line) for line in lines if line.endswith(b"\n")]
        return [entry for entry in found if not kinds or entry["kind"] in kinds]

    def ledger(self, count: int = 0, seconds: float = 10.0) -> list[dict[str, object]]:
        """The ledger's queries, once there are *count* of them."""
        end = time.monotonic() + seconds
        while True:
            queries = self.entries("query")
            if len(queries) >= count or time.monotonic() > end:
                return queries
            time.sleep(0.05)


def until(holds: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait for something that another process does; fail where it does not."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token}"),)


def query(model: str = "double", values: Sequence[float] = (1.0, 2.0)) -> inference_pb2.ModelInferRequest:
    """A right request: one FP32 tensor, raw."""
    import numpy as np

    request = inference_pb2.ModelInferRequest(model_name=model)
    request.inputs.add(name="x", datatype="FP32", shape=[len(values)])
    request.raw_input_contents.append(np.asarray(values, dtype=np.float32).tobytes())
    return request
